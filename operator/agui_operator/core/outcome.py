"""How a rollout ended, as far as the object tells: what a pipeline waits for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class Exit(IntEnum):
    """Exit codes of `agui-operator wait`."""

    HEALTHY = 0
    FAILED = 1  # rolled back, failed, invalid, forbidden, deleted: nothing changes without a user
    TIMEOUT = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended, in one sentence."""

    exit: Exit
    message: str


def outcome_of(body: Mapping[str, Any] | None) -> Outcome | None:
    """The end of the rollout of the newest spec; None while it is open. `body` None: the object does not exist."""
    if body is None:
        return Outcome(Exit.FAILED, "not found")
    meta, status = _map(body.get("metadata")), _map(body.get("status"))
    if meta.get("deletionTimestamp"):
        return Outcome(Exit.FAILED, "is being deleted")
    generation = meta.get("generation")
    ready, stalled = (_condition(status, kind, generation) for kind in ("Ready", "Stalled"))
    if ready.get("status") == "True":
        return Outcome(Exit.HEALTHY, str(ready.get("message", "")))
    if stalled.get("status") == "True":
        return Outcome(Exit.FAILED, f"{stalled.get('reason')}: {stalled.get('message')}")
    return None


def progress_of(body: Mapping[str, Any]) -> str:
    """Where the rollout is, on one line."""
    meta, status = _map(body.get("metadata")), _map(body.get("status"))
    if status.get("observedGeneration") != meta.get("generation"):
        return "waiting for the operator to read the spec"
    rollout = _map(status.get("rollout"))
    parts = [str(status.get("phase", "Pending"))]
    parts += [f"step {rollout['progress']}"] if rollout.get("progress") else []
    parts += [f"{rollout['weight']} %"] if rollout.get("weight") is not None else []
    return f"{', '.join(parts)}: {status.get('message') or ''}".rstrip(": ")


def _condition(status: Mapping[str, Any], kind: str, generation: Any) -> Mapping[str, Any]:
    """The condition, if it is about this generation."""
    for condition in status.get("conditions") or ():
        about = _map(condition)
        if about.get("type") == kind and about.get("observedGeneration") == generation:
            return about
    return {}


def _map(raw: Any) -> Mapping[str, Any]:
    return raw if isinstance(raw, Mapping) else {}
