"""A forecast tells what can't go without a user from what only waits."""

from __future__ import annotations

from dataclasses import replace

from agui_operator.api.conditions import ConditionType, Reason
from agui_operator.core.forecast import forecast
from agui_operator.core.memory import Memory, Rejected
from agui_operator.core.rollout import Phase
from agui_operator.core.snapshot import Blocker, Snapshot
from world_model import FIRST, FREEZE, NAMES, NOW, SUSPEND, Luck, World, blueprint, look, start_second

BASE = look(World(Memory(), start_second().cloud), Luck())
FORBIDDEN = Blocker(ConditionType.SPEC_ACCEPTED, Reason.NOT_PERMITTED, "too large", "ask", revokes=True)
HEALTHY = Memory(phase=Phase.HEALTHY, since=NOW, stable=FIRST)


def told(memory: Memory, seen: Snapshot) -> tuple[str, str | None, str | None]:
    found = forecast(memory, seen, lambda m: blueprint(m, seen.fingerprint), NAMES, NOW)
    return found.ends_in, found.waits_for, found.blocked


def test_what_is_forbidden_is_blocked_also_after_a_healthy_release() -> None:
    seen = replace(BASE, fingerprint="fp-b", blockers=(FORBIDDEN,))
    assert told(HEALTHY, seen) == ("Pending", None, "too large; ask")
    assert told(Memory(), seen) == ("Pending", None, "too large; ask")


def test_what_holds_is_waited_for() -> None:
    assert told(HEALTHY, replace(BASE, blockers=(FREEZE,))) == ("Pending", "a freeze", None)
    assert told(Memory(), replace(BASE, blockers=(SUSPEND,))) == ("Suspended", "suspended", None)
    assert told(HEALTHY, replace(BASE, fingerprint="fp-a", blockers=(FREEZE,))) == ("Healthy", None, None)


def test_what_was_rejected_before_is_blocked_until_it_is_asked_for_in_another_way() -> None:
    rejected = Rejected("fp-b", "bbbb", "2", Reason.SMOKE_FAILED, "it broke", NOW, procedure="old")
    memory = Memory(phase=Phase.ROLLED_BACK, since=NOW, stable=FIRST, rejected=rejected)
    phase, _, blocked = told(memory, replace(BASE, procedure="old"))
    assert (phase, (blocked or "").startswith("rejected before: it broke; apply a corrected spec")) == (
        "RolledBack",
        True,
    )
    assert told(memory, replace(BASE, procedure="new")) == ("Healthy", None, None)
