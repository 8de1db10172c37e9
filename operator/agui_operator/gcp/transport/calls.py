"""The one path of every request to Google Cloud: quota, lease fence, deadline, retries, metrics, error translation.

A read is sent up to three times while the service is unavailable. A write is sent once: whether it had an effect is
found out by reading, never by sending it again.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from agui_operator.core.errors import CloudError
from agui_operator.gcp.transport.quota import Quota
from agui_operator.gcp.transport.translation import from_google

T = TypeVar("T")
OnCall = Callable[[str, str, int, float], None]
_READ_ATTEMPTS = 3
_FIRST_PAUSE = 0.1


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One call of a method as Google names it (`Services.GetService`, `storage.objects.insert`). `location` is the
    region or the API whose quota it uses; `timeout` in seconds over all attempts."""

    method: str
    resource: str
    project: str
    location: str
    timeout: float
    write: bool = False


@dataclass(slots=True)
class Caller:
    """`on_call(method, resource, HTTP status, seconds)` after each attempt; `before_write` raises when nothing may be
    written any more."""

    quota: Quota
    on_call: OnCall | None = None
    before_write: Callable[[], None] | None = None
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    jitter: Callable[[], float] = field(default=random.random)

    async def call(self, call: ApiCall, send: Callable[[float], Awaitable[T]]) -> T:
        """`send(seconds left)` makes the request. Raises CloudError, or what `before_write` raises."""
        deadline = time.monotonic() + call.timeout
        attempts = 1 if call.write else _READ_ATTEMPTS
        for attempt in range(1, attempts):
            try:
                return await self._once(call, send, deadline)
            except CloudError as error:
                pause = error.retry_after or _FIRST_PAUSE * 2**attempt * (0.5 + self.jitter())
                if error.code != 503 or time.monotonic() + pause >= deadline:
                    raise
            await self.sleep(pause)
        return await self._once(call, send, deadline)

    async def _once(self, call: ApiCall, send: Callable[[float], Awaitable[T]], deadline: float) -> T:
        await self.quota.take(call.project, call.location, write=call.write, until=deadline)
        if call.write and self.before_write is not None:
            self.before_write()
        began = time.monotonic()
        try:
            async with asyncio.timeout(max(0.001, deadline - began)):
                result = await send(max(0.001, deadline - began))
        except Exception as exc:
            error = _translated(exc, call)
            self._count(call, error.code, began)
            if error.code == 429:
                self.quota.throttled(call.project, call.location, write=call.write, retry_after=error.retry_after)
            raise error from exc
        self._count(call, 200, began)
        self.quota.passed(call.project, call.location, write=call.write)
        return result

    def _count(self, call: ApiCall, code: int, began: float) -> None:
        if self.on_call is not None:
            self.on_call(call.method, call.resource, code, time.monotonic() - began)


def _translated(exc: Exception, call: ApiCall) -> CloudError:
    """The CloudError of a failed attempt. Raises `exc` itself if neither the network nor the service caused it."""
    import aiohttp
    import grpc
    from google.api_core.exceptions import GoogleAPICallError, from_grpc_error
    from google.auth.exceptions import GoogleAuthError

    if isinstance(exc, CloudError):
        exc.method, exc.resource = exc.method or call.method, exc.resource or call.resource
        return exc

    def failed(code: int, status: str, message: str) -> CloudError:
        return CloudError(code, message, method=call.method, resource=call.resource, status=status)

    if isinstance(exc, grpc.RpcError):
        return from_google(from_grpc_error(exc), call.method, call.resource)
    if isinstance(exc, GoogleAPICallError):
        return from_google(exc, call.method, call.resource)
    if isinstance(exc, TimeoutError):
        return failed(504, "DEADLINE_EXCEEDED", f"no answer within {call.timeout:g} s")
    if isinstance(exc, GoogleAuthError):
        return failed(401, "UNAUTHENTICATED", f"no access token: {exc}")
    if isinstance(exc, (aiohttp.ClientError, ConnectionError)):
        return failed(503, "UNAVAILABLE", f"{type(exc).__name__}: {exc}")
    raise exc
