"""What a release is made of, before anything is done for it: names that can move are pinned, and the bundle is checked
(it is there, has the digest that the spec says, holds what its manifest lists and was built for this environment)."""

from __future__ import annotations

from agui_operator.api.deployment import AgUiDeploymentSpec
from agui_operator.core.actions import Bundle
from agui_operator.core.blueprint import runtime_url
from agui_operator.core.environment import Place
from agui_operator.core.names import Names
from agui_operator.core.release import Resolved, frontend_id
from agui_operator.gcp.kinds.storage import release_assets
from agui_operator.gcp.pinning import resolve
from agui_operator.gcp.transport.clients import Cloud


async def resolution(cloud: Cloud, names: Names, spec: AgUiDeploymentSpec, place: Place) -> Resolved:
    """Raises UserError that names the field, BundleRefused, CloudError."""
    resolved = await resolve.resolve(cloud, names, spec, place)
    if spec.frontend is not None:  # the largest look is the last one
        bundle = spec.frontend.bundle
        await _check(cloud, place, Bundle(place.artifacts_bucket, bundle.object, bundle.sha256), names)
    return resolved


async def _check(cloud: Cloud, place: Place, bundle: Bundle, names: Names) -> None:
    """Nothing is downloaded for a bundle that this deployment published before."""
    if not await release_assets.observe(cloud, place.assets_bucket, frontend_id(bundle.sha256), names.owners):
        await release_assets.verify(cloud, bundle, runtime_url(place), names.namespace)
