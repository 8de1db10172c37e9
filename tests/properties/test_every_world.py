"""Visits every world that the rollout can get into, and holds its promises against each.

The closure is complete for the model in tests/support/world_model.py: the operator dies before, between and after its
actions and before the status is written; every verdict, deadline, request and spec change happens in every phase.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from agui_operator.api.conditions import ConditionType, Reason
from agui_operator.api.status import AgUiDeploymentStatus
from agui_operator.core.actions import REMOVALS, Pointer
from agui_operator.core.decide import decide
from agui_operator.core.memory import HeldBy, from_status, to_status
from agui_operator.core.merge import without_nulls
from agui_operator.core.phases.case import Case
from agui_operator.core.rollout import HELD_BEFORE_WRITES, IN_FLIGHT, TRANSITIONS, Event, Phase
from agui_operator.core.served import astray
from agui_operator.core.snapshot import Blocker, Request, RequestKind
from agui_operator.core.status import Asked, Inputs, summarize
from agui_operator.core.traffic import share
from every_world import STARTS, closure, key_of
from world_model import (
    FOURTH,
    FREEZE,
    NAMES,
    NOW,
    SUSPEND,
    Luck,
    World,
    blueprint,
    look,
    lucky,
    normal,
    step,
)

STEPS_TO_REST = 60
GONE = Blocker(ConditionType.ENVIRONMENT_READY, Reason.ENVIRONMENT_NOT_READY, "no environment", "create it")
HOLDS = [FREEZE, SUSPEND, GONE]


def check(world: World) -> None:
    """The promises, in every single world."""
    memory, cloud = world.memory, world.cloud
    if cloud.traffic:
        assert sum(t.percent for t in cloud.traffic) == 100, f"traffic does not sum to 100: {cloud.traffic}"
    public = {t.revision for t in cloud.serving if t.percent > 0} if cloud.pointer is not None else set()
    assert public <= world.verified, f"an unverified revision met users: {public - world.verified}"
    if cloud.pointer is not None:
        assert cloud.pointer.frontend in cloud.published, "the release pointer names an incomplete release"
    if cloud.candidate_pointer is not None:
        assert cloud.candidate_pointer.frontend in cloud.published, "a candidate without its files is shown"
    for target in cloud.traffic:
        release = target.revision.removeprefix(f"{NAMES.service}-")
        old = release == "aaaa"
        assert old or NAMES.migration_job(release) in cloud.migrated, "code runs on a schema older than it needs"
    if memory.phase is Phase.ROLLED_BACK:
        assert memory.stable is not None, "rolled back to nothing"
    if memory.phase is Phase.FAILED:
        assert cloud.pointer is None, "a failed release is public"


starts = pytest.mark.parametrize("start", STARTS)


@starts
def test_promises_hold_in_every_world(start: str) -> None:
    worlds = closure(start).worlds
    assert len(worlds) > 1000
    for world in worlds:
        check(world)


def test_every_row_of_the_table_is_used_by_some_world() -> None:
    used = closure("first-release").rows | closure("second-release").rows
    rows = {(phase, event) for phase, row in TRANSITIONS.items() for event in row}
    assert rows - used == set(), "rows that no world ever uses"


@starts
def test_a_rested_world_is_what_its_phase_says(start: str) -> None:
    """Where the rollout comes to rest and nothing is left to do, users meet the stable release and only that."""
    rested = 0
    for world in closure(start).worlds:
        turn, _ = step(world, Luck())
        if world.memory.phase not in (Phase.HEALTHY, Phase.ROLLED_BACK) or turn.actions or turn.event is not None:
            continue
        if normal(turn.memory) != world.memory:
            continue  # what serves was found again
        rested += 1
        stable = world.memory.stable
        assert stable is not None
        assert share(world.cloud.serving, NAMES.revision(stable.id)) == 100
        assert world.cloud.pointer is not None
        assert world.cloud.pointer.frontend == stable.frontend
        assert world.cloud.candidate_pointer is None, "a candidate is shown for ever"
    assert rested > 5


@starts
def test_a_candidate_is_checked_only_where_it_can_be_met_by_its_name(start: str) -> None:
    met = 0
    for world in closure(start).worlds:
        memory, stable = world.memory, world.memory.stable
        if memory.phase is not Phase.SMOKING or memory.candidate is None:
            continue
        met += 1
        assert world.cloud.candidate_pointer == Pointer(memory.candidate.frontend, memory.candidate.id)
        assert world.cloud.pointer == (Pointer(stable.frontend, stable.id) if stable else None)
    assert met > 5


@starts
def test_a_failed_first_release_is_met_by_nobody(start: str) -> None:
    for world in closure(start).worlds:
        turn, _ = step(world, Luck())
        if world.memory.phase is Phase.FAILED and not turn.actions and turn.event is None:
            assert (world.cloud.pointer, world.cloud.candidate_pointer) == (None, None)


def may_rest(world: World) -> bool:
    """True where waiting is right: at an end, for a valid spec, for a tag that the model never resolves, for a
    person."""
    phase, stable = world.memory.phase, world.memory.stable
    if phase is Phase.ROLLED_BACK:
        return stable is not None and stable.fingerprint != world.fingerprint
    if phase in (Phase.HEALTHY, Phase.FAILED):
        return True
    if phase is Phase.PENDING:
        return world.fingerprint is None
    if phase is Phase.RESOLVING:
        return look(world, Luck()).resolved is None
    return phase is Phase.PAUSED and world.memory.held_by in (HeldBy.STEP, HeldBy.REQUEST)


@starts
def test_from_every_world_good_luck_leads_to_rest(start: str) -> None:
    """Nothing is ever stuck: whatever happened before, a person is waited for, or the rollout ends by itself."""
    for world in closure(start).worlds:
        now = world
        for _ in range(STEPS_TO_REST):
            following = lucky(now)
            if key_of(following) == key_of(now):
                break
            now = following
        else:
            pytest.fail(f"does not come to rest: {world}")
        assert may_rest(now), f"stuck in {now.memory.phase} ({now.memory.held_by}), spec {now.fingerprint}: {now}"


@starts
def test_a_newer_spec_is_never_waited_with(start: str) -> None:
    """From every world, a third spec is on its way (or back from a roll-back) after a few turns of good luck."""
    for world in closure(start).worlds:
        if world.memory.phase not in IN_FLIGHT:
            continue
        now = replace(world, fingerprint=FOURTH)
        for _ in range(STEPS_TO_REST):
            now = lucky(now)
        assert now.memory.phase is Phase.RESOLVING, f"{world.memory.phase} ends in {now.memory.phase}"


@starts
def test_what_is_remembered_survives_the_status_in_every_world(start: str) -> None:
    for world in closure(start).worlds:
        written = json.loads(json.dumps(to_status(world.memory)))
        assert from_status(written) == world.memory


@starts
def test_the_status_of_every_world_is_whole(start: str) -> None:
    """All conditions, known reasons, nothing that the API server would prune, kstatus never in two minds, and a
    sentence for whoever waits."""
    reasons = set(Reason) | set(Phase)
    for world in closure(start).worlds:
        memory, seen = world.memory, look(world, Luck())
        asked = Asked(world.fingerprint) if world.fingerprint else None
        differs = [text for text in astray(memory, seen, NAMES).values() if text is not None]
        plan = blueprint(memory, world.fingerprint)
        inputs = Inputs(memory, 1, NOW, {}, asked, plan=plan, seen=seen, astray="; ".join(differs) or None)
        status = summarize(inputs)
        AgUiDeploymentStatus.model_validate(without_nulls(status))
        conditions = {c["type"]: c for c in status["conditions"]}
        assert list(conditions) == list(ConditionType)
        assert {c["reason"] for c in conditions.values()} - reasons <= {""}, "an unknown reason"
        assert not conditions["Reconciling"]["status"] == conditions["Stalled"]["status"] == "True"
        serves = memory.phase is Phase.HEALTHY and memory.stable is not None and not differs
        wanted = serves and memory.stable.fingerprint == world.fingerprint  # type: ignore[union-attr]
        assert (conditions["Ready"]["status"] == "True") == wanted
        if memory.phase is Phase.PAUSED or memory.phase in (Phase.ROLLED_BACK, Phase.FAILED):
            assert status["waitingFor"]["unblockWith"]


@starts
@pytest.mark.parametrize("hold", [FREEZE, SUSPEND], ids=["freeze", "suspend"])
@pytest.mark.parametrize("kind", [RequestKind.PROMOTE, RequestKind.PROMOTE_FULL, RequestKind.RESUME])
def test_no_annotation_takes_a_held_rollout_further(start: str, hold: object, kind: RequestKind) -> None:
    """Whoever may annotate is not the administrator who froze."""
    luck = Luck(request=Request(kind, "true"), blockers=(hold,))  # type: ignore[arg-type]
    asked = 0
    for world in closure(start).worlds:
        if world.memory.phase not in (Phase.PROGRESSING, Phase.PAUSED) or world.fingerprint != "fp-b":
            continue
        asked += 1
        turn, _ = step(world, luck)
        assert turn.event in (None, Event.HELD), f"{kind} led to {turn.event} from {world.memory.phase}"
        acknowledged = turn.memory.acknowledged
        assert acknowledged is not None
        assert not acknowledged.accepted
        assert hold.message in acknowledged.message  # type: ignore[attr-defined]
    assert asked > 0


@pytest.mark.parametrize("hold", HOLDS, ids=lambda hold: str(hold.reason))
def test_before_the_canary_a_hold_stops_every_write_and_no_look(hold: Blocker) -> None:
    written = 0
    for world in (world for start in STARTS for world in closure(start).worlds):
        memory = world.memory
        if memory.phase not in HELD_BEFORE_WRITES or world.fingerprint != "fp-b":
            continue
        free, plan = look(world, Luck()), blueprint(memory, world.fingerprint)
        going = decide(Case(memory, free, plan, NAMES, NOW), 10)
        held = decide(Case(memory, replace(free, blockers=(hold,)), plan, NAMES, NOW), 10)
        assert held.actions == ()
        assert held.event is going.event, "what was begun is looked at to its end"
        written += bool(going.actions)
    assert written > 10


@starts
def test_while_a_freeze_holds_no_rollout_is_promoted(start: str) -> None:
    for world in closure(start).worlds:
        if world.memory.phase in (Phase.PROGRESSING, Phase.PAUSED):
            turn, _ = step(world, Luck(blockers=(FREEZE,)))
            assert turn.memory.phase is not Phase.PROMOTING
            assert turn.event not in (Event.STEP_PASSED, Event.ALL_STEPS_PASSED)


@pytest.mark.parametrize("start", STARTS)
def test_nothing_is_written_without_a_permission(start: str) -> None:
    """Every permission is withdrawn in every world: only roll-backs and removals act."""
    revoked = Blocker(ConditionType.SPEC_ACCEPTED, Reason.NOT_PERMITTED, "withdrawn", "ask", revokes=True)
    for world in closure(start).worlds:
        memory = world.memory
        releases = (memory.stable, memory.undo_to, *(promotion.release for promotion in memory.promoted))
        withdrawn = {release.id: "withdrawn" for release in releases if release is not None}
        seen = replace(look(world, Luck(blockers=(revoked,))), forbidden=withdrawn)
        decision = decide(Case(memory, seen, blueprint(memory, world.fingerprint), NAMES, NOW), 10)
        if decision.memory.phase is not Phase.ROLLING_BACK and decision.memory.stable is not None:
            written = [action for action in decision.actions if not isinstance(action, REMOVALS)]
            assert written == [], f"{memory.phase}: {written}"
