"""The statuses of environments and policies end: Current, or Stalled when a user's action is required."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agui_operator.api.conditions import Reason
from agui_operator.core.conditions import conditions_of, instant
from agui_operator.core.policy_status import PolicySeen, policy_status

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MISSING = ("False", Reason.MISSING, "not found: Bucket a")


def short(conditions: list[dict[str, Any]]) -> dict[str, str]:
    return {c["type"]: c["status"] for c in conditions}


def kstatus(conditions: list[dict[str, Any]]) -> str:
    told = short(conditions)
    if told["Stalled"] == "True":
        return "Failed"
    return "InProgress" if told["Reconciling"] == "True" or told["Ready"] != "True" else "Current"


def test_what_is_missing_is_waited_for_and_stalled_after_the_grace() -> None:
    first = conditions_of(MISSING, {}, 1, NOW, may_arrive=True)
    previous = {"conditions": first}
    assert kstatus(first) == "InProgress"
    soon = conditions_of(MISSING, previous, 1, NOW + timedelta(seconds=119), may_arrive=True)
    late = conditions_of(MISSING, previous, 1, NOW + timedelta(seconds=120), may_arrive=True)
    assert (kstatus(soon), kstatus(late)) == ("InProgress", "Failed")
    back = conditions_of(("True", Reason.OBSERVED, "all"), {"conditions": late}, 1, NOW, may_arrive=True)
    assert kstatus(back) == "Current"


def test_an_outage_is_no_stall_however_long() -> None:
    unknown = ("Unknown", Reason.NOT_OBSERVED, "away")
    first = conditions_of(unknown, {}, 1, NOW, may_arrive=True)
    assert kstatus(conditions_of(unknown, {"conditions": first}, 1, NOW + timedelta(days=1), may_arrive=True)) == (
        "InProgress"
    )


@pytest.mark.parametrize("raw", [None, 5, "yesterday", "2026-01-01T00:00:00"])
def test_a_time_that_was_damaged_by_hand_is_none(raw: Any) -> None:
    assert instant(raw) is None
    previous = {"conditions": ["x", {"type": "Ready", "status": "False", "lastTransitionTime": raw}]}
    assert kstatus(conditions_of(MISSING, previous, 1, NOW, may_arrive=True)) == "InProgress"


def test_a_valid_policy_is_current_and_says_where_it_applies() -> None:
    status = policy_status(PolicySeen(("team-*", "demo"), None, (), ("demo", "other", "team-b", "team-a")), {}, 3, NOW)
    assert status["namespaces"] == ["demo", "team-a", "team-b"]
    assert (status["observedGeneration"], kstatus(status["conditions"])) == (3, "Current")
    assert status["conditions"][0]["message"] == "The policy is valid and applies to 3 namespaces with AgUiDeployments"
    again = policy_status(
        PolicySeen(("team-*", "demo"), None, (), ("demo", "team-b", "team-a")), status, 3, NOW + timedelta(hours=1)
    )
    assert again == status
    one = policy_status(PolicySeen(("demo",), None, (), ("demo",)), {}, 3, NOW)
    assert "1 namespace with" in one["conditions"][0]["message"]


def test_an_invalid_policy_is_stalled_at_once() -> None:
    status = policy_status(PolicySeen(None, "spec.namespaces: is required; add it", (), ("demo",)), {}, 1, NOW)
    assert kstatus(status["conditions"]) == "Failed"
    assert status["namespaces"] == []
    assert status["conditions"][0]["message"].startswith("The policy permits nothing: spec.namespaces")


def test_fields_of_a_newer_policy_are_told_and_not_refused() -> None:
    status = policy_status(PolicySeen(("demo",), None, ("spec.limits.maxGpu",)), {}, 1, NOW)
    assert kstatus(status["conditions"]) == "Current"
    assert status["conditions"][0]["reason"] == "UnknownFields"
    assert "does not enforce spec.limits.maxGpu" in status["conditions"][0]["message"]
