"""What the canary analysis measured, reduced to what a chart shows: value, stable's value and the limit, per metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from agui_operator.core.analysis import Limit, Sample, Window, value_of


@dataclass(frozen=True, slots=True)
class Reading:
    """One metric at one moment. Rates are 0 to 1, latencies milliseconds; None: nothing was measured, or no limit could
    be told because stable had no data."""

    candidate: float | None
    stable: float | None
    ceiling: float | None


@dataclass(frozen=True, slots=True)
class Measurement:
    """One look of the analysis at a release. `wanted` is how many requests make a verdict possible."""

    release: str
    at: datetime
    requests: int
    wanted: int
    readings: Mapping[str, Reading]


def measurement(release: str, at: datetime, window: Window) -> Measurement:
    """What a look at the metrics is remembered as."""
    readings = {
        limit.name: Reading(
            candidate=value_of(limit.name, window.candidate),
            stable=value_of(limit.name, window.stable) if window.stable is not None else None,
            ceiling=ceiling(limit, window.stable),
        )
        for limit in window.limits
    }
    return Measurement(release, at, window.candidate.requests, window.min_samples, readings)


def ceiling(limit: Limit, stable: Sample | None) -> float | None:
    """The most that a candidate's value may be: the strictest of the limits that can be told."""
    theirs = value_of(limit.name, stable) if stable is not None else None
    known = [limit.max]
    if theirs is not None:
        known.append(theirs + limit.max_above_stable if limit.max_above_stable is not None else None)
        ratio = limit.max_ratio_to_stable
        known.append(theirs * ratio if ratio is not None and theirs > 0 else None)
    return min((value for value in known if value is not None), default=None)
