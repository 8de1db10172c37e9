"""A container registry's read side over the image catalogue: enough to learn which digest a tag has.

A manifest here describes no layers: what a pull would bring is named by an annotation, the hash over command,
environment and content. So the digest of a manifest is the digest that a revision runs, and changes with it.
Source: https://distribution.github.io/distribution/spec/api/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from localgcp.kit.catalogue import MANIFEST_TYPE
from localgcp.kit.errors import ApiError
from localgcp.kit.interfaces import Image
from localgcp.kit.rest import RestRoute

if TYPE_CHECKING:
    from localgcp.kit.call import Call
    from localgcp.kit.cloud import Cloud


def routes(cloud: Cloud) -> list[RestRoute]:
    registry = Registry(cloud)
    name, reference = "{name:.+}", "{reference:[^/]+}"
    return [
        RestRoute("GET", "/v2/", "registry.check", registry.check),
        RestRoute("GET", f"/v2/{name}/manifests/{reference}", "registry.manifests.get", registry.manifest),
        RestRoute("HEAD", f"/v2/{name}/manifests/{reference}", "registry.manifests.head", registry.manifest),
        RestRoute("GET", f"/v2/{name}/tags/list", "registry.tags.list", registry.tags),
    ]


class Registry:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def check(self, request: web.Request, call: Call) -> web.StreamResponse:
        return web.json_response({}, headers=_headers())

    async def manifest(self, request: web.Request, call: Call) -> web.StreamResponse:
        image = self._found(request.match_info["name"], request.match_info["reference"])
        if image is None:
            unknown = f"{request.match_info['name']}:{request.match_info['reference']}"
            return _error(404, "MANIFEST_UNKNOWN", f"manifest unknown: {unknown}")
        headers = {**_headers(), "Docker-Content-Digest": image.digest, "ETag": f'"{image.digest}"'}
        body = self._cloud.catalogue.manifest(image.digest)
        return web.Response(body=body, content_type=MANIFEST_TYPE, headers=headers)

    async def tags(self, request: web.Request, call: Call) -> web.StreamResponse:
        name = request.match_info["name"]
        repositories = self._repositories(name)
        images = self._cloud.catalogue.images()
        tags = sorted({tag for image in images if image.repository in repositories for tag in image.tags})
        if not tags:
            return _error(404, "NAME_UNKNOWN", f"repository name not known to registry: {name}")
        return web.json_response({"name": name, "tags": tags}, headers=_headers())

    def _found(self, name: str, reference: str) -> Image | None:
        separator = "@" if reference.startswith("sha256:") else ":"
        for repository in self._repositories(name):
            try:
                image: Image = self._cloud.catalogue.resolve(f"{repository}{separator}{reference}")
            except ApiError:
                continue
            return image
        return None

    def _repositories(self, name: str) -> list[str]:
        """Repositories that a path may mean: it names them without the registry's host, which is this endpoint."""
        known = {image.repository for image in self._cloud.catalogue.images()}
        return sorted(repository for repository in known if name in (repository, repository.partition("/")[2]))


def _headers() -> dict[str, str]:
    return {"Docker-Distribution-API-Version": "registry/2.0"}


def _error(status: int, code: str, message: str) -> web.Response:
    body = {"errors": [{"code": code, "message": message, "detail": None}]}
    return web.json_response(body, status=status, headers=_headers())
