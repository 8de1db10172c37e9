"""A turn of the engine: intent before effect, one write when something changed, faults as conditions, and a crash
at any point that costs nothing."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from agui_operator.core.actions import PointerSet, TrafficSplit
from agui_operator.core.errors import CloudError, LeaseLost, NotOwned, UserError
from agui_operator.core.rollout import Phase
from agui_operator.core.snapshot import BackupView
from agui_operator.core.traffic import Target
from agui_operator.engine.cluster import metrics
from agui_operator.engine.cluster.kube import KubeError
from agui_operator.engine.deployment.reconcile import is_older
from agui_operator.engine.deployment.report import Reporter
from agui_operator.engine.deployment.shared import first_due
from engine_fakes import NOW, Bench, FakeDirectory, FakeKube, sample

SECOND = {"version": "2.0.0", "backend": {"image": "us-central1-docker.pkg.dev/demo/agui/concierge:v3"}}
PAUSES = [{"setWeight": 10}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def healthy(bench: Bench) -> Bench:
    assert await bench.settle() == "Healthy"
    bench.kube.log.clear()
    return bench


# --- the ordinary way ------------------------------------------------------------------------------------------------


async def test_a_first_release_is_written_before_it_is_done_phase_by_phase(bench: Bench) -> None:
    assert await bench.settle() == "Healthy"
    assert [e for e in bench.kube.log if not e.startswith("status")] == [
        "BackupTaken",
        "JobDefined",
        "ExecutionStarted",
        "AssetsPublished",
        "RevisionStaged",
        "PointerSet",
        "PointerSet",
    ]
    phases = {
        "BackupTaken": "BackingUp",
        "JobDefined": "Migrating",
        "ExecutionStarted": "Migrating",
        "AssetsPublished": "Publishing",
        "RevisionStaged": "Staging",
    }
    pointing = iter(["Staging", "Promoting"])  # shown to requests that name it, then to everybody
    written = ""
    for entry in bench.kube.log:
        if entry.startswith("status"):
            written = entry.removeprefix("status ")
        else:
            due = next(pointing) if entry == "PointerSet" else phases[entry]
            assert written == due, f"{entry} was done while the status said {written}"


async def test_an_idle_object_is_neither_written_nor_looked_at_closely(bench: Bench) -> None:
    await healthy(bench)
    delay = await bench.turn()
    assert bench.kube.log == []
    assert delay == pytest.approx(first_due("uid-1", 300), abs=5)
    drift_looks = bench.cloud.drift_looks
    await bench.turn()
    assert bench.cloud.drift_looks == drift_looks, "not before the resync is due"


async def test_no_patch_says_what_is_known_already(bench: Bench) -> None:
    await bench.settle()
    assert all(bench.kube.patches)
    assert len(bench.kube.patches) == len([e for e in bench.kube.log if e.startswith("status")])
    cache = bench.cache
    assert cache.status["phase"] == bench.kube.status["phase"] == "Healthy"


async def test_a_restart_of_an_idle_operator_writes_nothing(bench: Bench) -> None:
    await healthy(bench)
    bench.restart()
    await bench.turn()
    assert bench.kube.log == []


async def test_a_second_release_moves_traffic_step_by_step_and_a_failed_one_comes_back_at_once(bench: Bench) -> None:
    await healthy(bench)
    bench.kube.edit(**SECOND)
    assert await bench.settle() == "Healthy"
    splits = [a for a in bench.cloud.actions if isinstance(a, TrafficSplit)]
    assert [a.traffic[1].percent for a in splits] == [10, 50, 100]
    bench.cloud.failing = {"conversation"}
    bench.kube.edit(version="3.0.0", backend={"timeoutSeconds": 77})
    bench.cloud.urgent.clear()
    assert await bench.settle() == "RolledBack"
    assert bench.cloud.urgent[-1] is True, "a roll-back may use the reserved quota"
    assert bench.kube.condition("SmokePassed")["reason"] == "SmokeFailed"
    assert bench.kube.condition("Stalled")["status"] == "True"


async def test_drift_is_told_and_taken_back_when_it_is_due(bench: Bench) -> None:
    await healthy(bench)
    bench.cloud.world = replace(bench.cloud.world, pointer=None)
    bench.cache.drift_due = 0.0
    await bench.turn()
    assert [type(a) for a in bench.cloud.actions[-1:]] == [PointerSet]
    told = [c for p in bench.kube.patches for c in p.get("conditions", ()) if c["type"] == "DriftFree"]
    differs = "the URL map does not show the page of the stable release"
    assert ("False", f"{differs}; PointerSet") in [(c["status"], c["message"]) for c in told]
    assert bench.kube.condition("Ready")["reason"] == "Drifted", "it was corrected, and not looked at since"
    assert bench.cache.drift_due - time.monotonic() <= 10
    bench.cache.drift_due = 0.0
    await bench.turn()
    assert bench.kube.condition("DriftFree")["status"] == "True"


async def test_ready_is_false_while_users_were_moved_by_hand_and_spec_suspend_leaves_them_there(bench: Bench) -> None:
    """`kubectl wait --for=condition=Ready` is about what users get."""
    await healthy(bench)
    bench.kube.edit(suspend=True)
    await bench.settle()
    assert bench.kube.condition("Ready")["status"] == "True", "the release serves, whatever is not started"
    service = bench.cloud.world.service
    assert service is not None
    moved = (Target(service.traffic[0].revision, 30), Target("other-x", 70))
    bench.cloud.world = replace(bench.cloud.world, service=replace(service, traffic=moved, serving=moved))
    bench.cache.drift_due = 0.0
    await bench.turn()
    for _ in range(2):
        ready, stalled, promoted = (bench.kube.condition(kind) for kind in ("Ready", "Stalled", "Promoted"))
        assert (ready["status"], ready["reason"], stalled["status"]) == ("False", "Drifted", "True")
        assert "70 % of the traffic is not on revision" in ready["message"]
        assert "while spec.suspend is true: set it to false, or move the users back" in ready["message"]
        assert (promoted["status"], bench.kube.condition("DriftFree")["status"]) == ("False", "False")
        assert "users to be moved back" in bench.kube.status["waitingFor"]["what"]
        await bench.turn()  # without a look
    bench.kube.edit(suspend=False)
    await bench.turn()
    assert bench.kube.condition("Ready")["message"].endswith("; it is being restored")
    bench.cache.drift_due = 0.0
    await bench.settle()
    assert bench.kube.condition("Ready")["status"] == "True"


async def test_an_edit_at_rest_is_compared_with_the_cloud_at_once(bench: Bench) -> None:
    """Alert limits make no release: they are applied now and not at the next comparison."""
    await healthy(bench)
    looks = bench.cloud.drift_looks
    bench.kube.edit(historyLimit=7)
    await bench.turn()
    assert bench.cloud.drift_looks == looks + 1
    assert bench.kube.condition("DriftFree")["status"] == "True"


# --- requests --------------------------------------------------------------------------------------------------------


async def test_a_request_is_answered_in_the_status_before_it_is_taken_off(bench: Bench) -> None:
    await healthy(bench)
    bench.kube.annotate(abort="true")
    await bench.settle()
    assert bench.kube.log == ["status Healthy", "removed agui.dev/abort"]
    assert bench.kube.status["lastRequest"]["accepted"] is False
    assert bench.kube.object["metadata"]["annotations"] == {}


async def test_a_request_is_obeyed_once_though_the_watch_is_slow(bench: Bench) -> None:
    """The body that the loop has may still carry an annotation that was answered and removed."""
    await healthy(bench)
    bench.kube.edit(**SECOND, strategy={"canary": {"steps": PAUSES, "analysis": None}})
    assert await bench.settle() == "Paused"
    bench.kube.annotate(promote="true")
    bench.kube.watch = False
    assert await bench.settle() == "Paused"
    assert bench.kube.status["rollout"]["step"] == 3
    assert bench.kube.status["lastRequest"]["accepted"] is True
    bench.kube.deliver()
    await bench.settle()
    assert bench.kube.status["rollout"]["step"] == 3
    bench.kube.annotate(promote="true")
    bench.kube.deliver()
    await bench.settle()
    assert bench.kube.status["rollout"]["step"] == 4, "the same request made again is another one"


async def test_a_request_is_obeyed_once_though_its_annotation_could_not_be_removed(bench: Bench) -> None:
    await healthy(bench)
    bench.kube.edit(**SECOND, strategy={"canary": {"steps": PAUSES, "analysis": None}})
    await bench.settle()
    bench.kube.annotate(promote="true")
    bench.kube.faults["remove_annotation"] = [ConnectionError("down"), ConnectionError("down")]
    assert await bench.settle() == "Paused"
    assert bench.kube.status["rollout"]["step"] == 3
    assert bench.kube.object["metadata"]["annotations"] == {}


async def test_of_two_requests_the_second_is_answered_after_the_first(bench: Bench) -> None:
    await healthy(bench)
    bench.kube.annotate(abort="true", retry="true")
    await bench.settle()
    assert [e for e in bench.kube.log if "removed" in e] == ["removed agui.dev/abort", "removed agui.dev/retry"]


@pytest.mark.parametrize(("version", "older"), [("9", True), ("10", False), ("11", False), ("", False), ("x", False)])
def test_resource_versions_are_compared_as_numbers(version: str, older: bool) -> None:
    assert is_older(version, 10) is older


# --- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "reason", "message", "delays"),
    [
        pytest.param(CloudError(503, "away"), "CloudUnavailable", "away", [1, 2, 4], id="an outage is waited out"),
        pytest.param(
            CloudError(429, "slow down", retry_after=9), "CloudUnavailable", "slow", [9, 9, 9], id="as long as asked"
        ),
        pytest.param(UserError("no such image", "NotFound"), "NotFound", "no such", [60, 60], id="a person's mistake"),
        pytest.param(NotOwned("is another's"), "NotOwned", "another's", [60, 60], id="another's object"),
        pytest.param(KeyError("hunter2"), "InternalError", "internal error: KeyError", [1, 2], id="a bug"),
    ],
)
async def test_a_fault_becomes_a_condition_and_a_delay(
    bench: Bench, fault: Exception, reason: str, message: str, delays: list[float]
) -> None:
    bench.cloud.down = fault
    assert [await bench.turn() for _ in delays] == delays
    ready = bench.kube.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", reason)
    assert message in ready["message"]
    assert "hunter2" not in ready["message"], "what a bug says may hold anything"
    assert message in bench.kube.status["waitingFor"]["what"]
    assert bench.cache.failures == len(delays)
    bench.cloud.down = None
    assert await bench.settle() == "Healthy"
    assert (bench.cache.failures, bench.cache.fault) == (0, None)


async def test_after_a_fault_nothing_that_was_seen_is_believed(bench: Bench) -> None:
    views = bench.cache.views
    views.fresh |= {"service", "pointer"}
    views.fresh_release = "x"
    bench.cloud.down = CloudError(503, "away")
    await bench.turn()
    assert (views.fresh, views.fresh_release) == (set(), None)


async def test_a_healthy_release_stays_known_while_the_cloud_is_away(bench: Bench) -> None:
    await healthy(bench)
    bench.cache.drift_due = 0.0
    bench.cloud.down = CloudError(503, "away")
    await bench.turn()
    ready = bench.kube.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("Unknown", "CloudUnavailable")


async def test_a_deadline_is_read_though_the_cloud_is_away() -> None:
    now = [NOW]
    bench = Bench(clock=lambda: now[0])
    bench.cloud.act_faults = [CloudError(503, "away")]
    await bench.turn()
    assert bench.kube.status["phase"] == "BackingUp"
    now[0] = NOW + timedelta(hours=1)
    bench.cloud.down = CloudError(503, "away")
    await bench.turn()
    assert bench.kube.status["phase"] == "RollingBack"
    assert bench.kube.status["rollout"]["cause"]["reason"] == "DeadlineExceeded"


async def test_an_effect_that_fails_is_tried_again_and_what_follows_waits(bench: Bench) -> None:
    bench.cloud.act_faults = [None, CloudError(503, "away")]
    await bench.turn()
    assert [type(a).__name__ for a in bench.cloud.actions] == ["BackupTaken"]
    assert await bench.settle() == "Healthy"
    assert len(bench.cloud.actions) == 7, "nothing was done twice"


@pytest.mark.parametrize("fault", [ConnectionError("down"), KubeError(500, "x"), LeaseLost("gone")])
async def test_without_a_written_intent_nothing_is_done(bench: Bench, fault: Exception) -> None:
    bench.kube.faults["patch_status"] = [fault, fault]
    delay = await bench.turn()
    assert delay is not None
    assert bench.cloud.actions == []
    assert bench.kube.log == []
    assert await bench.settle() == "Healthy"


async def test_a_lost_lease_ends_the_look_at_once(bench: Bench) -> None:
    bench.cloud.down = LeaseLost("gone")
    await bench.turn()
    assert bench.cloud.actions == []
    assert bench.cache.fault is not None
    assert bench.cache.fault.reason == "ClusterUnavailable"


async def test_more_events_than_a_table_without_loops_can_have_are_a_bug(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("agui_operator.engine.deployment.reconcile._CHAIN", 2)
    await bench.turn()
    assert bench.kube.condition("Ready")["reason"] == "InternalError"
    assert "more than 2 events" in caplog.text


# --- what stands in the way ------------------------------------------------------------------------------------------


async def test_an_invalid_spec_names_the_field_and_waits(bench: Bench) -> None:
    bench.kube.edit(backend={"image": ""})
    delay = await bench.turn()
    assert bench.kube.condition("SpecAccepted")["reason"] == "InvalidSpec"
    assert "spec.backend.image" in bench.kube.condition("Ready")["message"]
    assert bench.cloud.actions == []
    assert delay is not None
    bench.kube.edit(**sample("release-v2.yaml"))
    assert await bench.settle() == "Healthy"


def truth_of(bench: Bench, condition: str) -> str:
    return str(bench.kube.condition(condition)["status"])


async def test_without_an_environment_there_is_no_place_to_look_at() -> None:
    now = [NOW]
    bench = Bench(directory=FakeDirectory(spec=None), clock=lambda: now[0])
    assert await bench.turn() == 30.0, "until the grace of a sync is over"
    assert bench.kube.condition("EnvironmentReady")["reason"] == "EnvironmentNotReady"
    assert (truth_of(bench, "Reconciling"), truth_of(bench, "Stalled")) == ("True", "False")
    now[0] += timedelta(minutes=3)
    assert await bench.turn() is None
    assert (truth_of(bench, "Reconciling"), truth_of(bench, "Stalled")) == ("False", "True")
    assert bench.cloud.looks == 0


async def test_the_last_known_place_is_used_while_the_environment_is_gone(bench: Bench) -> None:
    await healthy(bench)
    bench.directory.spec = None
    bench.cache.drift_due = 0.0
    looks = bench.cloud.looks
    await bench.turn()
    assert bench.cloud.looks == looks + 1
    assert bench.kube.condition("EnvironmentReady")["status"] == "False"


async def test_an_object_that_is_being_deleted_is_left_to_the_take_down(bench: Bench) -> None:
    bench.kube.body = {**bench.kube.body, "metadata": {**bench.kube.body["metadata"], "deletionTimestamp": "now"}}
    assert await bench.turn() is None
    assert (bench.cloud.looks, bench.kube.log) == (0, [])


# --- a crash at any point --------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for the end of the process."""


