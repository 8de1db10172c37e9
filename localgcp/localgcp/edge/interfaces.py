"""What the edge needs of whatever runs revisions: pools of instances to send requests to, and the traffic tables."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from localgcp.edge.traffic import Routes
from localgcp.kit.interfaces import Buckets, Invokers, MetricSink, RevisionProcess, UrlMaps, Workload
from localgcp.kit.service import Slot


class NoInstance(Exception):
    """No instance can take the request. `code` is the answer: 429 (all are busy) or 503 (none can start)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class InstanceProcess(Protocol):
    @property
    def exited(self) -> asyncio.Future[int]: ...


class Instance(Protocol):
    @property
    def spec(self) -> RevisionProcess: ...
    @property
    def id(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def child(self) -> InstanceProcess: ...


class Pool(Protocol):
    """The instances of one revision."""

    @property
    def spec(self) -> RevisionProcess: ...

    async def acquire(self, affine: str | None = None) -> Instance:
        """An instance with room for one more request. Raises NoInstance."""
        ...

    def release(self, instance: Any) -> None:
        """Gives back an instance that `acquire` returned."""
        ...


class Pools(Protocol):
    def pool_of(self, revision: Workload) -> Pool | None: ...


class DataPlane(Pools, Protocol):
    @property
    def routes(self) -> Routes: ...

    async def close(self, grace: float = 10) -> None:
        """Ends everything that runs: SIGTERM, SIGKILL after `grace` seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Sources:
    """What the edge reads at each request. Callables, because the edge is built before the parts behind them."""

    buckets: Callable[[], Buckets]
    url_maps: Callable[[], UrlMaps]
    metrics: Callable[[], MetricSink | None] = lambda: None
    invokers: Callable[[], Invokers | None] = lambda: None


DATA_PLANE: Slot[DataPlane] = Slot("data_plane")
