"""A data plane without the rest of localgcp: real processes, real ports, stores held in dictionaries."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from agui_dev.testbed.images import WEB_PROGRAM
from localgcp.edge.edge import Edge
from localgcp.edge.interfaces import Sources
from localgcp.kit.guard import Guard
from localgcp.kit.interfaces import Image, Probe, RevisionProcess, ServiceRoute, StoredObject, Target, Workload
from localgcp.services.run.runtime.processes import ProcessRuntime

HOST = "shop-100000000001.us-central1.run.localhost"
IMAGE = Image(
    repository="us-central1-docker.pkg.dev/demo/agui/shop",
    digest="sha256:" + "0" * 64,
    command=("python", str(WEB_PROGRAM)),
    env={"FROM_IMAGE": "1"},
)


def revision(name: str = "shop-1", **changes: Any) -> RevisionProcess:
    fields: dict[str, Any] = {
        "revision": name,
        "service": "shop",
        "project": "demo",
        "location": "us-central1",
        "image": IMAGE,
        "startup": Probe(path="/healthz", period=10, failure_threshold=2),
    }
    return RevisionProcess(**(fields | changes))


def workload(name: str = "shop-1") -> Workload:
    return Workload("demo", "us-central1", name)


def split(*targets: tuple[str, int] | tuple[str, int, str], service: str = "shop", host: str = HOST) -> ServiceRoute:
    """A route from (revision, percent) or (revision, percent, tag)."""
    return ServiceRoute("demo", "us-central1", service, host, tuple(Target(*target) for target in targets))


@dataclass
class Requests:
    """A MetricSink that remembers."""

    seen: list[tuple[str, int]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def request(self, *, project: str, location: str, service: str, revision: str, code: int, seconds: float) -> None:
        assert location == "us-central1"
        assert project
        assert service
        self.seen.append((revision, code))
        self.seconds.append(seconds)


class MemoryBuckets:
    """interfaces.Buckets over files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._objects: dict[tuple[str, str], StoredObject] = {}
        self.reads = 0

    def put(self, bucket: str, name: str, body: bytes, content_type: str = "text/plain", **fields: Any) -> StoredObject:
        path = self._folder / f"{len(self._objects)}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        path.write_bytes(body)
        earlier = self._objects.get((bucket, name))
        stored = StoredObject(
            bucket=bucket,
            name=name,
            path=path,
            size=len(body),
            generation=earlier.generation + 1 if earlier else 1,
            metageneration=1,
            content_type=content_type,
            cache_control=fields.get("cache_control", ""),
            content_encoding=fields.get("content_encoding", ""),
            md5_base64=base64.b64encode(hashlib.md5(body).digest()).decode(),
            crc32c_base64="AAAAAA==",
            metadata=fields.get("metadata", {}),
        )
        self._objects[bucket, name] = stored
        return stored

    def delete(self, bucket: str, name: str) -> None:
        del self._objects[bucket, name]

    def read(self, bucket: str, name: str) -> StoredObject | None:
        self.reads += 1
        return self._objects.get((bucket, name))


class MemoryUrlMaps:
    """interfaces.UrlMaps over dictionaries: one URL map, backends by (kind, name)."""

    def __init__(self) -> None:
        self.map: Mapping[str, Any] | None = None
        self.backends: dict[tuple[str, str], Mapping[str, Any]] = {}

    def url_map(self, project: str, name: str, front_end: int) -> Mapping[str, object] | None:
        return self.map if (project, name) == ("demo", "web") else None

    def backend(self, project: str, kind: str, name: str) -> Mapping[str, object] | None:
        return self.backends.get((kind, name)) if project == "demo" else None

    def edge_url_map(self) -> tuple[str, str] | None:
        return ("demo", "web") if self.map is not None else None


@dataclass
class MemoryInvokers:
    """interfaces.Invokers over a set of service names."""

    public: set[str] = field(default_factory=set)

    def anyone(self, project: str, location: str, service: str) -> bool:
        return service in self.public


@dataclass
class DataPlane:
    runtime: ProcessRuntime
    edge: Edge
    buckets: MemoryBuckets
    url_maps: MemoryUrlMaps
    requests: Requests
    invokers: MemoryInvokers
    client: aiohttp.ClientSession

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.edge.port}"

    async def get(self, path: str, host: str = HOST, **options: Any) -> tuple[int, Any, Mapping[str, str]]:
        """(status, decoded body, headers) of one request through the edge."""
        headers = {"Host": host, **options.pop("headers", {})}
        method = options.pop("method", "GET")
        async with self.client.request(method, self.address + path, headers=headers, **options) as answer:
            body = await answer.read()
            if answer.content_type == "application/json":
                return answer.status, await answer.json(), answer.headers
            return answer.status, body.decode("utf-8", "replace"), answer.headers


@asynccontextmanager
async def data_plane(state_dir: Path, **runtime_options: Any) -> AsyncIterator[DataPlane]:
    """Everything stops, processes included, when the block ends."""
    runtime = ProcessRuntime(state_dir, **runtime_options)
    objects = state_dir / "objects"
    objects.mkdir()
    buckets, url_maps, requests = MemoryBuckets(objects), MemoryUrlMaps(), Requests()
    invokers = MemoryInvokers()
    sources = Sources(lambda: buckets, lambda: url_maps, lambda: requests, lambda: invokers)
    edge = Edge(runtime, sources, guard=Guard(), grace=3.0)
    await edge.open()
    client = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)
    try:
        yield DataPlane(runtime, edge, buckets, url_maps, requests, invokers, client)
    finally:
        await client.close()
        await edge.close()
