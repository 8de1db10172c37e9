"""What users request by annotation: accepted only where the transition table allows it, and always answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from agui_operator.core import past
from agui_operator.core.memory import Acknowledged, Memory
from agui_operator.core.release import Release
from agui_operator.core.rollout import Event, Phase, allowed
from agui_operator.core.snapshot import Request, RequestKind

PREFIX = "agui.dev/"
ANNOTATIONS: Mapping[RequestKind, str] = {kind: f"{PREFIX}{kind}" for kind in RequestKind}

EVENTS: Mapping[RequestKind, Event] = {
    RequestKind.PROMOTE: Event.STEP_PASSED,
    RequestKind.PROMOTE_FULL: Event.ALL_STEPS_PASSED,
    RequestKind.ABORT: Event.ABORTED,
    RequestKind.RETRY: Event.RETRIED,
    RequestKind.PAUSE: Event.HELD,
    RequestKind.RESUME: Event.RESUMED,
    RequestKind.UNDO: Event.UNDONE,
}

_CONTINUES = frozenset({RequestKind.PROMOTE, RequestKind.PROMOTE_FULL, RequestKind.RESUME})
# of several requests the first in this order is read; the others wait for their turn
_ORDER = (
    RequestKind.ABORT,
    RequestKind.UNDO,
    RequestKind.PAUSE,
    RequestKind.RESUME,
    RequestKind.RETRY,
    RequestKind.PROMOTE_FULL,
    RequestKind.PROMOTE,
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request changes nothing."""

    message: str


@dataclass(frozen=True, slots=True)
class Situation:
    """What a decision needs beside the memory. `waits`: the current step waits for time, data or manual promotion, so
    that `promote` has something to skip; `steps`: a canary step is left, so that `pause` has something to hold; `hold`:
    why no rollout may continue, which no annotation can lift."""

    waits: bool = True
    steps: bool = True
    hold: str | None = None


def parse(annotations: Mapping[str, str]) -> Request | None:
    """The most urgent request among the annotations."""
    for kind in _ORDER:
        if ANNOTATIONS[kind] in annotations:
            return Request(kind, str(annotations[ANNOTATIONS[kind]]))
    return None


def decide(memory: Memory, request: Request, situation: Situation) -> Event | Refusal:
    """The event that a request causes now, or why it causes none."""
    kind, event = request.kind, EVENTS[request.kind]
    if request.value.strip().lower() in ("false", "no", "0"):
        return Refusal(f"its value is {request.value!r}; ask with 'true'")
    if situation.hold is not None and kind in _CONTINUES:
        return Refusal(situation.hold)
    if kind is RequestKind.UNDO and allowed(memory.phase, event) and undo_target(memory, request.value) is None:
        return Refusal(_no_target(memory, request.value))
    pointless = (
        (kind is RequestKind.PROMOTE and not situation.waits)
        or (kind is RequestKind.PAUSE and not situation.steps)
        or (kind is RequestKind.RESUME and memory.phase is Phase.SUSPENDED)  # spec.suspend decides, not an annotation
    )
    if pointless or not allowed(memory.phase, event):
        return Refusal(f"not possible in phase {memory.phase}")
    return event


def undo_target(memory: Memory, value: str) -> Release | None:
    """The release to go back to: a promoted one by id, or the one that was stable before."""
    return past.undo_target(memory.promoted, memory.stable.id if memory.stable else None, value)


def _no_target(memory: Memory, value: str) -> str:
    """Why an undo has nowhere to go."""
    stable = memory.stable.id if memory.stable else None
    known = ", ".join(f"{p.release.id} ({p.release.version})" for p in memory.promoted if p.release.id != stable)
    where = f"releases that can be restored: {known}" if known else "no other promoted release is known"
    if value in past.PREVIOUS:
        return f"no release was stable before; {where}"
    return f"release {value[:64]} can't be restored; {where}"


def answer(memory: Memory, request: Request, outcome: Event | Refusal, now: datetime) -> Acknowledged:
    """What `status.lastRequest` says about it."""
    accepted = not isinstance(outcome, Refusal)
    message = f"accepted in phase {memory.phase}" if not isinstance(outcome, Refusal) else f"refused: {outcome.message}"
    target = undo_target(memory, request.value) if accepted and request.kind is RequestKind.UNDO else None
    if target is not None:
        message += f": release {target.version} ({target.id}) is checked at 0 % before users meet it"
    return Acknowledged(str(request.kind), request.value[:64], accepted, f"{request.kind} {message}", now)
