"""What people ask for by annotation: obeyed only where the table allows it, and always answered."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from agui_operator.core.memory import Acknowledged, Memory
from agui_operator.core.release import Release
from agui_operator.core.rollout import Event, Phase, allowed
from agui_operator.core.snapshot import Request, RequestKind

PREFIX = "agui.dev/"
ANNOTATIONS: Mapping[RequestKind, str] = {kind: f"{PREFIX}{kind}" for kind in RequestKind}

_EVENT: Mapping[RequestKind, Event] = {
    RequestKind.PROMOTE_FULL: Event.ALL_STEPS_PASSED,
    RequestKind.ABORT: Event.ABORTED,
    RequestKind.RETRY: Event.RETRIED,
    RequestKind.PAUSE: Event.HELD,
    RequestKind.RESUME: Event.RESUMED,
    RequestKind.UNDO: Event.UNDONE,
}


_GOING_ON = frozenset({RequestKind.PROMOTE, RequestKind.PROMOTE_FULL, RequestKind.RESUME})


def _is_no(request: Request) -> bool:
    return request.value.strip().lower() in ("false", "no", "0")


def parse(annotations: Mapping[str, str]) -> Request | None:
    """The most urgent request among the annotations; others wait for their turn. Abort comes first."""
    order = (
        RequestKind.ABORT,
        RequestKind.UNDO,
        RequestKind.PAUSE,
        RequestKind.RESUME,
        RequestKind.RETRY,
        RequestKind.PROMOTE_FULL,
        RequestKind.PROMOTE,
    )
    for kind in order:
        if ANNOTATIONS[kind] in annotations:
            return Request(kind, str(annotations[ANNOTATIONS[kind]]))
    return None


def event_of(memory: Memory, request: Request, *, waits: bool, steps: bool, hold: str | None = None) -> Event | None:
    """The event that a request causes now, or None if it is refused. `waits`: the current step waits for time or a
    person, so that `promote` has something to skip; `steps`: a canary step is left, so that `pause` has something to
    hold; `hold`: why no rollout may go on, which nobody can annotate away."""
    if _is_no(request) or (hold is not None and request.kind in _GOING_ON):
        return None
    if request.kind is RequestKind.PROMOTE:
        return Event.STEP_PASSED if waits and allowed(memory.phase, Event.STEP_PASSED) else None
    event = _EVENT[request.kind]
    if not allowed(memory.phase, event) or (request.kind is RequestKind.PAUSE and not steps):
        return None
    if request.kind is RequestKind.RESUME and memory.phase is Phase.SUSPENDED:
        return None  # spec.suspend decides, not an annotation
    if request.kind is RequestKind.UNDO and undo_target(memory, request.value) is None:
        return None
    return event


def undo_target(memory: Memory, release: str) -> Release | None:
    """The release to go back to: an earlier promoted one by id, or the one before stable when the value is empty."""
    current = memory.stable.id if memory.stable else None
    for entry in memory.history:
        if entry.outcome != "Promoted" or entry.release.id == current:
            continue
        if release in ("", "true", "previous") or entry.release.id == release:
            return entry.release
    return None


def answer(
    memory: Memory, request: Request, event: Event | None, now: datetime, hold: str | None = None
) -> Acknowledged:
    """What `status.lastRequest` says about it."""
    if event is not None:
        message = f"{request.kind} accepted in phase {memory.phase}"
    elif _is_no(request):
        message = f"{request.kind} refused: its value is {request.value!r}; ask with 'true'"
    elif hold is not None and request.kind in _GOING_ON:
        message = f"{request.kind} refused: {hold}"
    elif request.kind is RequestKind.UNDO and allowed(memory.phase, Event.UNDONE):
        known = [e.release.id for e in memory.history if e.outcome == "Promoted"]
        message = f"undo refused: release {request.value or '(previous)'} is not in the history {known}"
    else:
        message = f"{request.kind} refused: not possible in phase {memory.phase}"
    return Acknowledged(str(request.kind), request.value[:64], event is not None, message, now)
