"""The time series that alerts and analysis read: Cloud Run's own, and those that the application writes.

Sources: https://cloud.google.com/monitoring/api/metrics_gcp_p_z (run), https://cloud.google.com/monitoring/api/v3/filters.
The application's are OpenTelemetry counters, exported to `workload.googleapis.com/<name>` with the resource
`generic_task`, whose job is the Cloud Run service, and the metric label `revision`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from agui_operator.core.actions import AlertPolicy
from agui_operator.core.names import Names
from agui_operator.gcp.transport.clients import Cloud

REQUEST_COUNT = "run.googleapis.com/request_count"
REQUEST_LATENCIES = "run.googleapis.com/request_latencies"
_WORKLOAD = "workload.googleapis.com/"
GUARDRAIL_CHECKS, GUARDRAIL_FAILURES = f"{_WORKLOAD}agui.guardrail.checks", f"{_WORKLOAD}agui.guardrail.failures"
WEBSOCKET_SESSIONS, WEBSOCKET_FAILURES = f"{_WORKLOAD}agui.websocket.sessions", f"{_WORKLOAD}agui.websocket.failures"


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


def described_by_us(policy: AlertPolicy) -> tuple[str, ...]:
    """The application's metrics that a policy reads."""
    text = f"{policy.filter} {policy.denominator_filter}"
    return tuple(dict.fromkeys(re.findall(rf'metric\.type="({re.escape(_WORKLOAD)}[^"]+)"', text)))


async def describe(cloud: Cloud, names: Names, metrics: Iterable[str]) -> None:
    """Makes metrics known before their first point. Creating a descriptor again changes nothing."""
    from google.cloud import monitoring_v3

    project = f"projects/{names.project}"
    for metric in metrics:
        descriptor: dict[str, Any] = {
            "type": metric,
            "metric_kind": "CUMULATIVE",
            "value_type": "INT64",
            "unit": "1",
            "labels": [{"key": "revision"}],
        }
        request = monitoring_v3.CreateMetricDescriptorRequest(name=project, metric_descriptor=descriptor)
        await cloud.rpc("MetricService.CreateMetricDescriptor", request, project, write=True)


def _run(names: Names, metric: str) -> str:
    return (
        f'metric.type="{metric}" AND resource.type="cloud_run_revision"'
        f' AND resource.labels.service_name="{names.service}" AND resource.labels.location="{names.region}"'
    )


def _application(names: Names, metric: str) -> str:
    return f'metric.type="{metric}" AND resource.type="generic_task" AND resource.labels.job="{names.service}"'
