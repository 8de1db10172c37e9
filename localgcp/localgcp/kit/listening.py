"""All ways for a part of localgcp to listen on a port: HTTP behind the guard (see kit.guard), or mutual TLS.

Nothing else in this package opens a port; a test reads the sources for it. So no port can be without the checks.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import hdrs, web

from localgcp.kit.guard import Guard

Handler = Callable[[Any], Awaitable[web.StreamResponse]]
_BACKLOG = 512


def _nothing(_: object) -> bool:
    return False


def _refused(_: web.BaseRequest, sentence: str) -> str:
    return sentence


@dataclass(frozen=True, slots=True)
class Rules:
    """What one HTTP port answers beside what every port does. `refuse` renders a refusal. `serves` says which further
    hosts are this port's own. `judge` gets a request of a foreign page and the sentence that refuses it; it returns a
    sentence, or "" where the page is for the one behind this port to judge."""

    refuse: Callable[[str], web.StreamResponse]
    serves: Callable[[str], bool] = _nothing
    judge: Callable[[web.BaseRequest, str], str] = _refused


class HttpServer:
    """An HTTP/1.1 server: an application, or a bare handler. A request that a web page may have sent is answered with
    403 before either sees it. `options` are those of aiohttp's server."""

    def __init__(
        self, handler: web.Application | Handler, guard: Guard, rules: Rules, *, grace: float, **options: Any
    ) -> None:
        self._handler, self._guard, self._rules = handler, guard, rules
        self._grace, self._options = grace, {"access_log": None, **options}
        self._runner: web.BaseRunner | None = None
        self._site: web.TCPSite | None = None

    async def open(self) -> Callable[[], asyncio.BaseProtocol]:
        """Returns the protocol factory that serves connections which somebody else accepts."""
        if isinstance(self._handler, web.Application):
            self._handler.middlewares.insert(0, self._middleware())
            self._runner = web.AppRunner(self._handler, shutdown_timeout=self._grace, **self._options)
        else:
            server = web.Server(self._answer, **self._options)
            self._runner = web.ServerRunner(server, shutdown_timeout=self._grace)
        await self._runner.setup()
        served = self._runner.server
        assert served is not None
        return served

    async def serve(self, host: str, port: int) -> int:
        """Opens, and accepts connections itself; returns the port. Raises OSError when it is taken."""
        await self.open()
        assert self._runner is not None
        self._site = web.TCPSite(self._runner, host, port)
        await self._site.start()
        return int(self._runner.addresses[0][1])

    @property
    def listening(self) -> bool:
        return self._site is not None

    async def stop_listening(self) -> None:
        site, self._site = self._site, None
        if site is not None:
            await site.stop()

    async def close(self) -> None:
        """Open answers may finish within the grace time."""
        if self._runner is not None:
            await self._runner.cleanup()

    def _middleware(self) -> Any:
        @web.middleware
        async def admitted(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._admitted(request, handler)

        return admitted

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        assert not isinstance(self._handler, web.Application)
        return await self._admitted(request, self._handler)

    async def _admitted(self, request: web.BaseRequest, handler: Handler) -> web.StreamResponse:
        refusal = self._refusal(request)
        return self._rules.refuse(refusal) if refusal else await handler(request)

    def _refusal(self, request: web.BaseRequest) -> str:
        hosts = request.headers.getall(hdrs.HOST, ())
        wrong = self._guard.wrong_host(hosts[0] if len(hosts) == 1 else "", self._rules.serves)
        if wrong:
            return wrong
        foreign = self._guard.foreign_page(request.headers)
        return self._rules.judge(request, foreign) if foreign else ""


def reserve(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet; port 0 takes a free one. Raises OSError that names the port."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise OSError(error.errno, f"port {port} of {host}: {error.strerror}") from error
    return bound


def listen(host: str, port: int) -> socket.socket:
    """A bound, listening socket, for a port that serves an HttpServer. Raises OSError that names the port."""
    listener = reserve(host, port)
    try:
        listener.listen(_BACKLOG)
    except OSError as error:  # another process listens there
        listener.close()
        raise OSError(error.errno, f"port {port} of {host}: {error.strerror}") from error
    return listener


def listen_at(address: str, port: int, backlog: int) -> socket.socket | None:
    """A socket that listens, without waiting, at an address of this machine; None when it is in use."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen(backlog)  # with SO_REUSEADDR two can bind, and only one can listen
    except OSError:
        listener.close()
        return None
    listener.setblocking(False)
    return listener


Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def serve_tls(listener: socket.socket, context: ssl.SSLContext, accept: Accept, backlog: int) -> asyncio.Server:
    """Hands connections of `listener` to `accept`, which speaks TLS by `context`. Raises ValueError for a context that
    takes clients without a certificate: a web page has none."""
    if context.verify_mode is not ssl.CERT_REQUIRED:
        raise ValueError("a port of localgcp that is no HTTP must ask for a client certificate (ssl.CERT_REQUIRED)")
    return await asyncio.start_server(accept, sock=listener, backlog=backlog)
