"""AgUiPolicy: which namespaces may use what, when nothing may change, and the stop button.

Cluster-scoped and written by an administrator. What no policy allows is forbidden.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from agui_operator.api.backend import Ingress
from agui_operator.api.base import DnsLabel, Model, Rule, keyed_list, unique_by

# The API server's date-time knows more notations than RFC 3339, and Python other ones; both hold this pattern. The
# first and the last year are left out, so that every offset and every grace stays inside what Python can count.
_INSTANT = (
    "^(19[7-9][0-9]|[2-8][0-9]{3}|9[0-8][0-9]{2}|99[0-8][0-9]|999[0-8])-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    "T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)
_READ = re.compile(_INSTANT, re.ASCII)


def parse_instant(raw: Any) -> datetime:
    """An RFC 3339 time with its offset. Raises PydanticCustomError."""
    if isinstance(raw, datetime) and raw.tzinfo is not None:
        return raw
    try:
        value = datetime.fromisoformat(raw) if isinstance(raw, str) and _READ.fullmatch(raw) else None
    except ValueError:
        value = None
    if value is None:
        raise PydanticCustomError("instant", "must be a time", {"fix": "write it as 2026-12-24T00:00:00Z"})
    return value


def format_instant(value: datetime) -> str:
    """RFC 3339, with Z for UTC."""
    return value.isoformat().replace("+00:00", "Z")


Instant = Annotated[
    datetime,
    PlainValidator(parse_instant),
    PlainSerializer(format_instant, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": _INSTANT, "maxLength": 40}),
]
NamePattern = Annotated[str, Field(pattern="^([a-z0-9][-a-z0-9]*)?[*]?$", min_length=1, max_length=63)]
# the domain of an e-mail address is written out: `runtime@proj-a*` would reach proj-admin
AccountPattern = Annotated[
    str, Field(pattern="^([a-z0-9-]*[*]?|[a-z0-9-]+@[a-z0-9.-]+)$", min_length=1, max_length=120)
]
BucketPattern = Annotated[str, Field(pattern="^[a-z0-9][-a-z0-9_.]*[*]?$|^[*]$", min_length=1, max_length=63)]
DatabasePattern = Annotated[
    str, Field(pattern="^([*]|[a-z][-a-z0-9]*/([A-Za-z_][A-Za-z0-9_-]*)?[*]?)$", min_length=1, max_length=163)
]
DomainPattern = Annotated[
    str, Field(pattern="^([*]|([*][.])?[a-z0-9]([-a-z0-9.]*[a-z0-9])?)$", min_length=1, max_length=253)
]
SecretPattern = Annotated[str, Field(pattern="^[A-Za-z0-9_-]*[*]?$", min_length=1, max_length=128)]
BinaryAuthorization = Annotated[
    str,
    Field(pattern="^(Default|projects/[a-z][-a-z0-9]*/platforms/cloudRun/[a-z]([-a-z0-9]*[a-z0-9])?)$", max_length=200),
]
ImagePrefix = Annotated[
    str, Field(pattern="^([a-z0-9][-a-z0-9.]*(:[0-9]{1,5})?(/[a-z0-9._-]+)*/?|[*])$", min_length=1, max_length=300)
]


class PolicyLimits(Model):
    """Upper bounds for one deployment; an absent field is not limited."""

    max_instances: int | None = Field(None, ge=1, le=1000, description="Maximum spec.backend.scaling.maxInstances.")
    min_instances: int | None = Field(None, ge=0, le=1000, description="Maximum spec.backend.scaling.minInstances.")
    max_cpu: float | None = Field(None, gt=0, le=8, description="Maximum CPUs of one instance.")
    max_memory_mi: int | None = Field(None, ge=128, le=32768, description="Maximum memory of one instance, MiB.")


class FreezeWindow(Model):
    """A freeze window: no rollout starts or continues. A failed release is rolled back nevertheless."""

    name: DnsLabel = Field(description="Name, shown in the status of held deployments.")
    from_: Instant = Field(alias="from", description="Start, RFC 3339.")
    until: Instant = Field(description="End, RFC 3339.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="timestamp(self.from) < timestamp(self.until)",
            holds=lambda f: f.from_ < f.until,
            message="must be later than from",
            fix="swap the two",
            at="until",
        ),
    )


class Stop(Model):
    """The stop button: while active, no rollout starts or continues in the policy's namespaces."""

    active: bool = Field(False, description="True: stopped.")
    reason: str = Field("", max_length=256, description="Reason, shown in the status of held deployments.")


