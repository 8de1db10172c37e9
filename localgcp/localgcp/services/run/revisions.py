"""Cloud Run revisions: immutable snapshots of a service's template, and the API to read and delete them.

Source: https://cloud.google.com/run/docs/reference/rpc/google.cloud.run.v2#revisions
"""

from __future__ import annotations

import random
import string
import uuid
from typing import TYPE_CHECKING, Any

import grpc

from localgcp.kit.errors import ApiError, aborted, already_exists, failed_precondition, not_found
from localgcp.kit.interfaces import RUNTIME, Image, RevisionProcess, Workload
from localgcp.kit.operations import Operation
from localgcp.kit.paging import proto_page
from localgcp.kit.store import ProtoTable, etag_of
from localgcp.services.run.container import environment, probe_of
from localgcp.services.run.names import (
    PAGE,
    check_revision_name,
    location_of,
    newest_first,
    normal_name,
    project_and_location,
    short,
)
from localgcp.services.run.types import (
    FAILED,
    INFO,
    PENDING,
    RECONCILING,
    SUCCEEDED,
    CommonReason,
    ListRevisionsResponse,
    Revision,
    RevisionReason,
    RevisionTemplate,
    condition,
    condition_of,
    now,
    set_conditions,
)

if TYPE_CHECKING:
    from localgcp.kit.call import Call
    from localgcp.kit.cloud import Cloud

_COPIED = (
    "labels",
    "annotations",
    "scaling",
    "vpc_access",
    "max_instance_request_concurrency",
    "timeout",
    "service_account",
    "containers",
    "volumes",
    "execution_environment",
    "encryption_key",
    "service_mesh",
    "session_affinity",
    "node_selector",
)


class RevisionStore:
    """Revisions and the templates that they were made from, by full name."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._revisions: ProtoTable[Any] = cloud.store.protos("run.revisions", Revision)
        self._templates: ProtoTable[Any] = cloud.store.protos("run.revision_templates", RevisionTemplate)

    def get(self, name: str) -> Any | None:
        return self._revisions.get(name)

    def of(self, service_name: str) -> list[Any]:
        """A service's revisions, newest first. "projects/*/locations/*/services/-" names all services there."""
        prefix = (
            service_name.removesuffix("-") if service_name.endswith("/services/-") else f"{service_name}/revisions/"
        )
        return sorted(
            self._revisions.values(prefix), key=lambda r: (r.create_time.ToNanoseconds(), r.name), reverse=True
        )

    def save(self, revision: Any) -> None:
        revision.update_time.CopyFrom(now())
        revision.etag = f'"{etag_of(revision.uid, self._revisions.version(revision.name) + 1)}"'
        self._revisions.put(revision.name, revision)

    def remove(self, name: str) -> None:
        self._revisions.delete(name)
        self._templates.delete(name)

    def wanted(self, service: Any, before: Any | None) -> str:
        """Full name of the revision that a service's template asks for: the present one while the template is the same,
        else a new or an explicitly named one. Raises ApiError INVALID_ARGUMENT or ALREADY_EXISTS."""
        template, service_id = service.template, short(service.name)
        if template.revision:
            check_revision_name(template.revision, service_id)
            name = f"{service.name}/revisions/{template.revision}"
            known = self._templates.get(name)
            if known is not None and known != template:
                raise already_exists(
                    f"Revision named '{template.revision}' with different configuration already exists."
                )
            return name
        if before is not None and before.template == template:
            return str(before.latest_created_revision)
        suffix = "".join(random.choices(string.ascii_lowercase, k=3))
        return f"{service.name}/revisions/{service_id}-{service.generation:05d}-{suffix}"

    def create(self, service: Any, name: str) -> Any:
        """Stores the revision; its image is pinned to a digest if the catalogue has it (else its start will fail)."""
        revision = Revision(
            name=name,
            uid=str(uuid.uuid4()),
            generation=1,
            create_time=now(),
            launch_stage=service.launch_stage,
            service=short(service.name),
            creator=service.last_modifier,
            reconciling=True,
        )
        for field in _COPIED:
            value = getattr(service.template, field)
            if hasattr(value, "MergeFrom"):
                if len(value) if hasattr(value, "__len__") else service.template.HasField(field):
                    getattr(revision, field).MergeFrom(value)
            else:
                setattr(revision, field, value)
        project, location = project_and_location(name)
        revision.log_uri = (
            f"https://console.cloud.google.com/logs/viewer?project={project}&resource=cloud_run_revision/"
            f"service_name/{revision.service}/revision_name/{short(name)}&region={location}"
        )
        states = ("Ready", "ContainerReady", "ContainerHealthy", "ResourcesAvailable")
        set_conditions(revision, [condition(type_, RECONCILING) for type_ in states])
        self._templates.put(name, service.template)
        self.save(revision)
        return revision

    def pin(self, revision: Any) -> Image:
        """Resolves the image to its digest, once. Raises ApiError NOT_FOUND."""
        image: Image = self._cloud.catalogue.resolve(revision.containers[0].image)
        revision.containers[0].image = f"{image.repository}@{image.digest}"
        return image

    def ready(self, revision: Any) -> None:
        revision.reconciling, revision.observed_generation = False, revision.generation
        revision.scaling_status.desired_min_instance_count = revision.scaling.min_instance_count
        states = ("Ready", "ContainerReady", "ContainerHealthy", "ResourcesAvailable")
        set_conditions(revision, [condition(type_, SUCCEEDED) for type_ in states])
        self.save(revision)

    def failed(self, revision: Any, message: str, why: CommonReason | None) -> None:
        """`why` None: its container did not start."""
        revision.reconciling, revision.observed_generation = False, revision.generation
        reason: dict[str, Any] = {"revision_reason": RevisionReason.HEALTH_CHECK_CONTAINER_ERROR}
        if why is not None:
            reason = {"reason": why}
        set_conditions(
            revision,
            [
                condition("Ready", FAILED, message, **reason),
                condition("ContainerHealthy", FAILED, message, **reason),
                condition("ContainerReady", PENDING),
                condition("ResourcesAvailable", SUCCEEDED),
            ],
        )
        self.save(revision)

    def set_active(self, service_name: str, serving: set[str]) -> None:
        """Tells of each revision of a service whether traffic or a tag reaches it ("Active")."""
        for revision in self.of(service_name):
            active = short(revision.name) in serving
            old = condition_of(revision, "Active")
            if old.state == (SUCCEEDED if active else FAILED):
                continue
            fresh = (
                condition("Active", SUCCEEDED)
                if active
                else condition(
                    "Active", FAILED, "Revision retired.", severity=INFO, revision_reason=RevisionReason.RETIRED
                )
            )
            set_conditions(revision, [c for c in revision.conditions if c.type_ != "Active"] + [fresh])
            self.save(revision)

    async def spec(self, revision: Any) -> RevisionProcess:
        """What the runtime starts for a revision. Raises ApiError when image, secret or database cannot be had."""
        cloud, container = self._cloud, revision.containers[0]
        image = self.pin(revision)
        project, location = project_and_location(revision.name)
        env = await environment(cloud, project, revision, image, "spec.template.spec.")
        name = short(revision.name)
        env |= {"K_SERVICE": revision.service, "K_CONFIGURATION": revision.service, "K_REVISION": name}
        most = revision.scaling.max_instance_count or cloud.settings.max_instances
        return RevisionProcess(
            revision=name,
            service=revision.service,
            project=project,
            location=location,
            image=image,
            command=tuple(container.command),
            args=tuple(container.args),
            env=env,
            startup=probe_of(container, "startup_probe"),
            liveness=probe_of(container, "liveness_probe"),
            min_instances=min(revision.scaling.min_instance_count, cloud.settings.max_instances),
            max_instances=min(most, cloud.settings.max_instances),
            concurrency=revision.max_instance_request_concurrency or 80,
            timeout=revision.timeout.ToTimedelta().total_seconds(),
            session_affinity=revision.session_affinity,
        )


