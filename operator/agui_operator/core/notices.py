"""What an Event is due for, by two statuses in a row: each reason once, when it appears. Pure.

Phase changes and answers to requests have Events of their own; these are about what stands in the way of a phase.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agui_operator.api.conditions import Reason
from agui_operator.core.rollout import STOPPED, Phase

REQUEST_ACCEPTED, REQUEST_REFUSED, UNKNOWN_ANNOTATION = "RequestAccepted", "RequestRefused", "UnknownAnnotation"
_NORMAL = frozenset({Reason.FROZEN, Reason.SUSPENDED})
_NOTICED = _NORMAL | {
    Reason.INVALID_SPEC,
    Reason.NOT_PERMITTED,
    Reason.ENVIRONMENT_NOT_READY,
    Reason.ENVIRONMENT_INCOMPLETE,
    Reason.INVALID_CONFIGURATION,
    Reason.NOT_OWNED,
    Reason.NOT_FOUND,
    Reason.PERMISSION_DENIED,
    Reason.NO_CREDENTIALS,
    Reason.VERSION_DISABLED,
    Reason.BUNDLE_NOT_FOUND,
    Reason.BUNDLE_REFUSED,
    Reason.REVISION_CONFLICT,
}


@dataclass(frozen=True, slots=True)
class Notice:
    """One Event. `kind` is Normal or Warning."""

    kind: str
    reason: str
    message: str


def notices(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Notice, ...]:
    """The Events that are due when the status changes; none for what was told before."""
    found = (_obstacle(before, after), _ignored(before, after))
    return tuple(notice for notice in found if notice is not None)


def _obstacle(before: Mapping[str, Any], after: Mapping[str, Any]) -> Notice | None:
    told, ready = _condition(before, "Ready"), _condition(after, "Ready")
    reason, message = str(ready.get("reason")), str(ready.get("message"))
    if reason not in _NOTICED or after.get("phase") in STOPPED | {Phase.SUSPENDED}:
        return None
    if (told.get("reason"), told.get("message")) == (reason, message):
        return None
    return Notice("Normal" if reason in _NORMAL else "Warning", reason, message)


def _ignored(before: Mapping[str, Any], after: Mapping[str, Any]) -> Notice | None:
    told, accepted = _condition(before, "SpecAccepted"), _condition(after, "SpecAccepted")
    if accepted.get("reason") != Reason.UNKNOWN_FIELDS or told.get("message") == accepted.get("message"):
        return None
    return Notice("Warning", Reason.UNKNOWN_FIELDS, str(accepted.get("message")))


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    found = status.get("conditions") or ()
    return next((c for c in found if isinstance(c, Mapping) and c.get("type") == kind), {})
