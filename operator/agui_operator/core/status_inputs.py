"""What the status of a deployment is computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agui_operator.api.conditions import Reason
from agui_operator.core.blueprint import Blueprint
from agui_operator.core.errors import Fault
from agui_operator.core.memory import Memory
from agui_operator.core.snapshot import Blocker, Snapshot


@dataclass(frozen=True, slots=True)
class FaultSeen:
    """What went wrong at the last decision, and how many times in a row."""

    fault: Fault
    reason: Reason
    message: str
    attempts: int
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Inputs:
    """All of it; `previous` is the status as last written."""

    memory: Memory
    generation: int
    now: datetime
    previous: Mapping[str, Any]
    plan: Blueprint | None = None
    seen: Snapshot | None = None
    blockers: tuple[Blocker, ...] = ()
    spec_error: str | None = None
    fault: FaultSeen | None = None
    url: str | None = None
    drift: str | None = None
    deleting: bool = False


def stamp(at: datetime | None) -> str | None:
    """RFC 3339 in UTC, to the second."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ") if at else None
