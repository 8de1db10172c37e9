"""What the manifests of release folders list. A folder is named after its content, so what was read stays true."""

from __future__ import annotations

import json

from agui_operator.gcp.kinds.storage import objects
from agui_operator.gcp.kinds.storage.release_assets import folder
from agui_operator.gcp.kinds.storage.unpack import MANIFEST, POOL
from agui_operator.gcp.transport.clients import Cloud


class Manifests:
    """One for the whole operator."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], frozenset[str]] = {}

    async def files(self, cloud: Cloud, bucket: str, frontend: str) -> frozenset[str]:
        """Names of the objects that a page consists of, in its folder and in the pool. Raises CloudError; ValueError
        for a manifest that is not ours to read."""
        key = (bucket, frontend)
        if key not in self._known:
            raw = await objects.read(cloud, bucket, folder(frontend) + MANIFEST)
            self._known[key] = names_of(raw, frontend)
        return self._known[key]

    async def needs(self, cloud: Cloud, bucket: str, frontend: str) -> frozenset[str]:
        """Those of the pool."""
        files = await self.files(cloud, bucket, frontend)
        return frozenset(name for name in files if name.startswith(POOL))


def names_of(manifest: bytes, frontend: str) -> frozenset[str]:
    """The objects that a manifest lists. Raises ValueError if it is none."""
    document = json.loads(manifest)
    files = document.get("files") if isinstance(document, dict) else None
    if not isinstance(files, list) or not all(isinstance(f, dict) and isinstance(f.get("path"), str) for f in files):
        raise ValueError("the manifest lists no files")
    paths = [str(file["path"]) for file in files]
    return frozenset(path if path.startswith(POOL) else folder(frontend) + path for path in paths)
