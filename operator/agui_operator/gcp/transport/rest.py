"""The async REST client for the APIs that have no gRPC of their own: Storage, Compute, Cloud SQL, registries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agui_operator.gcp.transport.translation import from_reply

if TYPE_CHECKING:
    import aiohttp

_CONNECTIONS = 32
_LARGEST_ERROR = 64 * 1024
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body of known size that is never in memory as a whole. `pieces` is called for every attempt."""

    size: int
    pieces: Callable[[], Iterator[bytes]]

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self.pieces():
            yield piece


@dataclass(frozen=True, slots=True)
class RestRequest:
    """A call of a REST method named as in its discovery document (`storage.objects.list`).

    `path` begins with a slash and is encoded already; `base` is the URL before it where the method's API does not say
    it. `resource` names the target in logs (default: the path). `read` turns the response into the result, JSON by
    default. `write`: the call may change something. `timeout` in seconds over all attempts."""

    method: str
    path: str
    project: str
    verb: str = "GET"
    body: Mapping[str, Any] | None = None  # sent as JSON
    data: bytes | Body | None = None  # sent as it is
    headers: Mapping[str, str] | None = None
    resource: str = ""
    base: str = ""
    write: bool = False
    timeout: float | None = None
    read: Any = None
    auto_decompress: bool = True


class Token:
    """Google credentials for HTTP headers. Refreshing blocks, so it is done in a thread, by one caller at a time."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials
        self._lock = asyncio.Lock()

    async def headers(self, *, renew: bool = False) -> dict[str, str]:
        """Authorization (and the quota project, where the credentials name one); {} for anonymous credentials."""
        from google.auth.credentials import AnonymousCredentials

        if isinstance(self._credentials, AnonymousCredentials):
            return {}
        before = self._credentials.token
        async with self._lock:
            stale = renew and self._credentials.token == before
            if stale or not self._credentials.valid:
                await asyncio.to_thread(self._refresh)
        headers: dict[str, str] = {}
        self._credentials.apply(headers)
        return headers

    def _refresh(self) -> None:
        from google.auth.transport.requests import Request

        self._credentials.refresh(Request())


class Rest:
    """One session for all hosts; it connects with the first request."""

    def __init__(self, token: Token, user_agent: str, *, use_proxy: bool) -> None:
        import aiohttp

        self._token = token
        self._session = aiohttp.ClientSession(
            headers={"User-Agent": user_agent},
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS),
            trust_env=use_proxy,
        )

    async def close(self) -> None:
        await self._session.close()

    async def send(self, request: RestRequest, url: str, timeout: float) -> Any:
        """What `request.read` makes of a 2xx response. After a 401 it is sent once more with a fresh token, also a
        write: such a request was not carried out. Raises CloudError, aiohttp.ClientError, TimeoutError."""
        import aiohttp
        from yarl import URL

        target = URL(url, encoded=True)
        read = request.read or read_json
        options: Json = {"headers": dict(request.headers or {}), "allow_redirects": False}
        options["auto_decompress"] = request.auto_decompress
        options["timeout"] = aiohttp.ClientTimeout(total=timeout)
        if request.body is not None:
            options["json"] = request.body
        if isinstance(request.data, Body):
            options["headers"]["Content-Length"] = str(request.data.size)
        for renew in (False, True):
            authorization = await self._token.headers(renew=renew)
            merged = {**options, "headers": options["headers"] | authorization}
            if request.body is None:
                merged["data"] = request.data.chunks() if isinstance(request.data, Body) else request.data
            async with self._session.request(request.verb, target, **merged) as response:
                if response.status == 401 and authorization and not renew:
                    continue
                if not 200 <= response.status < 300:
                    text = await response.content.read(_LARGEST_ERROR)
                    raise from_reply(response.status, response.headers, text, "", "")
                return await read(response)
        raise AssertionError("the second attempt returns or raises")


async def read_json(response: aiohttp.ClientResponse) -> Json:
    """The JSON object of a reply; {} for an empty one."""
    text = await response.read()
    document = await response.json(content_type=None) if text.strip() else {}
    return document if isinstance(document, dict) else {}


async def read_headers(response: aiohttp.ClientResponse) -> Mapping[str, str]:
    """The headers of a reply, for HEAD."""
    return response.headers
