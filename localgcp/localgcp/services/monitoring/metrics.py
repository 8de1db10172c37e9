"""Cloud Monitoring's MetricService: metric descriptors, writing custom metrics, querying time series.

Source: google/monitoring/v3/metric_service.proto and https://cloud.google.com/monitoring/custom-metrics
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from google.api import metric_pb2
from google.cloud import monitoring_v3
from google.protobuf import empty_pb2

from localgcp.kit.call import Call
from localgcp.kit.errors import ApiError, invalid, not_found
from localgcp.kit.filters import Filter, matching, parse
from localgcp.kit.paging import Limits, proto_page
from localgcp.services.monitoring.aggregation import Aggregation, aggregate
from localgcp.services.monitoring.filters import MONITORING
from localgcp.services.monitoring.series import (
    REQUEST_COUNT,
    REQUEST_LATENCIES,
    SERIES,
    Identity,
    Point,
    Series,
    labels_of,
)
from localgcp.services.monitoring.values import NANOS, TYPE_NAMES, from_pb, to_pb

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

_CUSTOM = re.compile(r"(custom|workload|external|prometheus)\.googleapis\.com/[A-Za-z][\w./-]{0,250}")
_MOST_SERIES_PER_CALL = 200
_OLDEST_SECONDS, _NEWEST_SECONDS = 25 * 3600, 5 * 60
_POINTS = Limits(default=100_000, largest=100_000)
_DESCRIPTORS = Limits(default=10_000, largest=10_000)
_HEADERS = int(monitoring_v3.ListTimeSeriesRequest.TimeSeriesView.HEADERS)
_KIND, _TYPE = metric_pb2.MetricDescriptor.MetricKind, metric_pb2.MetricDescriptor.ValueType
_ALIGNER, _REDUCER = monitoring_v3.Aggregation.Aligner, monitoring_v3.Aggregation.Reducer
# Labels of the resources that custom metrics can be written to: https://cloud.google.com/monitoring/api/resources
RESOURCES: dict[str, tuple[str, ...]] = {
    "global": ("project_id",),
    "generic_node": ("project_id", "location", "namespace", "node_id"),
    "generic_task": ("project_id", "location", "namespace", "job", "task_id"),
    "gce_instance": ("project_id", "instance_id", "zone"),
    "k8s_container": ("project_id", "location", "cluster_name", "namespace_name", "pod_name", "container_name"),
    "k8s_pod": ("project_id", "location", "cluster_name", "namespace_name", "pod_name"),
    "cloud_run_revision": ("project_id", "location", "service_name", "revision_name", "configuration_name"),
    "cloud_run_job": ("project_id", "location", "job_name"),
}
_ListTimeSeries: Any = monitoring_v3.ListTimeSeriesResponse.pb()
_ListDescriptors: Any = monitoring_v3.ListMetricDescriptorsResponse.pb()


def _builtin(metric: str, value_type: str, unit: str, text: str) -> Any:
    made = metric_pb2.MetricDescriptor(type=metric, unit=unit, description=text)
    made.metric_kind, made.value_type = _KIND.DELTA, _TYPE.Value(value_type)
    for label in ("response_code", "response_code_class"):
        made.labels.add(key=label)
    made.monitored_resource_types.append("cloud_run_revision")
    return made


_BUILTIN = {
    REQUEST_COUNT: _builtin(REQUEST_COUNT, "INT64", "1", "Number of requests reaching the revision."),
    REQUEST_LATENCIES: _builtin(REQUEST_LATENCIES, "DISTRIBUTION", "ms", "Time of requests reaching the revision."),
}


class Metrics:
    def __init__(self, cloud: Cloud) -> None:
        self._settings = cloud.settings
        self._series = cloud.part(SERIES)
        self._custom = cloud.store.protos("monitoring.descriptors", metric_pb2.MetricDescriptor)

    async def ListTimeSeries(self, request: Any, call: Call) -> Any:
        project = self._project(request.name)
        wanted = parse(request.filter, MONITORING)
        self._check_metric(project, wanted)
        if not request.interval.HasField("end_time"):
            raise invalid("Field interval.end_time had an invalid value: it is required.", "interval.end_time")
        end = request.interval.end_time.ToNanoseconds()
        start = request.interval.start_time.ToNanoseconds() if request.interval.HasField("start_time") else end
        if start > end:
            raise invalid("Field interval.start_time had an invalid value: it is after end_time.", "interval")
        found = list(self._series.read(project, _selector(wanted), start, end))
        for how in (request.aggregation, request.secondary_aggregation):
            found = aggregate(found, _aggregation(how), end)
        return _page(found, request)

    async def CreateTimeSeries(self, request: Any, call: Call) -> Any:
        """Writes what can be written; one bad series fails the call, but not the other series."""
        project = self._project(request.name)
        if not 0 < len(request.time_series) <= _MOST_SERIES_PER_CALL:
            raise invalid(f"Field time_series must have 1 to {_MOST_SERIES_PER_CALL} entries.", "time_series")
        errors: list[str] = []
        identities = [_identity(series, project) for series in request.time_series]
        for index, (series, identity) in enumerate(zip(request.time_series, identities, strict=True)):
            try:
                if identity in identities[:index]:
                    raise invalid("Duplicate TimeSeries encountered. Only one point can be written per TimeSeries.")
                self._write(project, series, identity, call)
            except ApiError as error:
                errors.append(f"timeSeries[{index}]: {error.message}")
        if errors:
            raise invalid(f"One or more TimeSeries could not be written: {'; '.join(errors)}", "time_series")
        return empty_pb2.Empty()

    async def CreateMetricDescriptor(self, request: Any, call: Call) -> Any:
        project, wanted = self._project(request.name), request.metric_descriptor
        _check_writable(wanted.type)
        return self._put(project, wanted, call)

    async def GetMetricDescriptor(self, request: Any, call: Call) -> Any:
        project, metric = self._descriptor_name(request.name)
        found = self._descriptor(project, metric)
        if found is None:
            raise not_found(f"Could not find descriptor for metric '{metric}'.")
        return _named(project, found)

    async def ListMetricDescriptors(self, request: Any, call: Call) -> Any:
        project = self._project(request.name)
        known = [*_BUILTIN.values(), *self._custom.values(f"{project}/")]
        found = matching(known, request.filter, lambda found, field: {"metric.type": found.type}[field], MONITORING)
        page, token = proto_page(request, found, lambda descriptor: (descriptor.type,), _DESCRIPTORS)
        return _ListDescriptors(metric_descriptors=[_named(project, d) for d in page], next_page_token=token)

    async def DeleteMetricDescriptor(self, request: Any, call: Call) -> Any:
        project, metric = self._descriptor_name(request.name)
        if not self._custom.delete(f"{project}/{metric}"):
            raise not_found(f"Could not find descriptor for metric '{metric}'.")
        call.effect("delete", request.name)
        return empty_pb2.Empty()

    def _write(self, project: str, series: Any, identity: Identity, call: Call) -> None:
        _check_writable(identity.metric)
        _check_resource(identity)
        if len(series.points) != 1:
            raise invalid("Exactly one point must be written per TimeSeries.", "points")
        kind = _KIND.Name(series.metric_kind) if series.metric_kind else "GAUGE"
        if kind not in ("GAUGE", "CUMULATIVE"):
            raise invalid(f"Custom metrics are GAUGE or CUMULATIVE, not {kind}.", "metric_kind")
        point = _point(series.points[0], kind)
        last = self._series.last(project, identity)
        if last is not None and point.end <= last.end:
            raise invalid("Points must be written in order: a newer point of this TimeSeries is there.", "points")
        known = self._descriptor(project, identity.metric)
        value_type = TYPE_NAMES[type(point.value)]
        if known is None:
            made = metric_pb2.MetricDescriptor(type=identity.metric, unit=series.unit)
            made.metric_kind, made.value_type = _KIND.Value(kind), _TYPE.Value(value_type)
            for label, _ in identity.metric_labels:
                made.labels.add(key=label)
            self._put(project, made, call)
        elif (known.metric_kind, known.value_type) != (_KIND.Value(kind), _TYPE.Value(value_type)):
            was = f"{_KIND.Name(known.metric_kind)} {_TYPE.Name(known.value_type)}"
            raise invalid(f"{identity.metric} is {was}, a point of {kind} {value_type} was written.", "points")
        self._series.write(project, identity, kind, series.unit or "1", point)

    def _check_metric(self, project: str, wanted: Filter) -> None:
        """A query is about exactly one metric type, and one that exists."""
        exact = wanted.required("metric.type")
        if not any(c.selector == "metric.type" for c in wanted.comparisons):
            raise invalid('The filter must select a metric with "metric.type".', "filter")
        for metric in exact:
            if self._descriptor(project, metric) is None:
                message = (
                    f'Cannot find metric(s) that match type = "{metric}". If a metric was created recently, '
                    "it could take up to 10 minutes to become available. Please try again soon."
                )
                raise not_found(message)

    def _put(self, project: str, wanted: Any, call: Call) -> Any:
        self._custom.put(f"{project}/{wanted.type}", wanted)
        call.effect("create", f"projects/{project}/metricDescriptors/{wanted.type}")
        return _named(project, wanted)

    def _descriptor(self, project: str, metric: str) -> Any:
        return _BUILTIN.get(metric) or self._custom.get(f"{project}/{metric}")

    def _project(self, name: str) -> str:
        kind, _, project = name.partition("/")
        if kind != "projects" or not project or "/" in project:
            raise invalid(f"Field name had an invalid value of '{name}': projects/PROJECT is expected.", "name")
        return self._settings.project_id(project)

    def _descriptor_name(self, name: str) -> tuple[str, str]:
        parent, _, metric = name.partition("/metricDescriptors/")
        return self._project(parent), metric


def _selector(wanted: Filter) -> Any:
    def matches(identity: Identity) -> bool:
        try:
            return wanted.holds(identity.value_of)
        except KeyError as error:
            raise invalid(f"Field filter had an invalid value: unknown selector {error}.", "filter") from error

    return matches


def _aggregation(how: Any) -> Aggregation:
    try:
        aligner, reducer = _ALIGNER(how.per_series_aligner).name, _REDUCER(how.cross_series_reducer).name
    except ValueError as error:
        raise invalid(f"Field aggregation had an invalid value: {error}.", "aggregation") from error
    return Aggregation(how.alignment_period.ToNanoseconds(), aligner, reducer, tuple(how.group_by_fields))


def _page(found: Iterable[Series], request: Any) -> Any:
    """Whole series until the page has its number of points; never less than one series."""
    headers = request.view == _HEADERS

    def points(series: Series) -> int:
        return 1 if headers else len(series.points)

    page, token = proto_page(request, found, lambda series: dataclasses.astuple(series.identity), _POINTS, points)
    reply = _ListTimeSeries(next_page_token=token)
    for series in page:
        _shown(series, reply.time_series.add(), headers)
    return reply


def _shown(series: Series, target: Any, headers: bool) -> None:
    identity = series.identity
    target.metric.type, target.resource.type, target.unit = identity.metric, identity.resource, series.unit
    target.metric.labels.update(dict(identity.metric_labels))
    target.resource.labels.update(dict(identity.resource_labels))
    target.metric_kind, target.value_type = _KIND.Value(series.kind), _TYPE.Value(series.value_type)
    for point in () if headers else reversed(series.points):
        made = target.points.add()
        made.interval.start_time.FromNanoseconds(point.start)
        made.interval.end_time.FromNanoseconds(point.end)
        to_pb(point.value, made.value)


def _identity(series: Any, project: str) -> Identity:
    resource = {"project_id": project, **series.resource.labels}
    metric = labels_of(dict(series.metric.labels))
    return Identity(series.metric.type, metric, series.resource.type or "global", labels_of(resource))


def _point(given: Any, kind: str) -> Point:
    if not given.interval.HasField("end_time"):
        raise invalid("A point needs interval.end_time.", "points.interval.end_time")
    end = given.interval.end_time.ToNanoseconds()
    start = given.interval.start_time.ToNanoseconds() if given.interval.HasField("start_time") else end
    age = (time.time_ns() - end) / NANOS
    if not -_NEWEST_SECONDS <= age <= _OLDEST_SECONDS:
        raise invalid("A point must end at most 25 hours ago and 5 minutes in the future.", "points.interval")
    if (kind == "GAUGE") != (start == end) or start > end:
        raise invalid("A GAUGE point's start is its end; a CUMULATIVE one's is before it.", "points.interval")
    return Point(start, end, from_pb(given.value))


def _check_writable(metric: str) -> None:
    if not _CUSTOM.fullmatch(metric):
        message = f"Field metric.type had an invalid value of '{metric}': it is no custom metric's type."
        raise invalid(message, "metric.type")


def _check_resource(identity: Identity) -> None:
    known = RESOURCES.get(identity.resource)
    if known is None:
        raise invalid(f"Unrecognized resource type '{identity.resource}'.", "resource.type")
    given = {name for name, _ in identity.resource_labels}
    if wrong := _first((*(given - set(known)), *(set(known) - given))):
        raise invalid(f"Resource '{identity.resource}' has the labels {', '.join(known)}; see '{wrong}'.", "resource")


def _first(names: Iterable[str]) -> str:
    return min(names, default="")


def _named(project: str, descriptor: Any) -> Any:
    made = metric_pb2.MetricDescriptor()
    made.CopyFrom(descriptor)
    made.name = f"projects/{project}/metricDescriptors/{descriptor.type}"
    return made
