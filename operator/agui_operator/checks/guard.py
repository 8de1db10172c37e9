"""The one client for every outgoing check; no other module of the operator opens a connection for a check.

A request is an origin that the operator took from the Cloud Run API or the environment, and a path from the spec. The
name is resolved once, every address must be permitted, and the socket goes to exactly the address that was looked at,
with the name kept for Host and SNI: a second answer of DNS changes nothing. No redirect is followed, no proxy variable
read, no cookie kept; time and bytes are bounded. What comes back stays in memory: only codes, times and booleans leave
this package.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from agui_operator.checks.addresses import (
    Origin,
    Refused,
    checked_path,
    is_local_name,
    is_permitted,
    literal,
    owns,
    parse_origin,
)

BODY_LIMIT = 64 * 1024
STREAM_LIMIT = 256 * 1024
DEADLINE = 5.0

TokenSource = Callable[[str], Awaitable[str]]
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_METHODS = frozenset({"GET", "HEAD", "POST"})
_OWN_HEADERS = frozenset(
    {"host", "authorization", "proxy-authorization", "x-serverless-authorization", "x-agui-check-authorization"}
    | {"cookie", "metadata-flavor"}
    | {"connection", "upgrade", "transfer-encoding", "content-length", "expect"}
)


class Unreachable(Exception):
    """The answer did not come, or not as HTTP. The message is our own sentence, never the peer's words."""


class TooLarge(Exception):
    """The answer is longer than the limit; reading stopped there."""


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """One request. `deadline` in seconds for the whole exchange (None: the guard's own). `audience` is the service's
    origin if an ID token shall be sent; it is refused if the request goes anywhere else."""

    origin: str
    path: str
    method: str = "GET"
    body: Any = None  # sent as JSON; None: no body
    headers: Mapping[str, str] = field(default_factory=dict)
    deadline: float | None = None
    audience: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `body` holds at most the guard's limit; `truncated` says that there was more."""

    code: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    truncated: bool
    latency_ms: float


