"""/healthz, /readyz and /metrics. kopf's own probe knows nothing of the API server; this one asks it."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from agui_operator.engine.cluster import metrics
from agui_operator.engine.cluster.kube import Kube
from agui_operator.engine.cluster.lease import Lease

_FRESH = 5.0  # seconds for which an answer about the API server is reused


class Health:
    """A small HTTP server beside the loop."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self.kube: Kube | None = None
        self.lease: Lease | None = None
        self.ready = False
        self._asked = 0.0
        self._reachable = True
        self._runner: web.AppRunner | None = None

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
        address = self._runner.addresses[0]
        return int(address[1])

    async def stop(self) -> None:
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

    async def _readyz(self, _: web.Request) -> web.Response:
        """Works on objects: started, and holds the lease (where one is required)."""
        held = self.lease is None or self.lease.held
        body = {"started": self.ready, "leaseHeld": held}
        return web.json_response(body, status=200 if self.ready and held else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), content_type="text/plain", charset="utf-8")
