"""Small line charts as geometry: what an SVG needs, computed here so that the page works without a script. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from agui_operator.dashboard.measurements import Measurement

WIDTH, HEIGHT = 320.0, 80.0
_HEADROOM = 1.15  # so that neither a curve nor the limit lies on the edge


@dataclass(frozen=True, slots=True)
class Chart:
    """One metric. Lines are `points` attributes of SVG polylines, with gaps where nothing was measured; `limit` is one
    too, because a limit that depends on stable moves."""

    metric: str
    candidate: tuple[str, ...]
    stable: tuple[str, ...]
    limit: tuple[str, ...]
    now: str
    stable_now: str
    limit_now: str
    over: bool
    begin: datetime
    end: datetime
    last: tuple[float, float] | None

    @property
    def summary(self) -> str:
        """What a person who can't see the curve is told."""
        parts = [f"{self.metric}: candidate {self.now or 'not measured'}"]
        parts += [f"stable {self.stable_now}"] if self.stable_now else []
        parts += [f"limit {self.limit_now}"] if self.limit_now else []
        return ", ".join(parts) + (", over the limit" if self.over else "")


def charts(measurements: Sequence[Measurement]) -> list[Chart]:
    """One chart per metric of the newest look, from all looks at the same release."""
    if not measurements:
        return []
    return [_chart(metric, measurements) for metric in measurements[-1].readings]


def show(metric: str, value: float | None) -> str:
    """A value for people: milliseconds for latencies, percent for rates."""
    if value is None:
        return ""
    return f"{value:,.0f} ms" if metric.startswith("latency") else f"{value * 100:.3g} %"


def _chart(metric: str, measurements: Sequence[Measurement]) -> Chart:
    known = [(m.at, m.readings[metric]) for m in measurements if metric in m.readings]
    begin, end = known[0][0], known[-1][0]
    values = [v for _, r in known for v in (r.candidate, r.stable, r.ceiling) if v is not None]
    top = max(values, default=0.0) * _HEADROOM or 1.0
    span = (end - begin).total_seconds() or 1.0

    def points(series: Sequence[float | None]) -> tuple[str, ...]:
        lines: list[list[str]] = [[]]
        for (at, _), value in zip(known, series, strict=True):
            if value is None:
                lines.append([])
            else:
                x = (at - begin).total_seconds() / span * WIDTH if len(known) > 1 else WIDTH
                lines[-1].append(f"{x:.1f},{_y(value, top):.1f}")
        return tuple(" ".join(_drawn(line)) for line in lines if line)

    newest = known[-1][1]
    over = newest.candidate is not None and newest.ceiling is not None and newest.candidate > newest.ceiling
    return Chart(
        metric=metric,
        candidate=points([r.candidate for _, r in known]),
        stable=points([r.stable for _, r in known]),
        limit=points([r.ceiling for _, r in known]),
        now=show(metric, newest.candidate),
        stable_now=show(metric, newest.stable),
        limit_now=show(metric, newest.ceiling),
        over=over,
        begin=begin,
        end=end,
        last=(WIDTH, round(_y(newest.candidate, top), 1)) if newest.candidate is not None else None,
    )


def _drawn(line: list[str]) -> list[str]:
    """A single point as a short line: a polyline of one point is invisible."""
    if len(line) > 1:
        return line
    x, _, y = line[0].partition(",")
    return [f"{max(0.0, float(x) - 6):.1f},{y}", line[0]]


def _y(value: float, top: float) -> float:
    return HEIGHT - max(0.0, value) / top * HEIGHT
