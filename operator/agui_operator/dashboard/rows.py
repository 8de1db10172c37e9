"""One line of the list per object: the facts that a person on call needs first. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from urllib.parse import quote

from agui_operator.core.rollout import IN_FLIGHT, STOPPED, Phase
from agui_operator.dashboard.board import Entry
from agui_operator.dashboard.facts import items, moment, number, text


class Tone(StrEnum):
    """How much an object needs user action, from the most to the least."""

    STOPPED = "stopped"  # failed, rolled back or stalled
    WAITING = "waiting"  # waits for user action or for time
    MOVING = "moving"  # a rollout is under way
    IDLE = "idle"  # nothing was promoted yet, and no rollout is in progress
    FINE = "fine"  # the requested release serves


_RANK = {tone: rank for rank, tone in enumerate(Tone)}
_WAITING = frozenset({Phase.PAUSED, Phase.SUSPENDED})


@dataclass(frozen=True, slots=True)
class Row:
    """What the list shows of one object. Weights are percentages; None: does not apply."""

    key: int
    revision: int
    href: str
    namespace: str
    name: str
    phase: str
    tone: Tone
    version: str
    stable: str
    progress: str
    asked: int | None
    weight: int | None
    waiting: str
    unblock: str
    reason: str
    message: str
    since: datetime | None
    created: datetime | None
    deleting: bool


@dataclass(frozen=True, slots=True)
class Filter:
    """What part of the list is asked for; empty: all."""

    words: str = ""
    phase: str = ""
    namespace: str = ""

    def lets(self, row: Row) -> bool:
        """True if the row is to be shown."""
        if self.namespace and row.namespace != self.namespace:
            return False
        if self.phase and row.phase != self.phase:
            return False
        hay = f"{row.namespace}/{row.name} {row.version} {row.stable} {row.phase} {row.reason} {row.waiting}".lower()
        return all(word in hay for word in self.words.lower().split())


def row_of(entry: Entry) -> Row:
    """The line of an object."""
    status = entry.status
    phase = text(status, "phase") or str(Phase.PENDING)
    ready, stalled = condition(entry, "Ready"), condition(entry, "Stalled")
    fine = text(ready, "status") == "True"
    in_flight = phase in IN_FLIGHT or phase == Phase.ROLLING_BACK
    return Row(
        key=entry.number,
        revision=entry.revision,
        href=address(entry.namespace, entry.name),
        namespace=entry.namespace,
        name=entry.name,
        phase=phase,
        tone=_tone(phase, fine=fine, stalled=text(stalled, "status") == "True"),
        version=text(status, "release", "version") or text(entry.spec, "version"),
        stable=text(status, "stable", "version"),
        progress=text(status, "rollout", "progress") if in_flight else "",
        asked=asked_weight(entry),
        weight=number(status, "rollout", "weight"),
        waiting=text(status, "waitingFor", "what"),
        unblock=text(status, "waitingFor", "unblockWith"),
        reason=_reason(phase, text(ready, "reason")) if not fine else "",
        message=text(status, "message"),
        since=moment(status, "rollout", "since"),
        created=moment(entry.created),
        deleting=entry.deleting,
    )


def arrange(rows: Iterable[Row]) -> list[Row]:
    """Problems first, then by place: equal objects do not change places while one looks."""
    return sorted(rows, key=lambda row: (_RANK[row.tone], row.namespace, row.name))


def condition(entry: Entry, kind: str) -> object:
    """The condition of a type, or None."""
    return next((c for c in items(entry.status, "conditions") if c.get("type") == kind), None)


def address(namespace: str, name: str) -> str:
    """The path of an object's page."""
    return f"/d/{quote(namespace, safe='')}/{quote(name, safe='')}"


def asked_weight(entry: Entry) -> int | None:
    """The share of the traffic that the steps ask for at this moment; what was reached is `rollout.weight`."""
    phase = text(entry.status, "phase")
    if phase in (Phase.PROMOTING, Phase.BAKING, Phase.HEALTHY):
        return 100
    if phase not in (Phase.PROGRESSING, Phase.PAUSED):
        return 0 if phase in IN_FLIGHT or phase in STOPPED else None
    done = number(entry.status, "rollout", "step") or 0
    steps = items(entry.spec, "strategy", "canary", "steps")[: done + 1]
    weights = [weight for step in steps if (weight := number(step, "setWeight")) is not None]
    return weights[-1] if weights else 0


def _reason(phase: str, reason: str) -> str:
    """Nothing where the reason is only the phase once more."""
    return "" if reason == phase else reason


def _tone(phase: str, *, fine: bool, stalled: bool) -> Tone:
    if stalled or phase in STOPPED:
        return Tone.STOPPED
    if phase in _WAITING:
        return Tone.WAITING
    if phase in IN_FLIGHT:
        return Tone.MOVING
    if phase == Phase.HEALTHY:
        return Tone.FINE if fine else Tone.WAITING
    return Tone.IDLE
