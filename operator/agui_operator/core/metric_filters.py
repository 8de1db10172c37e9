"""The time series that alerts and analysis read: Cloud Run's own, and those that the application writes.

Sources: https://cloud.google.com/monitoring/api/metrics_gcp_p_z (run), https://cloud.google.com/monitoring/api/v3/filters.
The application's are OpenTelemetry counters, exported to `workload.googleapis.com/<name>` with the resource
`generic_task`, whose job is the Cloud Run service, and the metric label `revision`.
"""

from __future__ import annotations

from collections.abc import Iterable

from agui_operator.core.names import Names

REQUEST_COUNT = "run.googleapis.com/request_count"
REQUEST_LATENCIES = "run.googleapis.com/request_latencies"
WORKLOAD = "workload.googleapis.com/"
GUARDRAIL_CHECKS, GUARDRAIL_FAILURES = f"{WORKLOAD}agui.guardrail.checks", f"{WORKLOAD}agui.guardrail.failures"
WEBSOCKET_SESSIONS, WEBSOCKET_FAILURES = f"{WORKLOAD}agui.websocket.sessions", f"{WORKLOAD}agui.websocket.failures"


def requests(names: Names) -> str:
    """All answered requests."""
    return _run(names, REQUEST_COUNT)


def server_errors(names: Names) -> str:
    return f'{_run(names, REQUEST_COUNT)} AND metric.labels.response_code_class="5xx"'


def all_latencies(names: Names) -> str:
    return _run(names, REQUEST_LATENCIES)


def latencies(names: Names) -> str:
    """Without upgraded connections (1xx): how long a WebSocket session lasts is no latency."""
    return f'{_run(names, REQUEST_LATENCIES)} AND metric.labels.response_code_class!="1xx"'


def guardrail_checks(names: Names) -> str:
    return _application(names, GUARDRAIL_CHECKS)


def guardrail_failures(names: Names) -> str:
    return _application(names, GUARDRAIL_FAILURES)


def websocket_sessions(names: Names) -> str:
    return _application(names, WEBSOCKET_SESSIONS)


def websocket_failures(names: Names) -> str:
    return _application(names, WEBSOCKET_FAILURES)


def one_of(field: str, values: Iterable[str]) -> str:
    """A restriction to several values."""
    quoted = ", ".join(f'"{value}"' for value in values)
    return f"{field}=one_of({quoted})"


def _run(names: Names, metric: str) -> str:
    return (
        f'metric.type="{metric}" AND resource.type="cloud_run_revision"'
        f' AND resource.labels.service_name="{names.service}" AND resource.labels.location="{names.region}"'
    )


def _application(names: Names, metric: str) -> str:
    return f'metric.type="{metric}" AND resource.type="generic_task" AND resource.labels.job="{names.service}"'
