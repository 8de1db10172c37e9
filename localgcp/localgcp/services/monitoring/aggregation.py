"""Alignment and reduction of time series, as google.monitoring.v3.Aggregation defines them. Pure.

Blocks of the alignment period are counted back from the end of the queried interval; a point belongs to the block in
which it ends; a block without points gives no point. The oldest block may be shorter than the period: only what lies
in the interval counts. Source: google/monitoring/v3/common.proto
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from localgcp.kit.errors import ApiError, invalid
from localgcp.services.monitoring.series import Identity, Point, Series
from localgcp.services.monitoring.values import NANOS, TYPE_NAMES, Distribution, Value, merged, percentile_of

_SHORTEST_PERIOD = 60 * NANOS
_PERCENTILES = {"99": 99.0, "95": 95.0, "50": 50.0, "05": 5.0}
_NUMERIC = ("INT64", "DOUBLE")


@dataclass(frozen=True, slots=True)
class Aggregation:
    """`period` in nanoseconds; aligner and reducer by their enum names."""

    period: int = 0
    aligner: str = "ALIGN_NONE"
    reducer: str = "REDUCE_NONE"
    group_by: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises ApiError INVALID_ARGUMENT for what Google refuses whatever the data."""
        if self.aligner == "ALIGN_NONE":
            if self.reducer != "REDUCE_NONE":
                raise _bad("cross_series_reducer", f"{self.reducer} needs a per_series_aligner other than ALIGN_NONE")
            return
        if self.period < _SHORTEST_PERIOD:
            raise _bad("alignment_period", "it must be at least 60 seconds where there is an aligner")
        if self.group_by and self.reducer == "REDUCE_NONE":
            raise _bad("group_by_fields", "it needs a cross_series_reducer")


def aggregate(found: Sequence[Series], how: Aggregation, end: int) -> list[Series]:
    """Raises ApiError INVALID_ARGUMENT when an aligner or reducer does not fit the values."""
    how.check()
    if how.aligner == "ALIGN_NONE":
        return list(found)
    aligned = [_aligned(series, how, end) for series in found]
    aligned = [series for series in aligned if series.points]
    return aligned if how.reducer == "REDUCE_NONE" else _reduced(aligned, how)


