"""The one public port: Cloud Run's own hosts, and for every other host the load balancer's URL map.

Both end in the same proxy. What the forwarding rule, URL map and backends are is read from `interfaces.UrlMaps` at each
request, so a patched URL map holds from the next request on.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, web

from localgcp.edge.backends import cloud_run_of, service_reference
from localgcp.edge.buckets_web import BucketWeb, Representation, respond
from localgcp.edge.headers import edit
from localgcp.edge.interfaces import DATA_PLANE, DataPlane, Sources
from localgcp.edge.pages import error_page, page_not_found, reserved_path
from localgcp.edge.proxy import Forward, Proxy
from localgcp.edge.requests import DECISION, RUN_SUFFIX, front_end_of, host_of, origin_form, seen_of
from localgcp.edge.urlmap import HeaderEdits, Redirect, Route, error_answer, evaluate
from localgcp.edge.urlmap_match import as_text
from localgcp.edge.visitors import Visitors
from localgcp.kit.guard import Guard
from localgcp.kit.interfaces import BUCKETS, INVOKERS, METRICS, URL_MAPS
from localgcp.kit.listening import HttpServer, Rules

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

_LOG = logging.getLogger(__name__)
_RESERVED = "/healthz"  # exact: Google's front end answers it itself on Cloud Run's URLs, /healthz/ reaches the app
_MAX_HEADER_BYTES = 32 * 1024
_BALANCER = HeaderEdits(add=(("Via", "1.1 google", False),))


class Edge:
    """Serves `host:port` (0: a random port, see `port`) from `open()` to `close()`. `close()` also ends the runtime,
    so that open answers get their time before the containers go."""

    def __init__(
        self,
        runtime: DataPlane,
        sources: Sources,
        *,
        guard: Guard,
        port: int = 0,
        grace: float = 10.0,
    ) -> None:
        self.port = port
        self._host = guard.host
        self._grace = grace
        self._runtime = runtime
        self._buckets, self._url_maps = sources.buckets, sources.url_maps
        self._proxy = Proxy(runtime, sources.metrics)
        self._bucket_web: BucketWeb | None = None
        visitors = Visitors(runtime, sources)
        self._server = HttpServer(
            self._serve,
            guard,
            Rules(lambda sentence: error_page(403, sentence), visitors.serves, visitors.judge),
            grace=grace,
            handler_cancellation=True,  # a client that leaves ends its request in the container too
            auto_decompress=False,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
        )

    async def open(self) -> None:
        """Raises OSError when the port is taken."""
        self._bucket_web = BucketWeb(self._buckets())
        await self._proxy.open()
        self.port = await self._server.serve(self._host, self.port)

    async def close(self) -> None:
        """No new connections; SIGTERM to the containers; open answers may finish within the grace time."""
        if self._server.listening:
            await self._server.stop_listening()
            await asyncio.gather(self._runtime.close(self._grace), self._server.close())
            await self._proxy.close()
        else:
            await self._runtime.close(self._grace)

    def invalidate(self, pattern: str) -> int:
        """urlMaps.invalidateCache: removes cached objects by path or prefix (`/assets/*`); returns how many."""
        return self._bucket_web.invalidate(pattern) if self._bucket_web is not None else 0

    def reset(self) -> None:
        """Forgets what the CDN has cached."""
        self.invalidate("/*")

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        host = host_of(request)
        try:
            if host.endswith(RUN_SUFFIX):
                return await self._serve_run(request, host)
            return await self._serve_balanced(request)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            _LOG.exception("the edge failed on %s %s", request.method, request.path)
            return error_page(500, "The server encountered an error and could not complete your request.")

    async def _serve_run(self, request: web.BaseRequest, host: str) -> web.StreamResponse:
        target = origin_form(request)
        path = target.partition("?")[0]
        if path == _RESERVED:
            return reserved_path(path)
        found = self._runtime.routes.by_host(host)
        if found is None:
            return page_not_found()
        table, tag = found
        return await self._proxy.serve(request, table, tag, Forward(target))

    async def _serve_balanced(self, request: web.BaseRequest) -> web.StreamResponse:
        maps = self._url_maps()
        edge = maps.edge_url_map()
        url_map = maps.url_map(*edge, front_end_of(request)) if edge is not None else None
        if edge is None or url_map is None:
            return error_page(404, "No forwarding rule of this project serves this address.")
        decision = request.get(DECISION) or evaluate(url_map, seen_of(request), random.random())
        if isinstance(decision, Redirect):
            return web.Response(status=decision.status, headers={"Location": decision.location, "Via": "1.1 google"})
        project, kind, name = service_reference(decision.service, edge[0])
        backend = maps.backend(project, kind, name) if name else None
        if backend is None:
            return error_page(502, "The server encountered a temporary error and could not complete your request.")
        if kind == "backendBuckets":
            return await self._serve_bucket(request, project, backend, decision)
        return await self._serve_service(request, project, backend, decision)

    async def _serve_bucket(
        self, request: web.BaseRequest, project: str, backend: Mapping[str, Any], route: Route
    ) -> web.StreamResponse:
        if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
            return error_page(405, f"The request method {request.method} is inappropriate for the URL {request.path}.")
        assert self._bucket_web is not None
        asked = origin_form(request).partition("?")[0]
        full = await self._bucket_web.fetch(backend, route.path, asked, request.headers)
        if full.status >= 400 and (own := await self._custom_error(request, project, route, full.status)) is not None:
            return own
        _finish_headers(full, backend, route)
        return await respond(request, full)

    async def _serve_service(
        self, request: web.BaseRequest, project: str, backend: Mapping[str, Any], route: Route
    ) -> web.StreamResponse:
        found = cloud_run_of(self._runtime.routes, self._url_maps(), project, backend)
        if found is None:
            return error_page(503, "no healthy upstream")
        table, tag = found

        async def intercept(status: int) -> web.StreamResponse | None:
            return await self._custom_error(request, project, route, status) if status >= 400 else None

        forward = Forward(
            target=f"{route.path}?{route.query}" if route.query else route.path,
            host=route.host if route.host != request.headers.get(hdrs.HOST, "") else None,
            request_headers=_BALANCER + _custom(backend, "customRequestHeaders") + route.request_headers,
            response_headers=_BALANCER + _custom(backend, "customResponseHeaders") + route.response_headers,
            intercept=intercept if route.error_policies else None,
        )
        return await self._proxy.serve(request, table, tag, forward)

    async def _custom_error(
        self, request: web.BaseRequest, project: str, route: Route, status: int
    ) -> web.StreamResponse | None:
        """The answer of the map's customErrorResponsePolicy, None when no policy speaks of this status."""
        answer = error_answer(route.error_policies, status)
        if answer is None or not answer.path:
            return None
        owner, kind, name = service_reference(answer.service, project)
        backend = self._url_maps().backend(owner, kind, name) if kind == "backendBuckets" else None
        assert self._bucket_web is not None
        page = await self._bucket_web.fetch(backend, answer.path, answer.path, request.headers) if backend else None
        if page is None or page.status != 200:
            return error_page(answer.status, "The custom error page could not be found.")
        _finish_headers(page, backend or {}, route)
        return await respond(request, page, status=answer.status)