ROLLOUT = ["BackupTaken", "JobDefined", "ExecutionStarted", "AssetsPublished", "RevisionStaged"] + ["PointerSet"] * 2


@pytest.mark.parametrize("after", [False, True], ids=["before the effect", "after the effect"])
@pytest.mark.parametrize("number", range(len(ROLLOUT)), ids=ROLLOUT)
async def test_killed_at_an_action_the_next_process_ends_where_the_first_would_have(
    bench: Bench, number: int, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = bench.cloud.execute
    count = [0]

    async def mortal(*args: Any, urgent: bool) -> None:
        *rest, actions, changed = args
        for action in actions:
            if count[0] == number and not after:
                count[0] += 1
                raise Killed
            await execute(*rest, (action,), changed, urgent=urgent)
            count[0] += 1
            if count[0] == number + 1 and after:
                count[0] += 1
                raise Killed

    monkeypatch.setattr(bench.cloud, "execute", mortal)
    with pytest.raises(Killed):
        await bench.settle()
    bench.restart()
    assert await bench.settle() == "Healthy"
    assert [type(a).__name__ for a in bench.cloud.actions] == ROLLOUT, "each action exactly once"


@pytest.mark.parametrize("number", range(1, 7))
async def test_killed_before_a_status_is_written_the_next_process_goes_on(bench: Bench, number: int) -> None:
    written = bench.kube.patch_status
    count = [0]

    async def mortal(*args: Any) -> None:
        count[0] += 1
        if count[0] == number:
            raise Killed
        await written(*args)

    bench.kube.patch_status = mortal  # type: ignore[method-assign]
    with pytest.raises(Killed):
        await bench.settle()
    bench.restart()
    assert await bench.settle() == "Healthy"
    assert [type(a).__name__ for a in bench.cloud.actions] == ROLLOUT


# --- delays and the end ----------------------------------------------------------------------------------------------


async def test_in_a_timed_pause_the_traffic_is_looked_at_once_a_minute() -> None:
    bench = Bench()
    await healthy(bench)
    steps = [{"setWeight": 10}, {"pause": {"duration": "4m"}}]
    bench.kube.edit(**SECOND, strategy={"canary": {"steps": steps, "analysis": None}})
    delay = None
    for _ in range(20):
        delay = await bench.turn()
        if bench.kube.status["rollout"].get("step") == 1:
            break
    assert delay == pytest.approx(60), "its traffic is looked at every minute"


async def waiter(gate: asyncio.Event) -> None:
    await gate.wait()


async def test_with_a_waiter_under_way_the_loop_looks_by_itself_rarely(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()

    async def started(scope: Any, cache: Any, actions: Any, changed: Any = None, *, urgent: bool) -> None:
        cache.operations.start("backup", waiter(gate))
        bench.cloud.world = replace(bench.cloud.world, backup=BackupView(actions[0].description, None))

    monkeypatch.setattr(bench.cloud, "execute", started)
    assert await bench.turn() == 60, "a minute, or less when the phase's deadline is near"
    assert bench.kube.status["phase"] == "BackingUp"
    gate.set()
    await bench.cache.operations.wait()
    assert await bench.turn() == 5, "nobody rings, so it asks"


async def test_a_forgotten_object_takes_its_waits_with_it(bench: Bench) -> None:
    cache = bench.cache
    ended = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    cache.operations.start("service", wait())
    await asyncio.sleep(0)
    bench.engine.forget("uid-1")
    await asyncio.wait_for(ended.wait(), 1)
    assert bench.engine.cache("uid-1") is not cache
    bench.engine.forget("unknown")


async def test_every_turn_is_counted(bench: Bench) -> None:
    def turns(result: str) -> float:
        return metrics.REGISTRY.get_sample_value("agui_turns_total", {"result": result}) or 0.0

    ok, fault = turns("ok"), turns("fault")
    bench.cloud.down = CloudError(503, "x")
    await bench.turn()
    bench.cloud.down = None
    await bench.turn()
    assert (turns("ok") - ok, turns("fault") - fault) == (1, 1)


async def test_status_of_another_generation_is_taken_over_whole() -> None:
    """A status written by hand or by an older operator does not stop the first turn."""
    kube = FakeKube()
    kube.object["status"] = {"phase": "Nonsense", "rollout": {"step": "x"}, "conditions": "none"}
    kube.deliver()
    assert await Bench(kube=kube).settle() == str(Phase.HEALTHY)


async def test_measurements_alone_are_written_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A canary that measures every second does not write every second; a verdict, or anything else, at once."""
    bench = Bench()
    reporter, cache = Reporter(bench.kube.as_kube()), bench.cache
    scope = bench.engine.scope(cache, bench.kube.body)

    async def written(verdict: str, requests: int, weight: int = 20) -> bool:
        before = len(bench.kube.patches)
        finding = {"verdict": verdict, "message": f"{requests} requests", "values": {}}
        await reporter.write(
            scope, cache, {"message": f"{requests}", "rollout": {"weight": weight, "analysis": finding}}
        )
        return len(bench.kube.patches) > before

    assert await written("Inconclusive", 1)
    assert not await written("Inconclusive", 2)
    assert await written("Inconclusive", 3, weight=50)
    assert not await written("Inconclusive", 4, weight=50)
    assert await written("Passed", 5, weight=50)
    monkeypatch.setattr("agui_operator.engine.deployment.report.MEASURED", 0.0)
    assert await written("Passed", 6, weight=50)
    assert bench.kube.status["message"] == "6"
