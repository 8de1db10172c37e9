"""Metrics and traces through OpenTelemetry: what the application measures, and where it is sent.

Every data point carries revision and release, because a canary analysis compares revisions and Cloud Monitoring's
`generic_task` resource knows none. The names and labels are part of the application's contract with its operator. No
message content is recorded unless ADK_CAPTURE_MESSAGE_CONTENT_IN_SPANS says so.

Conventions: https://opentelemetry.io/docs/specs/otel/metrics/, https://cloud.google.com/monitoring/api/resources.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from opentelemetry import metrics, trace

from agui_app.settings import Settings

tracer = trace.get_tracer("agui_app")


def data_labels(revision: str, release: str) -> dict[str, str]:
    """What every data point says about where it comes from."""
    return {"revision": revision or "local", "release": release or "none"}


class Measures:
    """The application's instruments. Without an exporter they cost next to nothing."""

    def __init__(self, revision: str = "", release: str = "") -> None:
        meter = metrics.get_meter("agui_app")
        self._labels = data_labels(revision, release)
        self._runs = meter.create_counter("agui.runs", "1", "Runs that ended, by status.")
        self._seconds = meter.create_histogram("agui.run.duration", "s", "From the request to the last event.")
        self._first = meter.create_histogram("agui.run.first_token", "s", "From the request to the first answer.")
        self._events = meter.create_histogram("agui.run.events", "1", "Events of a run.")
        self._checks = meter.create_counter("agui.guardrail.checks", "1", "Runs that guardrails looked at.")
        self._failures = meter.create_counter(
            "agui.guardrail.failures", "1", "Runs in which a guardrail itself failed."
        )
        self._blocks = meter.create_counter("agui.guardrail.blocks", "1", "What rules blocked or redacted.")
        self._approvals = meter.create_counter("agui.approvals", "1", "Approvals asked for, granted and denied.")
        self._sockets = meter.create_counter("agui.websocket.sessions", "1", "WebSockets opened.")
        self._lost = meter.create_counter("agui.websocket.failures", "1", "WebSockets that ended by our own error.")
        self._resumes = meter.create_counter("agui.websocket.resumes", "1", "WebSockets that went on after a cut.")
        self._tokens = meter.create_counter("agui.tokens", "1", "Tokens, by direction.")

    def run_ended(self, *, status: str, synthetic: bool, seconds: float, first: float | None, events: int) -> None:
        """A run is over. Times in seconds; `first` is None when it said nothing."""
        labels = self._labels | {"synthetic": str(synthetic).lower()}
        self._runs.add(1, labels | {"status": status})
        self._seconds.record(seconds, labels)
        self._events.record(events, labels)
        if first is not None:
            self._first.record(first, labels)

    def guarded(self, *, failed: bool) -> None:
        """Guardrails saw a run; `failed` when they could not do their work, not when they blocked."""
        self._checks.add(1, self._labels)
        self._failures.add(int(failed), self._labels)

    def applied(self, rule: str, action: str) -> None:
        """A rule blocked or redacted."""
        self._blocks.add(1, self._labels | {"rule": rule, "action": action})

    def approval(self, decision: str) -> None:
        """`requested`, `granted` or `denied`."""
        self._approvals.add(1, self._labels | {"decision": decision})

    def tokens(self, read: int, written: int) -> None:
        """Tokens of one model call."""
        self._tokens.add(read, self._labels | {"direction": "input"})
        self._tokens.add(written, self._labels | {"direction": "output"})

    def socket_opened(self, *, resumed: bool) -> None:
        """A client connected; `resumed` when it went on after an event it had seen."""
        self._sockets.add(1, self._labels)
        self._lost.add(0, self._labels)  # a rate needs a zero to divide
        if resumed:
            self._resumes.add(1, self._labels)

    def socket_failed(self) -> None:
        """A socket ended because of us."""
        self._lost.add(1, self._labels)


def configure_telemetry(settings: Settings, instance: str) -> Callable[[], None]:
    """Sets the global providers if exporters are asked for; returns what flushes them at the end."""
    # a prompt in a trace is a copy of personal data that nobody asked for
    os.environ.setdefault("ADK_CAPTURE_MESSAGE_CONTENT_IN_SPANS", "false")
    wanted = settings.telemetry
    if not wanted.exporters:
        return lambda: None
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from agui_app.telemetry.exporters import metric_exporters, span_exporters

    resource = Resource.create(
        {
            "service.name": settings.service or "agui-app",
            "service.namespace": "agui",
            "service.instance.id": instance,
            "service.version": settings.version,
            "cloud.region": wanted.region or "global",
            "agui.revision": settings.revision,
            "agui.release": settings.release,
        }
    )
    every = wanted.interval_seconds * 1000
    readers = [
        PeriodicExportingMetricReader(exporter, export_interval_millis=every)
        for exporter in metric_exporters(wanted, data_labels(settings.revision, settings.release))
    ]
    meters = MeterProvider(resource=resource, metric_readers=readers, shutdown_on_exit=False)
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    for span_exporter in span_exporters(wanted):
        tracers.add_span_processor(BatchSpanProcessor(span_exporter))
    metrics.set_meter_provider(meters)
    trace.set_tracer_provider(tracers)

    def flush() -> None:
        meters.shutdown(timeout_millis=3000)
        tracers.shutdown()

    return flush
