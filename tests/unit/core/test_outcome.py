"""What a pipeline reads of an object: how the rollout of the newest spec ended."""

from __future__ import annotations

from typing import Any

import pytest

from agui_operator.core.outcome import Exit, outcome_of, progress_of


def body(ready: str = "False", stalled: str = "False", *, seen: int = 2, **meta: Any) -> dict[str, Any]:
    conditions = [
        {"type": "Ready", "status": ready, "observedGeneration": seen, "reason": "R", "message": "how it is"},
        {"type": "Stalled", "status": stalled, "observedGeneration": seen, "reason": "S", "message": "why"},
    ]
    status = {"observedGeneration": seen, "phase": "Progressing", "message": "told", "conditions": conditions}
    return {"metadata": {"generation": 2, **meta}, "status": status}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(None, Exit.FAILED, id="not there"),
        pytest.param({"metadata": {"generation": 1}}, None, id="not seen by the operator yet"),
        pytest.param({"metadata": {"generation": 1}, "status": {"observedGeneration": -1}}, None, id="default status"),
        pytest.param(body("True"), Exit.HEALTHY, id="healthy"),
        pytest.param(body("True", seen=1), None, id="an earlier spec was healthy"),
        pytest.param(body("False", "True"), Exit.FAILED, id="stalled"),
        pytest.param(body("False", "True", seen=1), None, id="an earlier spec was stalled"),
        pytest.param(body(), None, id="in progress"),
        pytest.param(body("True", deletionTimestamp="now"), Exit.FAILED, id="being deleted"),
        pytest.param({"metadata": {"generation": 2}, "status": {"conditions": ["x"]}}, None, id="damaged by hand"),
    ],
)
def test_the_end_is_that_of_the_newest_spec(found: Any, expected: Exit | None) -> None:
    outcome = outcome_of(found)
    assert (outcome.exit if outcome else None) == expected


def test_the_outcome_says_why() -> None:
    failed, healthy = outcome_of(body("False", "True")), outcome_of(body("True"))
    assert failed is not None
    assert failed.message == "S: why"
    assert healthy is not None
    assert healthy.message == "how it is"


def test_progress_is_one_line() -> None:
    found = body()
    assert progress_of(found) == "Progressing: told"
    found["status"]["rollout"] = {"progress": "1/4", "weight": 0}
    assert progress_of(found) == "Progressing, step 1/4, 0 %: told"
    assert progress_of(body(seen=1)) == "waiting for the operator to read the spec"
    assert progress_of({"metadata": {}, "status": {}}) == "Pending"
