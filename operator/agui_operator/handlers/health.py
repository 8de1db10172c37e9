"""/healthz, /readyz and /metrics. kopf's own probe knows nothing of the API server; this one asks it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from aiohttp import web

from agui_operator.engine.cluster import metrics
from agui_operator.engine.cluster.access import missing_access
from agui_operator.engine.cluster.kube import Kube, KubeError
from agui_operator.engine.cluster.lease import Lease
from agui_operator.handlers.short_lived import keep_short

_FRESH = 5.0  # seconds for which an answer about the API server is reused
_ACCESS = 30.0  # seconds for which an answer about the right to list is reused


class Health:
    """A small HTTP server beside the loop."""

    def __init__(self, host: str, port: int, *, require_lease: bool = True, namespaces: Sequence[str] = ()) -> None:
        self._host, self._port = host, port
        self._require_lease, self._namespaces = require_lease, namespaces
        self.kube: Kube | None = None
        self.lease: Lease | None = None
        self.ready = False
        self._asked = 0.0
        self._reachable = True
        self._access_asked = float("-inf")
        self._missing: str | None = None
        self._runner: web.AppRunner | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Starts to listen; returns the port."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        assert self._runner.server is not None
        self._sweeper = asyncio.create_task(keep_short(self._runner.server))
        address = self._runner.addresses[0]
        return int(address[1])

    async def stop(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _api_server(self) -> bool:
        if self.kube is not None and time.monotonic() - self._asked > _FRESH:
            self._asked = time.monotonic()
            self._reachable = await asyncio.shield(self.kube.reachable())
        return self._reachable

    async def _healthz(self, _: web.Request) -> web.Response:
        """Alive, and the API server answers: an operator that can't see its objects is not healthy."""
        reachable = await self._api_server()
        body = {"alive": True, "apiServerReachable": reachable}
        return web.json_response(body, status=200 if reachable else 503)

    @property
    def lease_held(self) -> bool:
        """True where no lease is required. A standby has a lease only when it has taken it for the first time."""
        return not self._require_lease or (self.lease is not None and self.lease.held)

    async def _missing_access(self) -> str | None:
        if self.kube is not None and time.monotonic() - self._access_asked > _ACCESS:
            self._access_asked = time.monotonic()
            with suppress(KubeError, ConnectionError):  # an API server that is away is the business of /healthz
                self._missing = await asyncio.shield(missing_access(self.kube, self._namespaces))
        return self._missing

    async def _readyz(self, _: web.Request) -> web.Response:
        """Works on objects: started, holds the lease (where one is required), and may list what it watches."""
        missing = await self._missing_access() if self.ready else None
        watching = self.ready and missing is None
        body: dict[str, object] = {"started": self.ready, "leaseHeld": self.lease_held, "watching": watching}
        if missing is not None:
            body["message"] = missing
        return web.json_response(body, status=200 if watching and self.lease_held else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), content_type="text/plain", charset="utf-8")
