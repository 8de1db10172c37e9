"""The backend: one Cloud Run service per deployment, revisions named after releases, traffic written whole.

Source: https://cloud.google.com/run/docs/reference/rpc/google.cloud.run.v2#services
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agui_operator.api.conditions import Reason
from agui_operator.core.actions import RevisionStaged, RevisionTemplate, ServiceDeleted, TrafficSplit
from agui_operator.core.errors import CloudError, NotOwned, UserError
from agui_operator.core.names import OWNER_LABEL, RECORD_ANNOTATION, RELEASE_LABEL, Names
from agui_operator.core.ownership import owned as owned_by
from agui_operator.core.snapshot import ServiceView
from agui_operator.core.traffic import Target, same_split
from agui_operator.gcp.kinds.run import containers
from agui_operator.gcp.transport import operations
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.outcome import Outcome
from agui_operator.gcp.transport.paging import pages
from agui_operator.gcp.transport.run_views import BY_LATEST, BY_REVISION, LATEST
from agui_operator.gcp.transport.run_views import service_view as view_of

__all__ = ["apply", "desired", "observe", "owned", "view_of"]

SERVICE = "Cloud Run service"
_PAGE = 500
_INGRESS = {"All": 1, "Internal": 2, "InternalAndCloudLoadBalancing": 3}  # run_v2.IngressTraffic


async def observe(cloud: Cloud, names: Names) -> ServiceView | None:
    """One call. None: the service does not exist, or is being deleted. Raises NotOwned, CloudError."""
    found = await of_anybody(cloud, names)
    return found if found is None else owned_by(names, SERVICE, found)


async def of_anybody(cloud: Cloud, names: Names) -> ServiceView | None:
    """The same whoever owns it: for the decision whether it may be taken over, and for nothing else."""
    from google.cloud import run_v2

    path = names.service_path
    try:
        service = await cloud.rpc("Services.GetService", run_v2.GetServiceRequest(name=path), path)
    except CloudError as error:
        if error.code == 404:
            return None
        raise
    return None if service.delete_time else view_of(service)


async def owned(cloud: Cloud, names: Names) -> list[ServiceView]:
    """Every service of the region that carries the deployment's owner label, whatever it is called; one call for each
    500 services of the region. Raises CloudError."""
    from google.cloud import run_v2

    request = run_v2.ListServicesRequest(parent=names.parent, page_size=_PAGE)
    found: list[ServiceView] = []
    async for page in pages(cloud, "Services.ListServices", request, names.parent):
        found += [view_of(s) for s in page.services if names.owns(s.labels.get(OWNER_LABEL, "")) and not s.delete_time]
    return found


async def apply(
    cloud: Cloud,
    names: Names,
    action: RevisionStaged | TrafficSplit | ServiceDeleted,
    have: ServiceView | None,
    attested_by: str = "",
) -> Outcome:
    """Creates, patches or deletes the service; `have` is the service as last read, and its etag guards the write.
    `attested_by`: the Binary Authorization that a new revision is checked with; "": what the service has stays.
    Raises NotOwned, CloudError (409 when the service was changed in between), UserError."""
    if have is None:
        have = await observe(cloud, names) if not isinstance(action, RevisionStaged) else None
    if have is not None:
        owned_by(names, SERVICE, have)
    match action:
        case ServiceDeleted():
            return await _delete(cloud, names, have)
        case RevisionStaged():
            if have is None:
                return await _create(cloud, names, action, attested_by)
            return await _stage(cloud, names, action, have, attested_by)
        case TrafficSplit():
            return await _split(cloud, names, action.traffic, have)


async def take_over(cloud: Cloud, names: Names, label: str) -> None:
    """Gives the service that carries this owner label the deployment's own; its other labels, its traffic and its
    revisions stay. Raises NotOwned if it has got another one meanwhile, CloudError."""
    from google.cloud import run_v2

    path = names.service_path
    have = await cloud.rpc("Services.GetService", run_v2.GetServiceRequest(name=path), path)
    if have.labels.get(OWNER_LABEL, "") not in (label, *names.owners):
        raise NotOwned(f"{SERVICE} {names.service} got another owner while it was taken over; retried automatically")
    wanted = run_v2.Service(name=path, labels={**have.labels, **names.labels}, etag=have.etag)
    request = run_v2.UpdateServiceRequest(service=wanted, update_mask={"paths": ["labels"]})
    outcome = _outcome(await cloud.rpc("Services.UpdateService", request, path, write=True))
    if outcome.operation is not None:
        await operations.finish(cloud, outcome.operation)


def desired(template: RevisionTemplate, traffic: Sequence[Target], names: Names, attested_by: str = "") -> Any:
    """The run_v2.Service of a release, as it is sent."""
    from google.cloud import run_v2

    return run_v2.Service(
        name=names.service_path,
        labels=names.labels,
        ingress=_INGRESS[template.ingress],
        template=_revision(template, names),
        traffic=[_target(t) for t in traffic],
        binary_authorization=containers.binary_authorization(attested_by),
    )


async def _create(cloud: Cloud, names: Names, action: RevisionStaged, attested_by: str) -> Outcome:
    from google.cloud import run_v2

    wanted = desired(action.template, action.traffic, names, attested_by)
    wanted.name = ""
    request = run_v2.CreateServiceRequest(parent=names.parent, service=wanted, service_id=names.service)
    try:
        operation = await cloud.rpc("Services.CreateService", request, names.service_path, write=True)
    except CloudError as error:
        if error.code != 409:
            raise
        have = await observe(cloud, names)  # an earlier attempt had its effect, or the name is taken
        if have is None:
            raise
        return await _stage(cloud, names, action, have, attested_by)
    return _outcome(operation)


async def _stage(cloud: Cloud, names: Names, action: RevisionStaged, have: ServiceView, attested_by: str) -> Outcome:
    is_checked = not attested_by or attested_by == have.attested_by
    if have.template_revision == action.template.revision and same_split(action.traffic, have.traffic) and is_checked:
        return Outcome(None, have)
    wanted = desired(action.template, action.traffic, names, attested_by)
    checked = ("binary_authorization",) if attested_by else ()
    try:
        return await _patch(cloud, names, wanted, have, ("template", "traffic", "ingress", *checked))
    except CloudError as error:
        if error.status != "ALREADY_EXISTS":
            raise
        await _check_same_revision(cloud, names, wanted)
    return await _split(cloud, names, action.traffic, have)


async def _split(cloud: Cloud, names: Names, traffic: Sequence[Target], have: ServiceView | None) -> Outcome:
    from google.cloud import run_v2

    if have is None:
        message = f"service {names.service} does not exist, so it has no traffic to split"
        raise CloudError(404, message, method="Services.UpdateService", resource=names.service_path)
    if same_split(traffic, have.traffic):
        return Outcome(None, have)
    wanted = run_v2.Service(name=names.service_path, traffic=[_target(t) for t in traffic])
    return await _patch(cloud, names, wanted, have, ("traffic",))


async def _patch(cloud: Cloud, names: Names, wanted: Any, have: ServiceView, fields: tuple[str, ...]) -> Outcome:
    from google.cloud import run_v2

    wanted.etag = have.etag
    request = run_v2.UpdateServiceRequest(service=wanted, update_mask={"paths": list(fields)})
    return _outcome(await cloud.rpc("Services.UpdateService", request, names.service_path, write=True))


async def _delete(cloud: Cloud, names: Names, have: ServiceView | None) -> Outcome:
    from google.cloud import run_v2

    if have is None:
        return Outcome()
    path = f"{names.parent}/services/{have.name}"
    request = run_v2.DeleteServiceRequest(name=path, etag=have.etag)
    try:
        operation = await cloud.rpc("Services.DeleteService", request, path, write=True)
    except CloudError as error:
        if error.code == 404:
            return Outcome()
        raise
    return Outcome(None if operation.done else operation.name)


def _outcome(operation: Any) -> Outcome:
    """What the first reply of a write says: the service, and the operation unless it is done. Raises CloudError if it
    has failed already."""
    if not operation.done:
        return Outcome(operation.name, operations.started_view(operation))
    result = operations.result_of(operation)
    if result.error is not None:
        raise result.error
    return Outcome(None, result.view)


async def _check_same_revision(cloud: Cloud, names: Names, wanted: Any) -> None:
    """A revision never changes its template; an existing one with this name must have the same. Raises UserError."""
    from google.cloud import run_v2

    name = wanted.template.revision
    path = f"{names.service_path}/revisions/{name}"
    revision = await cloud.rpc("Revisions.GetRevision", run_v2.GetRevisionRequest(name=path), path)
    if not revision.containers or not containers.same_container(wanted.template.containers[0], revision.containers[0]):
        message = f"revision {name} exists with another template; delete it or change the release"
        raise UserError(message, reason=Reason.REVISION_CONFLICT)


def _revision(template: RevisionTemplate, names: Names) -> Any:
    from google.cloud import run_v2

    box = template.container
    resources = run_v2.ResourceRequirements(
        limits=containers.limits(box),
        cpu_idle=not template.cpu_always_allocated,
        startup_cpu_boost=template.startup_boost,
    )
    scaling = run_v2.RevisionScaling(
        min_instance_count=template.min_instances, max_instance_count=template.max_instances
    )
    container = containers.container(
        box,
        template.release,
        resources=resources,
        ports=[run_v2.ContainerPort(container_port=template.port)],
        startup_probe=containers.probe(template.startup, template.port),
        liveness_probe=containers.probe(template.liveness, template.port),
    )
    return run_v2.RevisionTemplate(
        revision=template.revision,
        labels={**names.labels, RELEASE_LABEL: template.release},
        annotations={RECORD_ANNOTATION: template.record} if template.record else {},
        scaling=scaling,
        timeout={"seconds": box.timeout},
        service_account=box.service_account,
        containers=[container],
        volumes=containers.volumes(box),
        max_instance_request_concurrency=template.concurrency,
        session_affinity=template.session_affinity,
    )


def _target(target: Target) -> Any:
    from google.cloud import run_v2

    if target.revision == LATEST:
        return run_v2.TrafficTarget(type_=BY_LATEST, percent=target.percent, tag=target.tag or "")
    return run_v2.TrafficTarget(
        type_=BY_REVISION, revision=target.revision, percent=target.percent, tag=target.tag or ""
    )