class Revisions:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._store = RevisionStore(cloud)
        cloud.operations.resume("run.revision", lambda operation: self._drop(operation, None))

    async def GetRevision(self, request: Any, call: Call) -> Any:
        return self._found(request.name)

    async def ListRevisions(self, request: Any, call: Call) -> Any:
        parent = f"{location_of(request.parent, self._cloud.settings)}/services/{short(request.parent)}"
        revisions, token = proto_page(request, self._store.of(parent), newest_first, PAGE)
        return ListRevisionsResponse(revisions=revisions, next_page_token=token)

    async def DeleteRevision(self, request: Any, call: Call) -> Any:
        """Only a revision that no traffic reaches and that is not the service's newest can go."""
        revision = self._found(request.name)
        if request.etag and request.etag != revision.etag:
            raise aborted(f"Conflict for resource '{short(revision.name)}': the etag does not match")
        parent = "/".join(revision.name.split("/")[:4])
        if condition_of(revision, "Active").state == SUCCEEDED:
            raise failed_precondition(
                f"Revision '{short(revision.name)}' cannot be deleted because it is being routed to."
            )
        newest = self._store.of(revision.name.partition("/revisions/")[0])[0]
        if newest.name == revision.name:
            raise failed_precondition(
                f"Revision '{short(revision.name)}' cannot be deleted because it is the service's latest revision."
            )
        if request.validate_only:
            return self._cloud.operations.finished("run.revision", parent, revision.name, revision, revision).pb
        revision.delete_time.CopyFrom(now())
        with self._cloud.store.transaction():
            self._store.save(revision)
            operation = self._cloud.operations.begin(
                "run.revision", parent, revision.name, lambda one: self._drop(one, call), revision
            )
        return (await self._cloud.operations.settled(operation)).pb

    async def _drop(self, operation: Operation, call: Call | None) -> Any:
        await self._cloud.part(RUNTIME).stop(Workload.of(operation.target))
        self._store.remove(operation.target)
        if call is not None:
            call.effect("delete", operation.target)
        return operation.about(Revision())

    def _found(self, name: str) -> Any:
        revision = self._store.get(normal_name(name, self._cloud.settings, "services", "revisions"))
        if revision is None:
            raise not_found(f"Resource '{short(name)}' of kind 'REVISION' does not exist.")
        return revision


def refused_for(error: ApiError) -> CommonReason:
    """Why an image, a secret or a mount of a template can't be used."""
    if error.reason in CommonReason.__members__:
        return CommonReason[error.reason]
    if error.code is grpc.StatusCode.NOT_FOUND:
        return CommonReason.CONTAINER_MISSING
    return CommonReason.REVISION_FAILED
