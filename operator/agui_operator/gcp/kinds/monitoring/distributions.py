"""Latency distributions: merged over time series, and percentiles read from their buckets. Pure.

A percentile is interpolated linearly inside its bucket, as Cloud Monitoring does
(https://cloud.google.com/monitoring/charts/charting-distribution-metrics).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Bucket:
    """`count` values in [low, high)."""

    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """Buckets without the empty ones, ordered; those of different layouts may overlap."""

    buckets: tuple[Bucket, ...] = ()

    @property
    def count(self) -> int:
        return sum(bucket.count for bucket in self.buckets)


def merge(parts: Iterable[Histogram]) -> Histogram:
    """All values of all parts in one; buckets with equal bounds are added up."""
    counts: dict[tuple[float, float], int] = {}
    for part in parts:
        for bucket in part.buckets:
            bounds = (bucket.low, bucket.high)
            counts[bounds] = counts.get(bounds, 0) + bucket.count
    return Histogram(tuple(Bucket(*bounds, count) for bounds, count in sorted(counts.items()) if count > 0))


def percentile(histogram: Histogram, q: float) -> float | None:
    """The value below which the share `q` (0..1) of all values lies; None without values."""
    total = histogram.count
    if total == 0:
        return None
    wanted = min(max(q, 0.0), 1.0) * total
    bounds = sorted({edge for b in histogram.buckets for edge in (b.low, b.high)})
    before, low = _below(histogram, bounds[0]), bounds[0]
    for high in bounds[1:]:
        upto = _below(histogram, high)
        if upto >= wanted and upto > before:
            return low + (high - low) * max(0.0, wanted - before) / (upto - before)
        before, low = upto, high
    return bounds[-1]


def read_distribution(value: Any) -> Histogram:
    """A google.api.Distribution. The open last bucket ends at the greatest value, where that is known."""
    if not value.count:
        return Histogram()
    edges = _edges(value.bucket_options)
    counts = list(value.bucket_counts)
    if not edges or not counts:
        return Histogram((Bucket(value.mean, value.mean, int(value.count)),))
    bounds = [min(0.0, edges[0]), *edges, math.inf]
    greatest = value.range.max if value.range.max > edges[-1] else edges[-1]
    buckets = [
        Bucket(bounds[n], min(bounds[n + 1], greatest) if math.isinf(bounds[n + 1]) else bounds[n + 1], int(count))
        for n, count in enumerate(counts)
        if count
    ]
    return Histogram(tuple(buckets))


def _below(histogram: Histogram, edge: float) -> float:
    """How many values lie below an edge, each bucket being filled evenly."""
    return sum(bucket.count * _share(bucket, edge) for bucket in histogram.buckets)


def _share(bucket: Bucket, edge: float) -> float:
    if edge >= bucket.high:
        return 1.0
    if edge <= bucket.low:
        return 0.0
    return (edge - bucket.low) / (bucket.high - bucket.low)


def _edges(options: Any) -> Sequence[float]:
    """The finite bounds between buckets: google/api/distribution.proto."""
    if options.explicit_buckets.bounds:
        return list(options.explicit_buckets.bounds)
    if options.exponential_buckets.num_finite_buckets:
        exponential = options.exponential_buckets
        return [exponential.scale * exponential.growth_factor**n for n in range(exponential.num_finite_buckets + 1)]
    linear = options.linear_buckets
    return [linear.offset + linear.width * n for n in range(linear.num_finite_buckets + 1)] if linear.width else []
