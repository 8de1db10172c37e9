"""The one path of every call: what is tried again, what never is, and what each failure becomes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import grpc
import pytest
from google.api_core import exceptions
from google.auth.exceptions import RefreshError
from google.rpc import error_details_pb2, status_pb2

from agui_operator.core.errors import CloudError, LeaseLost, UserError
from agui_operator.gcp.transport.calls import ApiCall, Caller
from agui_operator.gcp.transport.quota import UNLIMITED, Quota
from agui_operator.gcp.transport.translation import GRPC_CODES, from_google, from_reply, from_status

READ = ApiCall("Services.GetService", "projects/p/x", "p", "r", timeout=5)
WRITE = ApiCall("Services.UpdateService", "projects/p/x", "p", "r", timeout=5, write=True)


async def no_sleep(_: float) -> None:
    return None


def caller(**fields: Any) -> Caller:
    return Caller(Quota(UNLIMITED, UNLIMITED), sleep=no_sleep, **fields)


def failing(*results: Any) -> Callable[[float], Awaitable[Any]]:
    """A request that ends with each of the results in turn; exceptions are raised."""
    left = list(results)

    async def send(_: float) -> Any:
        result = left.pop(0)
        if isinstance(result, BaseException):
            raise result
        return result

    return send


UNAVAILABLE = CloudError(503, "try again")


async def test_a_read_is_tried_three_times() -> None:
    calls: list[int] = []
    one = caller(on_call=lambda method, resource, code, seconds: calls.append(code))
    assert await one.call(READ, failing(UNAVAILABLE, UNAVAILABLE, "found")) == "found"
    assert calls == [503, 503, 200]
    with pytest.raises(CloudError, match="try again"):
        await one.call(READ, failing(UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, "never"))


async def test_a_write_is_sent_once() -> None:
    with pytest.raises(CloudError, match="try again"):
        await caller().call(WRITE, failing(UNAVAILABLE, "written twice"))


@pytest.mark.parametrize("code", [400, 403, 404, 409, 412, 429, 500, 504])
async def test_other_failures_are_not_tried_again(code: int) -> None:
    with pytest.raises(CloudError) as caught:
        await caller().call(READ, failing(CloudError(code, "no"), "never"))
    assert (caught.value.code, caught.value.method, caught.value.resource) == (code, READ.method, READ.resource)


async def test_the_fence_is_asked_before_each_write_and_no_read() -> None:
    asked: list[str] = []

    def fence() -> None:
        asked.append("write")
        raise LeaseLost("taken over")

    one = caller(before_write=fence)
    assert await one.call(READ, failing("found")) == "found"
    with pytest.raises(LeaseLost):
        await one.call(WRITE, failing("written"))
    assert asked == ["write"]


async def test_a_call_ends_at_its_deadline() -> None:
    async def hang(_: float) -> None:
        await asyncio.sleep(60)

    with pytest.raises(CloudError, match=r"no answer within 0\.05 s") as caught:
        await caller().call(ApiCall("A.B", "x", "p", "r", timeout=0.05), hang)
    assert (caught.value.code, caught.value.status) == (504, "DEADLINE_EXCEEDED")


@pytest.mark.parametrize(
    ("raised", "code", "status"),
    [
        (aiohttp.ServerDisconnectedError(), 503, "UNAVAILABLE"),
        (ConnectionResetError("reset"), 503, "UNAVAILABLE"),
        (RefreshError("no token"), 401, "UNAUTHENTICATED"),
        (TimeoutError(), 504, "DEADLINE_EXCEEDED"),
    ],
)
async def test_what_the_network_does_is_a_cloud_error(raised: Exception, code: int, status: str) -> None:
    with pytest.raises(CloudError) as caught:
        await caller().call(WRITE, failing(raised))
    assert (caught.value.code, caught.value.status, caught.value.method) == (code, status, WRITE.method)


@pytest.mark.parametrize("raised", [UserError("bad bundle"), ZeroDivisionError("ours")])
async def test_what_is_ours_stays_what_it_is(raised: Exception) -> None:
    with pytest.raises(type(raised)):
        await caller().call(READ, failing(raised, "never"))


async def test_a_429_makes_others_wait() -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    now = [0.0]
    quota = Quota(UNLIMITED, UNLIMITED, clock=lambda: now[0], sleep=sleep)
    one = Caller(quota, sleep=no_sleep)
    with pytest.raises(CloudError):
        await one.call(READ, failing(CloudError(429, "slow down", retry_after=3)))
    await quota.take("p", "r", write=False, until=10)
    await quota.take("p", "r", write=True, until=10)
    assert waits == [pytest.approx(3)]


# --- translation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [s for s in grpc.StatusCode if s is not grpc.StatusCode.OK])
def test_every_grpc_code_has_its_http_status(status: grpc.StatusCode) -> None:
    class Failure(grpc.RpcError):  # type: ignore[misc]
        def code(self) -> grpc.StatusCode:
            return status

        def details(self) -> str:
            return "why"

        def trailing_metadata(self) -> None:
            return None

    error = from_google(exceptions.from_grpc_error(Failure()), "A.B", "projects/p")
    name, code = GRPC_CODES[status.value[0]]
    assert (error.status, error.code, error.method, error.resource) == (name, code, "A.B", "projects/p")
    assert name == status.name
    assert "why" in str(error)
    assert from_status(status_pb2.Status(code=status.value[0], message="why"), "A.B", "x").code == code


def test_retry_info_is_read() -> None:
    details = [error_details_pb2.RetryInfo(retry_delay={"seconds": 2, "nanos": 500_000_000})]
    error = exceptions.ResourceExhausted("slow", errors=(), details=details)
    assert from_google(error, "A.B", "x").retry_after == 2.5


@pytest.mark.parametrize(
    ("code", "body", "expected_code", "status", "message"),
    [
        (404, b'{"error":{"code":404,"message":"no","status":"NOT_FOUND"}}', 404, "NOT_FOUND", "no"),
        (409, b'{"error":{"message":"busy","errors":[{"reason":"conflict"}]}}', 409, "conflict", "busy"),
        (403, b'{"error":{"message":"x","errors":[{"reason":"rateLimitExceeded"}]}}', 429, "rateLimitExceeded", "x"),
        (403, b'{"error":{"message":"x","errors":[{"reason":"forbidden"}]}}', 403, "forbidden", "x"),
        (404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}', 404, "MANIFEST_UNKNOWN", "unknown"),
        (502, b"<html>Bad Gateway", 502, "", "Bad Gateway"),
        (500, b"", 500, "", "without a message"),
        (500, b"[1]", 500, "", "without a message"),
        (500, b'{"error":"invalid_grant"}', 500, "", "invalid_grant"),
        (500, b"\xff\xfe", 500, "", ""),
    ],
)
def test_every_shape_of_a_reply_is_read(code: int, body: bytes, expected_code: int, status: str, message: str) -> None:
    error = from_reply(code, {"Retry-After": "7"}, body, "m", "r")
    assert (error.code, error.status, error.retry_after) == (expected_code, status, 7)
    assert message in str(error)


@pytest.mark.parametrize("raw", ["soon", "-1", "1e9", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_strange_retry_after_is_ignored(raw: str) -> None:
    assert from_reply(503, {"Retry-After": raw}, b"", "m", "r").retry_after is None


def test_a_long_message_is_cut() -> None:
    assert len(str(from_reply(500, {}, b'{"error":{"message":"' + b"x" * 9000 + b'"}}', "m", "r"))) < 800
