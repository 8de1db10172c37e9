"""What the canary analysis reads: requests, 4xx and 5xx answers and latencies of revisions, from one query.

The distribution of request latencies counts every request by the class of its answer, so it holds all these numbers.
Source: https://cloud.google.com/monitoring/api/metrics_gcp_p_z (run.googleapis.com/request_latencies)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from agui_operator.core import metric_filters
from agui_operator.core.analysis import Sample
from agui_operator.core.errors import CloudError
from agui_operator.core.metric_filters import one_of
from agui_operator.core.names import Names
from agui_operator.gcp.kinds.monitoring.distributions import Histogram, merge, percentile, read_distribution
from agui_operator.gcp.transport.clients import Cloud

_SECONDS = 30.0
_SHORTEST_PERIOD = 60  # seconds; Monitoring refuses to align to less
_SLACK = timedelta(milliseconds=5)


@dataclass(frozen=True, slots=True)
class Measured:
    """One point of the latency series: a revision, the class of the answers (`2xx`) and their latencies in ms."""

    revision: str
    response_class: str
    latencies: Histogram


async def read(
    cloud: Cloud,
    names: Names,
    revisions: Sequence[str],
    start: datetime,
    end: datetime,
    *,
    guardrails: bool = False,
) -> Mapping[str, Sample]:
    """A Sample for every revision; one without data has no requests. One call, and two more for guardrails."""
    chosen = one_of("resource.labels.revision_name", revisions)
    query = f"{metric_filters.all_latencies(names)} AND {chosen}"
    found = [
        Measured(
            revision=series.resource.labels["revision_name"],
            response_class=series.metric.labels.get("response_code_class", ""),
            latencies=read_distribution(point.value.distribution_value),
        )
        for series, point in await _points(cloud, names, query, start, end)
        if _began(point) >= start.astimezone(UTC) - _SLACK  # one that began before measured what was before
    ]
    samples = {revision: sample_of(m for m in found if m.revision == revision) for revision in revisions}
    if not guardrails:
        return samples
    of = one_of("metric.labels.revision", revisions)
    checks = await _counted(cloud, names, f"{metric_filters.guardrail_checks(names)} AND {of}", start, end)
    failures = await _counted(cloud, names, f"{metric_filters.guardrail_failures(names)} AND {of}", start, end)
    return {
        r: replace(s, guardrail_checks=checks.get(r, 0), guardrail_failures=failures.get(r, 0))
        for r, s in samples.items()
    }


def sample_of(measured: Iterable[Measured]) -> Sample:
    """One revision's numbers. The duration of an upgraded connection (1xx: a WebSocket session) is no latency."""
    points = list(measured)
    timed = merge(m.latencies for m in points if m.response_class != "1xx")
    return Sample(
        requests=sum(m.latencies.count for m in points),
        errors=_count(points, "5xx"),
        client_errors=_count(points, "4xx"),
        latency_p50_ms=percentile(timed, 0.50),
        latency_p95_ms=percentile(timed, 0.95),
        latency_p99_ms=percentile(timed, 0.99),
    )


def _count(points: Iterable[Measured], response_class: str) -> int:
    return sum(m.latencies.count for m in points if m.response_class == response_class)


async def _counted(cloud: Cloud, names: Names, query: str, start: datetime, end: datetime) -> dict[str, int]:
    """By how much a counter of the application grew, by revision. Each point of such a counter is the total since its
    process started (CUMULATIVE), so Monitoring is asked for the difference over the whole window."""
    from google.cloud import monitoring_v3

    seconds = max(math.ceil((end - start).total_seconds()), _SHORTEST_PERIOD)
    how = monitoring_v3.Aggregation(
        alignment_period=timedelta(seconds=seconds),
        per_series_aligner=monitoring_v3.Aggregation.Aligner.ALIGN_DELTA,
        cross_series_reducer=monitoring_v3.Aggregation.Reducer.REDUCE_SUM,
        group_by_fields=["metric.label.revision"],
    )
    counts: dict[str, int] = {}
    for series, point in await _points(cloud, names, query, start, end, how):
        revision = series.metric.labels["revision"]
        counts[revision] = counts.get(revision, 0) + int(point.value.int64_value or point.value.double_value)
    return counts


async def _points(
    cloud: Cloud, names: Names, query: str, start: datetime, end: datetime, how: Any = None
) -> list[tuple[Any, Any]]:
    """(series, point), of all pages. A metric that nobody has written yet is 404: there is no data."""
    from google.cloud import monitoring_v3

    project = f"projects/{names.project}"
    request = monitoring_v3.ListTimeSeriesRequest(
        name=project,
        filter=query,
        interval=monitoring_v3.TimeInterval(start_time=start, end_time=end),
        view=monitoring_v3.ListTimeSeriesRequest.TimeSeriesView.FULL,
        aggregation=how,
    )
    found: list[tuple[Any, Any]] = []
    while True:
        try:
            page = await cloud.rpc("MetricService.ListTimeSeries", request, project, timeout=_SECONDS)
        except CloudError as error:
            if error.code == 404:
                return []
            raise
        for series in page.time_series:
            found += [(series, point) for point in series.points]
        request.page_token = str(page.next_page_token)
        if not request.page_token:
            return found


def _began(point: Any) -> datetime:
    began: datetime = point.interval.start_time or point.interval.end_time
    return began.astimezone(UTC)
