"""What the engine has to observe before the next decision about an object."""

from __future__ import annotations

from agui_operator.core.memory import Memory
from agui_operator.core.rollout import PHASES, RESTING, Look, Phase


def looks(memory: Memory, *, drift: bool) -> frozenset[Look]:
    """By phase. A resting object is looked at only when `drift` is due; a roll-back leaves the alert policies alone if
    the release never changed them."""
    if memory.phase in RESTING and not drift:
        return frozenset()
    wanted = PHASES[memory.phase].looks_at
    if memory.phase is Phase.ROLLING_BACK and not _changed_alerts(memory):
        return wanted - {Look.ALERTS}
    return wanted


def _changed_alerts(memory: Memory) -> bool:
    return memory.cause is not None and memory.cause.phase in (Phase.BAKING, Phase.HEALTHY)
