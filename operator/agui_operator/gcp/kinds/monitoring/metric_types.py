"""Descriptors of the metrics that the application writes, so that a policy can name them before their first point.

Source: https://cloud.google.com/monitoring/api/ref_v3/rpc/google.monitoring.v3#metricservice
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from agui_operator.core.actions import AlertPolicy
from agui_operator.core.metric_filters import WORKLOAD
from agui_operator.core.names import Names
from agui_operator.gcp.transport.clients import Cloud


def described_by_us(policy: AlertPolicy) -> tuple[str, ...]:
    """The application's metrics that a policy reads."""
    text = f"{policy.filter} {policy.denominator_filter}"
    return tuple(dict.fromkeys(re.findall(rf'metric\.type="({re.escape(WORKLOAD)}[^"]+)"', text)))


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
