"""Services and revisions that somebody deleted, outages of bystanders, and values that say nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from agui_operator.api.conditions import ConditionType, Reason
from agui_operator.api.strategy import CanaryStep, Pause
from agui_operator.core import metric_filters
from agui_operator.core.actions import RevisionStaged
from agui_operator.core.analysis import Limit, Sample, Window, value_of, verdict
from agui_operator.core.blueprint import Blueprint
from agui_operator.core.decide import Decision, decide
from agui_operator.core.memory import Memory
from agui_operator.core.parsing import number
from agui_operator.core.past import Promotion
from agui_operator.core.phases.case import Case
from agui_operator.core.phases.vanished import vanished
from agui_operator.core.phases.weights import kept_weight
from agui_operator.core.rollout import Event, Look, Phase
from agui_operator.core.snapshot import CheckResult, LookFault, Snapshot, TargetView, Verdict
from agui_operator.core.status import Inputs, summarize
from agui_operator.core.traffic import Target
from world_model import CHECK, FIRST, NAMES, NOW, SECOND, SUSPEND, Luck, World, blueprint, look, start_second

FLYING = Memory(phase=Phase.PAUSED, since=NOW, started=NOW, candidate=SECOND, stable=FIRST, step=1)
OLD, NEW = NAMES.revision(FIRST.id), NAMES.revision(SECOND.id)
SEEN = look(World(replace(FLYING, phase=Phase.PROGRESSING), start_second().cloud), Luck())
GONE = replace(SEEN, service=None, service_known=True)


def planned(memory: Memory = FLYING) -> Blueprint:
    plan = blueprint(memory, SECOND.fingerprint)
    assert plan is not None
    return replace(plan, steps=(CanaryStep(set_weight=20), CanaryStep(pause=Pause())))


def condition(memory: Memory, kind: ConditionType, **more: object) -> tuple[str, str, str]:
    status = summarize(Inputs(memory=memory, generation=1, now=NOW, previous={}, **more))  # type: ignore[arg-type]
    found = next(c for c in status["conditions"] if c["type"] == kind)
    return found["status"], found["reason"], found["message"]


# --- gone ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "what"),
    [(GONE, "Cloud Run service"), (replace(SEEN, missing=frozenset({NEW})), f"Cloud Run revision {NEW}")],
    ids=["service", "revision"],
)
def test_a_candidate_that_is_gone_ends_its_rollout_without_rejecting_the_spec(seen: Snapshot, what: str) -> None:
    found = vanished(Case(FLYING, seen, planned(), NAMES, NOW))
    assert found is not None
    event, cause = found
    assert (event, cause.reason, cause.rejects) == (Event.CHECK_FAILED, Reason.RESOURCE_GONE, False)
    assert what in cause.message


def test_a_waiting_canary_makes_a_stable_revision_that_is_gone_again_at_its_weight() -> None:
    case = Case(FLYING, replace(SEEN, missing=frozenset({OLD})), planned(), NAMES, NOW)
    (made,) = kept_weight(case)
    assert isinstance(made, RevisionStaged)
    assert made.template.revision == OLD
    assert made.traffic == (Target(OLD, 80, NAMES.tag(FIRST.id)), Target(NEW, 20, NAMES.tag(SECOND.id)))


UNDOING = Memory(
    phase=Phase.UNDOING,
    since=NOW,
    stable=FIRST,
    undo_to=SECOND,
    promoted=(Promotion(FIRST, NOW, SECOND.id), Promotion(SECOND, NOW)),
)


def turn(memory: Memory, seen: Snapshot) -> Decision:
    return decide(Case(memory, seen, None, NAMES, NOW + timedelta(seconds=1)), 10)


def test_an_undo_makes_a_service_that_is_gone_again_with_the_release_that_users_had() -> None:
    gone = replace(GONE, fingerprint=FIRST.fingerprint, target=None)
    (made,) = turn(UNDOING, gone).actions
    assert isinstance(made, RevisionStaged)
    assert (made.template.revision, made.traffic) == (OLD, (Target(OLD, 100, NAMES.tag(FIRST.id)),))


def test_an_undo_ends_where_a_service_that_is_gone_can_not_be_made_again() -> None:
    unrecorded = replace(UNDOING, stable=replace(FIRST, template=""))
    gone = replace(GONE, fingerprint=FIRST.fingerprint, target=None)
    ended = turn(unrecorded, gone)
    assert ended.event is Event.CHECK_FAILED
    assert ended.actions == ()


def test_a_promotion_without_a_record_of_checks_passes_as_soon_as_it_was_looked_at() -> None:
    seen = replace(SEEN, fingerprint=FIRST.fingerprint, target=TargetView(SECOND.id))
    assert turn(UNDOING, replace(seen, checks={CHECK.name: CheckResult(CHECK.name, True, "")})).event is Event.SUCCEEDED


# --- bystanders ------------------------------------------------------------------------------------------------------


def test_alerts_that_could_not_be_looked_at_are_said_with_the_reason() -> None:
    fault = LookFault(Reason.PERMISSION_DENIED, "Monitoring answered 403")
    seen = replace(SEEN, failed={Look.ALERTS: fault})
    told = condition(replace(FLYING, phase=Phase.HEALTHY, stable=SECOND), ConditionType.ALERTS_CONFIGURED, seen=seen)
    assert told == ("False", "PermissionDenied", "Monitoring answered 403")


@pytest.mark.parametrize(
    ("phase", "more"),
    [(Phase.SMOKING, {"compared": True}), (Phase.HEALTHY, {}), (Phase.HEALTHY, {"blockers": (SUSPEND,)})],
    ids=["in flight", "at rest", "suspended"],
)
def test_drift_is_unknown_where_nothing_was_compared(phase: Phase, more: dict[str, object]) -> None:
    told = condition(replace(FLYING, phase=phase), ConditionType.DRIFT_FREE, **more)
    assert told[:2] == ("Unknown", "NotCompared")


# --- values ----------------------------------------------------------------------------------------------------------


def test_a_stable_release_without_data_is_not_compared_with() -> None:
    limit = Limit("latency-p95", max_ratio_to_stable=1.5)
    window = Window(Sample(requests=300, latency_p95_ms=40.0), Sample(requests=300), 200, (limit,))
    assert value_of("latency-p95", window.candidate) == 40.0
    assert value_of("latency-p95", Sample()) is None
    found = verdict(window)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "no latency-p95 data for the stable release to compare with" in found.message


def test_a_ratio_to_a_stable_release_without_errors_says_nothing() -> None:
    limit = Limit("error-rate", max_ratio_to_stable=2.0)
    found = verdict(Window(Sample(requests=300, errors=3), Sample(requests=300), 200, (limit,)))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "error-rate is 1.00% and stable's is 0" in found.message


def test_metrics_are_asked_for_by_service_and_class() -> None:
    assert metric_filters.server_errors(NAMES).endswith('AND metric.labels.response_code_class="5xx"')
    assert metric_filters.one_of("resource.labels.revision_name", ["a", "b"]) == (
        'resource.labels.revision_name=one_of("a", "b")'
    )


@pytest.mark.parametrize(("raw", "expected"), [("x", None), ("1.5", 1.5), (10**400, None), (True, None), ("nan", None)])
def test_a_number_that_can_not_be_read_is_none(raw: object, expected: float | None) -> None:
    assert number(raw) == expected


def test_a_backup_that_an_older_version_described_is_recognised() -> None:
    wanted = NAMES.backup_description("aaaa")
    assert NAMES.is_backup(wanted, wanted)
    assert NAMES.is_backup(f"agui {NAMES.uid} aaaa", wanted)
    assert not NAMES.is_backup(f"agui {NAMES.uid} bbbb", wanted)
