"""What users request by annotation: accepted only where the transition table allows it, and always answered."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from difflib import get_close_matches

from agui_operator.core import past
from agui_operator.core.memory import Acknowledged, Memory, Obeyed
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

# annotations of this prefix that are no requests
OTHERS = frozenset({f"{PREFIX}abandon", f"{PREFIX}adopt"})
_ASKED = re.compile(r"true|yes|[1-9][0-9]{0,17}|20[0-9]{2}-[0-9]{2}-[0-9]{2}t[0-9:.]{5,15}(z|[+-][0-9]{2}:?[0-9]{2})")
_EXPECTED = "use 'true', or a number or a time (RFC 3339) to ask again"
_OBEYED_MAX = 20

_CONTINUES = frozenset({RequestKind.PROMOTE, RequestKind.PROMOTE_FULL, RequestKind.RESUME})
# several requests are answered in this order
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
    why no rollout may continue, which no annotation can lift; `fingerprint`: of the spec; `stop`: why an administrator
    lets nothing begin; `forbidden`: releases that no policy permits, and why."""

    waits: bool = True
    steps: bool = True
    hold: str | None = None
    fingerprint: str | None = None
    stop: str | None = None
    forbidden: Mapping[str, str] = field(default_factory=dict)


def parse(annotations: Mapping[str, str], kept: Set[str] = frozenset()) -> tuple[Request, ...]:
    """The requests among the annotations, the most urgent first. `kept`: annotations that a manifest has."""
    found = ((kind, ANNOTATIONS[kind]) for kind in _ORDER if ANNOTATIONS[kind] in annotations)
    return tuple(Request(kind, str(annotations[key]), key in kept) for kind, key in found)


def misspelt(annotations: Mapping[str, str]) -> dict[str, str]:
    """Annotations with our prefix that mean nothing, and the sentence about each."""
    known = sorted({*ANNOTATIONS.values(), *OTHERS})
    unknown = [key for key in sorted(annotations) if key.startswith(PREFIX) and key not in known]
    sentences = {}
    for key in unknown:
        close = get_close_matches(key.removeprefix(PREFIX), [name.removeprefix(PREFIX) for name in known], 1)
        hint = f"did you mean {PREFIX}{close[0]}? " if close else ""
        sentences[key] = f"Annotation {key[:80]} is unknown: {hint}Known annotations: {', '.join(known)}"
    return sentences


def decide(memory: Memory, request: Request, situation: Situation) -> Event | Refusal:
    """The event that a request causes now, or why it causes none."""
    kind, event = request.kind, EVENTS[request.kind]
    value = request.value.strip().lower()
    if value in ("false", "no", "0") or (kind is not RequestKind.UNDO and value and not _ASKED.fullmatch(value)):
        return Refusal(f"its value is {request.value[:64]!r}; {_EXPECTED}")
    obeyed = _obeyed(memory, request, situation.fingerprint) if request.kept else None
    if obeyed is not None:
        again = f"{ANNOTATIONS[kind]}={_another(request.value)}"
        return Refusal(
            f"it was carried out already at {obeyed.at:%Y-%m-%dT%H:%M:%SZ} for this spec, and a manifest still contains"
            f" it: remove the annotation from Git, or ask again with {again}"
        )
    if situation.hold is not None and kind in _CONTINUES:
        return Refusal(situation.hold)
    if kind is RequestKind.UNDO and allowed(memory.phase, event):
        why = _may_not_undo(memory, request.value, situation)
        if why is not None:
            return Refusal(why)
    pointless = (
        (kind is RequestKind.PROMOTE and not situation.waits)
        or (kind is RequestKind.PAUSE and not situation.steps)
        or (kind is RequestKind.RESUME and memory.phase is Phase.SUSPENDED)  # spec.suspend decides, not an annotation
    )
    if pointless or not allowed(memory.phase, event):
        return Refusal(f"not possible in phase {memory.phase}")
    return event


def _obeyed(memory: Memory, request: Request, fingerprint: str | None) -> Obeyed | None:
    """When the same request was accepted for the same spec."""
    same = (str(request.kind), request.value[:64], fingerprint or "")
    return next((o for o in memory.obeyed if (o.kind, o.value, o.fingerprint) == same), None)


def _another(value: str) -> str:
    return str(int(value) + 1) if value.isdecimal() and len(value) < 18 else "2"


def is_settled(memory: Memory, request: Request, fingerprint: str | None) -> bool:
    """True if a manifest asks once more for what was obeyed, and was told so: it is neither answered again nor removed,
    because the tool that applies the manifest would only put it back."""
    obeyed = _obeyed(memory, request, fingerprint)
    return request.kept and obeyed is not None and obeyed.repeated


def remember(
    memory: Memory, request: Request, outcome: Event | Refusal, situation: Situation, now: datetime
) -> tuple[Obeyed, ...]:
    """What was obeyed so far, newest first."""
    before = _obeyed(memory, request, situation.fingerprint)
    others = tuple(o for o in memory.obeyed if o is not before)
    if not isinstance(outcome, Refusal):
        new = Obeyed(str(request.kind), request.value[:64], situation.fingerprint or "", now)
        return (new, *others)[:_OBEYED_MAX]
    if request.kept and before is not None:
        return (replace(before, repeated=True), *others)
    return memory.obeyed


def undo_target(memory: Memory, value: str) -> Release | None:
    """The release to go back to: a promoted one by id, or the one that was stable before."""
    return past.undo_target(memory.promoted, memory.stable.id if memory.stable else None, value)


def _may_not_undo(memory: Memory, value: str, situation: Situation) -> str | None:
    target = undo_target(memory, value)
    if target is None:
        return _no_target(memory, value)
    if target.id in situation.forbidden:
        return f"release {target.version} ({target.id}) is not permitted: {situation.forbidden[target.id]}"
    return situation.stop


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
        message += f": release {target.version} ({target.id}) is checked at 0 % before it receives user traffic"
    return Acknowledged(str(request.kind), request.value[:64], accepted, f"{request.kind} {message}", now)
