"""The steps that a canary walks: the spec's list as it was at the start, and what an edit in flight makes of it.

Fewer steps never mean fewer proofs. After an edit the canary keeps the traffic weight that it has reached: steps of the
new list up to that weight count as done, every later step is walked. If an analysis was still to come in the old list
and the new list has none left, one is added at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agui_operator.api.base import format_duration, parse_duration
from agui_operator.api.strategy import AnalysisStep, CanaryStep, Pause
from agui_operator.core.names import digest_of

_WEIGHT, _ANALYSIS, _PAUSE = "setWeight", "analysis", "pause"
_OWED = CanaryStep(analysis=AnalysisStep())


@dataclass(frozen=True, slots=True)
class Walk:
    """`steps` are walked; `source` is the digest of the spec's list that they were made from; `weight` is what was
    reached before the last edit."""

    steps: tuple[CanaryStep, ...]
    source: str
    weight: int = 0


def begin(steps: Sequence[CanaryStep]) -> Walk:
    """The walk of a canary that starts with this list."""
    return Walk(tuple(steps), source_of(steps))


def source_of(steps: Iterable[CanaryStep]) -> str:
    return digest_of([text_of(step) for step in steps], 12)


def reached(walk: Walk, done: int) -> int:
    """The traffic weight after `done` steps."""
    return max([walk.weight, *(s.set_weight for s in walk.steps[:done] if s.set_weight is not None)])


def edited(walk: Walk, done: int, steps: Sequence[CanaryStep]) -> tuple[Walk, int]:
    """The walk and the number of done steps after the spec's list became `steps`."""
    now = _position(walk, done, steps)
    owed = _has_analysis(walk.steps[done:]) and not _has_analysis(steps[now:])
    return Walk((*steps, _OWED) if owed else tuple(steps), source_of(steps), reached(walk, done)), now


def _position(walk: Walk, done: int, steps: Sequence[CanaryStep]) -> int:
    """The same step where nothing before it and nothing of it was edited; else after the weight that was reached."""
    if done < len(walk.steps) and tuple(steps[: done + 1]) == walk.steps[: done + 1]:
        return done
    weight = reached(walk, done)
    passed = [n for n, s in enumerate(steps) if s.set_weight is not None and s.set_weight <= weight]
    return passed[-1] + 1 if passed else 0


def _has_analysis(steps: Iterable[CanaryStep]) -> bool:
    return any(step.analysis is not None for step in steps)


def text_of(step: CanaryStep) -> str:
    """A step in one word, as the status keeps it."""
    if step.set_weight is not None:
        return f"{_WEIGHT}={step.set_weight}"
    if step.pause is None:
        return _ANALYSIS
    return f"{_PAUSE}={format_duration(step.pause.duration)}" if step.pause.duration is not None else _PAUSE


def to_status(walk: Walk | None) -> dict[str, Any]:
    """The fields of a status that begin with `steps`."""
    if walk is None:
        return {}
    edited_at = {"stepsWeight": walk.weight} if walk.weight else {}
    return {"steps": [text_of(step) for step in walk.steps], "stepsSource": walk.source} | edited_at


def from_status(raw: Mapping[str, Any]) -> Walk | None:
    """The walk in a status; None if it is absent, as in a status of an older version, or was damaged by hand."""
    source, listed, weight = raw.get("stepsSource"), raw.get("steps"), raw.get("stepsWeight")
    if not isinstance(source, str) or not isinstance(listed, list | tuple):
        return None
    steps = tuple(step for text in listed if (step := _step(text)) is not None)
    weight = min(max(weight, 0), 100) if isinstance(weight, int) else 0
    return Walk(steps, source, weight) if len(steps) == len(listed) else None


def _step(text: Any) -> CanaryStep | None:
    kind, _, value = str(text).partition("=")
    try:
        if kind == _WEIGHT:
            return CanaryStep(set_weight=int(value))
        if kind == _PAUSE:
            return CanaryStep(pause=Pause(duration=parse_duration(value) if value else None))
    except ValueError:
        return None
    return _OWED if kind == _ANALYSIS else None
