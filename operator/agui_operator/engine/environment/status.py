"""The whole `.status` of an AgUiEnvironment, computed from one look. Pure: the same look gives the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agui_operator.api.conditions import Reason
from agui_operator.core.conditions import Ready, conditions_of

PRESENT = "Present"
Resource = Mapping[str, str]  # kind, name, state


@dataclass(frozen=True, slots=True)
class EnvironmentLook:
    """What one look found. `spec_error`: nothing was looked at, because the spec is invalid; `refused`: because no
    AgUiPolicy permits the namespace to name it. `fault`: looking failed, nothing is known. Else `resources` has a row
    for each part that the spec names."""

    resources: tuple[Resource, ...] = ()
    spec_error: str | None = None
    fault: str | None = None
    refused: str | None = None

    @property
    def missing(self) -> tuple[Resource, ...]:
        return tuple(r for r in self.resources if r["state"] != PRESENT)

    @property
    def is_complete(self) -> bool:
        return self.spec_error is None and self.refused is None and self.fault is None and not self.missing


def status_of(look: EnvironmentLook, previous: Mapping[str, Any], generation: int, now: datetime) -> dict[str, Any]:
    """`previous` is the status as last written: the rows of the last look stay while looking fails."""
    resources: Sequence[Any] = look.resources if look.fault is None else previous.get("resources") or ()
    may_arrive = look.spec_error is None  # a part may be part of the same sync, and an outage passes
    return {
        "observedGeneration": generation,
        "conditions": conditions_of(_ready(look), previous, generation, now, may_arrive=may_arrive),
        "resources": [dict(row) for row in resources],
    }


def deletion_status(
    users: Sequence[str], previous: Mapping[str, Any], generation: int, now: datetime
) -> dict[str, Any]:
    """Of an environment that is being deleted, which waits for the deployments that need it."""
    blocked = ("False", Reason.DELETING, "no deployment needs this environment")
    if users:
        text = f"deployments that need this environment: {', '.join(users)}; delete them, or remove the finalizer"
        blocked = ("True", Reason.DELETION_BLOCKED, text)
    others = [c for c in previous.get("conditions") or () if c.get("type") != "DeletionBlocked"]
    condition = _condition("DeletionBlocked", blocked, previous, generation, now)
    return {**previous, "observedGeneration": generation, "conditions": [*others, condition]}


def _condition(
    kind: str, fact: tuple[str, Reason, str], previous: Mapping[str, Any], generation: int, now: datetime
) -> dict[str, Any]:
    status, reason, message = fact
    conditions = previous.get("conditions") or ()
    old: Mapping[str, Any] = next((c for c in conditions if c.get("type") == kind), {})
    moved = old.get("status") != status or not old.get("lastTransitionTime")
    return {
        "type": kind,
        "status": status,
        "reason": str(reason),
        "message": message[:1024],
        "observedGeneration": generation,
        "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ") if moved else old["lastTransitionTime"],
    }


def _ready(look: EnvironmentLook) -> Ready:
    if look.spec_error is not None:
        return "False", Reason.INVALID_SPEC, look.spec_error
    if look.refused is not None:
        return "False", Reason.NOT_PERMITTED, f"Not looked at: {look.refused}; ask an administrator"
    if look.fault is not None:
        return "Unknown", Reason.NOT_OBSERVED, f"could not be looked at, retried automatically: {look.fault}"
    if look.missing:
        absent = ", ".join(_described(row) for row in look.missing)
        return "False", Reason.MISSING, f"not found: {absent}; create it or correct the name"
    return "True", Reason.OBSERVED, f"All {len(look.resources)} referenced resources exist"


def _described(row: Resource) -> str:
    state = row["state"]
    return f"{row['kind']} {row['name']}" + ("" if state == "Missing" else f" ({state})")
