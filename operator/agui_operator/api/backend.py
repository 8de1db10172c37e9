"""The backend of a release: one Cloud Run service (https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from agui_operator.api.base import (
    Argument,
    EnvName,
    Image,
    Model,
    Rule,
    SecretId,
    ServiceAccount,
    UrlPath,
    int_or_string,
    keyed_list,
    unique_by,
)

RESERVED_ENV = ("PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION", "AGUI_RELEASE", "AGUI_VERSION")
_RESERVED_CEL = "[" + ", ".join(f"'{name}'" for name in RESERVED_ENV) + "]"
ENV_BYTES = 32768


class Ingress(StrEnum):
    """Who may reach the service's own URL."""

    INTERNAL_AND_LOAD_BALANCING = "InternalAndCloudLoadBalancing"
    INTERNAL = "Internal"
    ALL = "All"


class EnvVar(Model):
    """A plain environment variable. Secrets have their own list."""

    name: EnvName = Field(description="Name of the environment variable.")
    value: str = Field("", max_length=2048, description="Its value, in clear text; never put a secret here.")


class SecretVar(Model):
    """An environment variable that Cloud Run fills from Secret Manager."""

    env: EnvName = Field(description="Name of the environment variable.")
    secret: SecretId = Field(description="Id of the secret in the environment's project.")
    version: Annotated[str, *int_or_string("^(latest|[1-9][0-9]{0,8})$", 9)] = Field(
        "latest",
        description="Version number, or `latest`, resolved once per release: a rotated secret is a new release.",
    )


class Resources(Model):
    """Resources of one instance."""

    cpu: Annotated[str, *int_or_string("^([1-9][0-9]{1,3}m|[1-8]|0[.][0-9]{1,3})$", 8)] = Field(
        "1", description="CPUs of one instance: 1 to 8, or less than one such as `500m`."
    )
    memory: str = Field(
        "1Gi", pattern="^[1-9][0-9]{0,5}(Mi|Gi)$", max_length=8, description="Memory of one instance, such as 512Mi."
    )
    cpu_always_allocated: bool = Field(
        True, description="CPU is allocated also between requests; needed by agents that continue after the response."
    )
    startup_boost: bool = Field(True, description="More CPU while an instance starts.")


class Scaling(Model):
    """Number of instances."""

    min_instances: int = Field(0, ge=0, le=1000, description="Instances kept warm.")
    max_instances: int = Field(10, ge=1, le=1000, description="Upper bound of instances of one revision.")
    concurrency: int = Field(80, ge=1, le=1000, description="Requests that one instance serves at the same time.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.minInstances <= self.maxInstances",
            holds=lambda s: s.min_instances <= s.max_instances,
            message="must not be above maxInstances",
            fix="lower minInstances or raise maxInstances",
            at="minInstances",
        ),
    )


class Probe(Model):
    """An HTTP probe of the container."""

    path: UrlPath = Field(description="Path whose response has a status below 400 while the container is healthy.")
    period_seconds: int = Field(10, ge=1, le=240, description="Seconds between two attempts.")
    timeout_seconds: int = Field(5, ge=1, le=240, description="Seconds after which an attempt fails.")
    failure_threshold: int = Field(3, ge=1, le=100, description="Consecutive failed attempts that count as a failure.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.timeoutSeconds <= self.periodSeconds",
            holds=lambda p: p.timeout_seconds <= p.period_seconds,
            message="must not be above periodSeconds",
            fix="lower timeoutSeconds or raise periodSeconds",
            at="timeoutSeconds",
        ),
    )


class Probes(Model):
    """Probes of the container; without one Cloud Run only waits for the port."""

    startup: Probe | None = Field(None, description="Passes when the instance can receive requests.")
    liveness: Probe | None = Field(None, description="Fails when the instance has to be restarted.")


class Backend(Model):
    """The Cloud Run service."""

    image: Image = Field(description="Container image. A tag is resolved once per release and pinned to its digest.")
    command: tuple[Argument, ...] = Field((), max_length=20, description="Replaces the image's entry point.")
    args: tuple[Argument, ...] = Field((), max_length=40, description="Replaces the image's arguments.")
    port: int = Field(8080, ge=1, le=65535, description="Port that the container listens on, passed to it as PORT.")
    service_account: ServiceAccount = Field(
        description="Identity the application runs as: a service account of the environment's project by name, or "
        "any by e-mail. The policy decides which are allowed."
    )
    env: tuple[EnvVar, ...] = Field(
        (), max_length=60, description="Plain environment variables.", json_schema_extra=keyed_list("name")
    )
    secrets: tuple[SecretVar, ...] = Field(
        (),
        max_length=20,
        description="Environment variables from Secret Manager.",
        json_schema_extra=keyed_list("env"),
    )
    resources: Resources = Field(default_factory=Resources, description="Resources of one instance.")
    scaling: Scaling = Field(default_factory=Scaling, description="Number of instances.")
    session_affinity: bool = Field(True, description="A client stays with one instance, and so with one revision.")
    timeout_seconds: int = Field(
        3600, ge=1, le=3600, description="Longest request; a WebSocket session is one request."
    )
    probes: Probes = Field(default_factory=Probes, description="Startup and liveness probes.")
    ingress: Ingress = Field(
        Ingress.INTERNAL_AND_LOAD_BALANCING,
        description="Who may reach the service's own URL. `All` must be allowed by the AgUiPolicy.",
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        unique_by("env", "name"),
        unique_by("secrets", "env"),
        Rule(
            cel=f"self.env.all(e, !(e.name in {_RESERVED_CEL})) && self.secrets.all(s, !(s.env in {_RESERVED_CEL}))",
            holds=lambda b: not {*(e.name for e in b.env), *(s.env for s in b.secrets)} & set(RESERVED_ENV),
            message=f"must not set {', '.join(RESERVED_ENV[:-1])} or {RESERVED_ENV[-1]}, which the platform sets",
            fix="use another name",
            at="env",
        ),
        Rule(
            cel="self.secrets.all(s, !self.env.exists(e, e.name == s.env))",
            holds=lambda b: not {e.name for e in b.env} & {s.env for s in b.secrets},
            message="must not name a variable that env sets too",
            fix="keep it in secrets and remove it from env",
            at="secrets",
        ),
        Rule(
            cel=f"self.env.map(e, size(e.value)).sum() <= {ENV_BYTES}",
            holds=lambda b: sum(len(e.value) for e in b.env) <= ENV_BYTES,
            message=f"must have values of at most {ENV_BYTES} characters in all",
            fix="put large configuration into the image",
            at="env",
        ),
    )
