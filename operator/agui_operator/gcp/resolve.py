"""Names that can move, pinned once per release: image tags to digests, `latest` to a secret's version number.

Sources: https://distribution.github.io/distribution/spec/api/ and
https://cloud.google.com/secret-manager/docs/reference/rpc
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from agui_operator.api.conditions import Reason
from agui_operator.api.deployment import AgUiDeploymentSpec
from agui_operator.core.environment import Place
from agui_operator.core.errors import CloudError, UserError
from agui_operator.core.names import Names
from agui_operator.core.release import Resolved
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.rest import read_headers

_LATEST = "latest"
_ENABLED = 1  # secretmanager SecretVersion.State
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)


async def resolve(cloud: Cloud, names: Names, spec: AgUiDeploymentSpec, place: Place) -> Resolved:
    """What the spec's names point at now; what is pinned already costs no call. Raises UserError that names the field,
    CloudError."""
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


async def image_digest(cloud: Cloud, place: Place, image: str, field: str) -> str:
    """`repository@sha256:...` of an image reference. Raises UserError if there is no such image."""
    repository, tag, digest = split_image(image)
    if digest:
        return f"{repository}@{digest}"
    host, _, path = repository.partition("/")
    try:
        base = cloud.endpoints.registry(host)
    except UserError as error:
        raise UserError(f"{field}: {error}") from error
    try:
        headers = await cloud.rest(
            "registry.manifests.head",
            f"/v2/{path}/manifests/{tag}",
            project=place.project,
            resource=image,
            base=base,
            verb="HEAD",
            headers={"Accept": _MANIFESTS},
            read=read_headers,
        )
    except CloudError as error:
        raise _explained(error, f"{field}: image {image}", "roles/artifactregistry.reader", "push it") from error
    found = str(headers.get("Docker-Content-Digest", ""))
    if not _DIGEST.fullmatch(found):
        raise CloudError(502, "the registry named no digest", method="registry.manifests.head", resource=image)
    return f"{repository}@{found}"


async def secret_version(cloud: Cloud, place: Place, secret: str, version: str, field: str) -> str:
    """The number of a secret's version; payloads are never read. Raises UserError if it is absent or disabled."""
    if version != _LATEST:
        return version
    from google.cloud import secretmanager_v1

    name = f"projects/{place.project}/secrets/{secret}/versions/{_LATEST}"
    request = secretmanager_v1.GetSecretVersionRequest(name=name)
    try:
        found: Any = await cloud.rpc("SecretManagerService.GetSecretVersion", request, name)
    except CloudError as error:
        what = f"{field}: secret {secret}"
        raise _explained(error, what, "roles/secretmanager.viewer", "create it and add a version") from error
    number = str(found.name).rpartition("/")[2]
    if int(found.state) != _ENABLED:
        raise UserError(
            f"{field}: the newest version {number} of secret {secret} is not enabled; enable it or add a version",
            reason=Reason.VERSION_DISABLED,
        )
    return number


def split_image(image: str) -> tuple[str, str, str]:
    """(repository with host, tag, digest); the tag is `latest` if there is neither."""
    name, _, digest = image.partition("@")
    head, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    repository = head + slash + last
    host = repository.partition("/")[0]
    if "." not in host and ":" not in host and host != "localhost":
        repository = f"docker.io/{repository}"
    return repository, tag or ("" if digest else "latest"), digest


def _explained(error: CloudError, what: str, role: str, fix: str) -> Exception:
    if error.code == 404:
        return UserError(f"{what} does not exist; {fix} or correct the name", reason=Reason.NOT_FOUND)
    if error.code == 403:
        return UserError(f"{what} may not be read; grant {role} to the operator", reason=Reason.PERMISSION_DENIED)
    return error


async def _nothing() -> None:
    return None
