"""The digest that an image tag points at now.

Source: https://distribution.github.io/distribution/spec/api/
"""

from __future__ import annotations

import re

from agui_operator.core.environment import Place
from agui_operator.core.errors import CloudError, UserError
from agui_operator.gcp.pinning.messages import explained
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.rest import RestRequest, read_headers

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)


async def image_digest(cloud: Cloud, place: Place, image: str, field: str) -> str:
    """`repository@sha256:...` of an image reference. Raises UserError if there is no such image."""
    repository, tag, digest = split_image(image)
    host, _, path = repository.partition("/")
    try:
        base = cloud.endpoints.registry(host)
    except UserError as error:
        raise UserError(f"{field}: {error}") from error
    try:
        headers = await cloud.rest(
            RestRequest(
                "registry.manifests.head",
                f"/v2/{path}/manifests/{digest or tag}",
                project=place.project,
                resource=image,
                base=base,
                verb="HEAD",
                headers={"Accept": _MANIFESTS},
                read=read_headers,
            )
        )
    except CloudError as error:
        raise explained(error, f"{field}: image {image}", "roles/artifactregistry.reader", "push it") from error
    found = digest or str(headers.get("Docker-Content-Digest", ""))
    if not _DIGEST.fullmatch(found):
        raise CloudError(502, "the registry named no digest", method="registry.manifests.head", resource=image)
    return f"{repository}@{found}"


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
