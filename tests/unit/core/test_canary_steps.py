"""The steps of a canary: remembered, edited in flight, and kept in the status."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agui_operator.api.strategy import AnalysisStep, CanaryStep, Pause
from agui_operator.core.steps import Walk, begin, edited, from_status, reached, text_of, to_status

ANALYSIS, PAUSE = CanaryStep(analysis=AnalysisStep()), CanaryStep(pause=Pause())
TIMED = CanaryStep(pause=Pause(duration=timedelta(minutes=10)))


def weight(percent: int) -> CanaryStep:
    return CanaryStep(set_weight=percent)


def texts(walk: Walk) -> list[str]:
    return [text_of(step) for step in walk.steps]


@pytest.mark.parametrize(
    ("old", "done", "new", "walked", "now"),
    [
        pytest.param(
            (weight(20), TIMED, weight(60), ANALYSIS),
            1,
            (weight(20),),
            ["setWeight=20", "analysis"],
            1,
            id="a proof that was still to come is owed",
        ),
        pytest.param(
            (weight(20), ANALYSIS, TIMED, weight(60)),
            2,
            (weight(20),),
            ["setWeight=20"],
            1,
            id="one that was passed is not",
        ),
        pytest.param(
            (weight(20), ANALYSIS),
            1,
            (weight(20), ANALYSIS, weight(60), ANALYSIS),
            ["setWeight=20", "analysis", "setWeight=60", "analysis"],
            1,
            id="more steps are walked, the present one goes on",
        ),
        pytest.param(
            (weight(20), PAUSE, weight(60)),
            1,
            (weight(10), ANALYSIS, weight(50), PAUSE),
            ["setWeight=10", "analysis", "setWeight=50", "pause"],
            1,
            id="at a weight that is not in the new list the steps after the lower one are walked",
        ),
        pytest.param((weight(20), PAUSE), 1, (), [], 0, id="no steps, and none was to prove anything"),
        pytest.param((weight(20), ANALYSIS), 1, (), ["analysis"], 0, id="no steps, and one is owed"),
        pytest.param(
            (weight(20), PAUSE), 2, (weight(20), weight(80)), ["setWeight=20", "setWeight=80"], 1, id="after the end"
        ),
        pytest.param((weight(20), PAUSE), 0, (weight(50),), ["setWeight=50"], 0, id="before the first weight serves"),
    ],
)
def test_an_edit_keeps_the_weight_and_never_has_fewer_proofs(
    old: tuple[CanaryStep, ...], done: int, new: tuple[CanaryStep, ...], walked: list[str], now: int
) -> None:
    walk, step = edited(begin(old), done, new)
    assert (texts(walk), step) == (walked, now)
    assert walk.source == begin(new).source


def rises(listed: list[CanaryStep]) -> bool:
    """As the API asks."""
    weights = [step.set_weight for step in listed if step.set_weight is not None]
    return weights == sorted(set(weights))


kinds = st.sampled_from([weight(5), weight(20), weight(60), weight(100), ANALYSIS, PAUSE, TIMED])
steps = st.lists(kinds, max_size=6).filter(rises).map(tuple)


@given(old=steps, new=steps, again=steps, data=st.data())
def test_no_number_of_edits_loses_an_analysis(
    old: tuple[CanaryStep, ...], new: tuple[CanaryStep, ...], again: tuple[CanaryStep, ...], data: st.DataObject
) -> None:
    walk, done = begin(old), data.draw(st.integers(0, len(old)))
    due = any(s.analysis is not None for s in walk.steps[done:])
    before = reached(walk, done)
    for listed in (new, again):
        walk, done = edited(walk, done, listed)
        assert 0 <= done <= len(walk.steps)
        left = walk.steps[done:]
        assert not due or any(s.analysis is not None for s in left)
        assert reached(walk, done) == before, "steps above the weight that was reached are walked, not skipped"
        due = due or any(s.analysis is not None for s in left)


@given(walk=st.builds(Walk, steps, st.just("abc"), st.integers(0, 100)))
def test_a_walk_survives_the_status(walk: Walk) -> None:
    assert from_status(to_status(walk)) == walk


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"steps": ["analysis"]},
        {"stepsSource": "abc"},
        {"stepsSource": "abc", "steps": "analysis"},
        {"stepsSource": "abc", "steps": ["setWeight=x"]},
        {"stepsSource": "abc", "steps": ["setWeight=500"]},
        {"stepsSource": "abc", "steps": ["pause=soon"]},
        {"stepsSource": "abc", "steps": ["dance"]},
        {"stepsSource": "abc", "steps": [None]},
    ],
)
def test_a_damaged_walk_is_none(raw: dict[str, object]) -> None:
    assert from_status(raw) is None


def test_without_a_walk_the_status_has_no_field_of_it() -> None:
    assert to_status(None) == {}
