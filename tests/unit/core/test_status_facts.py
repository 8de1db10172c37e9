"""Facts of the status that only a few situations have: what is not asked for, what holds, who serves meanwhile."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from agui_operator.api.conditions import ConditionType, Reason
from agui_operator.api.parse import parse_deployment
from agui_operator.api.strategy import AnalysisStep, CanaryStep, Pause
from agui_operator.core.decide import decide
from agui_operator.core.memory import Cause, HeldBy, Memory, Rejected
from agui_operator.core.phases.case import Case
from agui_operator.core.rollout import Phase
from agui_operator.core.snapshot import AnalysisResult, Blocker, Snapshot, Verdict
from agui_operator.core.status import Asked, Inputs, asked_of, summarize
from agui_operator.core.waiting import DEADLINE, deadline
from world_model import FIRST, FREEZE, NAMES, NOW, SECOND, SUSPEND, blueprint

HEALTHY = Memory(phase=Phase.HEALTHY, since=NOW, stable=FIRST)
FLYING = Memory(phase=Phase.PROGRESSING, since=NOW, started=NOW, candidate=SECOND, stable=FIRST)
GONE = Blocker(
    ConditionType.ENVIRONMENT_READY, Reason.ENVIRONMENT_NOT_READY, "no environment", "create it", may_arrive=True
)
FORBIDDEN = Blocker(ConditionType.SPEC_ACCEPTED, Reason.NOT_PERMITTED, "too large", "ask", revokes=True)


def status_of(memory: Memory, fingerprint: str | None = "fp-b", **more: Any) -> dict[str, Any]:
    asked = more.pop("asked", Asked(fingerprint) if fingerprint else None)
    more = {"generation": 3, "now": NOW, "previous": {}, "plan": blueprint(memory, fingerprint), **more}
    return summarize(Inputs(memory=memory, asked=asked, **more))


def told(status: dict[str, Any], kind: str) -> tuple[str, str]:
    found = next(c for c in status["conditions"] if c["type"] == kind)
    return found["status"], found["reason"]


def kstatus(status: dict[str, Any]) -> str:
    """What kstatus computes from the three conditions that it reads."""
    if told(status, "Stalled")[0] == "True":
        return "Failed"
    return "InProgress" if told(status, "Reconciling")[0] == "True" else "Current"


MINIMAL = {
    "environmentRef": {"name": "e"},
    "backend": {"image": "a.example/b/c:1", "serviceAccount": "concierge"},
}


def test_parts_that_the_spec_does_not_ask_for_are_not_requested() -> None:
    asked = asked_of(parse_deployment(MINIMAL), "fp-b")
    status = status_of(replace(HEALTHY, stable=SECOND), asked=asked)
    absent = ("DatabaseReady", "Migrated", "AssetsPublished", "SmokePassed", "AnalysisPassed", "AlertsConfigured")
    assert {told(status, kind) for kind in absent} == {("True", "NotRequested")}
    assert told(status, "RevisionReady") == ("True", "Succeeded")
    limits = {**MINIMAL, "alerts": {"channels": ["ops"]}}
    assert ConditionType.ALERTS_CONFIGURED in asked_of(parse_deployment(limits), "x").without, (
        "channels alone alert nobody"
    )
    limits["alerts"] = {"errorRate": 0.1}
    assert ConditionType.ALERTS_CONFIGURED not in asked_of(parse_deployment(limits), "x").without


def test_a_first_release_has_no_canary_that_could_have_passed() -> None:
    alone = replace(FLYING, phase=Phase.BAKING, stable=None)
    first = status_of(alone)
    assert told(first, "AnalysisPassed") == ("True", "NotRequested")
    later = status_of(replace(HEALTHY, stable=SECOND), previous=first)
    assert told(later, "AnalysisPassed") == ("True", "NotRequested"), "what was known of it stays known"
    other = {**first, "release": {"id": "x"}}
    assert told(status_of(replace(HEALTHY, stable=SECOND), previous=other), "AnalysisPassed") == ("True", "Succeeded")
    damaged = {**first, "conditions": ["x", {"type": "AnalysisPassed", "reason": "?"}]}
    assert told(status_of(replace(HEALTHY, stable=SECOND), previous=damaged), "AnalysisPassed") == ("True", "Succeeded")
    nothing = {**first, "conditions": None}
    assert told(status_of(replace(HEALTHY, stable=SECOND), previous=nothing), "AnalysisPassed") == ("True", "Succeeded")


def test_a_promotion_by_request_has_skipped_the_canary() -> None:
    promoting = status_of(replace(FLYING, phase=Phase.PROMOTING, step=1))
    assert told(promoting, "AnalysisPassed") == ("Unknown", "Skipped")
    healthy = status_of(replace(HEALTHY, stable=SECOND), previous=promoting)
    assert told(healthy, "AnalysisPassed") == ("Unknown", "Skipped")
    assert told(status_of(replace(FLYING, phase=Phase.PROMOTING, step=3)), "AnalysisPassed") == ("True", "Succeeded")


def test_steps_of_the_canary_are_counted() -> None:
    def message(memory: Memory) -> str:
        return next(c["message"] for c in status_of(memory)["conditions"] if c["type"] == "AnalysisPassed")

    assert message(replace(FLYING, step=1)) == "Canary in progress (step 2 of 3)"
    assert message(replace(FLYING, phase=Phase.PAUSED, step=2)) == "Canary paused (step 3 of 3)"


@pytest.mark.parametrize(
    ("memory", "more", "expected"),
    [
        pytest.param(Memory(), {"blockers": (FREEZE,)}, "InProgress", id="frozen"),
        pytest.param(Memory(), {"blockers": (SUSPEND,)}, "InProgress", id="about to be suspended"),
        pytest.param(Memory(phase=Phase.SUSPENDED), {}, "InProgress", id="suspended"),
        pytest.param(Memory(), {"blockers": (GONE,)}, "InProgress", id="the environment comes with the same sync"),
        pytest.param(Memory(), {"blockers": (FORBIDDEN,)}, "Failed", id="forbidden"),
        pytest.param(HEALTHY, {"fingerprint": "fp-a", "blockers": (FREEZE,)}, "Current", id="nothing to hold"),
        pytest.param(HEALTHY, {"fingerprint": "fp-a", "blockers": (FORBIDDEN,)}, "Failed", id="forbidden since"),
        pytest.param(HEALTHY, {"fingerprint": None, "spec_error": "bad"}, "Failed", id="invalid"),
        pytest.param(HEALTHY, {"fingerprint": "fp-a"}, "Current", id="healthy"),
    ],
)
def test_waits_are_in_progress_and_only_a_user_ends_a_stall(
    memory: Memory, more: dict[str, Any], expected: str
) -> None:
    status = status_of(memory, **more)
    assert kstatus(status) == expected
    assert (told(status, "Ready")[0] == "True") == (expected == "Current")
    assert (told(status, "Promoted")[0] == "True") == (expected == "Current")


def test_what_does_not_arrive_with_the_sync_is_stalled_after_a_grace() -> None:
    first = status_of(Memory(), blockers=(GONE,))
    assert kstatus(first) == "InProgress"
    soon, late = NOW + timedelta(seconds=100), NOW + timedelta(minutes=2)
    assert kstatus(status_of(Memory(), blockers=(GONE,), previous=first, now=soon)) == "InProgress"
    assert kstatus(status_of(Memory(), blockers=(GONE,), previous=first, now=late)) == "Failed"


@pytest.mark.parametrize("at", ["", "yesterday", "2026-01-01T00:00:00", None])
def test_a_time_that_was_damaged_by_hand_is_now(at: str | None) -> None:
    condition = {"type": "EnvironmentReady", "status": "False", "lastTransitionTime": at}
    previous = {"conditions": ["x", {"type": "EnvironmentReady", "status": "True"}, condition]}
    assert kstatus(status_of(Memory(), blockers=(GONE,), previous=previous)) == "InProgress"


@pytest.mark.parametrize(
    ("memory", "blockers", "reason"),
    [
        (replace(FLYING, phase=Phase.PAUSED, held_by=HeldBy.STEP), (), "AwaitingPromotion"),
        (replace(FLYING, phase=Phase.PAUSED, held_by=HeldBy.REQUEST), (), "PauseRequested"),
        (replace(FLYING, phase=Phase.PAUSED, held_by=HeldBy.ANALYSIS), (), "AwaitingData"),
        (replace(FLYING, phase=Phase.PAUSED, held_by=HeldBy.POLICY), (), "Frozen"),
        (replace(FLYING, phase=Phase.PAUSED, held_by=HeldBy.STEP), (FREEZE,), "Frozen"),
        (Memory(phase=Phase.SUSPENDED), (), "Suspended"),
        (Memory(), (SUSPEND,), "Suspended"),
    ],
)
def test_a_held_rollout_is_paused_and_says_by_what(memory: Memory, blockers: tuple[Blocker, ...], reason: str) -> None:
    status = status_of(memory, blockers=blockers)
    assert told(status, "Paused") == ("True", reason)
    assert kstatus(status) == "InProgress"
    assert told(status_of(FLYING), "Paused") == ("False", "NotPaused")


def test_a_quiet_canary_is_advised_traffic_before_promotion() -> None:
    found = AnalysisResult(Verdict.INCONCLUSIVE, "0 of 50 requests needed for a verdict")
    memory = replace(FLYING, phase=Phase.PAUSED, held_by=HeldBy.ANALYSIS, analysis=found)
    previous = {"release": {"id": SECOND.id}, "rollout": {"weight": 10}}
    status = status_of(memory, previous=previous)
    assert status["message"] == (
        "Release 2 (bbbb) is paused at 10 %: enough data for a verdict: 0 of 50 requests needed for a verdict"
    )
    assert status["waitingFor"]["unblockWith"].startswith("send traffic")
    assert "paused: enough data" in status_of(memory)["message"], "a weight that is not known is not told"
    frozen = status_of(replace(memory, held_by=HeldBy.POLICY), blockers=(FREEZE,))
    assert "is paused: a freeze" in frozen["message"]


def test_a_rolled_back_release_is_not_spoken_of_under_another_spec() -> None:
    cause = Cause(Reason.SMOKE_FAILED, "it broke", Phase.SMOKING, NOW)
    rejected = Rejected("fp-b", "bbbb", "2", Reason.SMOKE_FAILED, "it broke", NOW)
    memory = Memory(phase=Phase.ROLLED_BACK, since=NOW, stable=FIRST, cause=cause, rejected=rejected)
    same = status_of(memory)
    assert (told(same, "Migrated"), told(same, "SmokePassed")) == (("True", "Succeeded"), ("False", "SmokeFailed"))
    assert told(same, "AssetsPublished")[0] == "True"
    invalid = status_of(memory, fingerprint=None, spec_error="spec.x: bad", version="3")
    assert told(invalid, "Migrated") == ("Unknown", "NotStarted")
    assert told(invalid, "Promoted") == ("False", "InvalidSpec")
    assert told(invalid, "EnvironmentReady") == ("Unknown", "NotEvaluated")
    assert invalid["release"] == {"version": "3"}


def test_an_undone_release_had_passed_its_parts() -> None:
    cause = Cause(Reason.UNDONE, "undo was requested", Phase.HEALTHY, NOW)
    rejected = Rejected("fp-b", "bbbb", "2", Reason.UNDONE, "undone", NOW)
    status = status_of(Memory(phase=Phase.ROLLED_BACK, since=NOW, stable=FIRST, cause=cause, rejected=rejected))
    assert told(status, "RevisionReady") == ("True", "Succeeded")
    assert told(status, "Promoted") == ("False", "Undone")


@pytest.mark.parametrize("reason", [Reason.UNDONE, Reason.ABORTED])
def test_what_was_undone_or_aborted_is_still_asked_for_and_the_status_says_what_to_do(reason: Reason) -> None:
    """Under auto-sync nothing changes by itself: Git asks for the release that a user took back."""
    rejected = Rejected("fp-b", "bbbb", "v2", reason, "requested by annotation", NOW)
    memory = Memory(phase=Phase.ROLLED_BACK, since=NOW, stable=FIRST, rejected=rejected)
    fix = (
        "the spec still asks for v2: revert it where it comes from (Git), apply another spec,"
        " or annotate agui.dev/retry=true"
    )
    status = status_of(memory)
    conditions = {c["type"]: c["message"] for c in status["conditions"]}
    for text in (status["message"], conditions["Ready"], conditions["Stalled"]):
        assert text.endswith(f"1 (aaaa) serves all traffic; {fix}")
    assert status["waitingFor"]["unblockWith"] == fix
    early = status_of(replace(memory, rejected=replace(rejected, release="", version="")))
    assert "the spec still asks for this release: revert it" in early["message"]
    failed = status_of(replace(memory, rejected=replace(rejected, reason=Reason.SMOKE_FAILED)))
    assert "apply a corrected spec" in failed["message"]
    assert "Git" not in failed["message"]


def test_no_message_claims_that_a_release_serves_while_users_were_moved() -> None:
    rejected = Rejected("fp-b", "bbbb", "v2", Reason.SMOKE_FAILED, "it broke", NOW)
    back = Memory(phase=Phase.ROLLED_BACK, since=NOW, stable=FIRST, rejected=rejected)
    text = status_of(back, astray="30 % of the traffic is not on revision x")["message"]
    assert "1 (aaaa) is the stable release, but 30 % of the traffic is not on revision x; it is being restored" in text
    held = status_of(back, astray="y", blockers=(SUSPEND,))["message"]
    assert "but y; the operator leaves it as it is while spec.suspend is true" in held
    assert "serves all traffic" not in text + held
    stale = status_of(HEALTHY, "fp-a", astray="z", forbidden={FIRST.id: "its image is not allowed"})
    assert (
        "but z; it is not restored, because it is not permitted any more: its image is not allowed" in stale["message"]
    )
    assert told(stale, "Stalled") == ("True", "Drifted")


def test_a_new_name_of_the_release_in_flight_is_shown_at_once() -> None:
    """`spec.version` makes no release; whoever edits it sees it in `kubectl get` now, not at the end of the rollout."""
    assert status_of(FLYING, version="2.1")["release"]["version"] == "2.1"
    assert status_of(FLYING, version="2.1")["release"]["id"] == "bbbb"
    assert status_of(FLYING, "fp-other", version="3")["release"]["version"] == "2", "another release"
    assert status_of(FLYING)["release"]["version"] == "2"


def test_drift_is_told_only_where_it_was_looked_for() -> None:
    def drift(memory: Memory, **more: Any) -> tuple[str, str]:
        return told(status_of(memory, "fp-a", **more), "DriftFree")

    assert drift(HEALTHY) == ("Unknown", "NotCompared")
    assert drift(HEALTHY, compared=True) == ("True", "InSync")
    assert drift(HEALTHY, compared=True, drift="TrafficSplit") == ("False", "Drifted")
    assert drift(FLYING, compared=True) == ("Unknown", "NotCompared")
    assert drift(Memory(), compared=True) == ("Unknown", "NoStableRelease")


def test_a_permission_that_is_withdrawn_for_a_moment_holds_and_is_told() -> None:
    held = replace(FORBIDDEN, revokes=False, holds_running=True)
    status = status_of(FLYING, blockers=(held,))
    assert told(status, "SpecAccepted") == ("False", "NotPermitted")
    assert told(status, "Paused") == ("True", "NotPermitted")
    assert kstatus(status) == "InProgress"


@pytest.mark.parametrize(
    ("memory", "version", "expected"),
    [
        pytest.param(Memory(), "1.1", {"version": "1.1"}, id="pending"),
        pytest.param(Memory(), None, None, id="pending without a version"),
        pytest.param(replace(HEALTHY, stable=SECOND), "2.1", {**SECOND.to_status(), "version": "2.1"}, id="renamed"),
        pytest.param(replace(HEALTHY, stable=SECOND), None, SECOND.to_status(), id="healthy"),
        pytest.param(HEALTHY, "3", {"version": "3"}, id="another one serves"),
        pytest.param(FLYING, "2.1", {**SECOND.to_status(), "version": "2.1"}, id="in flight"),
        pytest.param(replace(FLYING, phase=Phase.ROLLING_BACK), "3", SECOND.to_status(), id="rolling back"),
        pytest.param(replace(FLYING, phase=Phase.RESOLVING, candidate=None), "3", {"version": "3"}, id="resolving"),
    ],
)
def test_the_release_is_what_the_spec_asks_for(memory: Memory, version: str | None, expected: Any) -> None:
    assert status_of(memory, version=version)["release"] == expected


STEPS = (CanaryStep(set_weight=10), CanaryStep(analysis=AnalysisStep()), CanaryStep(pause=Pause()))


@pytest.mark.parametrize(
    ("memory", "ends"),
    [
        pytest.param(replace(FLYING, phase=Phase.MIGRATING), True, id="migrating"),
        pytest.param(replace(FLYING, phase=Phase.MIGRATING, since=None), False, id="no start is known"),
        pytest.param(replace(FLYING, phase=Phase.RESOLVING), False, id="a missing tag can be pushed at any time"),
        pytest.param(FLYING, True, id="a weight"),
        pytest.param(replace(FLYING, step=1), False, id="an analysis has its own deadline"),
        pytest.param(replace(FLYING, step=3), True, id="after the last step"),
        pytest.param(replace(FLYING, phase=Phase.BAKING), True, id="baking"),
        pytest.param(replace(FLYING, phase=Phase.BAKING, stable=None), False, id="nowhere to go back to"),
        pytest.param(replace(FLYING, phase=Phase.PAUSED), False, id="paused"),
    ],
)
def test_a_countdown_is_shown_where_the_release_is_rolled_back_at_its_end(memory: Memory, ends: bool) -> None:
    status = status_of(memory)
    assert (status["rollout"]["deadline"] is not None) == ends
    waiting = status["waitingFor"] or {}
    assert waiting.get("unblockWith") != DEADLINE or waiting["until"]


def test_no_countdown_without_automatic_roll_back() -> None:
    baking = replace(FLYING, phase=Phase.BAKING)
    plan = blueprint(baking, "fp-b")
    assert plan is not None
    manual = Inputs(baking, 1, NOW, {}, plan=replace(plan, automatic_rollback=False))
    assert deadline(manual) is None
    assert isinstance(deadline(replace(manual, plan=plan)), datetime)
    assert deadline(replace(manual, plan=None)) is None


def test_a_stable_release_that_is_forbidden_now_says_what_it_waits_for() -> None:
    status = status_of(HEALTHY, "fp-a", blockers=(FORBIDDEN,))
    assert status["waitingFor"] == {"what": "too large", "since": "2026-01-01T00:00:00Z", "unblockWith": "ask"}
    assert status["message"] == "too large; ask. 1 (aaaa) serves all traffic"


def test_a_release_that_is_neither_stable_nor_started_waits_to_start() -> None:
    status = status_of(HEALTHY, "fp-b")
    assert told(status, "Ready") == ("False", "Healthy")
    assert kstatus(status) == "InProgress"


REJECTED = Rejected(SECOND.fingerprint, SECOND.id, SECOND.version, Reason.SMOKE_FAILED, "a check failed", NOW)


@pytest.mark.parametrize("phase", [Phase.ROLLED_BACK, Phase.FAILED])
def test_a_rejected_spec_that_is_asked_for_again_is_not_promoted(phase: Phase) -> None:
    """Also after a good spec in between, or a lost part of the status: nobody waits for it any more."""
    memory = Memory(phase=phase, since=NOW, stable=FIRST, rejected=REJECTED)
    status = status_of(memory)
    found = next(c for c in status["conditions"] if c["type"] == "Promoted")
    assert (found["status"], found["reason"]) == ("False", "SmokeFailed")
    assert found["message"] == "The release was rolled back: a check failed"
    assert told(status_of(memory, "fp-c"), "Promoted")[0] == "Unknown", "another spec has not been tried"


def test_what_is_known_of_the_failure_survives_a_phase_that_nobody_knows() -> None:
    cause = Cause(Reason.SMOKE_FAILED, "a check failed", Phase.SMOKING, NOW)
    lost = Memory(phase=Phase.PENDING, stable=FIRST, rejected=REJECTED, cause=cause)
    seen = Snapshot(fingerprint=SECOND.fingerprint)
    back = decide(Case(lost, seen, None, NAMES, NOW), 10).memory
    assert (back.phase, back.cause) == (Phase.ROLLED_BACK, cause)
    assert told(status_of(back), "SmokePassed") == ("False", "SmokeFailed")
    other = replace(lost, cause=replace(cause, message="another one"))
    assert decide(Case(other, seen, None, NAMES, NOW), 10).memory.cause is None
    assert decide(Case(replace(lost, cause=None), seen, None, NAMES, NOW), 10).memory.cause is None
