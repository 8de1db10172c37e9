"""The status of a policy is written when it says anything new, and survives refusals and restarts."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from agui_operator.engine.cluster.kube import Kube, KubeError
from agui_operator.engine.policies import PolicyEngine
from agui_operator.engine.status_keeper import Known
from engine_fakes import NOW, Json, merged, sample


class World:
    def __init__(self) -> None:
        meta = {"name": "tests", "uid": "uid-p", "generation": 1}
        self.body: Json = {"metadata": meta, "spec": sample("policy.yaml")}
        self.refusals: list[Exception] = []
        self.namespaces = {"demo"}
        self.writes = 0
        self.restart()

    def restart(self) -> None:
        self.engine = PolicyEngine(cast(Kube, self), lambda: self.namespaces, 300.0, lambda: NOW)

    async def request(self, method: str, path: str, body: Json, content_type: str) -> Json:
        if self.refusals:
            raise self.refusals.pop(0)
        assert (method, path) == ("PATCH", "/apis/agui.dev/v1alpha1/aguipolicies/tests/status")
        self.body = merged(self.body, {"status": body["status"]})
        self.writes += 1
        return self.body

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    @property
    def ready(self) -> str:
        return str(self.body["status"]["conditions"][0]["reason"])


@pytest.fixture
async def world() -> Any:
    made = World()
    yield made
    made.engine.close()


async def test_a_policy_is_told_once_where_it_applies(world: World) -> None:
    world.engine.seen(world.body)
    await world.settle()
    assert (world.ready, world.body["status"]["namespaces"]) == ("Accepted", ["demo"])
    world.engine.seen(world.body)  # its own write
    await world.settle()
    world.engine.close()
    world.restart()
    world.engine.seen(world.body)
    await world.settle()
    assert world.writes == 1, "not even after a restart"
    world.namespaces = set()
    world.engine.refresh()
    await world.settle()
    assert (world.writes, world.body["status"]["namespaces"]) == (2, [])


async def test_an_invalid_policy_says_so(world: World) -> None:
    world.body["spec"] = {"namespaces": 7}
    world.engine.seen(world.body)
    await world.settle()
    assert world.ready == "InvalidSpec"
    world.body = merged(world.body, {"spec": sample("policy.yaml"), "metadata": {"generation": 2}})
    world.engine.seen(world.body)
    await world.settle()
    assert (world.ready, world.body["status"]["observedGeneration"]) == ("Accepted", 2)


async def test_a_write_that_fails_is_retried_with_back_off(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.engine._objects["uid-p"] = Known(world.body)
    world.refusals = [KubeError(403, "no right"), ConnectionError("down"), KeyError("x"), KubeError(404, "gone")]
    assert [await world.engine.turn("uid-p") for _ in range(4)] == [1, 2, 4, 300]
    assert "policy tests could not be checked" in caplog.text
    assert "internal error" in caplog.text


async def test_a_policy_that_is_gone_is_forgotten(world: World) -> None:
    world.engine.seen(world.body)
    await world.settle()
    world.engine.forget("uid-p")
    await world.settle()
    world.engine.refresh()
    assert len(world.engine._loops) == 0
