"""An undo checks the release that it goes back to before users meet it; users stay where they are if anything lacks."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from agui_operator.api.conditions import Reason
from agui_operator.api.smoke import AssetsCheck, HttpCheck, SmokeCheck
from agui_operator.api.strategy import CanaryStep, Pause
from agui_operator.core import past
from agui_operator.core.actions import PointerSet, RevisionStaged, TrafficSplit
from agui_operator.core.decide import Decision, decide
from agui_operator.core.memory import Acknowledged, Memory, Rejected
from agui_operator.core.past import Promotion
from agui_operator.core.phases import actions_of
from agui_operator.core.phases.case import Case
from agui_operator.core.phases.undoing import DEADLINE
from agui_operator.core.phases.weights import is_between_weights, kept_weight
from agui_operator.core.rollout import Event, Look, Phase
from agui_operator.core.snapshot import CheckResult, LookFault, Request, RequestKind, ServiceView, Snapshot, TargetView
from agui_operator.core.status import summarize
from agui_operator.core.status_inputs import Inputs
from agui_operator.core.traffic import Target
from agui_operator.core.undo import checks_of, recorded, way_back
from agui_operator.engine.cluster.records import sentence
from world_model import CHECK, NAMES, NOW, SECOND, blueprint
from world_model import FIRST as WITH_TEMPLATE

FIRST = replace(WITH_TEMPLATE, template="")  # its record does not say how to make its revision again
OLD, NEW = NAMES.revision(FIRST.id), NAMES.revision(SECOND.id)
RING = (Promotion(SECOND, NOW, FIRST.id), Promotion(FIRST, NOW, None, recorded((CHECK,))))
HEALTHY = Memory(phase=Phase.HEALTHY, since=NOW, stable=SECOND, promoted=RING)
SERVICE = ServiceView(
    name=NAMES.service,
    etag="e",
    owner=NAMES.owner,
    uri="http://x",
    traffic=(Target(NEW, 100, "r-bbbb"),),
    serving=(Target(NEW, 100, "r-bbbb"),),
    tag_uris={},
    template_revision=NEW,
    latest_created=NEW,
    latest_ready=NEW,
    reconciling=False,
    ready=True,
)
FINE = TargetView(FIRST.id)
SEEN = Snapshot(
    fingerprint=SECOND.fingerprint, service=SERVICE, service_known=True, target=FINE, alerts=(), pointer_known=True
)
UNDO = Request(RequestKind.UNDO, "previous")


def turn(memory: Memory, seen: Snapshot = SEEN, **later: Any) -> Decision:
    return decide(Case(memory, seen, None, NAMES, NOW + timedelta(**later)), 10)


def undoing(memory: Memory = HEALTHY) -> Memory:
    return turn(memory, replace(SEEN, request=UNDO)).memory


def with_check(passed: bool | None) -> Snapshot:
    return replace(SEEN, checks={CHECK.name: CheckResult(CHECK.name, passed, "it said so")})


def test_an_undo_moves_no_user_before_its_checks_have_passed() -> None:
    memory = undoing()
    assert (memory.phase, memory.undo_to, memory.candidate) == (Phase.UNDOING, FIRST, SECOND)
    assert memory.acknowledged is not None
    assert "release 1 (aaaa) is checked at 0 %" in memory.acknowledged.message
    waiting = turn(memory)
    assert waiting.event is None
    assert waiting.actions == (TrafficSplit((Target(NEW, 100, "r-bbbb"), Target(OLD, 0, "r-aaaa"))),)
    shown = replace(SEEN, service=replace(SERVICE, traffic=waiting.actions[0].traffic))
    assert turn(memory, shown).actions == (), "the tag is there"
    passed = turn(memory, with_check(True))
    assert (passed.event, passed.memory.phase) == (Event.SUCCEEDED, Phase.ROLLING_BACK)
    assert passed.memory.cause is not None
    assert passed.memory.cause.reason is Reason.UNDONE


def test_what_was_not_seen_is_waited_for() -> None:
    unseen = turn(undoing(), replace(SEEN, target=None, service=None, service_known=False))
    assert (unseen.event, unseen.actions) == (None, ())
    other = replace(with_check(True), target=TargetView("cccc"))
    assert turn(undoing(), other).event is None, "that was about another release"


@pytest.mark.parametrize(
    ("seen", "reason", "text"),
    [
        (with_check(False), "SmokeFailed", 'check "smoke" failed at 0 %: it said so'),
        (replace(SEEN, target=replace(FINE, revision=False)), "NotFound", "revision of release aaaa does not exist"),
        (replace(SEEN, target=replace(FINE, assets=False)), "NotFound", "page of release aaaa is not complete"),
        (replace(SEEN, target=replace(FINE, secrets=("db@3",))), "SecretDisabled", "db@3"),
    ],
    ids=["check", "revision", "page", "secret"],
)
def test_users_stay_where_they_are_and_the_answer_says_why(seen: Snapshot, reason: str, text: str) -> None:
    ended = turn(undoing(), seen).memory
    assert (ended.phase, ended.undo_to, ended.stable, ended.verdicts) == (Phase.PENDING, None, SECOND, {})
    assert ended.acknowledged is not None
    assert text in ended.acknowledged.message
    assert "release 2 (bbbb) keeps all traffic" in ended.acknowledged.message
    assert (ended.history[0].release, ended.history[0].outcome, ended.history[0].reason) == (
        FIRST,
        "NotRestored",
        reason,
    )
    again = turn(ended)
    assert (again.memory.phase, again.memory.promoted) == (Phase.HEALTHY, RING), "it can be asked for again"
    said = sentence(undoing(), ended, Event.CHECK_FAILED)
    assert said.startswith("The undo has ended without a change: ")
    assert "release 1 (aaaa) is checked at 0 %" in sentence(HEALTHY, undoing(), Event.UNDONE)


def test_it_does_not_wait_for_ever() -> None:
    assert turn(undoing(), seconds=DEADLINE.total_seconds()).event is None
    late = turn(undoing(), seconds=DEADLINE.total_seconds() + 1)
    assert (late.event, late.memory.phase) == (Event.DEADLINE_EXCEEDED, Phase.PENDING)
    assert late.memory.acknowledged is not None
    assert "within 10 minutes" in late.memory.acknowledged.message


def test_a_newer_spec_and_an_abort_end_it() -> None:
    newer = turn(undoing(), replace(SEEN, fingerprint="fp-new"))
    assert (newer.event, newer.memory.phase) == (Event.SPEC_CHANGED, Phase.PENDING)
    assert turn(newer.memory, replace(SEEN, fingerprint="fp-new")).memory.phase is Phase.RESOLVING
    assert turn(undoing(), replace(SEEN, fingerprint=None)).event is None
    aborted = turn(undoing(), replace(SEEN, request=Request(RequestKind.ABORT, "true")))
    assert (aborted.event, aborted.memory.phase) == (Event.ABORTED, Phase.PENDING)
    assert aborted.memory.acknowledged is not None
    assert aborted.memory.acknowledged.kind == "abort"


def test_a_damaged_status_ends_it() -> None:
    lost = replace(undoing(), undo_to=None, started=None, acknowledged=None)
    ended = turn(lost)
    assert (ended.event, ended.memory.phase, ended.memory.history) == (Event.CHECK_FAILED, Phase.PENDING, ())
    assert turn(replace(lost, started=None, undo_to=FIRST, stable=None)).memory.history[0].seconds == 0.0


def test_after_it_the_undone_release_is_no_target_and_the_spec_stays_rejected() -> None:
    restored = replace(SEEN, has_edge=False, service=replace(SERVICE, traffic=only(OLD), serving=only(OLD)))
    memory = turn(turn(undoing(), with_check(True)).memory, restored).memory
    assert (memory.phase, memory.stable, memory.promoted) == (Phase.ROLLED_BACK, FIRST, RING[1:])
    assert memory.rejected is not None
    assert (memory.rejected.fingerprint, memory.rejected.reason) == (SECOND.fingerprint, Reason.UNDONE)
    refused = turn(memory, replace(restored, request=UNDO)).memory
    assert refused.phase is Phase.ROLLED_BACK
    assert refused.acknowledged is not None
    assert "no release was stable before" in refused.acknowledged.message


def only(revision: str) -> tuple[Target, ...]:
    return (Target(revision, 100, "r-" + revision.rpartition("-")[2]),)


def test_an_undo_of_an_undo_goes_one_further_and_keeps_what_the_spec_asks_for_rejected() -> None:
    third = replace(FIRST, id="cccc", fingerprint="fp-c")
    rejected = Rejected(SECOND.fingerprint, SECOND.id, "2", Reason.UNDONE, "m", NOW)
    ring = (Promotion(FIRST, NOW, "cccc"), Promotion(third, NOW))
    memory = Memory(phase=Phase.ROLLED_BACK, since=NOW, stable=FIRST, rejected=rejected, promoted=ring)
    again = undoing(memory)
    assert (again.phase, again.undo_to, again.candidate) == (Phase.UNDOING, third, FIRST)
    revision = NAMES.revision("cccc")
    ready = replace(SEEN, target=TargetView("cccc"))
    back = turn(again, ready).memory
    assert back.phase is Phase.ROLLING_BACK, "no checks are recorded for it"
    service = replace(SERVICE, traffic=only(revision), serving=only(revision))
    ended = turn(back, replace(SEEN, service=service)).memory
    assert (ended.phase, ended.stable, ended.rejected) == (Phase.ROLLED_BACK, third, rejected)
    assert turn(ended, replace(SEEN, service=service)).memory.phase is Phase.ROLLED_BACK


def test_an_undo_to_an_earlier_attempt_of_the_spec_ends_healthy() -> None:
    """`rejected` and `stable` are of one fingerprint: what the spec asks for serves, whatever was undone."""
    again = replace(FIRST, id="aaaa-2")
    revision = NAMES.revision(again.id)
    ring = (Promotion(again, NOW, SECOND.id), Promotion(SECOND, NOW, FIRST.id), Promotion(FIRST, NOW))
    service = replace(SERVICE, traffic=only(OLD), serving=only(OLD), latest_created=revision)
    seen = replace(SEEN, fingerprint=FIRST.fingerprint, service=service)
    memory = replace(HEALTHY, stable=again, promoted=ring)
    memory = turn(memory, replace(seen, request=Request(RequestKind.UNDO, FIRST.id))).memory
    phases = [memory.phase]
    while (following := turn(memory, seen)).event is not None:
        memory = following.memory
        phases.append(memory.phase)
    assert phases == [Phase.UNDOING, Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.PENDING, Phase.HEALTHY]
    assert (memory.stable, memory.rejected, memory.promoted) == (FIRST, None, ring[1:])
    assert [e.outcome for e in memory.history] == ["RolledBack"], "no rollout was needed"


def test_only_checks_that_reach_the_backend_are_recorded() -> None:
    page = SmokeCheck(name="page", assets=AssetsCheck())
    slow = replace_check(attempts=7, timeout=timedelta(seconds=33))
    kept = recorded((page, slow))
    assert list(kept) == ["smoke"]
    memory = Memory(undo_to=FIRST, promoted=(Promotion(FIRST, NOW, None, kept),))
    assert checks_of(memory) == (slow,)
    many = tuple(SmokeCheck(name=f"c{n}", http=HttpCheck(path="/" + "x" * 250)) for n in range(60))
    assert 20 < len(recorded(many)) < 40, "bounded"


@pytest.mark.parametrize("raw", [5, {"http": 1}, {}, {"assets": {}}, None])
def test_a_recorded_check_that_can_not_be_read_is_left_out(raw: Any) -> None:
    memory = Memory(undo_to=FIRST, promoted=(Promotion(FIRST, NOW, None, {"smoke": raw}),))
    assert checks_of(memory) == ()
    assert checks_of(Memory()) == checks_of(Memory(undo_to=FIRST)) == ()


def replace_check(**changes: Any) -> SmokeCheck:
    return SmokeCheck(name="smoke", http=HttpCheck(path="/readyz"), **changes)


def test_an_answer_to_another_request_is_not_changed() -> None:
    memory = replace(undoing(), acknowledged=Acknowledged("pause", "true", False, "no", NOW))
    ended = turn(memory, with_check(False)).memory
    assert ended.acknowledged == memory.acknowledged
    assert past.find(ended.promoted, FIRST.id) is not None


def test_a_roll_back_after_an_undo_needs_no_page_where_there_is_none() -> None:
    back = turn(undoing(), with_check(True)).memory
    acting = turn(back, replace(SEEN, has_edge=True, pointer_known=True))
    assert [type(a) for a in acting.actions] == [TrafficSplit, PointerSet]


def test_a_revision_that_is_gone_is_made_again_and_looked_at_again() -> None:
    ring = (RING[0], Promotion(WITH_TEMPLATE, NOW, None, RING[1].checks))
    memory = undoing(replace(HEALTHY, promoted=ring))
    gone = replace(SEEN, target=replace(FINE, revision=False))
    (made,) = turn(memory, gone).actions
    assert isinstance(made, RevisionStaged)
    assert made.template.revision == OLD
    assert made.traffic == (Target(NEW, 100, "r-bbbb"), Target(OLD, 0, "r-aaaa"))
    asked = replace(SERVICE, template_revision=OLD, latest_created=OLD, ready=None, reconciling=True)
    assert turn(memory, replace(gone, service=asked)).actions == ()
    assert turn(memory, replace(with_check(True), target=gone.target)).event is None
    broken = turn(memory, replace(gone, service=replace(asked, ready=False, reason="it exits")))
    assert broken.event is Event.CHECK_FAILED
    assert broken.memory.acknowledged is not None
    assert "its revision did not become ready: it exits" in broken.memory.acknowledged.message
    lacking = replace(gone, target=TargetView(FIRST.id, revision=False, assets=False))
    assert turn(memory, lacking).event is Event.CHECK_FAILED


# --- RollbackReady ---------------------------------------------------------------------------------------------------


def told(memory: Memory, seen: Snapshot | None, previous: Any = None) -> tuple[bool | None, Reason, str]:
    return way_back(Inputs(memory=memory, generation=1, now=NOW, previous=previous or {}, seen=seen))


def test_the_way_back_is_looked_at_at_rest() -> None:
    assert told(Memory(), None)[:2] == (False, Reason.NO_STABLE_RELEASE)
    assert told(replace(HEALTHY, promoted=RING[:1]), SEEN)[:2] == (False, Reason.NO_EARLIER_RELEASE)
    assert told(HEALTHY, SEEN) == (True, Reason.STABLE_KNOWN, "Release 1 (aaaa) can be restored")
    lacking = told(HEALTHY, replace(SEEN, target=replace(FINE, secrets=("db@3",))))
    assert lacking[:2] == (False, Reason.VERSION_DISABLED)
    assert "db@3" in lacking[2]
    flying = told(replace(HEALTHY, phase=Phase.SMOKING), None)
    assert flying == (True, Reason.STABLE_KNOWN, "Release 2 (bbbb) can be restored"), "it serves meanwhile"


def test_without_a_look_the_last_answer_about_the_same_release_holds() -> None:
    unseen = replace(SEEN, target=None)
    assert told(HEALTHY, unseen)[:2] == (None, Reason.NOT_OBSERVED)
    fault = LookFault(Reason.CLOUD_UNAVAILABLE, "answered 503")
    refused = told(HEALTHY, replace(unseen, failed={Look.TARGET: fault}))
    assert refused == (None, Reason.CLOUD_UNAVAILABLE, "Release 1 (aaaa) could not be looked at: answered 503")
    other = {"type": "Ready", "status": "True", "reason": "Healthy", "message": "Release 1 (aaaa) is healthy"}
    before = {
        "type": "RollbackReady",
        "status": "False",
        "reason": "NotFound",
        "message": "Release 1 (aaaa) can't be restored: x",
    }
    assert told(HEALTHY, None, {"conditions": [other, before]}) == (False, Reason.NOT_FOUND, before["message"])
    for damage in ({"message": "Release 9 (9999) can be restored"}, {"reason": "?"}):
        assert told(HEALTHY, None, {"conditions": [before | damage]})[0] is None


# --- tags and weights ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [Phase.PENDING, Phase.RESOLVING, Phase.SUSPENDED, Phase.HEALTHY])
def test_a_revision_that_was_never_promoted_loses_its_tag(phase: Phase) -> None:
    left = (Target(NEW, 100, "r-bbbb"), Target(OLD, 0, "r-aaaa"), Target("mine-1", 0, "mine"), Target("x", 0, "r-x"))
    superseded = Target(NAMES.revision("cccc"), 0, "r-cccc")
    service = replace(SERVICE, traffic=(*left, superseded))
    blocked = replace(SEEN, service=None, service_known=False, last_service=service, target=None)
    case = Case(replace(HEALTHY, phase=phase), blocked, None, NAMES, NOW)
    assert actions_of(case) == (TrafficSplit(left),)
    assert actions_of(replace(case, memory=replace(case.memory, phase=Phase.SMOKING))) == ()
    assert actions_of(replace(case, memory=replace(case.memory, stable=None))) == ()
    clean = replace(blocked, last_service=replace(service, traffic=left))
    assert actions_of(replace(case, seen=clean)) == ()
    served = replace(blocked, last_service=replace(service, traffic=(replace(superseded, percent=100),)))
    assert actions_of(replace(case, seen=served)) == (), "it serves users"


def test_a_canary_that_waits_keeps_the_weight_of_its_last_step() -> None:
    steps = (CanaryStep(set_weight=20), CanaryStep(pause=Pause()))
    memory = Memory(phase=Phase.PAUSED, since=NOW, candidate=SECOND, stable=WITH_TEMPLATE, step=1)
    plan = blueprint(memory, SECOND.fingerprint)
    assert plan is not None
    plan = replace(plan, steps=steps)
    moved = replace(SEEN, service=replace(SERVICE, traffic=only(NEW)))
    case = Case(memory, moved, plan, NAMES, NOW)
    back = (TrafficSplit((Target(OLD, 80, "r-aaaa"), Target(NEW, 20, "r-bbbb"))),)
    assert kept_weight(case) == back
    assert kept_weight(replace(case, memory=replace(memory, phase=Phase.PROGRESSING))) == back
    assert is_between_weights(replace(case, memory=replace(memory, step=2)))
    right = replace(SEEN, service=replace(SERVICE, traffic=back[0].traffic))
    assert kept_weight(replace(case, seen=right)) == ()
    setting = replace(case, memory=replace(memory, phase=Phase.PROGRESSING, step=0))
    assert kept_weight(setting) == (), "the step sets its own"
    before_any = replace(case, blueprint=replace(plan, steps=steps[1:]), memory=replace(memory, step=0))
    assert kept_weight(before_any) == (TrafficSplit((Target(OLD, 100, "r-aaaa"), Target(NEW, 0, "r-bbbb"))),)
    for other in (replace(case, blueprint=None), replace(case, memory=replace(memory, phase=Phase.BAKING))):
        assert kept_weight(other) == ()
    assert kept_weight(replace(case, seen=replace(moved, service=None))) == ()


def test_a_release_that_can_not_be_restored_is_named_with_those_that_can() -> None:
    refused = turn(HEALTHY, replace(SEEN, request=Request(RequestKind.UNDO, "cccc"))).memory
    assert (refused.phase, refused.undo_to) == (Phase.HEALTHY, None)
    assert refused.acknowledged is not None
    assert "release cccc can't be restored; releases that can be restored: aaaa (1)" in refused.acknowledged.message


def test_the_stable_release_that_a_lost_status_did_not_name_is_a_target_again() -> None:
    ring = past.with_stable((), FIRST, NOW)
    assert past.with_stable(ring, FIRST, NOW) == ring
    assert past.with_stable(ring, None, NOW) == ring
    assert past.undo_target(past.promoted(ring, Promotion(SECOND, NOW, FIRST.id)), SECOND.id, "") == FIRST


def test_a_roll_back_without_a_candidate_keeps_the_release_that_it_ended_in() -> None:
    memory = Memory(phase=Phase.ROLLING_BACK, since=NOW, stable=SECOND, undo_to=FIRST)
    service = replace(SERVICE, traffic=only(OLD), serving=only(OLD))
    ended = turn(memory, replace(SEEN, service=service)).memory
    assert (ended.phase, ended.stable, ended.undo_to) == (Phase.ROLLED_BACK, FIRST, None)


def test_the_status_of_an_undo_says_what_is_checked_and_that_users_stay() -> None:
    status = summarize(Inputs(memory=undoing(), generation=1, now=NOW, previous={}, seen=SEEN))
    assert status["message"] == "Release 2 (bbbb): checking the earlier release at 0 %: 1 (aaaa)"
    assert (status["release"]["id"], status["rollout"]["weight"]) == (SECOND.id, 100)
    assert status["waitingFor"]["what"] == "Checking the earlier release at 0 %"
    conditions = {c["type"]: c["status"] for c in status["conditions"]}
    assert (conditions["Reconciling"], conditions["RollbackReady"]) == ("True", "True")
