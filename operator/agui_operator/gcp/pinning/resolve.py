"""Pins what can move, once per release, and looks that what is pinned is there: images by digest, secrets by the number
of a version."""

from __future__ import annotations

import asyncio

from agui_operator.api.deployment import AgUiDeploymentSpec
from agui_operator.core.environment import Place
from agui_operator.core.names import Names
from agui_operator.core.release import Resolved
from agui_operator.gcp.pinning.images import image_digest
from agui_operator.gcp.pinning.secrets import secret_version
from agui_operator.gcp.transport.clients import Cloud


async def resolve(cloud: Cloud, names: Names, spec: AgUiDeploymentSpec, place: Place) -> Resolved:
    """What the spec's names point at now. Raises UserError that names the field, CloudError."""
    backend = spec.backend.image
    migration = (spec.migrations.image or backend) if spec.migrations else None
    other = migration if migration not in (None, backend) else None
    secrets = spec.backend.secrets
    image, migration_image, *versions = await asyncio.gather(
        image_digest(cloud, place, backend, "spec.backend.image"),
        image_digest(cloud, place, other, "spec.migrations.image") if other else _nothing(),
        *(
            secret_version(cloud, place, s.secret, str(s.version), f"spec.backend.secrets[{n}]")
            for n, s in enumerate(secrets)
        ),
    )
    assert image is not None
    return Resolved(
        image=image,
        migration_image=(migration_image or image) if migration else None,
        secrets={secret.env: str(version) for secret, version in zip(secrets, versions, strict=True)},
        bundle_sha256=spec.frontend.bundle.sha256 if spec.frontend else None,
    )


async def _nothing() -> None:
    return None
