"""What is told of a phase change: a sentence, an Event, a metric; and that a lost Event costs nothing else."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from agui_operator.core.errors import LeaseLost
from agui_operator.core.memory import Cause, HistoryEntry, Memory
from agui_operator.core.rollout import TRANSITIONS, Event, Phase
from agui_operator.engine.cluster import metrics
from agui_operator.engine.cluster.event_queue import EventQueue
from agui_operator.engine.cluster.kube import KubeError
from agui_operator.engine.cluster.records import Recorder, sentence
from engine_fakes import NOW, FakeKube
from world_model import FIRST, SECOND

CAUSE = Cause("SmokeFailed", 'Check "a" failed', Phase.SMOKING, NOW)
FLYING = Memory(phase=Phase.PROGRESSING, step=1, candidate=SECOND, stable=FIRST)


@pytest.mark.parametrize(
    ("before", "after", "event", "said"),
    [
        (
            Memory(),
            Memory(phase=Phase.RESOLVING),
            Event.STARTED,
            "Rollout started: resolving image digests and secret versions",
        ),
        (FLYING, replace(FLYING, step=2), Event.STEP_PASSED, "Release 2 (bbbb): canary step 2 passed"),
        (
            FLYING,
            replace(FLYING, phase=Phase.ROLLING_BACK, cause=CAUSE),
            Event.CHECK_FAILED,
            'Release 2 (bbbb) is being rolled back: Check "a" failed',
        ),
        (
            replace(FLYING, phase=Phase.ROLLING_BACK),
            Memory(phase=Phase.ROLLED_BACK, stable=FIRST, cause=CAUSE),
            Event.RESTORED,
            'Release 2 (bbbb) was rolled back: Check "a" failed',
        ),
        (
            replace(FLYING, phase=Phase.ROLLING_BACK, stable=None),
            Memory(phase=Phase.FAILED, cause=CAUSE),
            Event.NOTHING_PUBLIC,
            'Release 2 (bbbb) failed before it received user traffic: Check "a" failed',
        ),
        (
            replace(FLYING, phase=Phase.BAKING),
            Memory(phase=Phase.HEALTHY, stable=SECOND),
            Event.SUCCEEDED,
            "Release 2 (bbbb) is healthy and stable",
        ),
        (
            Memory(phase=Phase.HEALTHY, stable=FIRST),
            Memory(phase=Phase.PENDING, stable=FIRST),
            Event.SPEC_CHANGED,
            "Spec changed; starting a new rollout",
        ),
        (  # a forbidden spec before any release was made of it: the stable release has nothing to do with it
            Memory(phase=Phase.RESOLVING, stable=FIRST),
            Memory(phase=Phase.ROLLING_BACK, stable=FIRST, cause=CAUSE),
            Event.ABORTED,
            'A rollout is being rolled back: Check "a" failed',
        ),
        (FLYING, replace(FLYING, phase=Phase.PAUSED), Event.HELD, "Release 2 (bbbb) is paused"),
        (Memory(), Memory(phase=Phase.SUSPENDED), Event.SUSPENDED, "Suspended: spec.suspend is true"),
    ],
    ids=lambda value: str(value) if isinstance(value, Event) else "",
)
def test_what_happened_is_one_sentence(before: Memory, after: Memory, event: Event, said: str) -> None:
    assert sentence(before, after, event) == said


def test_every_row_of_the_table_can_be_told() -> None:
    for phase, row in TRANSITIONS.items():
        for event, target in row.items():
            said = sentence(replace(FLYING, phase=phase), replace(FLYING, phase=target, cause=CAUSE), event)
            assert 10 < len(said) < 200


def move(recorder: Recorder, before: Memory, after: Memory, event: Event) -> None:
    recorder.moved("demo", "concierge", "uid-1", before, after, event)


async def sent(kube: FakeKube, count: int) -> list[dict[str, Any]]:
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(kube.events) == count
    return kube.events


async def test_events_stand_in_order_and_say_whom_they_are_about() -> None:
    kube = FakeKube()
    recorder = Recorder(kube.as_kube(), lambda: NOW)
    back = replace(FLYING, phase=Phase.ROLLING_BACK, cause=CAUSE)
    move(recorder, Memory(), Memory(phase=Phase.RESOLVING), Event.STARTED)
    move(recorder, FLYING, back, Event.CHECK_FAILED)
    first, second = await sent(kube, 2)
    assert (first["type"], first["reason"]) == ("Normal", "Resolving")
    assert (second["type"], second["reason"]) == ("Warning", "RollingBack")
    assert second["involvedObject"]["uid"] == "uid-1"
    assert second["involvedObject"]["apiVersion"] == "agui.dev/v1alpha1"
    assert second["lastTimestamp"] == "2026-01-01T12:00:00Z"
    move(recorder, FLYING, replace(FLYING, step=2), Event.STEP_PASSED)
    await sent(kube, 3)


async def test_an_event_that_is_refused_holds_nothing_up(caplog: pytest.LogCaptureFixture) -> None:
    kube = FakeKube()
    kube.faults["post_event"] = [KubeError(403, "no")]
    recorder = Recorder(kube.as_kube(), lambda: NOW)
    for step in (2, 3):
        move(recorder, FLYING, replace(FLYING, step=step), Event.STEP_PASSED)
        await asyncio.sleep(0)
    (event,) = await sent(kube, 1)
    assert "was not recorded" in caplog.text or "were not recorded" in caplog.text
    assert event["reason"] == "Progressing"


@pytest.mark.parametrize("fault", [ConnectionError("down"), LeaseLost("gone")])
async def test_events_outlast_an_api_server_that_is_away_for_a_moment(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    kube, pauses = FakeKube(), asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda _: pauses(0))
    kube.faults["post_event"] = [fault] * 4
    recorder = Recorder(kube.as_kube(), lambda: NOW)
    for number in (1, 2):
        recorder.post("demo", "concierge", "uid-1", "Normal", "Healthy", f"message {number}")
    assert [event["message"] for event in await sent(kube, 2)] == ["message 1", "message 2"]
    kube.faults["post_event"] = [fault] * 5
    recorder.post("demo", "concierge", "uid-1", "Normal", "Healthy", "message 3")
    await sent(kube, 2)
    assert recorder._queue.lost == 1


async def test_a_phase_with_nothing_to_do_becomes_no_event() -> None:
    """Entered and left in one go, before anything was awaited."""
    kube = FakeKube()
    recorder = Recorder(kube.as_kube(), lambda: NOW)
    resolving = Memory(phase=Phase.RESOLVING, candidate=FIRST)
    move(recorder, Memory(), resolving, Event.STARTED)
    before = resolving
    for phase in (Phase.BACKING_UP, Phase.MIGRATING, Phase.PUBLISHING, Phase.STAGING):
        after = replace(resolving, phase=phase)
        move(recorder, before, after, Event.SUCCEEDED)
        before = after
    assert [event["reason"] for event in await sent(kube, 2)] == ["Resolving", "Staging"]
    move(recorder, before, replace(before, phase=Phase.SMOKING), Event.SUCCEEDED)
    move(recorder, before, Memory(phase=Phase.HEALTHY, stable=FIRST), Event.SUCCEEDED)
    assert [event["reason"] for event in await sent(kube, 3)][2:] == ["Healthy"]
    assert not recorder._entered


async def test_a_thousand_rollouts_at_once_keep_what_matters(caplog: pytest.LogCaptureFixture) -> None:
    """The API server accepts nothing until all have ended; every other rollout fails."""
    kube, opened = FakeKube(), asyncio.Event()
    post = kube.post_event

    async def slow(namespace: str, event: Any) -> None:
        await opened.wait()
        await post(namespace, event)

    kube.post_event = slow  # type: ignore[method-assign]
    recorder = Recorder(kube.as_kube(), lambda: NOW)

    async def rollout(number: int) -> None:
        what = "demo", f"shop-{number}", f"uid-{number}"
        resolving = Memory(phase=Phase.RESOLVING, candidate=FIRST)
        recorder.moved(*what, Memory(), resolving, Event.STARTED)
        for step in range(30):
            recorder.moved(*what, replace(FLYING, step=step), replace(FLYING, step=step + 1), Event.STEP_PASSED)
            await asyncio.sleep(0)
        if number % 2:
            recorder.moved(*what, FLYING, replace(FLYING, phase=Phase.ROLLING_BACK, cause=CAUSE), Event.CHECK_FAILED)
            recorder.moved(*what, FLYING, Memory(phase=Phase.ROLLED_BACK, cause=CAUSE), Event.RESTORED)
        else:
            recorder.moved(*what, FLYING, Memory(phase=Phase.HEALTHY, stable=FIRST), Event.SUCCEEDED)

    await asyncio.gather(*(rollout(number) for number in range(1000)))
    opened.set()
    await asyncio.gather(*(lane.sender for lane in recorder._queue._lanes if lane.sender is not None))
    told: dict[str, list[str]] = {}
    for event in kube.events:
        told.setdefault(event["involvedObject"]["uid"], []).append(event["reason"])
    for number in range(1000):
        reasons = [reason for reason in told[f"uid-{number}"] if reason != "Progressing"]
        assert reasons == ["Resolving", *(["RollingBack", "RolledBack"] if number % 2 else ["Healthy"])]
    assert recorder._queue.lost == 30_000 + 2_500 - len(kube.events), "each is sent or counted"
    assert recorder._queue.lost > 10_000
    assert len([r for r in caplog.records if "were not recorded" in r.getMessage()]) == 1, "one warning a minute"


async def test_the_same_fact_that_waits_twice_is_one_event_with_a_count() -> None:
    kube, now = FakeKube(), [NOW]
    recorder = Recorder(kube.as_kube(), lambda: now[0])
    recorder.post("demo", "concierge", "uid-1", "Normal", "Refused", "not now")
    now[0] += timedelta(seconds=5)
    recorder.post("demo", "concierge", "uid-1", "Normal", "Refused", "not now")
    (event,) = await sent(kube, 1)
    assert (event["count"], event["firstTimestamp"], event["lastTimestamp"]) == (
        2,
        "2026-01-01T12:00:00Z",
        "2026-01-01T12:00:05Z",
    )


async def test_lost_events_are_told_once_a_minute_with_their_number(caplog: pytest.LogCaptureFixture) -> None:
    kube = FakeKube()
    queue = EventQueue(kube.as_kube())
    for _ in range(7):
        queue._lose("a reason")
    assert [r.getMessage()[:1] for r in caplog.records] == ["1"]
    queue._report_rest()
    queue._report_rest()
    assert [r.getMessage()[:1] for r in caplog.records] == ["1", "6"]
    assert "a reason" in caplog.text


async def test_long_texts_are_cut_to_what_the_api_server_takes() -> None:
    kube = FakeKube()
    Recorder(kube.as_kube(), lambda: NOW).post("demo", "n" * 90, "u", "Normal", "Healthy", "m" * 5000)
    (event,) = await sent(kube, 1)
    assert len(event["message"]) <= 1024
    assert len(event["metadata"]["generateName"]) <= 58


async def test_phases_and_durations_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    def sample(metric: str, /, **labels: str) -> float:
        return metrics.REGISTRY.get_sample_value(metric, labels) or 0.0

    before = sample("agui_rollout_seconds_sum", outcome="Promoted")
    baking = replace(FLYING, phase=Phase.BAKING)
    done = Memory(phase=Phase.HEALTHY, stable=SECOND, history=(HistoryEntry(SECOND, "Promoted", "", NOW, 42.0),))
    recorder = Recorder(FakeKube().as_kube(), lambda: NOW)
    move(recorder, baking, done, Event.SUCCEEDED)
    assert sample("agui_rollout_seconds_sum", outcome="Promoted") - before == 42
    labels = {"namespace": "demo", "name": "concierge"}
    assert sample("agui_deployment_phase", **labels, phase="Healthy") == 1
    assert sample("agui_deployment_phase", **labels, phase="Baking") == 0
    metrics.PHASES.gone("uid-1")
    record = caplog.records[-1]
    assert (record.__dict__["object"], record.__dict__["release"]) == ("demo/concierge", "bbbb")
    await asyncio.sleep(0)


def phases() -> dict[str, str]:
    (family,) = metrics.PHASES.collect()
    return {s.labels["name"]: s.labels["phase"] for s in family.samples if s.labels["namespace"] == "gauge"}


def test_the_phase_of_an_object_is_known_from_first_sight_until_it_is_gone() -> None:
    """After a restart nothing moves, and alerts on RolledBack have to stay."""
    body = {"metadata": {"namespace": "gauge", "name": "a"}, "status": {"phase": "RolledBack"}}
    metrics.PHASES.first_seen("u-a", body)
    metrics.PHASES.first_seen("u-b", {"metadata": {"namespace": "gauge", "name": "b"}})
    assert phases() == {"a": "RolledBack", "b": "Pending"}
    metrics.PHASES.moved("u-a", "gauge", "a", "Pending")
    metrics.PHASES.first_seen("u-a", body)
    assert phases()["a"] == "Pending", "the watch is behind"
    assert metrics.render().decode().count('namespace="gauge"') == 2, "one series for each object"
    metrics.PHASES.gone("u-a")
    metrics.PHASES.gone("u-b")
    assert phases() == {}
