"""Revisions by name: whether one exists, and of which release it is. A revision keeps the labels that it was made with
when its service is taken over, so it is the service, as it was looked at, that tells whose it is.

Source: https://cloud.google.com/run/docs/reference/rpc/google.cloud.run.v2#revisions
"""

from __future__ import annotations

from typing import Any

from agui_operator.core.errors import CloudError
from agui_operator.core.names import OWNER_LABEL, RECORD_ANNOTATION, RELEASE_LABEL, Names
from agui_operator.core.ownership import owned
from agui_operator.core.release import Release
from agui_operator.core.snapshot import ServiceView
from agui_operator.gcp.kinds.run.service import SERVICE
from agui_operator.gcp.transport.clients import Cloud


def doubtful(service: ServiceView | None) -> frozenset[str]:
    """Revisions that routes were asked for and that have none although the service came to rest: Cloud Run reports so
    when a revision does not exist, and when it can't start."""
    if service is None or service.reconciling or service.ready is not False:
        return frozenset()
    return frozenset({target.revision for target in service.traffic} - {t.revision for t in service.serving})


async def exists(cloud: Cloud, names: Names, service: ServiceView, revision: str) -> bool:
    """One call. Raises NotOwned, CloudError."""
    return await _get(cloud, names, service, revision) is not None


async def release_of(cloud: Cloud, names: Names, service: ServiceView, revision: str) -> Release | None:
    """The release that a revision of this deployment was made for: its record, or what the revision itself tells where
    an earlier version made it. None: another's revision, or none. One call. Raises NotOwned, CloudError."""
    found = await _get(cloud, names, service, revision)
    if found is None or found.labels.get(OWNER_LABEL) != names.owner:
        return None
    record = Release.from_record(found.annotations.get(RECORD_ANNOTATION, ""))
    if record is not None and names.revision(record.id) == revision:
        return record
    release, boxes = found.labels.get(RELEASE_LABEL, ""), found.containers
    if names.revision(release) != revision or not boxes:
        return None
    env = {variable.name: variable.value for variable in boxes[0].env}
    return Release(release, "", "", env.get("AGUI_VERSION") or release, boxes[0].image)


async def secrets(
    cloud: Cloud, names: Names, service: ServiceView, revision: str
) -> tuple[tuple[str, str], ...] | None:
    """Secrets and versions that instances of the revision read when they start; None: the revision does not exist. One
    call. Raises NotOwned, CloudError."""
    found = await _get(cloud, names, service, revision)
    if found is None or found.delete_time:
        return None
    references = (variable.value_source.secret_key_ref for box in found.containers for variable in box.env)
    return tuple(sorted({(str(r.secret), str(r.version)) for r in references if r.secret}))


async def _get(cloud: Cloud, names: Names, service: ServiceView, revision: str) -> Any:
    from google.cloud import run_v2

    owned(names, SERVICE, service)
    path = f"{names.service_path}/revisions/{revision}"
    try:
        return await cloud.rpc("Revisions.GetRevision", run_v2.GetRevisionRequest(name=path), path)
    except CloudError as error:
        if error.code == 404:
            return None
        raise
