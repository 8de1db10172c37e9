"""The way of a request into an instance: choose a revision once, get an instance, stream both ways, report it.

The hot path: nothing is buffered, connections to instances are kept alive, and each request costs one lookup, one
header copy and one relay of chunks as they come (server-sent events go out at once).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp
from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict
from yarl import URL

from localgcp.edge.headers import add_forwarding, add_trace, edit, end_to_end
from localgcp.edge.interfaces import Instance, NoInstance, Pool, Pools
from localgcp.edge.pages import SERVER, error_page, page_not_found
from localgcp.edge.traffic import TrafficTable
from localgcp.edge.tunnel import tunnel
from localgcp.edge.urlmap import HeaderEdits
from localgcp.kit.interfaces import MetricSink

AFFINITY_COOKIE = "GAESA"
_AFFINITY_SECONDS = 30 * 24 * 3600
_KEEPALIVE_SECONDS = 3.0  # below the 5 s after which uvicorn closes an idle connection, so that we never race with it
_MAX_HEADER_BYTES = 32 * 1024
_CONNECT_ATTEMPTS = 3  # only for connections that were refused: nothing of the request has been sent yet
_CLIENT_GONE = 499  # how Google's logs note a client that left before the answer
_CRASH_NOTICE = 0.25  # seconds between a port that refuses and the notice that its process has ended
_BROKEN = (
    "The request failed because either the HTTP response was malformed or connection to the instance had an error."
)

Intercept = Callable[[int], Awaitable[web.StreamResponse | None]]


@dataclass(frozen=True, slots=True)
class Forward:
    """How a request is changed on its way. `intercept` may replace the answer of an upstream status by its own."""

    target: str  # path and query as sent to the instance
    host: str | None = None
    request_headers: HeaderEdits | None = None
    response_headers: HeaderEdits | None = None
    intercept: Intercept | None = None


@dataclass(slots=True)
class _Report:
    """What is known of a request so far; reported when it ends, however it ends."""

    began: float
    code: int = _CLIENT_GONE


class Proxy:
    """`metrics` is a callable because the sink is built after the data plane."""

    def __init__(self, pools: Pools, metrics: Callable[[], MetricSink | None]) -> None:
        self._pools = pools
        self._metrics = metrics
        self._client: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
            auto_decompress=False,
            skip_auto_headers=(hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE),
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
        )

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def serve(
        self, request: web.BaseRequest, table: TrafficTable, tag: str | None, forward: Forward
    ) -> web.StreamResponse:
        """Answers one request of a service. The revision is decided here, once."""
        affinity = _affinity_of(request)
        revision = table.choose(tag, affinity[0] if affinity else None)
        pool = self._pools.pool_of(table.workload(revision)) if revision is not None else None
        if revision is None:
            return page_not_found()
        if pool is None:
            return error_page(503, f"The revision {revision} is not ready.")
        report = _Report(time.perf_counter())
        try:
            async with asyncio.timeout(pool.spec.timeout):
                return await self._serve_from(request, pool, affinity, forward, report)
        except TimeoutError:
            report.code = 504
            return _cut_off(request) or error_page(504, "The request has been terminated: it reached its timeout.")
        finally:
            self._report(table, revision, report)

    async def _serve_from(
        self,
        request: web.BaseRequest,
        pool: Pool,
        affinity: tuple[str, str] | None,
        forward: Forward,
        report: _Report,
    ) -> web.StreamResponse:
        headers = _request_headers(request, forward)
        for _ in range(_CONNECT_ATTEMPTS):
            try:
                instance = await pool.acquire(affinity[1] if affinity else None)
            except NoInstance as refusal:
                report.code = refusal.code
                return error_page(refusal.code, str(refusal))
            try:
                return await self._exchange(request, instance, headers, forward, report)
            except aiohttp.ClientConnectorError:
                await asyncio.wait({instance.child.exited}, timeout=_CRASH_NOTICE)  # then its pool knows, too
            except (aiohttp.ClientError, ConnectionError, asyncio.IncompleteReadError):
                client_left = request.transport is None or request.transport.is_closing()
                report.code = 503 if report.code == _CLIENT_GONE and not client_left else report.code
                return _cut_off(request) or error_page(503, _BROKEN)
            finally:
                pool.release(instance)
        report.code = 503
        return error_page(503, _BROKEN)

    async def _exchange(
        self,
        request: web.BaseRequest,
        instance: Instance,
        headers: CIMultiDict[str],
        forward: Forward,
        report: _Report,
    ) -> web.StreamResponse:
        assert self._client is not None, "the proxy is not open"
        await _answer_expectation(request)
        async with self._client.request(
            request.method,
            URL(f"http://127.0.0.1:{instance.port}{forward.target}", encoded=True),
            headers=headers,
            data=request.content if request.body_exists else None,
            allow_redirects=False,
        ) as upstream:
            report.code = upstream.status
            if forward.intercept is not None and (own := await forward.intercept(upstream.status)) is not None:
                upstream.close()
                return own
            answer = _response_headers(upstream, instance, forward)
            if upstream.status == 101:
                return await tunnel(request, upstream, answer)
            return await _relay(request, upstream, answer)

    def _report(self, table: TrafficTable, revision: str, report: _Report) -> None:
        sink = self._metrics()
        if sink is not None:
            route = table.route
            sink.request(
                project=route.project,
                location=route.location,
                service=route.service,
                revision=revision,
                code=report.code,
                seconds=time.perf_counter() - report.began,
            )


async def _relay(
    request: web.BaseRequest, upstream: aiohttp.ClientResponse, headers: CIMultiDict[str]
) -> web.StreamResponse:
    """Streams the answer. Headers go out at once, unless some of the body is there already and can go with them."""
    response = web.StreamResponse(status=upstream.status, reason=upstream.reason, headers=headers)
    response._send_headers_immediately = not upstream.content.total_bytes
    await response.prepare(request)
    async for chunk in upstream.content.iter_any():
        await response.write(chunk)
    await response.write_eof()
    return response


def _request_headers(request: web.BaseRequest, forward: Forward) -> CIMultiDict[str]:
    headers = end_to_end(request.headers, upgrade=_wants_websocket(request))
    headers.pop(hdrs.EXPECT, None)
    add_forwarding(headers, request.remote or "127.0.0.1", "http")
    add_trace(headers)
    if forward.host is not None:
        headers[hdrs.HOST] = forward.host
    if forward.request_headers is not None:
        edit(headers, forward.request_headers)
    return headers


def _response_headers(upstream: aiohttp.ClientResponse, instance: Instance, forward: Forward) -> CIMultiDict[str]:
    headers = end_to_end(upstream.headers, upgrade=upstream.status == 101)
    headers[hdrs.SERVER] = SERVER
    if instance.spec.session_affinity:
        token = base64.urlsafe_b64encode(f"{instance.spec.revision}|{instance.id}".encode()).decode().rstrip("=")
        headers.add(hdrs.SET_COOKIE, f"{AFFINITY_COOKIE}={token}; Max-Age={_AFFINITY_SECONDS}; Path=/; HttpOnly")
    if forward.response_headers is not None:
        edit(headers, forward.response_headers)
    return headers


def _affinity_of(request: web.BaseRequest) -> tuple[str, str] | None:
    """(revision, instance) that the client's affinity cookie names."""
    if AFFINITY_COOKIE not in request.headers.get(hdrs.COOKIE, ""):
        return None
    token = request.cookies.get(AFFINITY_COOKIE, "")
    try:
        decoded = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    revision, separator, instance = decoded.partition("|")
    return (revision, instance) if separator else None


def _wants_websocket(request: web.BaseRequest) -> bool:
    return request.headers.get(hdrs.UPGRADE, "").lower() == "websocket"


async def _answer_expectation(request: web.BaseRequest) -> None:
    """`Expect: 100-continue` is between the client and us."""
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _cut_off(request: web.BaseRequest) -> web.StreamResponse | None:
    """When an answer has begun it cannot become an error page: the connection is cut, so that the client can tell.
    None when nothing was sent yet."""
    writer = request._payload_writer
    client_is_there = request.transport is not None and not request.transport.is_closing()
    if client_is_there and (writer is None or not writer.output_size):
        return None
    if request.transport is not None:
        request.transport.abort()
    return _CutOff()


class _CutOff(web.StreamResponse):
    """Nothing more to send: the connection is gone."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None
