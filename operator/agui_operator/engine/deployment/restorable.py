"""Looks at what an earlier release needs to be restored: its revision, its page and its secret versions."""

from __future__ import annotations

from agui_operator.core.release import Release
from agui_operator.core.snapshot import ServiceView, TargetView
from agui_operator.engine.deployment.scope import Scope
from agui_operator.gcp.kinds.run import revision as run_revision
from agui_operator.gcp.kinds.run import service as run_service
from agui_operator.gcp.kinds.storage import release_assets
from agui_operator.gcp.pinning import secrets
from agui_operator.gcp.transport.clients import Cloud


async def look(cloud: Cloud, scope: Scope, service: ServiceView | None, release: Release) -> TargetView:
    """One call for each part, one for each secret. `service` as it was last looked at. Raises NotOwned, CloudError."""
    names, versions = scope.names, None
    service = service or await run_service.observe(cloud, names)
    if service is not None:
        versions = await run_revision.secrets(cloud, names, service, names.revision(release.id))
    complete = True
    if release.frontend is not None and scope.place.edge is not None:
        complete = await release_assets.observe(cloud, scope.place.assets_bucket, release.frontend, names.owners)
    off = [
        f"{secret.rpartition('/')[2]}@{version}"
        for secret, version in versions or ()
        if not await secrets.is_enabled(cloud, scope.place, secret, version)
    ]
    return TargetView(release.id, versions is not None, complete, tuple(off))
