"""A bucket of bundles in this process, and a reader that goes through the operator's own child and limits."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

from agui_operator.core.actions import Bundle
from agui_operator.gcp.kinds.storage.publications import Publications
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.rest import RestRequest


class Artifacts:
    """Archives by name, and how often one was downloaded."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.downloads = 0

    def add(self, data: bytes, name: str = "b.tar.gz") -> Bundle:
        self.objects[name] = data
        return Bundle("artifacts", name, hashlib.sha256(data).hexdigest())

    async def rest(self, request: RestRequest) -> Any:
        data = self.objects[request.resource.rpartition("/")[2]]
        self.downloads += 1

        async def chunks(size: int) -> AsyncIterator[bytes]:
            for at in range(0, len(data), size):
                await asyncio.sleep(0)
                yield data[at : at + size]

        return await request.read(SimpleNamespace(content=SimpleNamespace(iter_chunked=chunks)))


async def read(artifacts: Artifacts, bundle: Bundle, publications: Publications, tenant: str = "a") -> int:
    """The size of all files; they are read to their end."""
    async with publications.opened(cast("Cloud", artifacts), bundle, tenant) as contents:
        return sum(len(piece) for file in contents.files for piece in file.content.pieces())
