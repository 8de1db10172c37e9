"""Holds: what a rollout writes, watches and waits for while a freeze, the stop button or suspend holds it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from agui_operator.api.conditions import ConditionType, Reason
from agui_operator.api.strategy import AnalysisStep, CanaryStep, Inconclusive, Pause
from agui_operator.core.blueprint import Analysis
from agui_operator.core.decide import decide
from agui_operator.core.memory import HeldBy, Memory
from agui_operator.core.phases.case import Case, judged_since, weight_of
from agui_operator.core.rollout import HELD_BEFORE_WRITES, Event, Phase
from agui_operator.core.snapshot import (
    AnalysisResult,
    BackupView,
    Blocker,
    CheckResult,
    ExecutionView,
    JobView,
    Request,
    RequestKind,
    Snapshot,
    Verdict,
)
from agui_operator.core.status import Inputs, summarize
from agui_operator.core.steps import begin
from agui_operator.core.traffic import Target
from world_model import (
    FIRST,
    FREEZE,
    LATE,
    NAMES,
    NOW,
    SECOND,
    SUSPEND,
    Luck,
    World,
    blueprint,
    look,
    lucky,
    start_second,
)

FLYING = Memory(phase=Phase.PROGRESSING, since=NOW, started=NOW, candidate=SECOND, stable=FIRST)
PLAN = blueprint(FLYING, "fp-b")
assert PLAN is not None
SEEN = look(World(FLYING, start_second().cloud), Luck())
FAILED = AnalysisResult(Verdict.FAILED, "errors")
GONE = Blocker(ConditionType.ENVIRONMENT_READY, Reason.ENVIRONMENT_NOT_READY, "no environment", "create it")
HOLDS = [FREEZE, SUSPEND, GONE]


# --- before the canary -----------------------------------------------------------------------------------------------


def with_weight(seen: Snapshot, percent: int) -> Snapshot:
    """The candidate with so much of the traffic."""
    assert seen.service is not None
    stable, candidate = (Target(NAMES.revision(r), 0, NAMES.tag(r)) for r in ("aaaa", "bbbb"))
    traffic = (replace(stable, percent=100 - percent), replace(candidate, percent=percent))
    return replace(seen, service=replace(seen.service, traffic=traffic, serving=traffic))


@pytest.mark.parametrize("phase", sorted(HELD_BEFORE_WRITES))
def test_a_hold_stops_the_clock_of_the_progress_deadline(phase: Phase) -> None:
    memory = replace(FLYING, phase=phase)
    stuck = replace(SEEN, backup=None, migration=None, assets_complete=False, service=None, service_known=False)
    held = replace(stuck, blockers=(FREEZE,))
    late = NOW + timedelta(hours=5)
    turn = decide(Case(memory, held, PLAN, NAMES, NOW + timedelta(minutes=20)), 10)
    turn = decide(Case(turn.memory, held, PLAN, NAMES, late), 10)
    assert turn.event is None, "however long it is held"
    turn = decide(Case(turn.memory, stuck, PLAN, NAMES, late), 10)
    assert (turn.event, turn.memory.held_since) == (None, None)
    assert turn.memory.since == late - timedelta(minutes=20)
    assert decide(Case(turn.memory, stuck, PLAN, NAMES, late + timedelta(minutes=9)), 10).event is None
    assert decide(Case(turn.memory, stuck, PLAN, NAMES, late + timedelta(minutes=11)), 10).event is not None


RUNS = JobView("j", "i", True, ExecutionView("e", None))


@pytest.mark.parametrize(
    ("phase", "begun", "told"),
    [
        (Phase.BACKING_UP, {}, "a freeze: held before the backup"),
        (Phase.BACKING_UP, {"backup": BackupView("b", None)}, "a freeze: the backup was started and runs to its end"),
        (Phase.MIGRATING, {"migration": None}, "held before the migration"),
        (Phase.MIGRATING, {"migration": RUNS}, "the migration job was started and runs to its end"),
        (Phase.PUBLISHING, {}, "held before the upload of the assets"),
        (Phase.STAGING, {"service": None}, "held before the creation of the revision"),
        (Phase.SMOKING, {}, "held before the next check"),
        (Phase.SMOKING, {"check_jobs": {"sql": RUNS, "x": None}}, "the job of check sql was started"),
    ],
)
def test_the_status_says_what_was_begun_and_what_is_held(phase: Phase, begun: dict[str, object], told: str) -> None:
    memory = replace(FLYING, phase=phase, held_since=NOW)
    seen = replace(SEEN, backup=None, blockers=(FREEZE,))
    inputs = Inputs(memory, 1, NOW, {}, plan=PLAN, seen=replace(seen, **begun), blockers=(FREEZE,))  # type: ignore[arg-type]
    status = summarize(inputs)
    assert told in status["waitingFor"]["what"]
    assert told in status["message"]
    assert status["waitingFor"]["unblockWith"] == FREEZE.unblock_with


def test_a_revision_that_starts_while_the_rollout_is_held_is_told_of() -> None:
    memory = replace(FLYING, phase=Phase.STAGING)
    assert SEEN.service is not None
    seen = replace(SEEN, service=replace(SEEN.service, reconciling=True))
    told = summarize(Inputs(memory, 1, NOW, {}, plan=PLAN, seen=seen, blockers=(FREEZE,)))["waitingFor"]["what"]
    assert "the revision was created and runs to its end" in told
    unseen = summarize(Inputs(memory, 1, NOW, {}, plan=PLAN, blockers=(FREEZE,)))["waitingFor"]["what"]
    assert "held before the creation" in unseen


# --- in the canary ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held_by", [*HeldBy, None])
@pytest.mark.parametrize("hold", [None, *HOLDS])
def test_a_failed_verdict_ends_every_pause(held_by: HeldBy | None, hold: Blocker | None) -> None:
    seen = replace(SEEN, analysis=FAILED, blockers=(hold,) if hold else ())
    for phase in (Phase.PAUSED, Phase.PROGRESSING):
        for step in range(4):
            memory = replace(FLYING, phase=phase, step=step, held_by=held_by)
            assert decide(Case(memory, seen, PLAN, NAMES, NOW), 10).event is Event.CHECK_FAILED
            known = replace(memory, analysis=FAILED)
            turn = decide(Case(known, replace(seen, analysis=None), PLAN, NAMES, NOW), 10)
            assert turn.event is Event.CHECK_FAILED, "also one that an older version wrote and did not act on"


@pytest.mark.parametrize("verdict", [Verdict.PASSED, Verdict.INCONCLUSIVE])
def test_another_verdict_in_the_background_changes_nothing(verdict: Verdict) -> None:
    seen = replace(SEEN, analysis=AnalysisResult(verdict, "seen"))
    for held_by in (HeldBy.STEP, HeldBy.REQUEST):
        memory = replace(FLYING, phase=Phase.PAUSED, step=2, held_by=held_by, walk=begin(PLAN.steps))
        turn = decide(Case(memory, with_weight(seen, 10), PLAN, NAMES, LATE), 10)
        assert (turn.event, turn.actions) == (None, ())


@pytest.mark.parametrize("kind", [RequestKind.PROMOTE, RequestKind.PROMOTE_FULL, RequestKind.RESUME])
def test_no_request_takes_a_failing_canary_further(kind: RequestKind) -> None:
    memory = replace(FLYING, phase=Phase.PAUSED, step=2, held_by=HeldBy.STEP)
    turn = decide(Case(memory, replace(SEEN, analysis=FAILED, request=Request(kind, "true")), PLAN, NAMES, NOW), 10)
    assert turn.event is Event.CHECK_FAILED
    assert turn.memory.acknowledged is not None
    assert "the canary analysis failed: errors" in turn.memory.acknowledged.message


@pytest.mark.parametrize("kind", [RequestKind.PROMOTE, RequestKind.PROMOTE_FULL, RequestKind.RESUME])
def test_without_a_permit_no_request_continues(kind: RequestKind) -> None:
    """The environment is gone, so nobody can say whether a policy permits the release."""
    memory = replace(FLYING, phase=Phase.PAUSED, step=2, held_by=HeldBy.STEP)
    seen = replace(SEEN, analysis=None, request=Request(kind, "true"), blockers=(GONE,))
    turn = decide(Case(memory, seen, PLAN, NAMES, NOW), 10)
    assert turn.event is None
    assert turn.memory.acknowledged is not None
    assert (turn.memory.acknowledged.accepted, "no environment" in turn.memory.acknowledged.message) == (False, True)


def test_the_window_starts_when_the_weight_began_to_serve_and_a_pause_does_not_restart_it() -> None:
    at = NOW + timedelta(minutes=1)
    world = start_second()
    while world.memory.phase is not Phase.PAUSED:
        world = lucky(world)
    first = replace(FLYING, step=0, walk=begin(PLAN.steps))
    seen = look(replace(world, memory=first), Luck(analysis=None))
    assert judged_since(first, PLAN) is None, "nothing serves yet"
    passed = decide(Case(first, seen, PLAN, NAMES, at), 10)
    assert (passed.event, passed.memory.weight_since) == (Event.STEP_PASSED, at)
    held = decide(Case(passed.memory, replace(seen, blockers=(FREEZE,)), PLAN, NAMES, LATE), 10)
    assert (held.event, held.memory.phase) == (Event.HELD, Phase.PAUSED)
    assert judged_since(held.memory, PLAN) == at
    resumed = decide(Case(held.memory, seen, PLAN, NAMES, LATE), 10)
    assert (resumed.event, judged_since(resumed.memory, PLAN)) == (Event.RESUMED, at)
    old = replace(held.memory, weight_since=None)
    assert judged_since(old, PLAN) == old.since, "a status of an older version has no such time"


def test_who_judges_when() -> None:
    assert PLAN is not None
    assert PLAN.analysis is not None
    quiet = replace(PLAN, analysis=replace(PLAN.analysis, background=False))
    at = {step: replace(FLYING, step=step, weight_since=NOW) for step in range(4)}
    assert [judged_since(at[s], PLAN) is not None for s in at] == [False, True, True, True]
    assert [judged_since(at[s], quiet) is not None for s in at] == [False, True, False, False]
    assert judged_since(replace(at[1], stable=None), PLAN) is None, "a first release has nothing to compare with"
    assert judged_since(replace(at[1], phase=Phase.PROMOTING), PLAN) is None
    assert judged_since(at[1], replace(PLAN, analysis=None)) is None
    assert weight_of(replace(at[1], walk=None), PLAN) == 10


def test_it_looks_again_when_the_next_verdict_is_due() -> None:
    assert PLAN is not None
    plan = replace(PLAN, steps=(*PLAN.steps[:2], CanaryStep(pause=Pause(duration=timedelta(minutes=10)))))
    seen = replace(SEEN, analysis=None)
    second = timedelta(seconds=1)

    def delay(memory: Memory, analysis: Analysis | None = plan.analysis) -> timedelta | None:
        return decide(Case(memory, seen, replace(plan, analysis=analysis), NAMES, NOW), 10).requeue_after

    walking = replace(FLYING, walk=begin(plan.steps))
    assert delay(replace(walking, step=0)) == timedelta(seconds=5)
    assert delay(replace(walking, step=1)) == second
    assert delay(replace(walking, step=2)) == second, "not the ten minutes of the pause"
    assert delay(replace(walking, step=2), None) == timedelta(minutes=1), "the traffic is looked at meanwhile"
    paused = replace(walking, phase=Phase.PAUSED, step=2, held_by=HeldBy.REQUEST, since=NOW - timedelta(hours=1))
    assert delay(paused) == second
    assert delay(paused, None) == timedelta(minutes=1), "a pause whose time is over is no reason to hurry while held"


# --- an analysis without data ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inconclusive", "expected"),
    [
        (Inconclusive.ROLL_BACK, Event.CHECK_FAILED),
        (Inconclusive.PROMOTE_AFTER, Event.STEP_PASSED),
        (Inconclusive.HOLD, Event.HELD),
    ],
)
def test_the_deadline_counts_though_nothing_answers(inconclusive: Inconclusive, expected: Event) -> None:
    assert PLAN is not None
    plan = replace(PLAN, analysis=Analysis(10, 5, 60, inconclusive, ()))
    memory = replace(FLYING, step=1)
    seen = replace(SEEN, analysis=None)

    def event(seconds: float) -> Event | None:
        return decide(Case(memory, seen, plan, NAMES, NOW + timedelta(seconds=seconds)), 10).event

    assert event(62) is None, "one more look is waited for"
    assert event(65) is expected


def test_an_analysis_that_measures_nothing_is_bounded_by_the_progress_deadline() -> None:
    assert PLAN is not None
    plan = replace(PLAN, analysis=Analysis(10, 5, 10**6, Inconclusive.HOLD, ()))
    memory = replace(FLYING, step=1)
    late = NOW + timedelta(minutes=31)

    def event(finding: AnalysisResult | None) -> Event | None:
        return decide(Case(memory, replace(SEEN, analysis=finding), plan, NAMES, late), 10).event

    assert event(None) is Event.DEADLINE_EXCEEDED
    assert event(AnalysisResult(Verdict.INCONCLUSIVE, "0 of 10", {"requests": 0.0})) is Event.DEADLINE_EXCEEDED
    assert event(AnalysisResult(Verdict.INCONCLUSIVE, "3 of 10", {"requests": 3.0})) is None, "it has its own deadline"


def test_a_pause_request_that_is_refused_holds_nothing() -> None:
    assert PLAN is not None
    memory = replace(FLYING, step=2)
    seen = replace(SEEN, analysis=None, request=Request(RequestKind.PAUSE, "maybe"))
    turn = decide(Case(memory, seen, PLAN, NAMES, NOW), 10)
    assert (turn.event, turn.memory.held_by) == (Event.HELD, HeldBy.STEP), "the pause step holds"
    asked = replace(seen, request=Request(RequestKind.PAUSE, "true"))
    assert decide(Case(memory, asked, PLAN, NAMES, NOW), 10).memory.held_by is HeldBy.REQUEST


# --- edits in flight -------------------------------------------------------------------------------------------------


def test_fewer_steps_in_a_pause_are_walked_with_the_proof_that_is_owed() -> None:
    assert PLAN is not None
    old = (CanaryStep(set_weight=20), CanaryStep(pause=Pause()), CanaryStep(analysis=AnalysisStep()))
    memory = replace(FLYING, phase=Phase.PAUSED, step=1, held_by=HeldBy.STEP, walk=begin(old), weight_since=NOW)
    plan, seen = replace(PLAN, steps=old[:1]), with_weight(replace(SEEN, analysis=None), 20)
    for held in (HeldBy.REQUEST, HeldBy.POLICY):
        waits = decide(Case(replace(memory, held_by=held), replace(seen, blockers=(FREEZE,)), plan, NAMES, NOW), 10)
        assert waits.event is None
    turn = decide(Case(memory, seen, plan, NAMES, LATE), 10)
    assert (turn.event, turn.memory.phase, turn.memory.step) == (Event.STEPS_EDITED, Phase.PROGRESSING, 1)
    assert (turn.memory.since, turn.memory.weight_since) == (LATE, NOW)
    again = decide(Case(turn.memory, seen, plan, NAMES, LATE), 10)
    assert (again.event, again.actions) == (None, ()), "the analysis that was still to come"
    progress = summarize(Inputs(turn.memory, 1, NOW, {}, plan=plan, seen=seen))["rollout"]["progress"]
    assert progress == "1/2"
    judged = decide(
        Case(turn.memory, replace(seen, analysis=AnalysisResult(Verdict.PASSED, "")), plan, NAMES, LATE), 10
    )
    assert judged.event is Event.STEP_PASSED


def test_an_edit_of_a_later_step_does_not_restart_the_present_one() -> None:
    assert PLAN is not None
    memory = replace(FLYING, step=1, walk=begin(PLAN.steps))
    plan = replace(PLAN, steps=(*PLAN.steps, CanaryStep(set_weight=70)))
    turn = decide(Case(memory, replace(SEEN, analysis=None), plan, NAMES, NOW + timedelta(seconds=30)), 10)
    assert (turn.event, turn.memory.step, turn.memory.since) == (Event.STEPS_EDITED, 1, NOW)


# --- verdicts belong to the content of a check -----------------------------------------------------------------------


def test_a_verdict_on_another_check_of_the_same_name_does_not_count() -> None:
    assert PLAN is not None
    memory = replace(FLYING, phase=Phase.SMOKING, verdicts={"smoke": CheckResult("smoke", True, check="other")})
    seen = replace(SEEN, checks={}, analysis=None)
    assert decide(Case(memory, seen, PLAN, NAMES, NOW), 10).event is None
    failed = replace(memory, verdicts={"smoke": CheckResult("smoke", False, check="other")})
    assert decide(Case(failed, seen, PLAN, NAMES, NOW), 10).event is None
    old = replace(memory, verdicts={"smoke": CheckResult("smoke", True)})
    assert decide(Case(old, seen, PLAN, NAMES, NOW), 10).event is Event.SUCCEEDED, "of an older version: it counts"


# --- abort before the release has an id ------------------------------------------------------------------------------


def test_aborted_while_resolving_stays_aborted_until_a_retry_or_another_spec() -> None:
    memory = Memory(phase=Phase.RESOLVING, since=NOW, started=NOW, stable=FIRST)
    seen = replace(SEEN, resolved=None, analysis=None, alerts=())
    turn = decide(Case(memory, replace(seen, request=Request(RequestKind.ABORT, "true")), None, NAMES, NOW), 10)
    assert turn.event is Event.ABORTED
    assert turn.memory.rejected is not None
    assert turn.memory.rejected.fingerprint == seen.fingerprint
    resting = replace(turn.memory, phase=Phase.ROLLED_BACK)
    assert decide(Case(resting, seen, None, NAMES, NOW), 10).event is None
    status = summarize(Inputs(resting, 1, NOW, {}, seen=seen))
    assert "The release was rejected: abort was requested" in status["message"]
    newer = decide(Case(resting, replace(seen, fingerprint="fp-d"), None, NAMES, NOW), 10)
    assert newer.event is Event.SPEC_CHANGED
    retry = Request(RequestKind.RETRY, "true")
    retried = decide(Case(resting, replace(seen, request=retry), None, NAMES, NOW), 10)
    assert (retried.event, retried.memory.rejected) == (Event.RETRIED, None)


def test_a_withdrawn_permission_while_resolving_rejects_nothing() -> None:
    memory = Memory(phase=Phase.RESOLVING, since=NOW, started=NOW, stable=FIRST)
    revoked = Blocker(ConditionType.SPEC_ACCEPTED, Reason.NOT_PERMITTED, "withdrawn", "ask", revokes=True)
    turn = decide(Case(memory, replace(SEEN, resolved=None, blockers=(revoked,)), None, NAMES, NOW), 10)
    assert (turn.event, turn.memory.rejected) == (Event.ABORTED, None)
