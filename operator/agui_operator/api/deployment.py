"""AgUiDeployment: one release unit. Backend, schema, assets and alerts go forward, and back, together."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agui_operator.api.backend import Backend
from agui_operator.api.base import (
    Argument,
    CheckName,
    DnsLabel,
    Duration,
    Image,
    Model,
    Rule,
    ServiceAccount,
    keyed_list,
    unique_by,
)
from agui_operator.api.smoke import SmokeCheck
from agui_operator.api.strategy import CanaryStep, Strategy

__all__ = ["AgUiDeploymentSpec", "CanaryStep", "DeletionPolicy", "SmokeCheck"]


class EnvironmentRef(Model):
    """Which AgUiEnvironment; always in the deployment's own namespace."""

    name: DnsLabel = Field(description="Name of the AgUiEnvironment.")


class Backup(StrEnum):
    """Whether the database is backed up before a migration."""

    ALWAYS = "Always"
    NEVER = "Never"


class Rehearse(StrEnum):
    """Whether a migration first runs on a copy of the database."""

    NEVER = "Never"
    CLONE = "Clone"


class Contract(StrEnum):
    """When the contracting half of a schema change runs."""

    MANUAL = "Manual"
    AFTER_ROLLBACK_WINDOW = "AfterRollbackWindow"


class Migrations(Model):
    """The Alembic migrations of the release, run as a Cloud Run job before the revision is created. Only forward."""

    image: Image | None = Field(None, description="Container image; absent: the backend's.")
    command: tuple[Argument, ...] = Field((), max_length=20, description="Replaces the image's entry point.")
    args: tuple[Argument, ...] = Field(
        (),
        max_length=40,
        description="Replaces the arguments. Default: `upgrade <target>`, then `--seeds` if seeds is true and "
        "`--verify a,b` if verify names checks.",
    )
    service_account: ServiceAccount | None = Field(
        None,
        description="Identity of the migration job and of `sql` checks; absent: the backend's. With one of its own the "
        "serving identity needs no right to change the schema.",
    )
    target: str = Field("head", pattern="^[A-Za-z0-9_]{1,64}$", max_length=64, description="Alembic revision to reach.")
    seeds: bool = Field(False, description="Load reference data after the migration.")
    verify: tuple[CheckName, ...] = Field(
        (), max_length=10, description="Checks of the records, run by the job after the migration."
    )
    backup: Backup = Field(Backup.ALWAYS, description="Back the database up before the migration.")
    rehearse: Rehearse = Field(Rehearse.NEVER, description="Run the migration on a copy of the database first.")
    contract: Contract = Field(Contract.MANUAL, description="When old columns and tables are dropped.")
    lock_timeout_seconds: int = Field(
        5, ge=1, le=300, description="Maximum wait for a lock, so that a migration does not block the application."
    )
    statement_timeout_seconds: int = Field(60, ge=1, le=3600, description="Maximum time of one statement.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.rehearse == 'Never'",
            holds=lambda m: m.rehearse == Rehearse.NEVER,
            message="must be Never: a rehearsal on a copy is not supported yet",
            fix="set Never",
            at="rehearse",
        ),
        Rule(
            cel="self.contract == 'Manual'",
            holds=lambda m: m.contract == Contract.MANUAL,
            message="must be Manual: contracting by itself is not supported yet",
            fix="set Manual",
            at="contract",
        ),
    )


class BundleRef(Model):
    """A bundle in the environment's artifact bucket."""

    object: str = Field(
        pattern="^[A-Za-z0-9][A-Za-z0-9._/-]*$", max_length=256, description="Object name of the .tar.gz file."
    )
    sha256: str = Field(pattern="^[0-9a-f]{64}$", max_length=64, description="SHA-256 of the file, 64 hex digits.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!self.object.contains('..') && !self.object.contains('//')",
            holds=lambda b: ".." not in b.object and "//" not in b.object,
            message="must not contain `..` or `//`",
            fix="name the object as it is in the bucket",
            at="object",
        ),
    )


class Frontend(Model):
    """The browser's files: published beside those of earlier releases and switched by a pointer in the URL map."""

    bundle: BundleRef = Field(description="The built files.")
    skew_window: Duration = Field(
        timedelta(hours=24), description="Minimum time for which the files of an earlier release stay reachable."
    )


