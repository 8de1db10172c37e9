"""Cloud Monitoring's language and arithmetic, without a server."""

from __future__ import annotations

import contextlib
import statistics
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgcp.kit.errors import ApiError
from localgcp.kit.filters import parse
from localgcp.services.monitoring.aggregation import Aggregation, aggregate
from localgcp.services.monitoring.filters import MONITORING
from localgcp.services.monitoring.series import (
    LATENCY_BUCKETS,
    REQUEST_COUNT,
    REQUEST_LATENCIES,
    Identity,
    Metrics,
    Point,
    Series,
    labels_of,
)
from localgcp.services.monitoring.values import NANOS, Buckets, Distribution, Value, merged, percentile_of

LABELS = {
    "metric.type": "run.googleapis.com/request_count",
    "resource.type": "cloud_run_revision",
    "resource.labels.revision_name": "web-2",
    "metric.labels.response_code": "503",
    "resource.labels.location": 'a"b',
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ('metric.type="run.googleapis.com/request_count"', True),
        ("metric.type = 'run.googleapis.com/request_count'", True),
        ('metric.type="x"', False),
        ('metric.type="x" OR resource.type="cloud_run_revision"', True),
        ('metric.type="x" OR resource.type="cloud_run_revision" AND resource.labels.revision_name="web-1"', False),
        ('(metric.type="x" OR resource.type=cloud_run_revision) resource.labels.revision_name="web-2"', True),
        ('NOT resource.labels.revision_name="web-2"', False),
        ('-resource.labels.revision_name="web-1"', True),
        ('NOT (metric.type="x" OR metric.type="y")', True),
        ('resource.label.revision_name != "web-2"', False),
        ('resource.labels."revision_name" = "web-2"', True),
        ('resource.labels.revision_name = starts_with("web-")', True),
        ('resource.labels.revision_name != ends_with("-2")', False),
        ('resource.labels.revision_name = has_substring("b-")', True),
        ('resource.labels.revision_name = one_of("web-1", "web-2")', True),
        ('resource.labels.revision_name = one_of("web-1")', False),
        ('resource.labels.revision_name = monitoring.regex.full_match("web-[0-9]")', True),
        ('resource.labels.revision_name = monitoring.regex.full_match("web")', False),
        ("metric.labels.response_code >= 500 AND metric.labels.response_code < 600", True),
        ("metric.labels.response_code > 503", False),
        ("metric.labels.response_code = 503", True),
        ('resource.labels.revision_name : "eb"', True),
        ('resource.labels.absent = ""', True),
        ('resource.labels.absent != "x"', True),
        ('resource.labels.absent = starts_with("x")', False),
        ('resource.labels.location = "a\\"b"', True),
    ],
)
def test_filters(text: str, expected: bool) -> None:
    assert parse(text, MONITORING).holds(LABELS.get) is expected


@pytest.mark.parametrize(
    "text",
    [
        "metric.type",
        "metric.type =",
        '= "x"',
        'metric.type="x" OR',
        '(metric.type="x"',
        'metric.type="x")',
        'metric.type = sum("x")',
        'metric.type : starts_with("x")',
        'metric.type = one_of("x"',
        'metric.type = monitoring.regex.full_match("[")',
        'metric.type = "x',
        "metric.type = #",
        "metric.type = (",
    ],
)
def test_malformed_filters_are_refused(text: str) -> None:
    with pytest.raises(ApiError, match="INVALID_ARGUMENT: Field filter had an invalid value"):
        parse(text, MONITORING)


@given(st.text(alphabet='abc.="()ANDORNT \\-:<>!,1', max_size=40))
def test_no_text_breaks_the_parser(text: str) -> None:
    with contextlib.suppress(ApiError):  # anything else is a bug
        parse(text, MONITORING).holds(LABELS.get)


SAMPLES = st.lists(st.floats(min_value=0.5, max_value=600_000), min_size=1, max_size=200)


def distribution(samples: list[float], buckets: Buckets = LATENCY_BUCKETS) -> Distribution:
    made = Distribution(buckets)
    for sample in samples:
        made.add(sample)
    return made


@given(SAMPLES)
def test_a_distribution_knows_its_samples(samples: list[float]) -> None:
    made = distribution(samples)
    assert made.count == sum(made.counts.values()) == len(samples)
    assert made.mean == pytest.approx(statistics.fmean(samples))
    assert made.squares == pytest.approx(statistics.pvariance(samples) * len(samples), rel=1e-6, abs=1e-3)