class Stream:
    """An answer that is read as it comes. `read` bytes came so far."""

    def __init__(self, response: aiohttp.ClientResponse, limit: int) -> None:
        self.code = response.status
        self.headers = _lowered(response.headers)
        self.read = 0
        self._response = response
        self._limit = limit

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in pieces. Raises TooLarge after the limit and Unreachable if the connection breaks."""
        while chunk := await self._next():
            self.read += len(chunk)
            if self.read > self._limit:
                raise TooLarge(f"the answer is longer than {self._limit // 1024} kB")
            yield chunk

    async def _next(self) -> bytes:
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as broken:
            raise Unreachable("the connection broke while the answer was read") from broken


class Guard:
    """Makes the connections. `allow_loopback` only where the cloud is a local one; `token` gives an ID token for an
    audience; `resolve` and `tls` are replaced by tests. Holds no connection between requests: there is
    nothing to close."""

    def __init__(
        self,
        *,
        allow_loopback: bool = False,
        deadline: float = DEADLINE,
        body_limit: int = BODY_LIMIT,
        token: TokenSource | None = None,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allow_loopback = allow_loopback
        self._deadline = deadline
        self._body_limit = body_limit
        self._token = token
        self._resolve = resolve or _ask_dns
        self._tls = tls

    async def request(self, call: CheckRequest, *, limit: int | None = None) -> Reply:
        """Sends and reads up to `limit` bytes (default: the guard's). Raises Refused or Unreachable."""
        limit = self._body_limit if limit is None else limit
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with self.stream(call, limit=limit) as stream:
            body, truncated = bytearray(), False
            try:
                async for chunk in stream.chunks():
                    body += chunk
            except TooLarge:
                truncated = True
            return Reply(stream.code, stream.headers, bytes(body), truncated, (loop.time() - started) * 1000)

    @asynccontextmanager
    async def stream(self, call: CheckRequest, *, limit: int = STREAM_LIMIT) -> AsyncIterator[Stream]:
        """Sends, and gives the answer to read in pieces. Raises Refused, Unreachable; `chunks` also TooLarge."""
        async with self._session(call) as (session, url, headers):
            data = None if call.body is None else json.dumps(call.body).encode()
            if data is not None:
                headers.setdefault("Content-Type", "application/json")
            async with session.request(call.method, url, headers=headers, data=data, allow_redirects=False) as response:
                yield Stream(response, limit)

    @asynccontextmanager
    async def websocket(self, call: CheckRequest) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Opens a WebSocket (frames up to the body limit). Raises Refused; Unreachable, which names the HTTP code if
        the server answered without an upgrade."""
        async with self._session(call, middlewares=(_no_redirect,)) as (session, url, headers):
            timeout = aiohttp.ClientWSTimeout(ws_close=1.0)
            async with session.ws_connect(
                url, headers=headers, max_msg_size=self._body_limit, timeout=timeout
            ) as opened:
                yield opened

    @asynccontextmanager
    async def _session(
        self, call: CheckRequest, middlewares: Sequence[aiohttp.ClientMiddlewareType] = ()
    ) -> AsyncIterator[tuple[aiohttp.ClientSession, URL, dict[str, str]]]:
        origin = parse_origin(call.origin, allow_loopback=self._allow_loopback)
        url = _url(origin, call)
        seconds = self._deadline if call.deadline is None else call.deadline
        try:
            async with asyncio.timeout(seconds):
                headers = await self._headers(call, origin)
                address = await self._address(origin)
                async with aiohttp.ClientSession(
                    connector=self._connector(origin, address),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    trust_env=False,
                    auto_decompress=False,
                    read_bufsize=BODY_LIMIT,
                    timeout=aiohttp.ClientTimeout(total=None),
                    middlewares=middlewares,
                ) as session:
                    yield session, url, headers
        except TimeoutError as late:
            raise Unreachable(f"no complete answer within {round(seconds, 2):g} s") from late
        except aiohttp.ClientError as failed:
            raise Unreachable(_sentence(failed)) from failed
        except OSError as failed:
            raise Unreachable("the connection failed") from failed

    async def _headers(self, call: CheckRequest, origin: Origin) -> dict[str, str]:
        own = [name for name in call.headers if name.lower() in _OWN_HEADERS]
        if own:
            raise Refused(f"header {own[0]} is not for a check to set")
        headers = {"User-Agent": "agui-operator-check", "Accept-Encoding": "identity", **call.headers}
        if self._token is None or call.audience is None:
            return headers
        audience = parse_origin(call.audience, allow_loopback=self._allow_loopback)
        if not owns(origin, audience):
            raise Refused("an ID token is only sent to the service that it is made for")
        token = await self._token(str(audience))
        # Cloud Run asks for the first and takes it away before the application sees the request; the application logs
        # a check in by the second (docs/security-application.md). Authorization belongs to users.
        headers["X-Serverless-Authorization"] = f"Bearer {token}"
        headers["X-Agui-Check-Authorization"] = f"Bearer {token}"
        return headers

    async def _address(self, origin: Origin) -> str:
        """The one address to connect to. All that the name has must be permitted: one private address among public ones
        is an attack or a mistake, and choosing around it would only hide that."""
        if literal(origin.host) is not None:
            found: Sequence[str] = (origin.host,)
        elif self._allow_loopback and is_local_name(origin.host):
            found = ("127.0.0.1",)
        else:
            try:
                found = await self._resolve(origin.host, origin.port)
            except (OSError, UnicodeError) as failed:
                raise Unreachable("the host's name has no address") from failed
        if not found:
            raise Unreachable("the host's name has no address")
        for text in found:
            try:
                permitted = is_permitted(ip_address(text), allow_loopback=self._allow_loopback)
            except ValueError:
                permitted = False
            if not permitted:
                raise Refused("the host has an address that is not on the public internet")
        return found[0]

    def _connector(self, origin: Origin, address: str) -> aiohttp.TCPConnector:
        def make_socket(info: tuple[Any, ...]) -> socket.socket:
            # The last gate: whatever happened above, no other address and port gets a socket.
            family, kind, proto, _, peer = info
            if (ip_address(peer[0]), peer[1]) != (ip_address(address), origin.port):
                raise Refused("the connection would go to another address than the one looked at")
            made = socket.socket(family, kind, proto)
            made.setblocking(False)
            return made

        return aiohttp.TCPConnector(
            resolver=_Pinned(origin, address),
            use_dns_cache=False,
            force_close=True,
            ssl=self._tls or True,
            socket_factory=make_socket,
        )


class _Pinned(AbstractResolver):
    """Knows one name, and the address that was looked at."""

    def __init__(self, origin: Origin, address: str) -> None:
        self._origin = origin
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        if (host, port) != (self._origin.host, self._origin.port):
            raise Refused("the connection would go to another host than the check's own")
        kind = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [ResolveResult(hostname=host, host=self._address, port=port, family=kind, proto=0, flags=flags)]

    async def close(self) -> None:
        """Nothing is held."""


async def _ask_dns(host: str, port: int) -> Sequence[str]:
    # The dot at the end keeps a cluster's search list out: `a.b` must not become `a.b.some-namespace.svc`.
    loop = asyncio.get_running_loop()
    answers = await loop.getaddrinfo(host if is_local_name(host) else f"{host}.", port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(answer[4][0]) for answer in answers))


async def _no_redirect(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    response = await send(request)
    if 300 <= response.status < 400:
        response.close()
        raise Unreachable(f"the server answered {response.status} instead of opening a WebSocket")
    return response


def _url(origin: Origin, call: CheckRequest) -> URL:
    if call.method not in _METHODS:
        raise Refused("the method must be GET, HEAD or POST")
    url = URL(f"{origin}{checked_path(call.path)}", encoded=True)
    if (url.scheme, url.host, url.port, url.user) != (origin.scheme, origin.host, origin.port, None):
        raise Refused("the path would change where the request goes")
    return url


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _sentence(failed: aiohttp.ClientError) -> str:
    """Our words for a client error: what aiohttp says may quote the peer or name the address."""
    match failed:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return "the TLS certificate or handshake was not accepted"
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            return "the connection was refused"
        case aiohttp.WSServerHandshakeError(status=status):
            return f"the server answered {status} instead of opening a WebSocket"
        case aiohttp.ClientConnectorError():
            return "the connection could not be made"
        case aiohttp.ServerDisconnectedError():
            return "the server closed the connection without an answer"
        case aiohttp.ClientPayloadError():
            return "the answer broke off"
        case aiohttp.ClientResponseError():
            return "the answer is not valid HTTP"
    return "the request failed"
