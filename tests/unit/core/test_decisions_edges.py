"""The corners of a turn that no ordinary rollout comes to."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from agui_operator.api.conditions import Reason
from agui_operator.api.strategy import AnalysisStep, CanaryStep, Inconclusive, Pause
from agui_operator.core import decide as deciding
from agui_operator.core.actions import (
    CHANGED_BY_HAND,
    Action,
    JobDeleted,
    Pointer,
    PointerSet,
    RevisionStaged,
    TrafficSplit,
)
from agui_operator.core.blueprint import Analysis, Blueprint
from agui_operator.core.decide import Decision, read_event
from agui_operator.core.forecast import assume, forecast
from agui_operator.core.looks import looks
from agui_operator.core.memory import Cause, HeldBy, HistoryEntry, Memory
from agui_operator.core.merge import merge_patch
from agui_operator.core.past import Promotion
from agui_operator.core.phases import actions_of
from agui_operator.core.phases.case import Case
from agui_operator.core.phases.routing import candidate_routing
from agui_operator.core.requests import undo_target
from agui_operator.core.rollout import IN_FLIGHT, Event, Look, Phase
from agui_operator.core.snapshot import (
    AnalysisResult,
    CheckResult,
    Request,
    RequestKind,
    SchemaReport,
    Snapshot,
    Verdict,
)
from agui_operator.core.status import Inputs, summarize
from agui_operator.core.traffic import Target
from world_model import FIRST, LATE, NAMES, NOW, SECOND, SUSPEND, Cloud, Luck, World, blueprint, look, start_second

FLYING = Memory(phase=Phase.PROGRESSING, since=NOW, started=NOW, candidate=SECOND, stable=FIRST)
PLAN = blueprint(FLYING, "fp-b")
assert PLAN is not None
SEEN = look(World(FLYING, start_second().cloud), Luck())


def event(memory: Memory, seen: Snapshot, plan: Blueprint | None = PLAN, now: Any = NOW) -> Event | None:
    found = read_event(Case(memory, seen, plan, NAMES, now))
    return found[0] if found else None


def actions_for(memory: Memory, seen: Snapshot, plan: Blueprint | None) -> tuple[Action, ...]:
    return actions_of(Case(memory, seen, plan, NAMES, NOW))


def decide(memory: Memory, seen: Snapshot, plan: Blueprint | None, limit: int | None = 10) -> Decision:
    return deciding.decide(Case(memory, seen, plan, NAMES, NOW), limit)


def routing(memory: Memory, seen: Snapshot, plan: Blueprint) -> PointerSet | None:
    return candidate_routing(Case(memory, seen, plan, NAMES, NOW))


@pytest.mark.parametrize("phase", sorted(IN_FLIGHT - {Phase.RESOLVING, Phase.PAUSED}))
def test_without_a_blueprint_nothing_happens_and_nothing_is_done(phase: Phase) -> None:
    memory = replace(FLYING, phase=phase)
    assert event(memory, SEEN, None) is None
    assert actions_for(memory, SEEN, None) == ()


@pytest.mark.parametrize(
    ("inconclusive", "expected"),
    [
        (Inconclusive.ROLL_BACK, Event.CHECK_FAILED),
        (Inconclusive.PROMOTE_AFTER, Event.STEP_PASSED),
        (Inconclusive.HOLD, Event.HELD),
    ],
)
def test_the_spec_says_what_no_verdict_means(inconclusive: Inconclusive, expected: Event) -> None:
    plan = replace(PLAN, analysis=Analysis(10, 1, 60, inconclusive, ()))
    seen = replace(SEEN, analysis=AnalysisResult(Verdict.INCONCLUSIVE, "quiet"))
    memory = replace(FLYING, step=1)
    assert event(memory, seen, plan) is None, "before the deadline it waits"
    assert event(memory, seen, plan, LATE) is expected


def test_an_analysis_step_without_an_analysis_waits_for_a_person() -> None:
    assert event(replace(FLYING, step=1), SEEN, replace(PLAN, analysis=None)) is Event.HELD


def test_a_timed_pause_passes_when_its_time_is_over_and_asks_to_be_looked_at_then() -> None:
    plan = replace(PLAN, steps=(CanaryStep(pause=Pause(duration=timedelta(minutes=5))),))
    turn = decide(FLYING, replace(SEEN, analysis=None), plan)
    assert (turn.event, turn.requeue_after) == (None, timedelta(minutes=1)), "somebody may move its traffic meanwhile"
    late = deciding.decide(Case(FLYING, replace(SEEN, analysis=None), plan, NAMES, NOW + timedelta(minutes=4.5)), 10)
    assert (late.event, late.requeue_after) == (None, timedelta(seconds=30))
    assert event(FLYING, replace(SEEN, analysis=None), plan, NOW + timedelta(minutes=5)) is Event.STEP_PASSED


def test_a_failed_check_after_promotion_stays_when_roll_back_is_manual() -> None:
    seen = look(World(replace(FLYING, phase=Phase.BAKING), start_second().cloud), Luck(checks=False))
    memory = replace(FLYING, phase=Phase.BAKING)
    assert event(memory, seen) is Event.CHECK_FAILED
    assert event(memory, seen, replace(PLAN, automatic_rollback=False)) is None


def test_a_roll_back_waits_for_a_service_that_was_not_seen() -> None:
    memory = replace(FLYING, phase=Phase.ROLLING_BACK)
    unseen = replace(SEEN, service=None, service_known=False)
    assert event(memory, unseen) is None
    assert [type(a) for a in actions_for(memory, unseen, None)] == []
    assert [type(a) for a in actions_for(memory, replace(unseen, service_known=True), None)] == [RevisionStaged]
    moved = replace(unseen, pointer=None)
    assert [type(a) for a in actions_for(memory, moved, None)] == [PointerSet]


def test_a_staged_revision_that_is_neither_ready_nor_failed_is_waited_for() -> None:
    service = replace(SEEN.service, latest_created=PLAN.revision.revision, ready=None, reconciling=False)  # type: ignore[type-var]
    assert event(replace(FLYING, phase=Phase.STAGING), replace(SEEN, service=service)) is None


@pytest.mark.parametrize("phase", [Phase.STAGING, Phase.PROGRESSING, Phase.PROMOTING])
def test_nothing_is_written_before_the_service_was_looked_at(phase: Phase) -> None:
    unknown = replace(SEEN, service=None, service_known=False)
    assert actions_for(replace(FLYING, phase=phase), unknown, PLAN) == ()


def test_a_promoted_release_whose_pointer_is_not_known_yet_waits() -> None:
    revision = PLAN.revision.revision
    traffic = (Target(NAMES.revision("aaaa"), 0, "r-aaaa"), Target(revision, 100, "r-bbbb"))
    service = replace(SEEN.service, traffic=traffic, serving=traffic)  # type: ignore[type-var]
    seen = replace(SEEN, service=service, pointer_known=False)
    assert actions_for(replace(FLYING, phase=Phase.PROMOTING), seen, PLAN) == ()


HEALTHY = start_second().memory


@pytest.mark.parametrize(
    ("cloud", "expected"),
    [
        pytest.param(start_second().cloud, [], id="as-it-should-be"),
        pytest.param(replace(start_second().cloud, traffic=()), [RevisionStaged], id="the-service-is-gone"),
        pytest.param(
            replace(start_second().cloud, traffic=(Target(NAMES.revision("x"), 100),)),
            [TrafficSplit],
            id="moved",
        ),
        pytest.param(replace(start_second().cloud, pointer=None), [PointerSet], id="the-pointer-is-gone"),
    ],
)
def test_drift_is_taken_back(cloud: Cloud, expected: list[type]) -> None:
    plan = blueprint(HEALTHY, "fp-a")
    assert plan is not None
    seen = look(World(HEALTHY, cloud, fingerprint="fp-a"), Luck())
    assert [type(a) for a in actions_for(HEALTHY, seen, plan)] == expected
    assert actions_for(HEALTHY, replace(seen, service=None, service_known=False), plan)[:0] == ()
    assert actions_for(HEALTHY, replace(seen, blockers=(SUSPEND,)), plan) == ()
    for other in (PLAN, None):  # the blueprint of another release, or a spec that can't be read: the record says how
        assert [type(a) for a in actions_for(HEALTHY, seen, other)] == expected


def test_the_schema_that_the_candidate_reported_is_remembered() -> None:
    turn = decide(FLYING, replace(SEEN, schema=SchemaReport("0002", "0001", "0001")), PLAN)
    assert turn.memory.candidate is not None
    assert (turn.memory.candidate.schema, turn.memory.candidate.requires) == ("0002", "0001")
    assert turn.memory.schema_floor == "0001"


def test_a_forecast_promotes_where_a_person_would_and_says_when_it_can_not_end() -> None:
    foreseen = forecast(FLYING, SEEN, lambda m: blueprint(m, "fp-b"), NAMES, NOW)
    assert foreseen.ends_in is Phase.HEALTHY
    stuck = forecast(replace(FLYING, phase=Phase.MIGRATING), SEEN, lambda m: None, NAMES, NOW)
    assert stuck.waits_for == "the forecast did not come to an end"
    assert assume(SEEN, JobDeleted("x"), NAMES) == SEEN


def test_an_undo_names_a_promoted_release_that_is_not_stable() -> None:
    third = replace(SECOND, id="cccc")
    failed = HistoryEntry(SECOND, "Failed", "", NOW, 1)
    ring = (Promotion(FIRST, NOW, "cccc"), Promotion(third, NOW))
    memory = replace(HEALTHY, history=(failed,), promoted=ring)
    assert undo_target(memory, "previous") == third
    assert undo_target(memory, "cccc") == third
    assert undo_target(memory, "aaaa") is None, "it is stable"
    assert undo_target(memory, "bbbb") is None
    assert undo_target(memory, "unknown") is None


def test_the_status_of_a_first_release_shows_no_weight_before_it_is_public() -> None:
    def weight(memory: Memory, seen: Snapshot | None = None, previous: Any = None) -> Any:
        previous = previous or {"rollout": {"weight": 7}}
        inputs = Inputs(memory=memory, generation=1, now=NOW, previous=previous, plan=PLAN, seen=seen)
        return summarize(inputs)["rollout"]["weight"]

    assert weight(replace(FLYING, stable=None)) == 0
    assert weight(replace(FLYING, stable=None, phase=Phase.BAKING)) == 100
    assert weight(FLYING) is None, "what another release had is not this one's"
    earlier = {"rollout": {"weight": 7}, "release": {"id": SECOND.id}}
    assert weight(FLYING, previous=earlier) == 7, "what was seen last, while nothing newer is known"
    assert weight(FLYING, previous={**earlier, "rollout": {"weight": "x"}}) is None, "damaged by hand"
    assert weight(FLYING, previous={**earlier, "rollout": None}) is None
    assert weight(replace(FLYING, phase=Phase.SMOKING), previous=earlier) == 0
    assert weight(FLYING, SEEN) == 0


def test_an_analysis_step_without_limits_has_no_end_to_tell() -> None:
    plan = replace(PLAN, analysis=None, steps=(CanaryStep(analysis=AnalysisStep()),))
    inputs = Inputs(memory=FLYING, generation=1, now=NOW, previous={}, plan=plan)
    assert "until" not in summarize(inputs)["waitingFor"]


def test_a_null_that_is_gone_needs_no_patch() -> None:
    assert merge_patch({"a": None}, {}) == {}
    assert NAMES.service_path == "projects/p/locations/r/services/demo-concierge-u7ne4j4vhm"
    assert NAMES.job_path("j").endswith("/jobs/j")


# --- roll-back, requests, history --------------------------------------------------------------------------------


ROLLED_BACK = Memory(phase=Phase.ROLLED_BACK, since=NOW, stable=FIRST)


@pytest.mark.parametrize(
    ("cloud", "expected"),
    [
        pytest.param(start_second().cloud, [], id="as-it-should-be"),
        pytest.param(
            replace(start_second().cloud, traffic=(Target(NAMES.revision("x"), 100),)), [TrafficSplit], id="moved"
        ),
        pytest.param(replace(start_second().cloud, pointer=None), [PointerSet], id="the-pointer-is-gone"),
    ],
)
def test_after_a_roll_back_drift_is_taken_back_though_the_spec_is_of_another_release(
    cloud: Cloud, expected: list[type]
) -> None:
    seen = look(World(ROLLED_BACK, cloud), Luck())
    assert [type(a) for a in actions_for(ROLLED_BACK, seen, None)] == expected
    assert actions_for(ROLLED_BACK, replace(seen, blockers=(SUSPEND,)), None) == ()
    assert actions_for(replace(ROLLED_BACK, stable=None), seen, None) == (), "a damaged memory hides nothing"
    unseen = replace(seen, service=None, service_known=False, pointer=None, pointer_known=False)
    assert actions_for(ROLLED_BACK, unseen, None) == (), "what was not looked at has not drifted"


def test_with_manual_roll_back_a_failed_release_waits_for_a_person_past_every_deadline() -> None:
    memory = replace(FLYING, phase=Phase.BAKING, verdicts={"smoke": CheckResult("smoke", False, "it broke")})
    manual = replace(PLAN, automatic_rollback=False)
    seen = look(World(memory, start_second().cloud), Luck(checks=False))
    assert event(memory, seen, manual, LATE) is None
    assert event(memory, replace(seen, fingerprint="fp-c"), manual) is Event.SPEC_CHANGED, "but not a newer spec"
    inputs = Inputs(memory=memory, generation=1, now=NOW, previous={}, plan=manual, seen=seen)
    waiting = summarize(inputs)["waitingFor"]
    assert "a manual decision" in waiting["what"]
    assert "it broke" in waiting["what"]
    assert "agui.dev/abort" in waiting["unblockWith"]


def test_a_canary_that_fails_while_it_is_held_failed_when_that_was_seen() -> None:
    memory = replace(FLYING, phase=Phase.PAUSED, step=1, held_by=HeldBy.ANALYSIS)
    seen = replace(SEEN, analysis=AnalysisResult(Verdict.FAILED, "errors"))
    found = read_event(Case(memory, seen, PLAN, NAMES, LATE))
    assert found is not None
    assert found[1] is not None
    assert (found[0], found[1].at) == (Event.CHECK_FAILED, LATE)


@pytest.mark.parametrize("value", ["false", "No", " 0 "])
@pytest.mark.parametrize("kind", [RequestKind.ABORT, RequestKind.PAUSE, RequestKind.PROMOTE_FULL])
def test_who_writes_false_asks_for_nothing_and_is_told_so(kind: RequestKind, value: str) -> None:
    turn = decide(FLYING, replace(SEEN, request=Request(kind, value), analysis=None), PLAN)
    assert turn.event in (None, Event.STEP_PASSED), "the step goes its own way"
    acknowledged = turn.memory.acknowledged
    assert acknowledged is not None
    assert not acknowledged.accepted
    assert "use 'true'" in acknowledged.message


def test_a_step_that_is_over_can_not_be_promoted_again() -> None:
    memory = replace(FLYING, phase=Phase.PAUSED, held_by=HeldBy.POLICY, step=len(PLAN.steps))
    turn = decide(memory, replace(SEEN, request=Request(RequestKind.PROMOTE, "true")), PLAN)
    assert turn.memory.step == len(PLAN.steps)


@pytest.mark.parametrize("limit", [1, 2, 10])
def test_the_history_is_limited_and_neither_attempts_nor_promotions_are(limit: int) -> None:
    """The ones number the next attempt, the others are what an undo goes back to."""
    old = tuple(HistoryEntry(replace(SECOND, id=f"old{n}"), "Failed", "", NOW, 1) for n in range(12))
    ring, attempts = (Promotion(FIRST, NOW),), {"aaaa": 1, "bbbb": 2}
    memory = replace(FLYING, phase=Phase.ROLLING_BACK, history=old, promoted=ring, attempts=attempts)
    turn = decide(memory, SEEN, None, limit)
    assert turn.memory.phase is Phase.ROLLED_BACK
    assert turn.memory.history[0].release.id == "bbbb"
    assert len(turn.memory.history) == limit
    assert (turn.memory.promoted, turn.memory.attempts) == (ring, attempts)


def test_rules_that_somebody_changed_are_not_taken_for_a_page_that_users_should_keep() -> None:
    """A first release has no stable one to fall back on: what the map says is kept, unless it says no release."""
    first = replace(FLYING, stable=None)
    ours = replace(SEEN, pointer=Pointer("f-before", "before"))
    by_hand = replace(SEEN, pointer=Pointer(CHANGED_BY_HAND, "before"))
    assert routing(first, ours, PLAN) == PointerSet(Pointer("f-before", "before"), PLAN.pointer)
    assert routing(first, by_hand, PLAN) == PointerSet(None, PLAN.pointer)


def test_what_has_no_page_is_not_shown_to_anybody() -> None:
    assert routing(FLYING, SEEN, replace(PLAN, pointer=None)) is None
    assert routing(FLYING, SEEN, replace(PLAN, pointer=Pointer(None, "bbbb"))) is None


def test_a_page_that_users_meet_already_needs_no_rule_of_its_own() -> None:
    same = replace(PLAN, pointer=Pointer(FIRST.frontend, SECOND.id))
    assert routing(FLYING, SEEN, same) is None


# --- what is looked at -------------------------------------------------------------------------------------------


def test_a_resting_object_is_looked_at_only_when_drift_is_due() -> None:
    assert looks(HEALTHY, drift=False) == frozenset()
    assert looks(HEALTHY, drift=True) == {Look.SERVICE, Look.ROUTING, Look.ALERTS, Look.ASSETS, Look.TARGET}
    assert looks(replace(HEALTHY, phase=Phase.FAILED), drift=True) == {Look.ROUTING}


def test_a_roll_back_looks_at_alert_policies_only_if_the_release_may_have_changed_them() -> None:
    before = Cause(Reason.SMOKE_FAILED, "", Phase.SMOKING, NOW)
    memory = replace(FLYING, phase=Phase.ROLLING_BACK, cause=before)
    assert Look.ALERTS not in looks(memory, drift=False)
    assert Look.ALERTS not in looks(replace(memory, cause=None), drift=False)
    assert Look.ALERTS in looks(replace(memory, cause=replace(before, phase=Phase.BAKING)), drift=False)


def test_a_bundle_that_is_published_or_not_looked_at_is_not_published_again() -> None:
    memory = replace(FLYING, phase=Phase.PUBLISHING)
    assert actions_for(memory, replace(SEEN, assets_complete=True), PLAN) == ()
    assert actions_for(memory, replace(SEEN, assets_complete=None), PLAN) == ()
    assert event(memory, replace(SEEN, assets_complete=None)) is None


def test_a_promotion_waits_for_a_service_that_was_not_seen() -> None:
    promoting, unseen = replace(FLYING, phase=Phase.PROMOTING), replace(SEEN, service=None, service_known=False)
    assert event(promoting, unseen) is None
    assert event(promoting, replace(unseen, service_known=True)) is Event.CHECK_FAILED, "somebody deleted it"


def test_a_history_is_not_shortened_while_its_limit_is_unknown() -> None:
    old = tuple(HistoryEntry(replace(SECOND, id=f"old{n}"), "Failed", "", NOW, 1) for n in range(40))
    memory = replace(FLYING, phase=Phase.ROLLING_BACK, history=(*old, HistoryEntry(FIRST, "Promoted", "", NOW, 1)))
    assert len(decide(memory, SEEN, None, limit=None).memory.history) == 42
