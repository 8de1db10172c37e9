"""Fault rules: the right call, as often as asked, before or after its effect."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import grpc
import pytest

from localgcp.kit.errors import ApiError
from localgcp.kit.faults import Faults

API = "google.cloud.run.v2.Services"


async def struck(
    faults: Faults, when: str = "before", method: str = "UpdateService", resource: str = "services/a"
) -> str:
    """Code name of the error at a fault point; "" if the call passes."""
    try:
        await faults.point(when, API, method, resource, method.startswith("Update"))
    except ApiError as error:
        return error.code.name
    return ""


async def test_count_and_skip() -> None:
    faults = Faults()
    faults.add({"method": "Services.*", "code": "UNAVAILABLE", "skip": 1, "count": 2})
    assert [await struck(faults) for _ in range(5)] == ["", "UNAVAILABLE", "UNAVAILABLE", "", ""]


async def test_count_zero_never_ends() -> None:
    faults = Faults()
    faults.add({"code": 503, "count": 0})
    assert {await struck(faults) for _ in range(10)} == {"UNAVAILABLE"}
    faults.clear()
    assert await struck(faults) == ""


@pytest.mark.parametrize(
    ("rule", "call"),
    [
        ({"when": "after"}, {}),
        ({"method": "GetService"}, {}),
        ({"match": "services/b"}, {}),
        ({"writes_only": True}, {"method": "GetService"}),
    ],
)
async def test_other_calls_pass(rule: dict[str, Any], call: dict[str, Any]) -> None:
    faults = Faults()
    faults.add({"code": "INTERNAL", **rule})
    assert await struck(faults, **call) == ""


async def test_rules_wait_for_their_turn() -> None:
    """While the first rule is in force the second is not used up."""
    faults = Faults()
    faults.add({"code": "ABORTED"})
    faults.add({"code": "UNAVAILABLE"})
    assert [await struck(faults) for _ in range(3)] == ["ABORTED", "UNAVAILABLE", ""]


async def test_http_codes_keep_their_status() -> None:
    faults = Faults()
    faults.add({"code": 412})
    with pytest.raises(ApiError) as caught:
        await faults.point("before", "compute", "compute.urlMaps.patch", "", True)
    assert (caught.value.http, caught.value.code) == (412, grpc.StatusCode.FAILED_PRECONDITION)


async def test_delay() -> None:
    faults = Faults()
    faults.add({"delay_ms": 60})
    began = time.monotonic()
    assert await struck(faults) == ""
    assert time.monotonic() - began >= 0.06


async def test_hang_ends_with_the_call() -> None:
    faults = Faults()
    faults.add({"hang": True})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(struck(faults), 0.05)


async def test_kill() -> None:
    victim = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE)
    faults = Faults()
    faults.add({"kill_pid": victim.pid})
    assert await struck(faults) == ""
    assert await asyncio.wait_for(victim.wait(), 10) == -9
