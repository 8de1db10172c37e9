"""AgUiEnvironment: what releases run on, in one project and region. In the Observed form it names what exists."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agui_operator.api.base import (
    Bucket,
    ComputeName,
    DnsLabel,
    Model,
    ProjectId,
    Region,
    Rule,
    SecretId,
    UrlPath,
    keyed_list,
    unique_by,
)


class Tier(StrEnum):
    """Importance of the environment."""

    DEV = "dev"
    STAGING = "staging"
    PROD = "prod"


class Management(StrEnum):
    """Who creates a part."""

    OBSERVED = "Observed"
    MANAGED = "Managed"


class DatabaseUser(Model):
    """A database user and where its password is."""

    name: str = Field(pattern="^[A-Za-z_][A-Za-z0-9_.@-]*$", max_length=63, description="Name of the user.")
    secret: SecretId = Field(description="Id of the secret that holds its password.")


DatabaseName = Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_-]*$", max_length=63)]


class Database(Model):
    """A Cloud SQL for PostgreSQL instance."""

    instance: str = Field(
        pattern="^[a-z]([-a-z0-9]{0,96}[a-z0-9])?$", max_length=98, description="Name of the Cloud SQL instance."
    )
    databases: tuple[DatabaseName, ...] = Field((), max_length=20, description="Databases in it.")
    users: tuple[DatabaseUser, ...] = Field(
        (), max_length=20, description="Users and their secrets.", json_schema_extra=keyed_list("name")
    )

    RULES: ClassVar[tuple[Rule, ...]] = (unique_by("users", "name"),)


class BucketRef(Model):
    """A Cloud Storage bucket."""

    bucket: Bucket = Field(description="Name of the bucket.")


class Storage(Model):
    """The two buckets of an environment."""

    assets: BucketRef = Field(description="Public files; behind the load balancer's bucket backend.")
    artifacts: BucketRef = Field(description="Bundles as they were built; read by the operator only.")


class Edge(Model):
    """The load balancer in front: its URL map holds the release pointer."""

    domain: str = Field(
        pattern="^((https?://)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]{1,5})?)$",
        max_length=253,
        description="Host name of the application. http://host:port is used as the complete origin (local use).",
    )
    url_map: ComputeName = Field(description="Name of the global URL map.")
    backend_bucket: ComputeName = Field(description="Backend bucket over the assets bucket.")
    backend_service: ComputeName = Field(description="Backend service over the serverless endpoint group.")
    api_paths: tuple[UrlPath, ...] = Field(
        ("/copilotkit", "/api", "/agent", "/ws"),
        min_length=1,
        max_length=20,
        description="Path prefixes that go to the backend; all else is the frontend. The first is where the page "
        "finds its runtime.",
    )


class Named(Model):
    """A reference by name."""

    name: SecretId = Field(description="Its name.")


class Channel(Model):
    """A notification channel of Cloud Monitoring."""

    name: DnsLabel = Field(description="Name that deployments use.")
    resource: str = Field(
        pattern="^projects/[a-z0-9-]+/notificationChannels/[A-Za-z0-9_-]+$",
        max_length=200,
        description="Full resource name: projects/PROJECT/notificationChannels/ID.",
    )


class Observability(Model):
    """Where alerts are sent."""

    channels: tuple[Channel, ...] = Field(
        (), max_length=20, description="Notification channels.", json_schema_extra=keyed_list("name")
    )

    RULES: ClassVar[tuple[Rule, ...]] = (unique_by("channels", "name"),)


_PARTS = ("database", "storage", "edge", "identities", "secrets", "observability")


def _observed(part: str) -> Rule:
    return Rule(
        cel=f"self.{part} == 'Observed'",
        holds=lambda m: getattr(m, part) == Management.OBSERVED,
        message="must be Observed: Managed is not supported yet",
        fix="make the part yourself, name it here and set Observed",
        at=part,
    )


class ManagementOfParts(Model):
    """Who creates each part. Observed: created elsewhere, for example by Terraform, and only named here."""

    database: Management = Field(Management.OBSERVED, description="The database instance, databases and users.")
    storage: Management = Field(Management.OBSERVED, description="The buckets.")
    edge: Management = Field(Management.OBSERVED, description="The load balancer.")
    identities: Management = Field(Management.OBSERVED, description="The service accounts.")
    secrets: Management = Field(Management.OBSERVED, description="The secrets and their versions.")
    observability: Management = Field(Management.OBSERVED, description="The notification channels.")

    RULES: ClassVar[tuple[Rule, ...]] = tuple(_observed(part) for part in _PARTS)


class EnvironmentDeletionPolicy(Model):
    """What deleting the AgUiEnvironment does: nothing, because observed parts belong to others."""

    default: Literal["Retain"] = Field("Retain", description="All parts are kept.")


class AgUiEnvironmentSpec(Model):
    """What releases of this namespace run on."""

    project_id: ProjectId = Field(description="Google Cloud project.")
    region: Region = Field(description="Region of Cloud Run and Cloud SQL.")
    tier: Tier = Field(Tier.DEV, description="Importance of the environment: dev, staging or prod.")
    database: Database | None = Field(None, description="Cloud SQL instance; needed by deployments with migrations.")
    storage: Storage | None = Field(None, description="Buckets; needed by deployments with a frontend.")
    edge: Edge | None = Field(None, description="Load balancer; needed by deployments with a frontend.")
    identities: tuple[Named, ...] = Field(
        (),
        max_length=30,
        description="Service accounts that applications run as.",
        json_schema_extra=keyed_list("name"),
    )
    secrets: tuple[Named, ...] = Field(
        (), max_length=60, description="Secrets that applications use.", json_schema_extra=keyed_list("name")
    )
    observability: Observability | None = Field(None, description="Where alerts are sent.")
    management: ManagementOfParts = Field(default_factory=ManagementOfParts, description="Who creates each part.")
    deletion_policy: EnvironmentDeletionPolicy = Field(
        default_factory=EnvironmentDeletionPolicy, description="What deleting this object does."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (unique_by("identities", "name"), unique_by("secrets", "name"))
