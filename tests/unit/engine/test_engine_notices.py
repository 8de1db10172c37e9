"""Events of a turn: one for each reason when it appears, none for a retry, a restart or what passes by itself."""

from __future__ import annotations

import asyncio

import pytest

from agui_operator.core.errors import CloudError, UserError
from engine_fakes import Bench, sample


async def told(bench: Bench, reason: str) -> list[str]:
    for _ in range(20):
        await asyncio.sleep(0)
    return [e["message"] for e in bench.kube.events if e["reason"] == reason]


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_missing_secret_is_told_once_however_often_it_is_looked_for(bench: Bench) -> None:
    bench.cloud.down = UserError("spec.backend.secrets[0]: secret x does not exist", "NotFound")  # type: ignore[arg-type]
    for _ in range(3):
        await bench.turn()
    assert await told(bench, "NotFound") == ["spec.backend.secrets[0]: secret x does not exist"]
    bench.restart()
    bench.cloud.down = UserError("spec.backend.secrets[0]: secret x does not exist", "NotFound")  # type: ignore[arg-type]
    await bench.turn()
    assert len(await told(bench, "NotFound")) == 1, "not even after a restart"


async def test_an_invalid_spec_and_a_refused_request_are_told_once(bench: Bench) -> None:
    await bench.settle()
    bench.kube.edit(backend={"image": ""})
    bench.kube.deliver()
    for _ in range(2):
        await bench.turn()
    (message,) = await told(bench, "InvalidSpec")
    assert "spec.backend.image" in message
    bench.kube.edit(**sample("release-v2.yaml"))
    bench.kube.annotate(retry="true")
    await bench.settle()
    (message,) = await told(bench, "RequestRefused")
    assert message.startswith("retry refused")


async def test_an_outage_is_no_event(bench: Bench) -> None:
    bench.cloud.down = CloudError(503, "away")
    for _ in range(3):
        await bench.turn()
    assert await told(bench, "CloudUnavailable") == []
