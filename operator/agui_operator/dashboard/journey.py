"""The way of a release as a list with the present place marked, and what people may ask for there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from agui_operator.api.conditions import ConditionType
from agui_operator.core.requests import ANNOTATIONS
from agui_operator.core.rollout import Event, Phase, allowed
from agui_operator.core.snapshot import RequestKind
from agui_operator.dashboard.board import Entry
from agui_operator.dashboard.facts import items, mapping, number, text
from agui_operator.dashboard.rows import condition


class Mark(StrEnum):
    """Where a station stands."""

    DONE = "done"
    CURRENT = "current"
    HELD = "held"
    FAILED = "failed"
    AHEAD = "ahead"
    SKIPPED = "skipped"  # the rollout was taken back before


@dataclass(frozen=True, slots=True)
class Station:
    """One phase of the rollout, with the canary's steps inside."""

    name: str
    what: str
    mark: Mark
    detail: str = ""
    steps: tuple[Station, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """A line to copy, and what it brings about."""

    what: str
    line: str


# the phases of a rollout that goes well, in order, and the condition that each establishes
_WAY: tuple[tuple[Phase, str, ConditionType], ...] = (
    (Phase.RESOLVING, "Tags become digests, secrets get version numbers", ConditionType.SPEC_ACCEPTED),
    (Phase.BACKING_UP, "The database is backed up", ConditionType.DATABASE_READY),
    (Phase.MIGRATING, "The schema moves forward", ConditionType.MIGRATED),
    (Phase.PUBLISHING, "The browser's files are published", ConditionType.ASSETS_PUBLISHED),
    (Phase.STAGING, "The revision starts at 0 %", ConditionType.REVISION_READY),
    (Phase.SMOKING, "The checks run against it", ConditionType.SMOKE_PASSED),
    (Phase.PROGRESSING, "Traffic moves step by step", ConditionType.ANALYSIS_PASSED),
    (Phase.PROMOTING, "All traffic and the page switch over", ConditionType.PROMOTED),
    (Phase.BAKING, "The checks run again, alerts are set", ConditionType.ALERTS_CONFIGURED),
    (Phase.HEALTHY, "The release is the stable one", ConditionType.READY),
)
_PLACE = {str(phase): place for place, (phase, _, _) in enumerate(_WAY)} | {
    str(Phase.PAUSED): [phase for phase, _, _ in _WAY].index(Phase.PROGRESSING)
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


def way(entry: Entry) -> list[Station]:
    """Every station of the rollout in flight, or of the last one."""
    phase = text(entry.status, "phase")
    stopped_in = text(entry.status, "rollout", "cause", "phase") if phase in _BACK else ""
    place = _PLACE.get(stopped_in or phase, -1)
    stations = [
        Station(
            name=str(name),
            what=what,
            mark=_mark(index, place, phase),
            detail=_detail(entry, kind, index, place, phase),
            steps=_canary(entry, _mark(index, place, phase)) if name is Phase.PROGRESSING else (),
        )
        for index, (name, what, kind) in enumerate(_WAY)
    ]
    if phase in _BACK:
        message = text(entry.status, "rollout", "cause", "message")
        mark = Mark.CURRENT if phase == Phase.ROLLING_BACK else Mark.DONE
        stations.append(Station(phase, "Everything goes back to stable, as one unit", mark, message))
    return stations


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


def _detail(entry: Entry, kind: ConditionType, index: int, place: int, phase: str) -> str:
    """The sentence of the condition where the rollout is; elsewhere the name says enough."""
    if index != place or phase == Phase.HEALTHY:
        return ""
    if phase in _BACK:
        return text(entry.status, "rollout", "cause", "reason")
    return text(condition(entry, kind), "message")


def _canary(entry: Entry, mark: Mark) -> tuple[Station, ...]:
    """The steps of the canary. `rollout.step` counts those that are done."""
    done = number(entry.status, "rollout", "step") or 0
    steps = items(mapping(entry.spec, "strategy", "canary"), "steps")
    return tuple(
        Station(f"Step {index + 1}", _step(step), _mark_of_step(index, done, mark)) for index, step in enumerate(steps)
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