@given(SAMPLES, SAMPLES)
def test_merging_is_adding_all_samples(left: list[float], right: list[float]) -> None:
    both, whole = merged([distribution(left), distribution(right)]), distribution(left + right)
    assert both is not None
    assert (both.count, both.counts) == (whole.count, whole.counts)
    assert both.mean == pytest.approx(whole.mean)
    assert both.squares == pytest.approx(whole.squares, rel=1e-6, abs=1e-3)


@given(SAMPLES, st.sampled_from([5.0, 50.0, 95.0, 99.0]))
def test_a_percentile_lies_in_the_bucket_of_the_true_one(samples: list[float], percent: float) -> None:
    true = sorted(samples)[max(0, -(-int(percent * len(samples)) // 100) - 1)]
    found = distribution(samples).percentile(percent)
    assert true / 1.41 <= found <= true * 1.41 or true < 1.0


def test_different_buckets_do_not_mix() -> None:
    with pytest.raises(ApiError, match="different bucket options"):
        merged([distribution([1]), distribution([1], Buckets.linear(10, 1, 0))])


IDENTITY = Identity(
    "m", labels_of({"code": "200"}), "cloud_run_revision", labels_of({"project_id": "demo", "revision_name": "web-1"})
)
OTHER = Identity(
    "m", labels_of({"code": "500"}), "cloud_run_revision", labels_of({"project_id": "demo", "revision_name": "web-1"})
)
END = 1_000 * NANOS


def series(values: dict[int, Value], kind: str = "DELTA", kind_of: str = "INT64", who: Identity = IDENTITY) -> Series:
    """`values` by the second in which their sample ends; samples are one second long."""
    points = [Point((s - 1) * NANOS if kind == "DELTA" else s * NANOS, s * NANOS, v) for s, v in values.items()]
    return Series(who, kind, kind_of, "1", deque(points))


def minute(aligner: str, **more: object) -> Aggregation:
    return Aggregation(60 * NANOS, aligner, **more)  # type: ignore[arg-type]


def test_deltas_are_summed_in_blocks_that_end_with_the_interval() -> None:
    (found,) = aggregate([series({879: 1, 880: 2, 881: 4, 940: 8, 941: 16, 1000: 32})], minute("ALIGN_DELTA"), END)
    assert [(p.start // NANOS, p.end // NANOS, p.value) for p in found.points] == [
        (820, 880, 3),
        (880, 940, 12),
        (940, 1000, 48),
    ]
    assert (found.kind, found.value_type) == ("DELTA", "INT64")


@pytest.mark.parametrize(
    ("aligner", "expected"),
    [
        ("ALIGN_RATE", 9 / 60),
        ("ALIGN_SUM", 9),
        ("ALIGN_MEAN", 3.0),
        ("ALIGN_MIN", 1),
        ("ALIGN_MAX", 5),
        ("ALIGN_COUNT", 3),
        ("ALIGN_STDDEV", statistics.pstdev([1, 3, 5])),
    ],
)
def test_aligners_of_numbers(aligner: str, expected: float) -> None:
    (found,) = aggregate([series({998: 1, 999: 3, 1000: 5})], minute(aligner), END)
    assert [p.value for p in found.points] == [pytest.approx(expected)]


def test_percentiles_of_distributions() -> None:
    latencies = series({999: distribution([10.0] * 90), 1000: distribution([1000.0] * 10)}, kind_of="DISTRIBUTION")
    for aligner, low, high in (("ALIGN_PERCENTILE_50", 7, 14), ("ALIGN_PERCENTILE_95", 700, 1400)):
        (found,) = aggregate([latencies], minute(aligner), END)
        (value,) = [p.value for p in found.points]
        assert isinstance(value, float)
        assert low < value < high
        assert (found.kind, found.value_type, found.points[0].start) == ("GAUGE", "DOUBLE", END)


def test_cumulative_metrics_are_differences_and_know_resets() -> None:
    points = deque(
        Point(start * NANOS, end * NANOS, value)
        for start, end, value in ((900, 950, 10), (900, 960, 15), (965, 970, 3), (965, 1000, 7))
    )
    counter = Series(IDENTITY, "CUMULATIVE", "INT64", "1", points)
    (found,) = aggregate([counter], minute("ALIGN_DELTA"), END)
    assert [p.value for p in found.points] == [5 + 3 + 4]


def test_reducers_group_and_keep_the_labels_asked_for() -> None:
    both = [series({1000: 3}), series({1000: 4}, who=OTHER)]
    (whole,) = aggregate(both, minute("ALIGN_DELTA", reducer="REDUCE_SUM"), END)
    assert ([p.value for p in whole.points], whole.identity.metric_labels) == ([7], ())
    assert whole.identity.resource_labels == (("project_id", "demo"),)
    by_code = minute(
        "ALIGN_DELTA", reducer="REDUCE_SUM", group_by=("metric.label.code", "resource.labels.revision_name")
    )
    found = aggregate(both, by_code, END)
    assert {s.identity: [p.value for p in s.points] for s in found} == {IDENTITY: [3], OTHER: [4]}
    (mean,) = aggregate(both, minute("ALIGN_DELTA", reducer="REDUCE_MEAN"), END)
    assert [p.value for p in mean.points] == [3.5]
    (middle,) = aggregate(both, minute("ALIGN_DELTA", reducer="REDUCE_PERCENTILE_50"), END)
    assert [p.value for p in middle.points] == [percentile_of([3, 4], 50)]


@pytest.mark.parametrize(
    ("how", "field"),
    [
        (Aggregation(reducer="REDUCE_SUM"), "cross_series_reducer"),
        (Aggregation(30 * NANOS, "ALIGN_DELTA"), "alignment_period"),
        (minute("ALIGN_PERCENTILE_99"), "per_series_aligner"),
        (minute("ALIGN_NEXT_OLDER"), "per_series_aligner"),
        (minute("ALIGN_INTERPOLATE"), "per_series_aligner"),
        (minute("ALIGN_DELTA", group_by=("metric.labels.code",)), "group_by_fields"),
        (minute("ALIGN_DELTA", reducer="REDUCE_SUM", group_by=("metric.code",)), "group_by_fields"),
        (minute("ALIGN_DELTA", reducer="REDUCE_FRACTION_TRUE"), "cross_series_reducer"),
    ],
)
def test_what_google_refuses_is_refused(how: Aggregation, field: str) -> None:
    with pytest.raises(ApiError) as caught:
        aggregate([series({1000: 1})], how, END)
    assert caught.value.field == f"aggregation.{field}"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000 * NANOS

    def __call__(self) -> int:
        return self.now


def serve(metrics: Metrics, revision: str, code: int, seconds: float, times: int = 1) -> None:
    for _ in range(times):
        metrics.request(project="demo", location="eu", service="web", revision=revision, code=code, seconds=seconds)


def test_requests_become_samples_that_are_read_when_complete() -> None:
    clock = Clock()
    metrics = Metrics(period=10.0, delay=5.0, clock=clock)
    serve(metrics, "web-1", 200, 0.1, times=3)
    serve(metrics, "web-1", 503, 0.2)
    clock.now += 14 * NANOS
    assert list(metrics.read("demo", lambda i: True, 0, clock.now)) == []
    clock.now += 1 * NANOS
    found = list(metrics.read("demo", lambda i: i.metric == REQUEST_COUNT, 0, clock.now))
    assert [(dict(s.identity.metric_labels)["response_code_class"], s.points[0].value) for s in found] == [
        ("2xx", 3),
        ("5xx", 1),
    ]
    assert (found[0].points[0].start, found[0].points[0].end) == (1_000 * NANOS, 1_010 * NANOS)
    latencies = list(metrics.read("demo", lambda i: i.metric == REQUEST_LATENCIES, 0, clock.now))
    assert isinstance(latencies[0].points[0].value, Distribution)
    assert latencies[0].points[0].value.mean == pytest.approx(100)
    assert list(metrics.read("other", lambda i: True, 0, clock.now)) == []


def test_old_samples_are_forgotten() -> None:
    clock = Clock()
    metrics = Metrics(clock=clock)
    serve(metrics, "web-1", 200, 0.1)
    clock.now += 7 * 3600 * NANOS
    serve(metrics, "web-1", 200, 0.1)
    clock.now += 2 * NANOS
    found = list(metrics.read("demo", lambda i: True, 0, clock.now))
    assert [len(s.points) for s in found] == [1, 1]
