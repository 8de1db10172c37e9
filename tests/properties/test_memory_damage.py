"""The memory lives in a status that people can edit. It is read back whole, and damage never stops an operator."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agui_operator.api.conditions import Reason
from agui_operator.core.memory import (
    Acknowledged,
    Cause,
    HeldBy,
    HistoryEntry,
    Memory,
    Rejected,
    begin_attempt,
    from_status,
    to_status,
)
from agui_operator.core.past import Promotion
from agui_operator.core.release import Release
from agui_operator.core.rollout import IN_FLIGHT, Phase
from agui_operator.core.snapshot import AnalysisResult, CheckResult, Verdict
from place_model import PLACE, RECORD
from world_model import FIRST, NOW, SECOND

words = st.text("abcXYZ-:/@. ", max_size=12)
ids = st.text("abcdef0123456789", min_size=4, max_size=10)
times = st.integers(0, 10**15).map(lambda us: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=us))
maybe = st.none() | words
releases = st.builds(
    Release,
    id=ids,
    artifact=words,
    fingerprint=words,
    version=words,
    image=words.filter(bool),
    migration_image=maybe,
    migration_target=maybe,
    frontend=maybe,
    secrets=st.dictionaries(words, words, max_size=2),
    schema=maybe,
    requires=maybe,
    alerts=st.dictionaries(words, st.integers() | words, max_size=2),
)
numbers = st.sampled_from([0.0, 0.5, 1.25, 200.0])
checks = st.builds(CheckResult, words, st.none() | st.booleans(), words, st.none() | numbers, st.none() | st.integers())
BARE = replace(RECORD, place=replace(PLACE, edge=None, sql_instance=None, channels={}))
memories = st.builds(
    Memory,
    place=st.sampled_from([None, RECORD, BARE]),
    schema_floor=st.none() | words.filter(bool),
    phase=st.sampled_from(Phase),
    since=st.none() | times,
    started=st.none() | times,
    step=st.integers(0, 20),
    held_by=st.none() | st.sampled_from(HeldBy),
    stable=st.none() | releases,
    undo_to=st.none() | releases,
    cause=st.none() | st.builds(Cause, st.sampled_from(Reason), words, st.sampled_from(Phase), times, st.booleans()),
    rejected=st.none() | st.builds(Rejected, words, words, words, st.sampled_from(Reason), words, times),
    verdicts=st.lists(checks, max_size=3).map(lambda found: {c.name: c for c in found}),
    analysis=st.none()
    | st.builds(AnalysisResult, st.sampled_from(Verdict), words, st.dictionaries(words, numbers, max_size=2)),
    history=st.lists(
        st.builds(HistoryEntry, releases, words, words, times, st.sampled_from([0.0, 0.5, 12.3])), max_size=3
    ).map(tuple),
    promoted=st.lists(
        st.builds(
            Promotion, releases, times, st.none() | words.filter(bool), st.dictionaries(words, words, max_size=2)
        ),
        max_size=3,
    ).map(tuple),
    attempts=st.dictionaries(ids, st.integers(1, 99), max_size=3),
    acknowledged=st.none() | st.builds(Acknowledged, words, words, st.booleans(), words, times),
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # it counts seconds, which a busy machine has fewer of
@given(memories, releases)
def test_a_memory_is_read_back_as_it_was(memory: Memory, candidate: Release) -> None:
    if memory.phase in IN_FLIGHT | {Phase.UNDOING, Phase.ROLLING_BACK}:
        memory = replace(memory, candidate=candidate)
    read = from_status(json.loads(json.dumps(to_status(memory))))
    assert read == memory


def test_a_time_with_another_offset_is_the_same_moment() -> None:
    at = datetime(2026, 1, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    assert from_status({"rollout": {"since": at.isoformat()}}).since == datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert from_status({"rollout": {"since": "2026-01-01T12:00:00"}}).since == datetime(2026, 1, 1, 12, tzinfo=UTC)
    again = to_status(from_status({"rollout": {"since": at.isoformat()}}))
    assert from_status(again).since == at


FULL = to_status(
    Memory(
        phase=Phase.PROGRESSING,
        since=NOW,
        started=NOW,
        step=1,
        held_by=HeldBy.STEP,
        candidate=replace(SECOND, secrets={"A": "1"}, alerts={"x": 1}),
        stable=FIRST,
        undo_to=FIRST,
        cause=Cause("r", "m", Phase.SMOKING, NOW),
        rejected=Rejected("f", "r", "1", "s", "m", NOW),
        verdicts={"a": CheckResult("a", True, "ok", 1.5, 200)},
        analysis=AnalysisResult(Verdict.PASSED, "fine", {"error-rate": 0.5}),
        history=(HistoryEntry(FIRST, "Promoted", "Promoted", NOW, 2.0),),
        promoted=(Promotion(FIRST, NOW, "0000", {"ready": {"http": {"path": "/readyz"}}}),),
        attempts={"bbbb": 2, "aaaa": 1},
        acknowledged=Acknowledged("abort", "true", True, "ok", NOW),
    )
)
rubbish = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | words
    | st.sampled_from(["Smoking", "Passed", "0001-01-01T00:00:00+14:00", "2026-01-01", "1e999", "x"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a document."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(p for key, inner in below for p in places(inner, (*path, key)))]


def damaged(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    if not path:
        return by
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = damaged(value[path[0]], path[1:], by)
    return copy


@given(st.sampled_from(places(FULL)), rubbish)
def test_any_value_may_be_replaced_by_any_other(path: tuple[Any, ...], by: Any) -> None:
    read = from_status(damaged(FULL, path, by))
    again = from_status(json.loads(json.dumps(to_status(read))))
    assert again.phase is read.phase
    assert replace(again, analysis=None, history=()) == replace(read, analysis=None, history=())
    for at in (read.since, read.started, *(entry.at for entry in read.history)):
        assert at is None or at.tzinfo is not None, "a time that can't be compared with now"


@pytest.mark.parametrize(
    "damage",
    [
        {"rollout": {"step": "many"}},
        {"rollout": {"step": -4}},
        {"rollout": {"verdicts": {"a": 5}}},
        {"rollout": {"phase": {"a": 1}}},
        {"history": 5},
        {"rollout": {"analysis": {"verdict": "Passed", "values": 7}}},
        {"rollout": {"analysis": {"verdict": "Passed", "values": {"a": "many", "b": "1e999"}}}},
    ],
    ids=str,
)
def test_damage_that_once_stopped_a_turn(damage: dict[str, Any]) -> None:
    read = from_status(damage)
    assert (read.phase, read.step, read.verdicts, read.history) == (Phase.PENDING, 0, {}, ())
    assert read.analysis is None or read.analysis.values == {}


@pytest.mark.parametrize("phase", sorted(IN_FLIGHT - {Phase.RESOLVING} | {Phase.UNDOING, Phase.ROLLING_BACK}))
def test_a_phase_without_its_release_starts_again(phase: Phase) -> None:
    """No phase after Resolving ends without a candidate; a roll-back to nothing would hide what serves."""
    rollout = {**FULL["rollout"], "phase": phase, "cause": None}
    assert from_status({**FULL, "phase": phase, "rollout": rollout}).phase is phase
    assert from_status({"phase": phase, "rollout": rollout}).phase is Phase.PENDING


def test_a_rollout_that_was_aborted_before_it_had_a_release_is_still_rolled_back() -> None:
    rollout = {**FULL["rollout"], "phase": Phase.ROLLING_BACK}
    assert from_status({"rollout": rollout}).phase is Phase.ROLLING_BACK


# --- every try has an id of its own ----------------------------------------------------------------------------------


def tried(*releases: str) -> tuple[HistoryEntry, ...]:
    """Newest first."""
    return tuple(HistoryEntry(replace(SECOND, id=r), "Failed", "", NOW, 1) for r in releases)


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        pytest.param((), "bbbb", id="never tried"),
        pytest.param(("aaaa", "bbbbc", "bbbb-x"), "bbbb", id="others were tried"),
        pytest.param(("bbbb",), "bbbb-2", id="tried once"),
        pytest.param(("bbbb-3", "bbbb-2"), "bbbb-4", id="the first try fell out of the history"),
        pytest.param(("bbbb-11", "bbbb-10", "bbbb-9"), "bbbb-12", id="numbers, not texts, are compared"),
    ],
)
def test_a_try_is_numbered_after_the_last_one(history: tuple[str, ...], expected: str) -> None:
    candidate = begin_attempt(Memory(history=tried(*history)), SECOND).candidate
    assert candidate is not None
    assert candidate.id == expected


@pytest.mark.parametrize(
    "memory",
    [
        Memory(stable=SECOND),
        Memory(promoted=(Promotion(SECOND, NOW),)),
        Memory(rejected=Rejected("f", "bbbb", "1", Reason.ABORTED, "m", NOW)),
        Memory(attempts={"bbbb": 1}),
    ],
    ids=["stable", "promoted", "rejected", "attempts"],
)
def test_a_release_that_the_status_names_anywhere_was_attempted(memory: Memory) -> None:
    candidate = begin_attempt(memory, SECOND).candidate
    assert candidate is not None
    assert candidate.id == "bbbb-2"


@given(st.lists(st.sampled_from(["aaaa", "bbbb", "cccc"]), min_size=2, max_size=40))
def test_no_id_is_given_twice_whatever_the_history_forgets(story: list[str]) -> None:
    given_, memory = [], Memory()
    for tried_now in story:
        memory = begin_attempt(memory, replace(SECOND, id=tried_now))
        memory = from_status(json.loads(json.dumps(to_status(replace(memory, phase=Phase.SMOKING)))))
        assert memory.candidate is not None
        given_.append(memory.candidate.id)
        memory = replace(memory, history=())
    assert len(set(given_)) == len(story)
