"""Time series in memory: written by the proxy for every request, by clients as custom metrics, and read by query.

Requests are counted into sample periods (Google: 60 s; here shorter, see Settings). A sample can be read when its
period is over and the configured delay has passed, as on Google, so that no reader gets half a sample.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from localgcp.kit.service import Slot
from localgcp.services.monitoring.values import NANOS, TYPE_NAMES, Buckets, Distribution, Value

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

REQUEST_COUNT = "run.googleapis.com/request_count"
REQUEST_LATENCIES = "run.googleapis.com/request_latencies"
RESOURCE = "cloud_run_revision"
# 1 ms to 1.4**45 ms (63 min); a request takes 60 min at most. Cloud Run's own options are not documented.
LATENCY_BUCKETS = Buckets.exponential(45, 1.4, 1.0)

_KEPT_SECONDS = 6 * 3600
_MOST_SERIES = 20_000

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells one time series from another; labels are sorted."""

    metric: str
    metric_labels: Labels
    resource: str
    resource_labels: Labels

    def value_of(self, selector: str) -> str | None:
        """For filters and groups. Raises KeyError for what no time series has."""
        head, _, label = selector.partition(".labels.")
        if label and head in ("metric", "resource"):
            return dict(self.metric_labels if head == "metric" else self.resource_labels).get(label)
        if selector in ("metric.type", "resource.type"):
            return self.metric if head == "metric.type" else self.resource
        if selector in ("project", "resource.project_id"):
            return dict(self.resource_labels).get("project_id")
        raise KeyError(selector)


@dataclass(slots=True)
class Point:
    """Times in nanoseconds since 1970; a gauge's start is its end."""

    start: int
    end: int
    value: Value


@dataclass(slots=True)
class Series:
    """`kind` is GAUGE, DELTA or CUMULATIVE, `value_type` as in MetricDescriptor; points are oldest first. `previous` is
    the last cumulative point before them, which an alignment to deltas starts from."""

    identity: Identity
    kind: str
    value_type: str
    unit: str = "1"
    points: deque[Point] = field(default_factory=deque)
    previous: Point | None = None


class Metrics:
    """Implements `interfaces.MetricSink`. `clock` gives Unix time in nanoseconds."""

    def __init__(self, period: float = 1.0, delay: float = 0.0, clock: Callable[[], int] = time.time_ns) -> None:
        self._period, self._delay, self._clock = int(period * NANOS), int(delay * NANOS), clock
        self._series: dict[str, dict[Identity, Series]] = {}
        self._identities: dict[tuple[str, str, str, str, int], tuple[Series, Series]] = {}
        self._written = 0

    def reset(self) -> None:
        self._series.clear()
        self._identities.clear()

    def request(self, *, project: str, location: str, service: str, revision: str, code: int, seconds: float) -> None:
        key = (project, location, service, revision, code)
        if key not in self._identities:
            self._identities[key] = self._request_series(*key)
        counts, latencies = self._identities[key]
        now = self._clock()
        count, latency = self._open(counts, now), self._open(latencies, now)
        count.value = (count.value if isinstance(count.value, int) else 0) + 1
        if not isinstance(latency.value, Distribution):
            latency.value = Distribution(LATENCY_BUCKETS)
        latency.value.add(seconds * 1000)

    def write(self, project: str, identity: Identity, kind: str, unit: str, point: Point) -> None:
        """Adds one point of a custom metric; it is the caller's to check that it may be written."""
        series = self._add(project, Series(identity, kind, TYPE_NAMES[type(point.value)], unit))
        series.points.append(point)
        self._prune(series)

    def last(self, project: str, identity: Identity) -> Point | None:
        series = self._series.get(project, {}).get(identity)
        return series.points[-1] if series is not None and series.points else None

    def read(self, project: str, wanted: Callable[[Identity], bool], start: int, end: int) -> Iterator[Series]:
        """Series with points that end in (start, end] and may be read by now; copies, by identity."""
        visible = min(end, self._clock() - self._delay)
        found = self._series.get(project, {})
        for identity in sorted(found, key=lambda i: (i.metric, i.resource_labels, i.metric_labels)):
            if wanted(identity):
                series = found[identity]
                points = deque(p for p in series.points if start < p.end <= visible or start == p.end == end)
                if points:
                    previous = _previous(series, points[0], start)
                    yield Series(identity, series.kind, series.value_type, series.unit, points, previous)

    def _open(self, series: Series, now: int) -> Point:
        """The sample of the running period."""
        start = now - now % self._period
        if series.points and series.points[-1].start == start:
            return series.points[-1]
        point = Point(start, start + self._period, 0)
        series.points.append(point)
        self._prune(series)
        return point

    def _prune(self, series: Series) -> None:
        oldest = self._clock() - _KEPT_SECONDS * NANOS
        while series.points and series.points[0].end < oldest:
            series.points.popleft()
        self._written += 1
        if self._written % 10_000 == 0:
            self._forget_idle(oldest)

    def _forget_idle(self, oldest: int) -> None:
        """Removes series that were not written for a long time, so that old revisions do not use memory for ever."""
        for series_of in self._series.values():
            for identity in [i for i, s in series_of.items() if not s.points or s.points[-1].end < oldest]:
                del series_of[identity]
        kept = {id(s) for series_of in self._series.values() for s in series_of.values()}
        self._identities = {k: pair for k, pair in self._identities.items() if id(pair[0]) in kept}

    def _request_series(
        self, project: str, location: str, service: str, revision: str, code: int
    ) -> tuple[Series, Series]:
        labels = labels_of({"response_code": str(code), "response_code_class": f"{code // 100}xx"})
        resource = labels_of(
            {
                "project_id": project,
                "location": location,
                "service_name": service,
                "revision_name": revision,
                "configuration_name": service,
            }
        )
        counts = Series(Identity(REQUEST_COUNT, labels, RESOURCE, resource), "DELTA", "INT64")
        latencies = Series(Identity(REQUEST_LATENCIES, labels, RESOURCE, resource), "DELTA", "DISTRIBUTION", "ms")
        return self._add(project, counts), self._add(project, latencies)

    def _add(self, project: str, series: Series) -> Series:
        known = self._series.setdefault(project, {})
        if len(known) >= _MOST_SERIES and series.identity not in known:
            self._forget_idle(self._clock() - _KEPT_SECONDS * NANOS // 12)
        return known.setdefault(series.identity, series)


def labels_of(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


def create_metrics(cloud: Cloud) -> Metrics:
    return Metrics(cloud.settings.metric_period_seconds, cloud.settings.metric_delay_seconds)


SERIES: Slot[Metrics] = Slot("monitoring.series")


def _previous(series: Series, first: Point, start: int) -> Point | None:
    """What a cumulative series stood at before `first`. A stream that began in the interval began at zero."""
    if series.kind != "CUMULATIVE":
        return None
    earlier = [p for p in series.points if p.end < first.end]
    if earlier:
        return earlier[-1]
    return Point(first.start, first.start, 0) if first.start >= start else None
