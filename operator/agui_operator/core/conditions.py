"""Conditions of the kinds without a rollout: Ready, and what kstatus reads beside it. Pure.

What is missing may be part of the same sync: it is waited for, and Stalled after a grace.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from agui_operator.api.conditions import ConditionType, Reason

GRACE = timedelta(minutes=2)
_MESSAGE_MAX = 1000
_FORM = "%Y-%m-%dT%H:%M:%SZ"
Ready = tuple[str, Reason, str]  # status, reason, message


def conditions_of(
    ready: Ready, previous: Mapping[str, Any], generation: int, now: datetime, *, may_arrive: bool
) -> list[dict[str, Any]]:
    """`previous` is the status as last written. `may_arrive`: what Ready misses may come without a change of the
    object; else only a user can make it True."""
    status, reason, message = ready
    waits = status != "True" and may_arrive and not (status == "False" and _lasted(previous, now))
    yes_no = {True: "True", False: "False"}
    stalls = status != "True" and not waits
    told = (
        (ConditionType.READY, status, reason, message),
        (
            ConditionType.RECONCILING,
            yes_no[waits],
            reason if waits else Reason.NOT_RECONCILING,
            message if waits else "",
        ),
        (ConditionType.STALLED, yes_no[stalls], reason if stalls else Reason.NOT_STALLED, message if stalls else ""),
    )
    return [_condition(fact, previous, generation, now) for fact in told]


def _condition(
    fact: tuple[str, str, Reason, str], previous: Mapping[str, Any], generation: int, now: datetime
) -> dict[str, Any]:
    kind, status, reason, message = fact
    old = _find(previous, kind)
    moved = old.get("status") != status or not old.get("lastTransitionTime")
    return {
        "type": str(kind),
        "status": status,
        "reason": str(reason),
        "message": message[:_MESSAGE_MAX],
        "observedGeneration": generation,
        "lastTransitionTime": now.strftime(_FORM) if moved else old["lastTransitionTime"],
    }


def _lasted(previous: Mapping[str, Any], now: datetime) -> bool:
    """True if Ready has been False for longer than the grace."""
    old = _find(previous, ConditionType.READY)
    since = instant(old.get("lastTransitionTime"))
    return old.get("status") == "False" and since is not None and now - since >= GRACE


def _find(previous: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    found = previous.get("conditions") or ()
    return next((c for c in found if isinstance(c, Mapping) and c.get("type") == kind), {})


def instant(raw: Any) -> datetime | None:
    """A time with its offset as it stands in a status; None for what was damaged by hand."""
    try:
        at = datetime.fromisoformat(raw) if isinstance(raw, str) else None
    except ValueError:
        return None
    return at if at is not None and at.tzinfo is not None else None
