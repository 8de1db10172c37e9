"""Which change of a status is only a newer measurement."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from agui_operator.core.measured import only_measured

Json = dict[str, Any]
STATUS: Json = {
    "phase": "Progressing",
    "message": "12 of at least 50 requests",
    "rollout": {"weight": 20, "analysis": {"verdict": "Inconclusive", "message": "12 of 50", "values": {"n": "12"}}},
    "waitingFor": {"what": "a verdict: 12 of 50", "unblockWith": "send traffic"},
    "conditions": [{"type": "Ready", "status": "False", "reason": "Progressing", "message": "12 of 50"}],
}


def changed(change: Callable[[Json], object]) -> Json:
    after = copy.deepcopy(STATUS)
    change(after)
    return after


def more(status: Json) -> None:
    """Another look has measured more."""
    status["message"] = status["waitingFor"]["what"] = status["conditions"][0]["message"] = "30 of 50"
    status["rollout"]["analysis"] = {"verdict": "Inconclusive", "message": "30 of 50", "values": {"n": "30"}}


def test_more_requests_under_the_same_verdict() -> None:
    assert only_measured(STATUS, changed(more))


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["rollout"]["analysis"].update(verdict="Passed"),
        lambda s: s["rollout"].update(weight=50),
        lambda s: s["rollout"].update(step=2),
        lambda s: s.update(phase="Paused"),
        lambda s: s.update(lastRequest={"kind": "pause"}),
        lambda s: s["waitingFor"].update(unblockWith="nothing"),
        lambda s: s["conditions"][0].update(reason="CloudUnavailable"),
        lambda s: s["conditions"].append({"type": "Stalled", "status": "True"}),
        lambda s: s["rollout"].pop("analysis"),
        lambda s: s.pop("rollout"),
    ],
)
def test_anything_else_is_more_than_that(change: Callable[[Json], object]) -> None:
    after = changed(more)
    change(after)
    assert not only_measured(STATUS, after)


@pytest.mark.parametrize(
    "damaged", [{}, {"rollout": 1}, {"rollout": {"analysis": []}}, {"conditions": [1]}, {"conditions": 1}]
)
def test_a_status_without_an_analysis_says_no_measurement(damaged: Json) -> None:
    assert not only_measured(damaged, STATUS)
    assert not only_measured(damaged, damaged)