def _aligned(series: Series, how: Aggregation, end: int) -> Series:
    name = how.aligner.removeprefix("ALIGN_")
    fits, kind, value_type, compute = _aligner(name, series, how)
    if not fits:
        raise _bad("per_series_aligner", f"{how.aligner} does not go with {series.kind} {series.value_type} metrics")
    blocks: dict[int, list[Point]] = {}
    for before, point in zip((series.previous, *series.points), series.points, strict=False):
        step = _difference(before, point) if series.kind == "CUMULATIVE" and kind != "CUMULATIVE" else point
        if step is not None:
            blocks.setdefault((end - step.end) // how.period, []).append(step)
    aligned = Series(series.identity, kind, value_type, series.unit)
    for index in sorted(blocks, reverse=True):
        last = end - index * how.period
        first = last if kind == "GAUGE" else last - how.period
        aligned.points.append(Point(first, last, compute([p.value for p in blocks[index]])))
    return aligned


def _aligner(name: str, series: Series, how: Aggregation) -> tuple[bool, str, str, Callable[[list[Value]], Value]]:
    """(whether it fits, kind and value type of the result, what it does with the values of a block)."""
    kind, value_type = series.kind, series.value_type
    numeric, distribution, boolean = value_type in _NUMERIC, value_type == "DISTRIBUTION", value_type == "BOOL"
    steady = kind in ("GAUGE", "DELTA")
    seconds = how.period / NANOS
    if name.startswith("PERCENTILE_"):
        percent = _PERCENTILES[name.removeprefix("PERCENTILE_")]
        return distribution and kind != "CUMULATIVE", "GAUGE", "DOUBLE", lambda v: _percentile(v, percent)
    table: Mapping[str, tuple[bool, str, str, Callable[[list[Value]], Value]]] = {
        "DELTA": (kind != "GAUGE" and (numeric or distribution), "DELTA", value_type, _sum),
        "RATE": (kind != "GAUGE" and numeric, "GAUGE", "DOUBLE", lambda v: float(_number(_sum(v))) / seconds),
        "SUM": (steady and (numeric or distribution), kind, value_type, _sum),
        "MEAN": (steady and numeric, "GAUGE", "DOUBLE", lambda v: statistics.fmean(_numbers(v))),
        "MIN": (steady and numeric, kind, value_type, lambda v: min(_numbers(v))),
        "MAX": (steady and numeric, kind, value_type, lambda v: max(_numbers(v))),
        "COUNT": (steady and (numeric or boolean), kind, "INT64", len),
        "STDDEV": (steady and numeric, "GAUGE", "DOUBLE", lambda v: statistics.pstdev(_numbers(v))),
        "NEXT_OLDER": (kind == "GAUGE", kind, value_type, lambda v: v[-1]),
        "COUNT_TRUE": (kind == "GAUGE" and boolean, kind, "INT64", lambda v: sum(map(bool, v))),
        "COUNT_FALSE": (kind == "GAUGE" and boolean, kind, "INT64", lambda v: len(v) - sum(map(bool, v))),
        "FRACTION_TRUE": (kind == "GAUGE" and boolean, kind, "DOUBLE", lambda v: sum(map(bool, v)) / len(v)),
    }
    if name not in table:
        raise _bad("per_series_aligner", f"this local Cloud Monitoring does not have {how.aligner}")
    return table[name]


def _reduced(aligned: Sequence[Series], how: Aggregation) -> list[Series]:
    groups: dict[Identity, list[Series]] = {}
    for series in aligned:
        groups.setdefault(_group(series.identity, how.group_by), []).append(series)
    return [_reduced_group(identity, members, how) for identity, members in groups.items()]


def _reduced_group(identity: Identity, members: Sequence[Series], how: Aggregation) -> Series:
    first = members[0]
    value_type, compute = _reducer(how.reducer.removeprefix("REDUCE_"), first.value_type, how)
    by_end: dict[int, list[Point]] = {}
    for series in members:
        for point in series.points:
            by_end.setdefault(point.end, []).append(point)
    points = deque(
        Point(by_end[end][0].start, end, compute([point.value for point in by_end[end]])) for end in sorted(by_end)
    )
    kind = first.kind if value_type == first.value_type else "GAUGE"
    if kind == "GAUGE":
        points = deque(Point(point.end, point.end, point.value) for point in points)
    return Series(identity, kind, value_type, first.unit, points)


def _reducer(name: str, value_type: str, how: Aggregation) -> tuple[str, Callable[[list[Value]], Value]]:
    numeric, distribution = value_type in _NUMERIC, value_type == "DISTRIBUTION"
    if name.startswith("PERCENTILE_"):
        percent = _PERCENTILES[name.removeprefix("PERCENTILE_")]
        fits = numeric or distribution
        entry: tuple[bool, str, Callable[[list[Value]], Value]] = (fits, "DOUBLE", lambda v: _percentile(v, percent))
    else:
        table: Mapping[str, tuple[bool, str, Callable[[list[Value]], Value]]] = {
            "SUM": (numeric or distribution, value_type, _sum),
            "MEAN": (numeric or distribution, "DOUBLE", _mean),
            "MIN": (numeric, value_type, lambda v: min(_numbers(v))),
            "MAX": (numeric, value_type, lambda v: max(_numbers(v))),
            "COUNT": (True, "INT64", len),
            "STDDEV": (numeric, "DOUBLE", lambda v: statistics.pstdev(_numbers(v))),
        }
        if name not in table:
            raise _bad("cross_series_reducer", f"this local Cloud Monitoring does not have {how.reducer}")
        entry = table[name]
    if not entry[0]:
        raise _bad("cross_series_reducer", f"{how.reducer} does not go with {value_type} values")
    return entry[1], entry[2]


def _group(identity: Identity, fields: Sequence[str]) -> Identity:
    """What is left of an identity: the labels that the group is made by, and the project."""
    wanted = {field.replace(".label.", ".labels.") for field in fields}
    for field in wanted:
        try:
            identity.value_of(field)
        except KeyError as error:
            raise _bad("group_by_fields", f"unknown field '{field}'") from error
    return Identity(
        identity.metric,
        tuple((k, v) for k, v in identity.metric_labels if f"metric.labels.{k}" in wanted),
        identity.resource,
        tuple((k, v) for k, v in identity.resource_labels if f"resource.labels.{k}" in wanted or k == "project_id"),
    )


def _difference(before: Point | None, point: Point) -> Point | None:
    """What a cumulative metric grew by since the point before; a new start time is a reset, counted from zero."""
    if not isinstance(point.value, int | float):
        raise _bad("per_series_aligner", "cumulative distributions can't be aligned by this local Cloud Monitoring")
    if before is None:
        return None
    if point.start > before.start or not isinstance(before.value, int | float) or point.value < before.value:
        return Point(point.start, point.end, point.value)
    return Point(before.end, point.end, point.value - before.value)


def _numbers(values: Sequence[Value]) -> list[int | float]:
    return [_number(value) for value in values]


def _number(value: Value) -> int | float:
    assert isinstance(value, int | float), f"{TYPE_NAMES[type(value)]} is not a number"
    return value


def _distributions(values: Sequence[Value]) -> list[Distribution]:
    return [value for value in values if isinstance(value, Distribution)]


def _sum(values: Sequence[Value]) -> Value:
    return merged(_distributions(values)) or sum(_numbers(values))


def _mean(values: Sequence[Value]) -> float:
    whole = merged(_distributions(values))
    return whole.mean if whole is not None else statistics.fmean(_numbers(values))


def _percentile(values: Sequence[Value], percent: float) -> float:
    whole = merged(_distributions(values))
    return whole.percentile(percent) if whole is not None else float(percentile_of(_numbers(values), percent))


def _bad(field: str, message: str) -> ApiError:
    return invalid(f"Field aggregation.{field} had an invalid value: {message}.", f"aggregation.{field}")
