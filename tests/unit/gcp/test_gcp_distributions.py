"""Percentiles and merging of latency distributions."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from google.api import distribution_pb2
from hypothesis import given
from hypothesis import strategies as st

from agui_operator.gcp.kinds.monitoring.distributions import Bucket, Histogram, merge, percentile, read_distribution
from agui_operator.gcp.kinds.monitoring.timeseries import Measured, sample_of

EDGES = [0.0, 1.0, 2.0, 4.0, 8.0, 100.0]


@st.composite
def histograms(draw: st.DrawFn) -> Histogram:
    edges = sorted(draw(st.sets(st.integers(0, 10_000), min_size=2, max_size=8)))
    counts = draw(st.lists(st.integers(0, 1000), min_size=len(edges) - 1, max_size=len(edges) - 1))
    buckets = zip(edges, edges[1:], counts, strict=False)
    return Histogram(tuple(Bucket(float(low), float(high), count) for low, high, count in buckets if count))


@given(st.lists(histograms(), max_size=4))
def test_merging_loses_and_invents_nothing(parts: list[Histogram]) -> None:
    merged = merge(parts)
    assert merged.count == sum(part.count for part in parts)
    assert merge(reversed(parts)) == merged
    assert merge([merge(parts[:1]), merge(parts[1:])]) == merged


@given(histograms(), st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_percentiles_rise_and_stay_inside(histogram: Histogram, shares: list[float]) -> None:
    values = [percentile(histogram, q) for q in sorted(shares)]
    if histogram.count == 0:
        assert set(values) == {None}
        return
    numbers = [v for v in values if v is not None]
    assert len(numbers) == len(values)
    assert all(low <= high + 1e-6 for low, high in itertools.pairwise(numbers))
    assert histogram.buckets[0].low - 1e-6 <= numbers[0]
    assert numbers[-1] <= max(b.high for b in histogram.buckets) + 1e-6


@given(histograms(), st.floats(0.01, 0.99))
def test_the_share_below_a_percentile_is_that_share(histogram: Histogram, q: float) -> None:
    value = percentile(histogram, q)
    if value is None:
        return
    below = sum(
        b.count * min(1.0, max(0.0, (value - b.low) / (b.high - b.low))) for b in histogram.buckets if b.high > b.low
    )
    assert below == pytest.approx(q * histogram.count, rel=1e-6, abs=1e-6)


@given(histograms(), st.integers(2, 50), st.floats(0, 1))
def test_more_of_the_same_changes_no_percentile(histogram: Histogram, times: int, q: float) -> None:
    value, again = percentile(histogram, q), percentile(merge([histogram] * times), q)
    assert (value is None and again is None) or value == pytest.approx(again, abs=1e-6)


def test_interpolation_inside_a_bucket() -> None:
    histogram = Histogram((Bucket(0, 100, 50), Bucket(100, 200, 50)))
    assert percentile(histogram, 0.5) == pytest.approx(100)
    assert percentile(histogram, 0.95) == pytest.approx(190)
    assert percentile(Histogram(), 0.5) is None
    assert percentile(Histogram((Bucket(7, 7, 3),)), 0.95) == 7


def test_buckets_of_other_bounds_are_filled_evenly() -> None:
    coarse, fine = Histogram((Bucket(0, 100, 100),)), Histogram((Bucket(0, 25, 100),))
    assert percentile(merge([coarse, fine]), 0.5) == pytest.approx(20)


@pytest.mark.parametrize(
    "options",
    [
        {"explicit_buckets": {"bounds": [10, 20, 40]}},
        {"linear_buckets": {"num_finite_buckets": 2, "width": 10, "offset": 10}},
        {"exponential_buckets": {"num_finite_buckets": 2, "growth_factor": 2, "scale": 10}},
    ],
)
def test_every_layout_of_buckets_is_read(options: dict[str, Any]) -> None:
    value = distribution_pb2.Distribution(count=10, mean=20, bucket_options=options, bucket_counts=[1, 2, 3, 4])
    value.range.max = 90
    last = {"linear_buckets": (20, 30), "explicit_buckets": (20, 40), "exponential_buckets": (20, 40)}[
        next(iter(options))
    ]
    assert read_distribution(value).buckets == (
        Bucket(0, 10, 1),
        Bucket(10, 20, 2),
        Bucket(*last, 3),
        Bucket(last[1], 90, 4),
    )


def test_a_distribution_without_buckets_is_its_mean() -> None:
    assert read_distribution(distribution_pb2.Distribution(count=3, mean=12)).buckets == (Bucket(12, 12, 3),)
    assert read_distribution(distribution_pb2.Distribution()) == Histogram()


def test_websocket_sessions_count_as_requests_and_not_as_latency() -> None:
    fast, slow = Histogram((Bucket(0, 10, 90),)), Histogram((Bucket(3_000_000, 3_600_000, 10),))
    sample = sample_of([Measured("r", "2xx", fast), Measured("r", "1xx", slow), Measured("r", "5xx", fast)])
    assert (sample.requests, sample.errors) == (190, 90)
    assert sample.latency_p99_ms is not None
    assert sample.latency_p99_ms <= 10
