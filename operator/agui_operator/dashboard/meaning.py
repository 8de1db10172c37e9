"""What a condition, an outcome and a moment in the status mean for the reader. Pure.

A colour has one meaning on every page: fine, moving, waiting, stopped, or none (idle). A condition's status alone says
nothing about that: Stalled=True is bad, DriftFree=True is good, Reconciling=False is neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agui_operator.api.conditions import ConditionType, Reason
from agui_operator.core.rollout import Phase
from agui_operator.dashboard.board import Entry
from agui_operator.dashboard.facts import items, number, text
from agui_operator.dashboard.rows import Tone

_AT_REST = frozenset({Phase.PENDING, Phase.SUSPENDED, Phase.PAUSED})
_WITHOUT_VERDICT = {"RollBack": "rolls back", "PromoteAfter": "continues"}


def condition_tone(condition: Mapping[str, Any], overall: Tone) -> Tone:
    """The tone of a condition; `overall` is the object's, which Ready repeats while it is not True."""
    kind, status = text(condition, "type"), text(condition, "status")
    if kind == ConditionType.STALLED:
        return Tone.STOPPED if status == "True" else Tone.IDLE
    if kind == ConditionType.RECONCILING:
        return Tone.MOVING if status == "True" else Tone.IDLE
    if kind == ConditionType.PAUSED:
        return Tone.WAITING if status == "True" else Tone.IDLE
    if status == "True":
        return Tone.IDLE if text(condition, "reason") == Reason.NOT_REQUESTED else Tone.FINE
    if kind == ConditionType.READY:
        return overall
    if status == "False":
        return Tone.STOPPED
    return Tone.MOVING if text(condition, "reason") == "InProgress" else Tone.IDLE


def outcome_tone(outcome: str) -> Tone:
    """A release that another one replaced is neither good nor bad."""
    return {"Promoted": Tone.FINE, "Superseded": Tone.IDLE}.get(outcome, Tone.STOPPED)


def deadline(entry: Entry) -> str:
    """What happens at the moment `waitingFor.until`, as the words before the time."""
    status, phase = entry.status, text(entry.status, "phase")
    until = text(status, "waitingFor", "until")
    if until and until == text(status, "rollout", "deadline"):
        verb = "Rolled back" if text(status, "stable", "id") else "Fails"
        return f"{verb} automatically if not complete by"
    if phase == Phase.PROGRESSING and "agui.dev/promote" in text(status, "waitingFor", "unblockWith"):
        return _end_of_step(entry)
    frozen = any(text(condition, "reason") == "Frozen" for condition in items(status, "conditions"))
    return "Ends automatically at" if phase in _AT_REST and frozen else "Retried automatically at"


def _end_of_step(entry: Entry) -> str:
    steps = items(entry.spec, "strategy", "canary", "steps")
    done = number(entry.status, "rollout", "step") or 0
    if "pause" in next(iter(steps[done : done + 1]), {}):
        return "Continues automatically at"
    policy = text(entry.spec, "strategy", "canary", "analysis", "inconclusive")
    return f"Without a verdict, {_WITHOUT_VERDICT.get(policy, 'pauses')} automatically at"