def create_edge(cloud: Cloud) -> Edge:
    """The edge of a local cloud; its port is `settings.edge_port`."""
    settings = cloud.settings
    return Edge(
        cloud.part(DATA_PLANE),
        Sources(
            lambda: cloud.part(BUCKETS),
            lambda: cloud.part(URL_MAPS),
            lambda: cloud.find(METRICS),
            lambda: cloud.find(INVOKERS),
        ),
        guard=settings.guard,
        port=settings.edge_port,
    )


def _custom(backend: Mapping[str, Any], field: str, cache_status: str = "") -> HeaderEdits:
    """A backend's own headers ("name: value"). Of the variables, the cache status is known here."""
    lines = backend.get(field)
    pairs = [as_text(line).partition(":") for line in lines] if isinstance(lines, list) else []
    return HeaderEdits(
        add=tuple(
            (name.strip(), value.strip().replace("{cdn_cache_status}", cache_status), True)
            for name, colon, value in pairs
            if colon and name.strip()
        )
    )


def _finish_headers(full: Representation, backend: Mapping[str, Any], route: Route) -> None:
    """What the load balancer adds to a bucket's answer. `full` is this request's own copy, never the cached one."""
    status = full.headers.get("X-Cache-Status", "disabled")
    edit(full.headers, _BALANCER + _custom(backend, "customResponseHeaders", status) + route.response_headers)
