"""Stands between an operator and the API server, to strike at an exact request.

The operator speaks plain HTTP to it on the loopback address and is named by its own token; requests go on to the real
API server over TLS. A strike kills the operator before or after the n-th matching request took effect, or makes the
request wait or fail. Every write that passes is recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from agui_dev.controlplane.kubeconfig import read_cluster

_HOP = {"connection", "transfer-encoding", "keep-alive", "host", "content-length", "upgrade"}


class _Silent(Exception):
    """The connection is to be closed without an answer."""


@dataclass(frozen=True, slots=True)
class Write:
    """A request that may change something, as the API server answered it."""

    began: float  # Unix time of the request
    at: float  # and of the answer
    method: str
    path: str
    body: Any
    code: int

    @property
    def is_status(self) -> bool:
        return self.method == "PATCH" and self.path.endswith("/status")

    @property
    def phase(self) -> str:
        """The phase that a status write sets, if it sets one."""
        status = self.body.get("status") if isinstance(self.body, dict) else None
        return str((status or {}).get("phase") or "")


@dataclass(slots=True)
class Strike:
    """`when` is relative to the effect of the request that `match` picks, after letting `skip` pass. `pid` gets
    `kill_with` (by default SIGKILL, and the request no answer); `delay` is in seconds; with `hold` the request waits
    until the event is set; `drop` closes the connection without an answer."""

    match: Callable[[str, str, Any], bool]  # method, path, JSON body
    when: str = "before"
    skip: int = 0
    pid: int = 0
    kill_with: signal.Signals = signal.SIGKILL
    delay: float = 0.0
    hold: threading.Event | None = None
    drop: bool = False
    times: int = 1
    seen: int = 0
    hits: int = 0
    struck: threading.Event = field(default_factory=threading.Event)


class ApiProxy:
    """Runs in a thread of its own between `start` and `stop`."""

    def __init__(self, upstream_kubeconfig: Path) -> None:
        cluster = read_cluster(upstream_kubeconfig)
        assert cluster.ca_pem is not None
        self._upstream = cluster.server
        self._tls = ssl.create_default_context(cadata=cluster.ca_pem.decode())
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="api-proxy", daemon=True)
        self._strikes: list[Strike] = []
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._open: dict[int, web.Request] = {}
        self.port = 0
        self._cut = False
        self.writes: list[Write] = []

    def start(self) -> ApiProxy:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def cut(self) -> bool:
        """True: every connection is closed without an answer, watches that are open included."""
        return self._cut

    @cut.setter
    def cut(self, value: bool) -> None:
        self._cut = value
        if value:
            self._loop.call_soon_threadsafe(self._hang_up_all)

    def kubeconfig(self, source: Path, target: Path) -> Path:
        """`source` with the proxy's address instead of the API server's."""
        document = yaml.safe_load(source.read_text())
        for entry in document["clusters"]:
            entry["cluster"] = {"server": f"http://127.0.0.1:{self.port}"}
        target.touch(mode=0o600)
        target.write_text(yaml.safe_dump(document))
        return target

    def strike(self, match: Callable[[str, str, Any], bool], **how: Any) -> Strike:
        strike = Strike(match, **how)
        self._strikes.append(strike)
        return strike

    @contextlib.contextmanager
    def held(self, match: Callable[[str, str, Any], bool]) -> Iterator[threading.Event]:
        """The first matching request waits until the event is set, at the latest at the end of the block."""
        event = threading.Event()
        self.strike(match, hold=event)
        try:
            yield event
        finally:
            event.set()

    def clear(self) -> None:
        for strike in self._strikes:
            if strike.hold is not None:
                strike.hold.set()
        self._strikes.clear()

    def status_writes(self, namespace: str, since: int = 0) -> list[Write]:
        """Writes of a deployment's status that took effect, oldest first."""
        place = f"/namespaces/{namespace}/aguideployments/"
        return [w for w in self.writes[since:] if w.is_status and place in w.path and w.code < 400]

    # --- in the proxy's own thread -----------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
            auto_decompress=False,
        )
        app = web.Application(client_max_size=16 * 2**20)
        app.router.add_route("*", "/{tail:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = int(self._runner.addresses[0][1])

    async def _stop(self) -> None:
        self._hang_up_all()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    def _hang_up_all(self) -> None:
        for request in tuple(self._open.values()):
            _hang_up(request)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self._open[id(request)] = request
        try:
            if self._cut:
                raise _Silent
            raw = await request.read()
            body = _parsed(raw)
            strike = self._chosen(request.method, request.path, body)
            if strike is not None and strike.when == "before":
                await self._hit(strike)
            return await self._forward(request, raw, body, strike)
        except (_Silent, aiohttp.ClientConnectionError):
            _hang_up(request)
            return web.Response()  # goes nowhere
        finally:
            del self._open[id(request)]

    async def _forward(self, request: web.Request, raw: bytes, body: Any, strike: Strike | None) -> web.StreamResponse:
        assert self._session is not None
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP}
        url = self._upstream + request.raw_path
        began = time.time()
        async with self._session.request(request.method, url, data=raw or None, headers=headers) as answer:
            if request.query.get("watch") is not None:
                return await _relay(request, answer)
            content = await answer.read()
            if request.method != "GET":
                self.writes.append(Write(began, time.time(), request.method, request.path, body, answer.status))
            if strike is not None and strike.when == "after":
                await self._hit(strike)
            passed = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP}
            return web.Response(status=answer.status, body=content, headers=passed)

    def _chosen(self, method: str, path: str, body: Any) -> Strike | None:
        for strike in self._strikes:
            if strike.hits < strike.times and strike.match(method, path, body):
                strike.seen += 1
                if strike.seen > strike.skip:
                    strike.hits += 1
                    return strike
        return None

    async def _hit(self, strike: Strike) -> None:
        if strike.delay:
            await asyncio.sleep(strike.delay)
        while strike.hold is not None and not strike.hold.is_set():
            await asyncio.sleep(0.02)
        if strike.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(strike.pid, strike.kill_with)
        strike.struck.set()
        if (strike.pid and strike.kill_with == signal.SIGKILL) or strike.drop:
            raise _Silent


async def _relay(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    """A watch: chunks go on as they come, until either side leaves."""
    response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
    await response.prepare(request)
    with contextlib.suppress(aiohttp.ClientError, ConnectionError):
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
    return response


def _hang_up(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return None


def is_status_write(namespace: str, phase: str = "") -> Callable[[str, str, Any], bool]:
    """Matches writes of the deployment's status in a namespace; with a phase, those that set it."""
    place = f"/namespaces/{namespace}/aguideployments/"

    def match(method: str, path: str, body: Any) -> bool:
        if method != "PATCH" or place not in path or not path.endswith("/status"):
            return False
        status = body.get("status") if isinstance(body, dict) else None
        return not phase or (isinstance(status, dict) and status.get("phase") == phase)

    return match
