"""The HTTP server of the dashboard: read-only, for people behind the loopback address or a proxy that has let them in.

It has no login. What it does against strangers: it answers only to names that it knows (a page of another site that was
rebound to this address gets nothing), allows no other origin anything, runs no script but its own file, and has no
address that changes anything.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Awaitable, Callable
from importlib.resources import files
from urllib.parse import urlencode

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from agui_operator.dashboard.board import Board
from agui_operator.dashboard.live import DetailSource, ListSource, Source, mark, since, stream
from agui_operator.dashboard.pages import Pages, Presence
from agui_operator.dashboard.rows import Filter

logger = logging.getLogger(__name__)

STREAMS = 64  # open at once
_FILTER_MAX = 100  # characters of one filter
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_STATIC = {"dashboard.css": "text/css", "dashboard.js": "text/javascript", "mark.svg": "image/svg+xml"}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Site:
    """Serves a board between `start` and `stop`. `presence` says what this process may do; `names` are host names that
    it answers to beside those of the loopback address."""

    def __init__(self, board: Board, presence: Callable[[], Presence], names: tuple[str, ...] = ()) -> None:
        self._board, self._pages, self._names = board, Pages(board), frozenset(names)
        self.presence, self.closing = presence, False
        self._open = 0
        self._runner: web.AppRunner | None = None
        folder = files("agui_operator.dashboard").joinpath("static")
        self._static = {name: folder.joinpath(name).read_bytes() for name in _STATIC}

    async def start(self, host: str, port: int) -> int:
        """Starts to listen; returns the port. Raises OSError when it can't."""
        app = web.Application(middlewares=[self._guard], client_max_size=1024)
        app.router.add_get("/", self._list)
        app.router.add_get("/live", self._live_list)
        app.router.add_get("/d/{namespace}/{name}", self._detail)
        app.router.add_get("/d/{namespace}/{name}/live", self._live_detail)
        app.router.add_get("/static/{file}", self._file)
        app.on_shutdown.append(self._close)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _close(self, _: web.Application) -> None:
        self.closing = True
        self._board.ring()

    # --- what strangers get --------------------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if not self._knows(request.host):
            text = "This name is not served here; add it to AGUI_DASHBOARD_NAMES.\n"
            return web.Response(status=421, text=text, headers=HEADERS)
        if request.path.endswith("/live") and _is_foreign(request):
            return web.Response(status=403, text="Not for other sites.\n", headers=HEADERS)
        try:
            response = await handler(request)
        except web.HTTPException as refused:
            refused.headers.update(HEADERS)
            raise
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    def _knows(self, host: str) -> bool:
        """True for loopback names and addresses, and for the names of the settings; the port does not matter."""
        name = host.lower()
        if name.startswith("["):
            name = name[1:].partition("]")[0]
        elif name.count(":") == 1:
            name = name.partition(":")[0]
        if name == "localhost" or name in self._names:
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False

    # --- pages ---------------------------------------------------------------------------------------------------

    async def _list(self, request: web.Request) -> web.Response:
        wanted = _filter(request)
        asked = {"q": wanted.words, "phase": wanted.phase, "namespace": wanted.namespace}
        query = urlencode({name: value for name, value in asked.items() if value})
        page = self._pages.list_page(wanted, self.presence(), mark(self._board), query)
        return web.Response(text=page, content_type="text/html")

    async def _detail(self, request: web.Request) -> web.Response:
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        entry = self._board.find(namespace, name)
        if entry is None:
            page = self._pages.missing_page(namespace[:63], name[:253], self.presence())
            return web.Response(status=404, text=page, content_type="text/html")
        state = f"{self._board.epoch}-{entry.revision}"
        page = self._pages.detail_page(entry, self.presence(), state)
        return web.Response(text=page, content_type="text/html")

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["file"]
        if name not in self._static:
            raise web.HTTPNotFound(text="No such file.\n")
        return web.Response(body=self._static[name], content_type=_STATIC[name], charset="utf-8")

    # --- streams -------------------------------------------------------------------------------------------------

    async def _live_list(self, request: web.Request) -> web.StreamResponse:
        known = since(self._board, _known(request))
        return await self._stream(request, ListSource(self._board, self._pages, _filter(request), known))

    async def _live_detail(self, request: web.Request) -> web.StreamResponse:
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        known = since(self._board, _known(request))
        entry = self._board.find(namespace, name)
        if known is not None and entry is not None and known >= entry.revision:
            known = entry.revision
        return await self._stream(request, DetailSource(self._board, self._pages, namespace, name, known))

    async def _stream(self, request: web.Request, source: Source) -> web.StreamResponse:
        if self._open >= STREAMS:
            return web.Response(status=503, text="Too many readers.\n", headers={"Retry-After": "10"})
        response = web.StreamResponse(headers=HEADERS | {"X-Accel-Buffering": "no"})
        response.content_type = "text/event-stream"
        self._open += 1
        try:
            await response.prepare(request)
            await stream(response, self._board, self._pages, source, self)
        except TimeoutError:
            logger.info("a reader of the dashboard took nothing for too long and was let go")
            if request.transport is not None:
                request.transport.abort()
        except (ConnectionResetError, HttpProcessingError):
            logger.debug("a reader of the dashboard has gone")
        finally:
            self._open -= 1
        return response


def _filter(request: web.Request) -> Filter:
    words, phase, namespace = (request.query.get(name, "")[:_FILTER_MAX] for name in ("q", "phase", "namespace"))
    return Filter(words, phase, namespace)


def _known(request: web.Request) -> str:
    """The state that the page shows: the browser sends it when it connects again, the page when it connects first."""
    return request.headers.get("Last-Event-ID") or request.query.get("since", "")


def _is_foreign(request: web.Request) -> bool:
    """True if the browser says that another site asks. https://www.w3.org/TR/fetch-metadata/"""
    return request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none")
