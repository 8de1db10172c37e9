"""What is told of a phase change: a sentence, an Event, a metric; and that a lost Event costs nothing else."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from agui_operator.core.errors import LeaseLost
from agui_operator.core.memory import Cause, HistoryEntry, Memory
from agui_operator.core.rollout import TRANSITIONS, Event, Phase
from agui_operator.engine.cluster import metrics
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
            "A rollout has started: images and secret versions are being resolved",
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
            "A new rollout is due (SpecChanged) after Healthy",
        ),
        (FLYING, replace(FLYING, phase=Phase.PAUSED), Event.HELD, "Release 2 (bbbb): Progressing -> Paused (Held)"),
        (Memory(), Memory(phase=Phase.SUSPENDED), Event.SUSPENDED, "A rollout: Pending -> Suspended (Suspended)"),
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


@pytest.mark.parametrize("fault", [KubeError(403, "no"), ConnectionError("down"), LeaseLost("gone")])
async def test_an_event_that_can_not_be_sent_holds_nothing_up(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    kube = FakeKube()
    kube.faults["post_event"] = [fault]
    recorder = Recorder(kube.as_kube(), lambda: NOW)
    for step in (2, 3):
        move(recorder, FLYING, replace(FLYING, step=step), Event.STEP_PASSED)
    (event,) = await sent(kube, 1)
    assert "was not recorded" in caplog.text
    assert event["reason"] == "Progressing"


async def test_too_many_events_are_dropped_and_said_so(caplog: pytest.LogCaptureFixture) -> None:
    kube = FakeKube()
    recorder = Recorder(kube.as_kube(), lambda: NOW)
    for number in range(1002):
        recorder.post("demo", "concierge", "uid-1", "Normal", "Healthy", f"message {number}")
    assert "message 1001" in caplog.text
    for _ in range(1100):
        await asyncio.sleep(0)
    assert len(kube.events) == 1000


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