class Diagnostics(StrEnum):
    """How much of what applications and jobs say may be shown in status, Events, logs and on the dashboard. Secret-like
    strings are masked in any case."""

    NONE = "None"  # exit codes, documented codes and a link to the log
    MESSAGES = "Messages"  # also codes and messages of their own
    LOG_LINES = "LogLines"  # also the last lines of the log of a job that failed


class AgUiPolicySpec(Model):
    """What deployments in some namespaces may use. A deployment is permitted if one policy permits all of it."""

    namespaces: tuple[NamePattern, ...] = Field(
        min_length=1,
        max_length=100,
        description="Namespaces that the policy applies to: names, or prefixes such as `team-*`.",
    )
    projects: tuple[NamePattern, ...] = Field(min_length=1, max_length=50, description="Google Cloud projects.")
    regions: tuple[NamePattern, ...] = Field(min_length=1, max_length=50, description="Regions.")
    service_accounts: tuple[AccountPattern, ...] = Field(
        min_length=1, max_length=100, description="Runtime identities: names in the project, or e-mail addresses."
    )
    image_repositories: tuple[ImagePrefix, ...] = Field(
        min_length=1, max_length=50, description="Allowed image repositories: prefixes that end at a path segment."
    )
    channels: tuple[NamePattern, ...] = Field(
        ("*",),
        max_length=50,
        description="Notification channels by their name in the environment; each must be in one of the projects.",
    )
    buckets: tuple[BucketPattern, ...] = Field(
        (),
        max_length=50,
        description="Buckets of bundles and of assets. Names of buckets are global, and files of an assets bucket are "
        "served on the host of every deployment that uses it.",
    )
    sql_instances: tuple[NamePattern, ...] = Field(
        (), max_length=50, description="Cloud SQL instances: names in the environment's project."
    )
    databases: tuple[DatabasePattern, ...] = Field(
        (),
        max_length=100,
        description="Databases as instance/database, or instance/prefix*; those that an environment names.",
    )
    url_maps: tuple[NamePattern, ...] = Field((), max_length=50, description="URL maps of load balancers.")
    backends: tuple[NamePattern, ...] = Field(
        (), max_length=50, description="Backend buckets and backend services of load balancers."
    )
    domains: tuple[DomainPattern, ...] = Field(
        (), max_length=50, description="Hosts: names, or `*.example.com` for every host below example.com."
    )
    secrets: tuple[SecretPattern, ...] = Field(
        (), max_length=100, description="Secrets of the environment's project that a release may read."
    )
    ingress: tuple[Ingress, ...] = Field(
        (Ingress.INTERNAL_AND_LOAD_BALANCING, Ingress.INTERNAL),
        min_length=1,
        max_length=3,
        description="Allowed values of spec.backend.ingress.",
    )
    adopt: tuple[NamePattern, ...] = Field(
        (),
        max_length=50,
        description="Cloud Run services of another owner that deployments with agui.dev/adopt=true may take over, as "
        "after the loss of a cluster: names, or prefixes such as `shop-*`.",
    )
    binary_authorization: BinaryAuthorization | None = Field(
        None,
        description="Binary Authorization that Cloud Run checks images with: Default, or "
        "projects/PROJECT/platforms/cloudRun/POLICY. Absent: none is asked for.",
    )
    diagnostics: Diagnostics = Field(
        Diagnostics.NONE,
        description="Words of applications and jobs in status, Events, logs and on the dashboard: None (exit codes, "
        "documented codes and a link to the log), Messages (also their own codes and messages) or LogLines (also the "
        "last lines of the log of a job that failed). Secret-like strings are masked in any case.",
    )
    limits: PolicyLimits = Field(default_factory=PolicyLimits, description="Upper bounds.")
    freezes: tuple[FreezeWindow, ...] = Field(
        (), max_length=20, description="Freeze windows.", json_schema_extra=keyed_list("name")
    )
    stop: Stop = Field(default_factory=Stop, description="The stop button.")

    RULES: ClassVar[tuple[Rule, ...]] = (unique_by("freezes", "name"),)
