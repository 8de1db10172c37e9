"""The engine keeps a release in its place, settles whose the service is, and waits with a withdrawn permission."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from agui_operator.api.conditions import ConditionType, Reason
from agui_operator.api.environment import AgUiEnvironmentSpec
from agui_operator.core.errors import NotOwned
from agui_operator.core.names import service_name
from agui_operator.core.place import PlaceRecord
from agui_operator.core.snapshot import Blocker
from agui_operator.engine.cluster.access import cluster_id
from agui_operator.engine.cluster.kube import Kube, KubeError
from agui_operator.engine.deployment import cache as caches
from agui_operator.engine.deployment.placing import Placer
from agui_operator.engine.deployment.scope import Scope
from agui_operator.engine.environment.status import EnvironmentLook, deletion_status, status_of
from agui_operator.engine.tasks import Tasks
from engine_fakes import NOW, Bench

FIELDS = {"region": "europe-west1"}


class FakePlacer(Placer):
    """Settles on the place where the environment says; `refusal` is raised."""

    def __init__(self) -> None:
        self.settled, self.refusal = 0, ""

    async def settle(self, scope: Scope) -> PlaceRecord:
        self.settled += 1
        if self.refusal:
            raise NotOwned(self.refusal)
        return PlaceRecord("demo", scope.names.service, scope.names.owner, scope.place)


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.engine._placer = FakePlacer()
    return bench


def placer(bench: Bench) -> FakePlacer:
    return cast(FakePlacer, bench.engine._placer)


def moved(spec: AgUiEnvironmentSpec | None) -> AgUiEnvironmentSpec:
    assert spec is not None
    return spec.model_copy(update=FIELDS)


async def test_the_place_is_settled_once_and_remembered(bench: Bench) -> None:
    assert await bench.settle() == "Healthy"
    place = bench.kube.status["place"]
    assert (place["service"], place["environment"]) == (service_name("demo", "concierge"), "demo")
    assert place["edge"]["urlMap"]
    assert placer(bench).settled == 1
    bench.restart()
    bench.engine._placer = again = FakePlacer()
    assert await bench.settle() == "Healthy"
    assert again.settled == 0


async def test_at_rest_a_move_is_refused_and_a_new_release_does_not_start(bench: Bench) -> None:
    await bench.settle()
    home = bench.directory.spec
    bench.directory.spec = moved(home)
    bench.kube.edit(version="2.2.2", backend={"env": [{"name": "NEW", "value": "1"}]})
    assert await bench.settle() == "Pending"
    assert bench.kube.condition("EnvironmentReady")["reason"] == "PlaceChanged"
    assert bench.kube.condition("Ready")["reason"] == "PlaceChanged"
    assert bench.kube.status["place"]["region"] == "us-central1"
    assert bench.engine.scope(bench.cache, bench.kube.body).names.region == "us-central1"
    bench.directory.spec = home
    assert await bench.settle() == "Healthy"


async def test_without_its_environment_a_release_knows_its_place_after_a_restart(bench: Bench) -> None:
    await bench.settle()
    bench.directory.spec = None
    bench.restart()
    scope = bench.engine.scope(bench.cache, bench.kube.body)
    assert scope.place.region == "us-central1"
    assert [b.reason for b in scope.blockers] == [Reason.ENVIRONMENT_NOT_READY]


async def test_a_name_that_is_taken_is_told_and_asked_for_again(bench: Bench) -> None:
    placer(bench).refusal = "Cloud Run service x belongs to y"
    for _ in range(3):
        await bench.turn()
    assert bench.kube.condition("Ready")["reason"] == "NotOwned"
    assert not bench.cloud.actions, "before anything is done"
    placer(bench).refusal = ""
    assert await bench.settle() == "Healthy"


async def test_a_service_that_got_another_owner_by_hand_is_told(bench: Bench) -> None:
    await bench.settle()
    service = bench.cloud.world.service
    assert service is not None
    bench.cloud.world = replace(bench.cloud.world, service=replace(service, owner="somebody"))
    bench.cache.drift_due = 0.0
    await bench.turn()
    assert bench.kube.condition("Ready")["reason"] == "NotOwned"
    assert "agui.dev/adopt" in bench.kube.status["message"]
    before = placer(bench).settled
    await bench.turn()
    assert placer(bench).settled == before + 1, "whether it may be taken over is asked again"


async def test_a_conflict_holds_a_release_before_it_starts(bench: Bench) -> None:
    bench.directory.rivals = (Blocker(ConditionType.ENVIRONMENT_READY, Reason.HOST_CONFLICT, "taken", "other host"),)
    assert await bench.settle() == "Pending"
    assert bench.kube.condition("EnvironmentReady")["reason"] == "HostConflict"
    assert not bench.cloud.actions


async def test_a_permission_that_comes_back_in_time_costs_nothing() -> None:
    bench = Bench()
    clock = [NOW]
    bench.clock = lambda: clock[0]
    bench.restart()
    bench.engine._scopes._grace = timedelta(seconds=60)
    await bench.settle()
    bench.kube.edit(
        version="3.0.0",
        backend={"env": [{"name": "NEW", "value": "1"}]},
        strategy={"canary": {"steps": [{"setWeight": 20}, {"pause": {}}]}},
    )
    assert await bench.settle() == "Paused"
    allowed, bench.directory.allowed = bench.directory.allowed, ()
    await bench.turn()
    assert bench.kube.status["phase"] == "Paused"
    assert "rolled back at" in bench.kube.condition("SpecAccepted")["message"]
    bench.directory.allowed = allowed
    await bench.turn()
    assert bench.kube.condition("SpecAccepted")["status"] == "True"
    bench.directory.allowed = ()
    clock[0] += timedelta(seconds=61)
    await bench.turn()
    assert bench.kube.status["phase"] == "Paused", "the grace begins again"
    clock[0] += timedelta(seconds=60)
    await bench.settle()
    assert bench.kube.status["history"][0]["outcome"] == "RolledBack"
    bench.engine.forget("uid-1")


def test_who_waits_for_whom_when_an_environment_is_deleted() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    before = status_of(EnvironmentLook(), {}, 1, now)
    blocked = deletion_status(["shop"], before, 2, now)
    kinds = {c["type"]: c for c in blocked["conditions"]}
    assert set(kinds) == {"Ready", "Reconciling", "Stalled", "DeletionBlocked"}
    assert (kinds["DeletionBlocked"]["status"], kinds["DeletionBlocked"]["reason"]) == ("True", "DeletionBlocked")
    assert "shop" in kinds["DeletionBlocked"]["message"]
    free = deletion_status([], blocked, 2, now)
    assert [c["status"] for c in free["conditions"] if c["type"] == "DeletionBlocked"] == ["False"]
    assert deletion_status(["shop"], blocked, 2, now + timedelta(1)) == blocked


async def test_the_identity_of_the_cluster_is_waited_for() -> None:
    answers: list[Any] = [KubeError(403, "forbidden"), ConnectionError("down"), {"metadata": {"uid": "c-1"}}]

    class Api:
        async def request(self, *_: Any, **__: Any) -> Any:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

    async def at_once(_: float) -> None:
        return None

    assert await cluster_id(cast(Kube, Api()), at_once) == "c-1"


async def test_an_operation_that_takes_long_is_not_believed_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    cache = bench.cache
    cache.operations.start("job/x", asyncio.sleep(60))
    assert cache.is_known("job/x")
    assert cache.is_awaited("job/x")
    monkeypatch.setattr(caches, "_AWAITED", 0.0)
    assert not cache.is_known("job/x")
    assert not cache.is_awaited("job/absent")
    cache.close()


async def test_work_that_left_and_work_that_ended() -> None:
    tasks = Tasks()
    tasks.start("a", asyncio.sleep(0))
    tasks.start("b", asyncio.sleep(60))
    assert tasks.age("b") < 5
    tasks.leave("b")
    assert "b" not in tasks
    await tasks.wait()
    await asyncio.sleep(0)
    assert len(tasks) == 0
