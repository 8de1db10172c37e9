"""Where measurements and traces go, and what is done to them on the way: labels are added, content is left out.

ADK's own instruments know neither revision nor release, and exceptions carry in their text what a user wrote or a
database answered. Both are put right here, at the one door through which everything leaves.

Cloud Monitoring: https://cloud.google.com/monitoring/api/resources, traces: https://cloud.google.com/trace/docs/otlp.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Status
from opentelemetry.util.types import Attributes

from agui_app.settings import TelemetrySettings

TRACES = "https://telemetry.googleapis.com/v1/traces"
_SAYS_TOO_MUCH = frozenset({"exception.message", "exception.stacktrace"})


class LabelledMetrics(MetricExporter):
    """Adds labels to every data point, whoever recorded it, and hands them to another exporter."""

    def __init__(self, inner: MetricExporter, labels: Mapping[str, str]) -> None:
        super().__init__(inner._preferred_temporality, inner._preferred_aggregation)
        self._inner = inner
        self._labels = dict(labels)

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **more: Any) -> MetricExportResult:
        """As the exporter within."""
        resources = [
            replace(group, scope_metrics=[replace(s, metrics=self._labelled(s.metrics)) for s in group.scope_metrics])
            for group in metrics_data.resource_metrics
        ]
        return self._inner.export(replace(metrics_data, resource_metrics=resources), timeout_millis, **more)

    def _labelled(self, metrics: Iterable[Any]) -> list[Any]:
        return [replace(metric, data=replace(metric.data, data_points=self._points(metric))) for metric in metrics]

    def _points(self, metric: Any) -> list[Any]:
        return [
            replace(point, attributes=dict(point.attributes or {}) | self._labels) for point in metric.data.data_points
        ]

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """As the exporter within."""
        return self._inner.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **more: Any) -> None:
        """As the exporter within."""
        self._inner.shutdown(timeout_millis, **more)


class ContentlessSpans(SpanExporter):
    """Leaves the text of exceptions out of spans; their type stays, and the log has the rest."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """As the exporter within."""
        return self._inner.export([_without_texts(span) for span in spans])

    def shutdown(self) -> None:
        """As the exporter within."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """As the exporter within."""
        return self._inner.force_flush(timeout_millis)


def _without_texts(span: ReadableSpan) -> ReadableSpan:
    if not span.events and not span.status.description:
        return span
    events = [
        Event(
            event.name, {k: v for k, v in (event.attributes or {}).items() if k not in _SAYS_TOO_MUCH}, event.timestamp
        )
        for event in span.events
    ]
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        events=events,
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _quiet(attributes: Attributes) -> Attributes:
    return {name: value for name, value in (attributes or {}).items() if name not in _SAYS_TOO_MUCH}


def metric_exporters(wanted: TelemetrySettings, labels: Mapping[str, str]) -> list[MetricExporter]:
    """One for each destination asked for; every point gets `labels`."""
    exporters: list[MetricExporter] = []
    if "otlp" in wanted.exporters:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        exporters.append(OTLPMetricExporter())
    if "gcp" in wanted.exporters:
        from opentelemetry.exporter.cloud_monitoring import CloudMonitoringMetricsExporter

        client = _monitoring_client(wanted.endpoint)
        exporters.append(CloudMonitoringMetricsExporter(project_id=wanted.project, client=client))
    return [LabelledMetrics(exporter, labels) for exporter in exporters]


def _monitoring_client(endpoint: str) -> Any:
    """None (Google's endpoint, TLS, Application Default Credentials) unless a plain endpoint is named."""
    if not endpoint:
        return None
    import grpc
    from google.cloud.monitoring_v3 import MetricServiceClient
    from google.cloud.monitoring_v3.services.metric_service.transports import MetricServiceGrpcTransport

    target = endpoint.removeprefix("http://")
    return MetricServiceClient(transport=MetricServiceGrpcTransport(channel=grpc.insecure_channel(target)))


def span_exporters(wanted: TelemetrySettings) -> list[SpanExporter]:
    """One for each destination asked for; without the text of exceptions unless content is switched on."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporters: list[SpanExporter] = []
    if "otlp" in wanted.exporters:
        exporters.append(OTLPSpanExporter())
    if "gcp" in wanted.exporters and wanted.trace_endpoint:
        exporters.append(OTLPSpanExporter(endpoint=f"{wanted.trace_endpoint}/v1/traces"))
    elif "gcp" in wanted.exporters and not wanted.endpoint:
        exporters.append(OTLPSpanExporter(endpoint=TRACES, session=_authorized(wanted.project)))
    if os.environ.get("ADK_CAPTURE_MESSAGE_CONTENT_IN_SPANS", "false").lower() in ("true", "1"):
        return exporters
    return [ContentlessSpans(exporter) for exporter in exporters]


def _authorized(project: str) -> Any:
    """A session that signs in with Application Default Credentials and bills `project`."""
    import google.auth
    from google.auth.transport.requests import AuthorizedSession

    credentials, _ = google.auth.default(
        scopes=["https://www.googleapis.com/auth/trace.append"], quota_project_id=project
    )
    return AuthorizedSession(credentials)
