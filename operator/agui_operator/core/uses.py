"""What a deployment, a release or an environment uses that an AgUiPolicy speaks of: each with its field. Pure.

A release is read from the template that its revision was made from, not from the spec: a permission is asked for what
is written, also when the spec says something else by now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from agui_operator.api.deployment import AgUiDeploymentSpec
from agui_operator.api.environment import AgUiEnvironmentSpec
from agui_operator.api.environment import Edge as NamedEdge
from agui_operator.core.actions import RevisionTemplate
from agui_operator.core.environment import Edge, Place
from agui_operator.core.release import Release
from agui_operator.core.templates import from_json


class Kind(StrEnum):
    """What a policy lists, in the words of its messages."""

    PROJECT = "projects"
    REGION = "regions"
    ACCOUNT = "service accounts"
    IMAGE = "image repositories"
    INGRESS = "ingress"
    CHANNEL = "channels"
    BUCKET = "buckets"
    SQL_INSTANCE = "SQL instances"
    DATABASE = "databases"
    URL_MAP = "URL maps"
    BACKEND = "load balancer backends"
    DOMAIN = "domains"
    SECRET = "secrets"  # noqa: S105 (a word, not a password)
    MAX_INSTANCES = "max instances"
    MIN_INSTANCES = "min instances"
    CPU = "CPU"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Use:
    """One thing that is used: the field that names it, and its value."""

    path: str
    kind: Kind
    value: str


@dataclass(frozen=True, slots=True)
class Uses:
    """All that is used. `project`: whose names short names are."""

    project: str
    found: tuple[Use, ...]


def of_spec(spec: AgUiDeploymentSpec, place: Place, databases: Iterable[str] = ()) -> Uses:
    """What a spec uses in a place. `databases`: those that its environment names, as instance/database."""
    reference = f"spec.environmentRef ({spec.environment_ref.name}) "
    found = (
        *_of_place(reference, place, files=spec.frontend is not None, channels=_channels_of(spec)),
        *(Use(f"{reference}database.databases", Kind.DATABASE, name) for name in databases),
        *_of_backend(spec),
        *_of_images(spec),
        *(
            Use(f"spec.alerts.channels[{index}]", Kind.CHANNEL, name)
            for index, name in enumerate(spec.alerts.channels if spec.alerts else ())
        ),
    )
    return Uses(place.project, tuple(found))


def of_release(release: Release, place: Place) -> Uses:
    """What a release uses in its place. Of a release without a record only the image is known."""
    template = _template(release.template)
    names = tuple(str(name) for name in release.alerts.get("channels", ()))
    found = [
        *_of_place("", place, files=release.frontend is not None, channels=names),
        *_of_template(release, template),
        *(Use("alerts.channels", Kind.CHANNEL, name) for name in names),
    ]
    return Uses(place.project, tuple(found))


def of_environment(spec: AgUiEnvironmentSpec) -> Uses:
    """What an environment names: looking whether it exists tells something about it."""
    observability, database = spec.observability, spec.database
    found = [
        Use("spec.projectId", Kind.PROJECT, spec.project_id),
        Use("spec.region", Kind.REGION, spec.region),
    ]
    if database is not None:
        found.append(Use("spec.database.instance", Kind.SQL_INSTANCE, database.instance))
        found += [Use("spec.database.databases", Kind.DATABASE, name) for name in databases_of(spec)]
        found += [Use("spec.database.users", Kind.SECRET, user.secret) for user in database.users]
    if spec.storage is not None:
        found.append(Use("spec.storage.assets.bucket", Kind.BUCKET, spec.storage.assets.bucket))
        found.append(Use("spec.storage.artifacts.bucket", Kind.BUCKET, spec.storage.artifacts.bucket))
    if spec.edge is not None:
        found += _of_load_balancer("spec.", spec.edge)
    found += [Use("spec.secrets", Kind.SECRET, secret.name) for secret in spec.secrets]
    for channel in observability.channels if observability is not None else ():
        found.append(Use(f"spec.observability.channels ({channel.name})", Kind.PROJECT, _project_of(channel.resource)))
    return Uses(spec.project_id, tuple(found))


def databases_of(environment: AgUiEnvironmentSpec | None) -> tuple[str, ...]:
    """The databases that an environment names, as instance/database."""
    database = environment.database if environment is not None else None
    return tuple(f"{database.instance}/{name}" for name in database.databases) if database is not None else ()


def _of_place(reference: str, place: Place, *, files: bool, channels: tuple[str, ...]) -> Iterator[Use]:
    yield Use(f"{reference}projectId", Kind.PROJECT, place.project)
    yield Use(f"{reference}region", Kind.REGION, place.region)
    if place.sql_instance is not None:
        yield Use(f"{reference}database.instance", Kind.SQL_INSTANCE, place.sql_instance)
    if files and place.assets_bucket:
        yield Use(f"{reference}storage.assets.bucket", Kind.BUCKET, place.assets_bucket)
        yield Use(f"{reference}storage.artifacts.bucket", Kind.BUCKET, place.artifacts_bucket)
    edge = place.edge
    if edge is not None:
        yield Use(f"{reference}edge.domain", Kind.DOMAIN, edge.host)
        yield from _of_load_balancer(reference, edge)
    for name in channels:
        if name in place.channels:
            path = f"{reference}observability.channels ({name}) project"
            yield Use(path, Kind.PROJECT, _project_of(place.channels[name]))


def _of_load_balancer(reference: str, edge: Edge | NamedEdge) -> Iterator[Use]:
    yield Use(f"{reference}edge.urlMap", Kind.URL_MAP, edge.url_map)
    yield Use(f"{reference}edge.backendBucket", Kind.BACKEND, edge.backend_bucket)
    yield Use(f"{reference}edge.backendService", Kind.BACKEND, edge.backend_service)


def _of_backend(spec: AgUiDeploymentSpec) -> Iterator[Use]:
    backend = spec.backend
    yield Use("spec.backend.serviceAccount", Kind.ACCOUNT, backend.service_account)
    yield Use("spec.backend.ingress", Kind.INGRESS, str(backend.ingress))
    for index, secret in enumerate(backend.secrets):
        yield Use(f"spec.backend.secrets[{index}].secret", Kind.SECRET, secret.secret)
    yield Use("spec.backend.scaling.maxInstances", Kind.MAX_INSTANCES, str(backend.scaling.max_instances))
    yield Use("spec.backend.scaling.minInstances", Kind.MIN_INSTANCES, str(backend.scaling.min_instances))
    yield Use("spec.backend.resources.cpu", Kind.CPU, backend.resources.cpu)
    yield Use("spec.backend.resources.memory", Kind.MEMORY, backend.resources.memory)


def _of_images(spec: AgUiDeploymentSpec) -> Iterator[Use]:
    yield Use("spec.backend.image", Kind.IMAGE, spec.backend.image)
    if spec.migrations is not None:
        if spec.migrations.image is not None:
            yield Use("spec.migrations.image", Kind.IMAGE, spec.migrations.image)
        if spec.migrations.service_account is not None:
            yield Use("spec.migrations.serviceAccount", Kind.ACCOUNT, spec.migrations.service_account)
    for index, check in enumerate(spec.smoke):
        if check.job is None:
            continue
        yield Use(f"spec.smoke[{index}].job.image", Kind.IMAGE, check.job.image)
        if check.job.service_account is not None:
            yield Use(f"spec.smoke[{index}].job.serviceAccount", Kind.ACCOUNT, check.job.service_account)


def _of_template(release: Release, template: RevisionTemplate | None) -> Iterator[Use]:
    if template is None:
        yield Use("image", Kind.IMAGE, release.image)
        return
    container = template.container
    yield Use("image", Kind.IMAGE, container.image)
    yield Use("serviceAccount", Kind.ACCOUNT, container.service_account)
    yield Use("ingress", Kind.INGRESS, template.ingress)
    for secret in container.secrets:
        yield Use("secret", Kind.SECRET, secret.secret)
    yield Use("maxInstances", Kind.MAX_INSTANCES, str(template.max_instances))
    yield Use("minInstances", Kind.MIN_INSTANCES, str(template.min_instances))
    yield Use("cpu", Kind.CPU, container.cpu)
    yield Use("memory", Kind.MEMORY, container.memory)


def _channels_of(spec: AgUiDeploymentSpec) -> tuple[str, ...]:
    return tuple(spec.alerts.channels) if spec.alerts else ()


def _project_of(resource: str) -> str:
    """`projects/P/notificationChannels/1` is in P."""
    parts = resource.split("/")
    return parts[1] if len(parts) > 1 else resource


@lru_cache(maxsize=512)
def _template(text: str) -> RevisionTemplate | None:
    return from_json(text)
