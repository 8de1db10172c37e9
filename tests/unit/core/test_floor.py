"""What the database supports no more is no way back, and the conditions and an undo say so before users are moved."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agui_operator.api.conditions import Reason
from agui_operator.core.decide import decide
from agui_operator.core.floor import too_old
from agui_operator.core.memory import Cause, Memory
from agui_operator.core.past import Promotion
from agui_operator.core.phases.case import Case
from agui_operator.core.phases.restoring import with_fallback
from agui_operator.core.rollout import Event, Phase
from agui_operator.core.snapshot import ServiceView, Snapshot, TargetView
from agui_operator.core.status_inputs import Inputs
from agui_operator.core.traffic import Target
from agui_operator.core.undo import way_back
from world_model import FIRST, NAMES, NOW, SECOND

OLD = replace(FIRST, requires="0001", template="")
RING = (Promotion(SECOND, NOW, OLD.id), Promotion(OLD, NOW))
HEALTHY = Memory(phase=Phase.HEALTHY, since=NOW, stable=SECOND, promoted=RING, schema_floor="0002")
WHY = "a contract migration raised the schema floor to 0002, while its code was built for schema 0001"


@pytest.mark.parametrize(
    ("floor", "needs", "old"),
    [
        ("0002", "0001", True),
        ("0002", "0002", False),
        ("0010", "0009", True),
        ("0001", "0002", False),
        (None, "0001", False),
        ("0002", None, False),
        ("9f3a", "0001", False),
        ("0002", "a1b2", False),
    ],
)
def test_a_release_is_too_old_below_the_floor_where_schemas_are_numbered(
    floor: str | None, needs: str | None, old: bool
) -> None:
    found = too_old(replace(HEALTHY, schema_floor=floor), replace(OLD, requires=needs))
    assert (found is not None) == old


def told(memory: Memory) -> tuple[bool | None, Reason, str]:
    seen = Snapshot(target=TargetView(OLD.id))
    return way_back(Inputs(memory=memory, generation=1, now=NOW, previous={}, seen=seen))


def test_the_way_back_is_not_ready_once_the_schema_was_contracted() -> None:
    assert told(replace(HEALTHY, schema_floor="0001"))[:2] == (True, Reason.STABLE_KNOWN)
    assert told(HEALTHY) == (False, Reason.SCHEMA_CONTRACTED, f"Release 1 (aaaa) can't be restored: {WHY}")
    flying = replace(HEALTHY, phase=Phase.SMOKING, stable=OLD, candidate=SECOND)
    assert told(flying) == (False, Reason.SCHEMA_CONTRACTED, f"Release 1 (aaaa) can receive traffic again, but {WHY}")
    assert told(replace(flying, schema_floor="0001"))[0] is True


def test_an_undo_ends_before_anybody_is_moved() -> None:
    undoing = replace(HEALTHY, phase=Phase.UNDOING, undo_to=OLD, candidate=SECOND)
    seen = Snapshot(fingerprint=SECOND.fingerprint, target=TargetView(OLD.id))
    turn = decide(Case(undoing, seen, None, NAMES, NOW), 10)
    assert (turn.event, turn.memory.phase, turn.actions) == (Event.CHECK_FAILED, Phase.PENDING, ())
    assert turn.memory.cause is not None
    assert (turn.memory.cause.reason, turn.memory.cause.message) == (Reason.SCHEMA_CONTRACTED, WHY)


def test_a_roll_back_that_needs_another_release_passes_over_what_is_too_old() -> None:
    gone, fine = replace(SECOND, template=""), replace(OLD, id="dddd", requires="0002")
    revision = NAMES.revision(gone.id)
    service = ServiceView(
        "s", "e", "o", "u", (Target(revision, 100),), (), {}, revision, revision, revision, False, True
    )
    seen = Snapshot(service=service, service_known=True, missing=frozenset({revision}))
    cause = Cause(Reason.SMOKE_FAILED, "m", Phase.SMOKING, NOW)
    back = replace(HEALTHY, phase=Phase.ROLLING_BACK, stable=gone, cause=cause)
    assert with_fallback(Case(back, seen, None, NAMES, NOW)).undo_to is None
    more = replace(back, promoted=(*RING, Promotion(fine, NOW)))
    assert with_fallback(Case(more, seen, None, NAMES, NOW)).undo_to == fine