class Rollback(Model):
    """How a release is rolled back."""

    automatic: bool = Field(True, description="Roll a failed release back without manual approval.")
    window: Duration = Field(timedelta(hours=24), description="How long an earlier release is kept ready to serve.")


class Alerts(Model):
    """Alert policies of the release in Cloud Monitoring; an absent field has no alert policy."""

    latency_p95_ms: int | None = Field(None, ge=1, le=3600000, description="95th percentile of latency, milliseconds.")
    error_rate: float | None = Field(None, gt=0, le=1, description="Share of requests that end with 5xx.")
    guardrail_failure_rate: float | None = Field(None, gt=0, le=1, description="Share of runs whose guardrail failed.")
    websocket_failure_rate: float | None = Field(
        None, gt=0, le=1, description="Share of WebSocket sessions that broke."
    )
    availability_objective: float | None = Field(
        None, gt=0, lt=1, description="Objective such as 0.999; the alert fires when its error budget burns too fast."
    )
    channels: tuple[DnsLabel, ...] = Field(
        (), max_length=10, description="Names of notification channels of the environment."
    )


class PromoteFrom(Model):
    """Another environment in which the same artifact must have been healthy first."""

    environment: DnsLabel = Field(description="Name of that environment.")
    min_soak: Duration = Field(timedelta(hours=1), description="How long it must have been healthy there.")


Part = Literal["Retain", "Delete"]


class DeletionPolicy(Model):
    """What happens to each part when the AgUiDeployment is deleted. Data is retained by default."""

    backend: Part = Field("Delete", description="The Cloud Run service and its jobs.")
    alerts: Part = Field("Delete", description="The alert policies.")
    pointer: Part = Field("Delete", description="The rules in the URL map.")
    assets: Literal["Retain"] = Field("Retain", description="Published files.")
    backups: Literal["Retain"] = Field("Retain", description="Database backups.")
    database: Literal["Retain"] = Field("Retain", description="The database; a deployment never deletes it.")


class AgUiDeploymentSpec(Model):
    """The desired release, how it is verified and how traffic moves to it."""

    environment_ref: EnvironmentRef = Field(description="The AgUiEnvironment that the release runs in.")
    version: Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9._+-]*$")] | None = Field(
        None,
        max_length=64,
        description="Human-readable version, shown in status. The release id is computed from the content.",
    )
    backend: Backend = Field(description="The Cloud Run service.")
    migrations: Migrations | None = Field(None, description="Schema migrations; absent: no database.")
    frontend: Frontend | None = Field(None, description="The browser's files; absent: an API without a page.")
    smoke: tuple[SmokeCheck, ...] = Field(
        (),
        max_length=30,
        description="Checks that a release must pass before it receives user traffic, and again after promotion.",
        json_schema_extra=keyed_list("name"),
    )
    strategy: Strategy = Field(default_factory=Strategy, description="How traffic moves to the release.")
    rollback: Rollback = Field(default_factory=Rollback, description="How it is rolled back.")
    alerts: Alerts | None = Field(None, description="Alert policies.")
    promote_from: PromoteFrom | None = Field(
        None, description="Environment in which the same artifact must have been healthy first."
    )
    history_limit: int = Field(10, ge=1, le=20, description="Finished rollouts kept in status.")
    suspend: bool = Field(False, description="True: no new rollout starts, and a running one is paused.")
    deletion_policy: DeletionPolicy = Field(
        default_factory=DeletionPolicy, description="What deleting this object does to each part."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        unique_by("smoke", "name"),
        Rule(
            cel="has(self.migrations) || !self.smoke.exists(c, has(c.sql))",
            holds=lambda s: s.migrations is not None or all(c.sql is None for c in s.smoke),
            message="must have no sql check, because spec.migrations is absent",
            fix="add spec.migrations: the check runs in its image",
            at="smoke",
        ),
        Rule(
            cel="has(self.frontend) || !self.smoke.exists(c, has(c.assets))",
            holds=lambda s: s.frontend is not None or all(c.assets is None for c in s.smoke),
            message="must have no assets check, because spec.frontend is absent",
            fix="add spec.frontend or remove the check",
            at="smoke",
        ),
        Rule(
            cel="!has(self.promoteFrom)",
            holds=lambda s: s.promote_from is None,
            message="must be absent: promotion by attestation is not supported yet",
            fix="remove it",
            at="promoteFrom",
        ),
    )
