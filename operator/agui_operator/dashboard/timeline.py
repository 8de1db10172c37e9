"""The stages of a rollout with the current one marked, and what people may request there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from agui_operator.core.memory import from_status
from agui_operator.core.requests import ANNOTATIONS, Refusal, Situation, decide
from agui_operator.core.rollout import PHASES, STOPPED, TIMELINE, Phase
from agui_operator.core.snapshot import Request, RequestKind
from agui_operator.dashboard.board import Entry
from agui_operator.dashboard.facts import items, mapping, number, text


class Mark(StrEnum):
    """Where a stage stands."""

    DONE = "done"
    CURRENT = "current"
    HELD = "held"
    FAILED = "failed"
    AHEAD = "ahead"
    SKIPPED = "skipped"  # not asked for by the spec, or the rollout was rolled back before


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


_PLACE = {str(phase): place for place, phase in enumerate(TIMELINE)}
_PLACE |= {str(phase): _PLACE[spec.part_of] for phase, spec in PHASES.items() if spec.part_of is not None}

_EFFECTS: tuple[tuple[RequestKind, str], ...] = (
    (RequestKind.PROMOTE, "Continue with the next step"),
    (RequestKind.PROMOTE_FULL, "Skip all remaining steps"),
    (RequestKind.PAUSE, "Pause the rollout"),
    (RequestKind.RESUME, "Resume a paused rollout"),
    (RequestKind.ABORT, "Roll the whole release back"),
    (RequestKind.RETRY, "Try the rejected release again"),
    (RequestKind.UNDO, "Go back to the previous release"),
)


def timeline(entry: Entry) -> list[Stage]:
    """Every stage of the rollout in flight, or of the last one."""
    phase = text(entry.status, "phase")
    stopped_in = text(entry.status, "rollout", "cause", "phase") if phase in STOPPED else ""
    place = _PLACE.get(stopped_in or phase, -1)
    stages = []
    for index, name in enumerate(TIMELINE):
        what, mark, unasked = PHASES[name].stage, _mark(index, place, phase), _unasked(entry, name)
        if unasked and mark in (Mark.DONE, Mark.AHEAD):
            mark, what = Mark.SKIPPED, unasked
        steps = _canary(entry, mark) if name is Phase.PROGRESSING else ()
        stages.append(Stage(str(name), what, mark, _why(entry) if mark is Mark.FAILED else "", steps))
    if phase in STOPPED:
        mark = Mark.CURRENT if phase == Phase.ROLLING_BACK else Mark.DONE
        what = "It never received user traffic" if phase == Phase.FAILED else "All parts go back to stable, as one unit"
        stages.append(Stage(phase, what, mark))
    return stages


def commands(entry: Entry) -> list[Command]:
    """What may be requested in this phase; who may request it is decided by the cluster's RBAC."""
    where = f"-n {entry.namespace}"
    lines = [
        Command("Look at all of it", f"kubectl {where} get agd {entry.name} -o yaml"),
        Command("See its events", f"kubectl {where} describe agd {entry.name}"),
    ]
    if text(entry.status, "phase") not in set(Phase):
        return lines
    memory = from_status(entry.status)
    offers = [
        Command(effect, f"kubectl {where} annotate agd {entry.name} {ANNOTATIONS[kind]}=true")
        for kind, effect in _EFFECTS
        if not isinstance(decide(memory, Request(kind), Situation()), Refusal)
    ]
    return offers + lines


def _mark(index: int, place: int, phase: str) -> Mark:
    if phase == Phase.HEALTHY or index < place:
        return Mark.DONE
    if phase in STOPPED:
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
    return f"Pause of {duration}" if duration else "Pause until manual promotion"
