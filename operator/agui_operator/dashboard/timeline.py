"""The way of a release as a list with the present place marked, and what people may ask for there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from agui_operator.core.requests import ANNOTATIONS
from agui_operator.core.rollout import Event, Phase, allowed
from agui_operator.core.snapshot import RequestKind
from agui_operator.dashboard.board import Entry
from agui_operator.dashboard.facts import items, mapping, number, text


class Mark(StrEnum):
    """Where a stage stands."""

    DONE = "done"
    CURRENT = "current"
    HELD = "held"
    FAILED = "failed"
    AHEAD = "ahead"
    SKIPPED = "skipped"  # not asked for by the spec, or the rollout was taken back before


@dataclass(frozen=True, slots=True)
class Stage:
    """One phase of the rollout, with the canary's steps inside."""

    name: str
    what: str
    mark: Mark
    detail: str = ""
    steps: tuple[Stage, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """A line to copy, and what it brings about."""

    what: str
    line: str


# the phases of a rollout that goes well, in order
_WAY: tuple[tuple[Phase, str], ...] = (
    (Phase.RESOLVING, "Tags become digests, secrets get version numbers"),
    (Phase.BACKING_UP, "The database is backed up"),
    (Phase.MIGRATING, "The schema moves forward"),
    (Phase.PUBLISHING, "The browser's files are published"),
    (Phase.STAGING, "The revision starts at 0 %"),
    (Phase.SMOKING, "The checks run against it"),
    (Phase.PROGRESSING, "Traffic moves step by step"),
    (Phase.PROMOTING, "All traffic and the page switch over"),
    (Phase.BAKING, "The checks run again, alerts are set"),
    (Phase.HEALTHY, "The release is the stable one"),
)
_PLACE = {str(phase): place for place, (phase, _) in enumerate(_WAY)} | {
    str(Phase.PAUSED): [phase for phase, _ in _WAY].index(Phase.PROGRESSING)
}
_BACK = frozenset({Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.FAILED})

_OFFERS: tuple[tuple[RequestKind, Event, str], ...] = (
    (RequestKind.PROMOTE, Event.STEP_PASSED, "Go on to the next step"),
    (RequestKind.PROMOTE_FULL, Event.ALL_STEPS_PASSED, "Skip all steps that are left"),
    (RequestKind.PAUSE, Event.HELD, "Hold the rollout where it is"),
    (RequestKind.RESUME, Event.RESUMED, "Let a held rollout go on"),
    (RequestKind.ABORT, Event.ABORTED, "Take the release back, all of it"),
    (RequestKind.RETRY, Event.RETRIED, "Try the rejected release once more"),
    (RequestKind.UNDO, Event.UNDONE, "Go back to the release before this one"),
)


def way(entry: Entry) -> list[Stage]:
    """Every stage of the rollout in flight, or of the last one."""
    phase = text(entry.status, "phase")
    stopped_in = text(entry.status, "rollout", "cause", "phase") if phase in _BACK else ""
    place = _PLACE.get(stopped_in or phase, -1)
    stages = []
    for index, (name, what) in enumerate(_WAY):
        mark, unasked = _mark(index, place, phase), _unasked(entry, name)
        if unasked and mark in (Mark.DONE, Mark.AHEAD):
            mark, what = Mark.SKIPPED, unasked
        steps = _canary(entry, mark) if name is Phase.PROGRESSING else ()
        stages.append(Stage(str(name), what, mark, _why(entry) if mark is Mark.FAILED else "", steps))
    if phase in _BACK:
        mark = Mark.CURRENT if phase == Phase.ROLLING_BACK else Mark.DONE
        what = "Nothing of it was public" if phase == Phase.FAILED else "Everything goes back to stable, as one unit"
        stages.append(Stage(phase, what, mark))
    return stages


def commands(entry: Entry) -> list[Command]:
    """What may be asked for in this phase; who may ask is for the cluster's RBAC to say."""
    where = f"-n {entry.namespace}"
    lines = [
        Command("Look at all of it", f"kubectl {where} get agd {entry.name} -o yaml"),
        Command("See its events", f"kubectl {where} describe agd {entry.name}"),
    ]
    phase = text(entry.status, "phase")
    if phase not in set(Phase):
        return lines
    offers = [
        Command(what, f"kubectl {where} annotate agd {entry.name} {ANNOTATIONS[kind]}=true")
        for kind, event, what in _OFFERS
        if allowed(Phase(phase), event) and _makes_sense(entry, kind)
    ]
    return offers + lines


def _makes_sense(entry: Entry, kind: RequestKind) -> bool:
    """The table allows it; would it change anything?"""
    if kind is RequestKind.RESUME:
        return text(entry.status, "phase") != Phase.SUSPENDED  # spec.suspend decides
    if kind is RequestKind.UNDO:
        current = text(entry.status, "stable", "id")
        ended = items(entry.status, "history")
        return any(text(e, "outcome") == "Promoted" and text(e, "release", "id") != current for e in ended)
    return True


def _mark(index: int, place: int, phase: str) -> Mark:
    if phase == Phase.HEALTHY or index < place:
        return Mark.DONE
    if phase in _BACK:
        return Mark.FAILED if index == place else Mark.SKIPPED
    if index > place:
        return Mark.AHEAD
    return Mark.HELD if phase == Phase.PAUSED else Mark.CURRENT


def _why(entry: Entry) -> str:
    """Why the rollout ended where it did."""
    cause = mapping(entry.status, "rollout", "cause")
    return ": ".join(part for part in (text(cause, "reason"), text(cause, "message")) if part)


def _unasked(entry: Entry, phase: Phase) -> str:
    """Why a release has nothing to do in a phase, where the spec leaves its part out."""
    spec = entry.spec
    migrations = mapping(spec, "migrations")
    if phase in (Phase.BACKING_UP, Phase.MIGRATING) and not migrations:
        return "The spec has no migrations"
    if phase is Phase.BACKING_UP and text(migrations, "backup") == "Never":
        return "The spec asks for no backup"
    if phase is Phase.PUBLISHING and not mapping(spec, "frontend"):
        return "The spec has no page"
    if phase is Phase.SMOKING and not items(spec, "smoke"):
        return "The spec has no checks"
    if phase is Phase.PROGRESSING and not items(spec, "strategy", "canary", "steps"):
        return "The spec asks for no steps"
    return ""


def _canary(entry: Entry, mark: Mark) -> tuple[Stage, ...]:
    """The steps of the canary. `rollout.step` counts those that are done."""
    done = number(entry.status, "rollout", "step") or 0
    steps = items(entry.spec, "strategy", "canary", "steps")
    return tuple(
        Stage(f"Step {index + 1}", _step(step), _mark_of_step(index, done, mark)) for index, step in enumerate(steps)
    )


def _mark_of_step(index: int, done: int, canary: Mark) -> Mark:
    if canary in (Mark.DONE, Mark.AHEAD, Mark.SKIPPED):
        return canary
    if index == done:
        return canary
    if index < done:
        return Mark.DONE
    return Mark.SKIPPED if canary is Mark.FAILED else Mark.AHEAD


def _step(step: Mapping[str, Any]) -> str:
    weight = number(step, "setWeight")
    if weight is not None:
        return f"{weight} % of the traffic"
    if "analysis" in step:
        return "Verdict of the analysis"
    duration = text(step, "pause", "duration")
    return f"Pause of {duration}" if duration else "Pause until a person promotes"
