"""Values of time series points, distributions above all: how they are counted, merged and read percentiles from.

Source: google/api/distribution.proto
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from localgcp.kit.errors import invalid

NANOS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Buckets:
    """Finite bucket boundaries: bucket 0 is below the first, bucket N at or above the last. `options` is the
    (kind, parameters) that they came from."""

    bounds: tuple[float, ...]
    options: tuple[str, tuple[float, ...]]

    @staticmethod
    @functools.cache
    def exponential(count: int, growth: float, scale: float) -> Buckets:
        bounds = tuple(scale * growth**n for n in range(count + 1))
        return Buckets(bounds, ("exponential", (count, growth, scale)))

    @staticmethod
    @functools.cache
    def linear(count: int, width: float, offset: float) -> Buckets:
        return Buckets(tuple(offset + width * n for n in range(count + 1)), ("linear", (count, width, offset)))

    @staticmethod
    def explicit(bounds: Iterable[float]) -> Buckets:
        fixed = tuple(bounds)
        return Buckets(fixed, ("explicit", fixed))


@dataclass(slots=True)
class Distribution:
    """Count, mean, sum of squared deviations, and counts by bucket (sparse)."""

    buckets: Buckets
    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    counts: dict[int, int] = field(default_factory=dict)

    def add(self, value: float) -> None:
        self.count += 1
        delta = value - self.mean
        self.mean += delta / self.count
        self.squares += delta * (value - self.mean)
        index = bisect.bisect_right(self.buckets.bounds, value)
        self.counts[index] = self.counts.get(index, 0) + 1

    def merge(self, other: Distribution) -> None:
        """Raises ApiError INVALID_ARGUMENT for different buckets."""
        if self.buckets != other.buckets:
            raise invalid("distributions with different bucket options can't be combined", "aggregation")
        total = self.count + other.count
        if total:
            delta = other.mean - self.mean
            self.squares += other.squares + delta * delta * self.count * other.count / total
            self.mean += delta * other.count / total
        self.count = total
        for index, count in other.counts.items():
            self.counts[index] = self.counts.get(index, 0) + count

    def percentile(self, percent: float) -> float:
        """By linear interpolation inside the bucket; NaN without samples."""
        if not self.count:
            return math.nan
        rank, below = percent / 100 * self.count, 0
        bounds = self.buckets.bounds
        for index in sorted(self.counts):
            inside = self.counts[index]
            if below + inside >= rank:
                low = bounds[index - 1] if index > 0 else min(0.0, bounds[0])
                high = bounds[index] if index < len(bounds) else low
                return low + (high - low) * (rank - below) / inside
            below += inside
        return bounds[-1]


def merged(values: Iterable[Distribution]) -> Distribution | None:
    """A new distribution of all; None of none."""
    result: Distribution | None = None
    for value in values:
        if result is None:
            result = Distribution(value.buckets)
        result.merge(value)
    return result


def percentile_of(values: Iterable[float], percent: float) -> float:
    """Of plain numbers, interpolated between the nearest ranks."""
    ordered = sorted(values)
    position = percent / 100 * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


Value = bool | int | float | str | Distribution
TYPE_NAMES = {bool: "BOOL", int: "INT64", float: "DOUBLE", str: "STRING", Distribution: "DISTRIBUTION"}


def from_pb(value: Any) -> Value:
    """The value of a TypedValue. Raises ApiError INVALID_ARGUMENT."""
    kind = value.WhichOneof("value")
    if kind is None:
        raise invalid("a point without a value", "time_series.points.value")
    if kind != "distribution_value":
        plain: Value = getattr(value, kind)
        return plain
    given = value.distribution_value
    made = Distribution(_buckets_from_pb(given.bucket_options), given.count, given.mean, given.sum_of_squared_deviation)
    made.counts = {index: count for index, count in enumerate(given.bucket_counts) if count}
    if len(given.bucket_counts) > len(made.buckets.bounds) + 1 or sum(made.counts.values()) != given.count:
        raise invalid("bucket_counts do not fit bucket_options or count", "time_series.points.value.distribution_value")
    return made


def to_pb(value: Value, target: Any) -> None:
    """Into a TypedValue."""
    if isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int):
        target.int64_value = value
    elif isinstance(value, float):
        target.double_value = value
    elif isinstance(value, str):
        target.string_value = value
    else:
        made = target.distribution_value
        made.count, made.mean, made.sum_of_squared_deviation = value.count, value.mean, value.squares
        _buckets_to_pb(value.buckets, made.bucket_options)
        made.bucket_counts.extend(value.counts.get(n, 0) for n in range(max(value.counts, default=-1) + 1))


def _buckets_from_pb(options: Any) -> Buckets:
    match options.WhichOneof("options"):
        case "exponential_buckets":
            given = options.exponential_buckets
            return Buckets.exponential(given.num_finite_buckets, given.growth_factor, given.scale)
        case "linear_buckets":
            given = options.linear_buckets
            return Buckets.linear(given.num_finite_buckets, given.width, given.offset)
        case "explicit_buckets":
            return Buckets.explicit(options.explicit_buckets.bounds)
    raise invalid("a distribution needs bucket_options", "time_series.points.value.distribution_value")


def _buckets_to_pb(buckets: Buckets, target: Any) -> None:
    kind, parameters = buckets.options
    if kind == "exponential":
        made = target.exponential_buckets
        made.num_finite_buckets, made.growth_factor, made.scale = int(parameters[0]), parameters[1], parameters[2]
    elif kind == "linear":
        made = target.linear_buckets
        made.num_finite_buckets, made.width, made.offset = int(parameters[0]), parameters[1], parameters[2]
    else:
        target.explicit_buckets.bounds.extend(parameters)
