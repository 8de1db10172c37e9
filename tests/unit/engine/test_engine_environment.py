"""An environment is looked at on a schedule, its status says what the last look found, and nothing is written twice."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from agui_operator.api.environment import AgUiEnvironmentSpec
from agui_operator.core.errors import CloudError
from agui_operator.engine.cluster.kube import Kube, KubeError
from agui_operator.engine.environment.reconcile import EnvironmentEngine
from agui_operator.engine.environment.status import EnvironmentLook, status_of
from agui_operator.engine.status_keeper import Known
from agui_operator.gcp.transport.clients import Cloud
from engine_fakes import NOW, FakeDirectory, Json, merged

RESYNC = 300.0
BUCKET = {"kind": "Bucket", "name": "assets", "state": "Present"}
MISSING = BUCKET | {"state": "Missing"}
DOWN = CloudError(503, "away")


@dataclass
class World:
    """The API server, the cloud and the directory for one environment."""

    found: list[dict[str, str]] | Exception = field(default_factory=lambda: [BUCKET])
    directory: FakeDirectory = field(default_factory=FakeDirectory)
    refusals: list[Exception] = field(default_factory=list)
    writes: int = 0
    looks: int = 0

    def __post_init__(self) -> None:
        meta = {"namespace": "demo", "name": "local", "uid": "uid-env", "generation": 1}
        self.body: Json = {"metadata": meta, "spec": {}}
        self.restart()

    def restart(self) -> None:
        kube, cloud = cast(Kube, self), cast(Cloud, None)
        self.engine = EnvironmentEngine(kube, cloud, self.directory, RESYNC, lambda: NOW)
        self.engine._objects["uid-env"] = Known(self.body, dict(self.body.get("status") or {}))

    async def request(self, method: str, path: str, body: Json, content_type: str) -> Json:
        if self.refusals:
            raise self.refusals.pop(0)
        assert (method, path.endswith("/demo/aguienvironments/local/status")) == ("PATCH", True)
        assert body["metadata"] == {"uid": "uid-env"}
        self.body = merged(self.body, {"status": body["status"]})
        self.writes += 1
        return self.body

    async def observe(self, cloud: Cloud, spec: AgUiEnvironmentSpec) -> list[dict[str, str]]:
        self.looks += 1
        if isinstance(self.found, Exception):
            raise self.found
        return list(self.found)

    async def turn(self) -> float:
        return await self.engine.turn("uid-env")

    @property
    def ready(self) -> tuple[str, str, str]:
        condition = self.body["status"]["conditions"][0]
        return condition["status"], condition["reason"], condition["message"]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr("agui_operator.engine.environment.presence.observe", made.observe)
    return made


async def test_what_is_created_later_is_found_without_a_change_of_the_object(world: World) -> None:
    world.found = [MISSING]
    assert await world.turn() <= 60, "somebody is about to create it"
    assert world.ready == ("False", "Missing", "not found: Bucket assets; create it or correct the name")
    world.found = [BUCKET]
    assert 240 <= await world.turn() <= RESYNC
    assert world.ready == ("True", "Observed", "All 1 referenced resources exist")
    world.found = [BUCKET | {"state": "Suspended"}]
    await world.turn()
    assert world.ready[2].startswith("not found: Bucket assets (Suspended)")


async def test_failed_looks_are_retried_with_back_off_and_end_in_what_is_there(world: World) -> None:
    await world.turn()
    world.found = DOWN
    assert [await world.turn() for _ in range(4)] == [1, 2, 4, 8]
    assert world.ready[:2] == ("Unknown", "NotObserved")
    assert "away" in world.ready[2]
    assert world.body["status"]["resources"] == [BUCKET], "the last look is all that is known"
    world.found = [BUCKET]
    await world.turn()
    assert world.ready[:2] == ("True", "Observed")
    world.found = DOWN
    assert await world.turn() == 1, "the back-off begins anew"


async def test_an_idle_environment_is_looked_at_and_not_written(world: World) -> None:
    for _ in range(3):
        await world.turn()
    assert (world.looks, world.writes) == (3, 1)
    world.restart()
    await world.turn()
    assert (world.looks, world.writes) == (4, 1), "not even after a restart"


async def test_an_invalid_spec_is_said_and_not_looked_for(world: World) -> None:
    world.directory.spec, world.directory.error = None, "AgUiEnvironment demo/local is invalid: spec.region"
    await world.turn()
    assert world.ready == ("False", "InvalidSpec", "AgUiEnvironment demo/local is invalid: spec.region")
    assert world.looks == 0


async def test_a_write_that_fails_is_retried(world: World) -> None:
    world.refusals = [ConnectionError("down"), KubeError(404, "gone")]
    assert await world.turn() == 1
    assert "status" not in world.body
    assert await world.turn() > 60, "an object that is gone needs no status"
    world.restart()
    await world.turn()
    assert world.ready[:2] == ("True", "Observed")


async def test_an_internal_error_is_logged_and_retried(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.found = KeyError("x")
    assert await world.turn() == 1
    assert "internal error" in caplog.text
    world.found = [BUCKET]
    await world.turn()
    assert world.ready[0] == "True"


async def test_an_environment_that_left_the_directory_is_left_alone(world: World) -> None:
    world.directory.spec = None
    await world.turn()
    assert (world.looks, world.writes) == (0, 0)


def test_the_time_of_a_condition_moves_only_with_its_status() -> None:
    first = status_of(EnvironmentLook((MISSING,)), {}, 1, NOW)
    later = NOW.replace(hour=13)
    second = status_of(EnvironmentLook((MISSING, MISSING)), first, 2, later)["conditions"][0]
    assert (second["lastTransitionTime"], second["observedGeneration"]) == ("2026-01-01T12:00:00Z", 2)
    third = status_of(EnvironmentLook(), first, 2, later)["conditions"][0]
    assert (third["status"], third["lastTransitionTime"]) == ("True", "2026-01-01T13:00:00Z")


# --- every world -----------------------------------------------------------------------------------------------------

CLOUDS: dict[str, list[dict[str, str]] | Exception] = {
    "all there": [BUCKET],
    "missing": [MISSING],
    "down": DOWN,
    "forbidden": CloudError(403, "no right"),
    "slow": TimeoutError("slow"),
}
WRITES = {"written": None, "refused": ConnectionError("down")}


def stories() -> Iterator[tuple[tuple[str, str, bool], ...]]:
    """Three looks in a row: what the cloud answers, whether the write succeeds, whether the operator restarts after."""
    return itertools.product(itertools.product(CLOUDS, WRITES, (False, True)), repeat=3)


@pytest.mark.no_cover  # a measured run takes twice as long; the tests above reach the same branches
async def test_after_any_story_a_good_look_leaves_the_truth_and_then_nothing_to_write(world: World) -> None:
    for story in stories():
        world.body.pop("status", None)
        world.restart()
        for cloud, write, restarts in story:
            refusal = WRITES[write]
            world.found, world.refusals = CLOUDS[cloud], [] if refusal is None else [refusal]
            assert 0 < await world.turn() <= RESYNC
            if restarts:
                world.restart()
        for cloud, expected in (("missing", "Missing"), ("all there", "Observed")):
            world.found, world.refusals = CLOUDS[cloud], []
            await world.turn()
            assert world.ready[1] == expected, story
            writes = world.writes
            await world.turn()
            assert world.writes == writes, story


async def test_the_loop_looks_again_by_itself_and_ends_with_the_object(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.engine, "_resync", 0.02)
    world.engine.forget("uid-env")
    world.engine.seen(world.body)
    world.engine.seen(world.body)
    await until(lambda: world.looks >= 3)
    assert world.writes == 1
    world.engine.forget("uid-env")
    await until(lambda: len(world.engine._loops) == 0)
    world.engine.seen(world.body)
    world.engine.close()
    await until(lambda: len(world.engine._loops) == 0)


async def until(test: Any) -> None:
    async with asyncio.timeout(5):
        while not test():  # noqa: ASYNC110 - looks count, nobody signals them
            await asyncio.sleep(0.005)
