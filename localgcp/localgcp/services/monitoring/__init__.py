"""Cloud Monitoring API v3."""

from __future__ import annotations

from localgcp.kit.interfaces import METRICS
from localgcp.kit.service import Part, ProtoApi, Service
from localgcp.services.monitoring import rules
from localgcp.services.monitoring.metrics import Metrics
from localgcp.services.monitoring.policies import AlertPolicies, NotificationChannels
from localgcp.services.monitoring.series import SERIES, create_metrics

_PACKAGE = "google.cloud.monitoring_v3.services"

SERVICE = Service(
    "monitoring",
    hosts=("monitoring.googleapis.com",),
    protos=(
        ProtoApi(
            "google.monitoring.v3.AlertPolicyService",
            AlertPolicies,
            f"{_PACKAGE}.alert_policy_service",
            rules=rules.ALERT_POLICIES,
        ),
        ProtoApi("google.monitoring.v3.MetricService", Metrics, f"{_PACKAGE}.metric_service", rules=rules.METRICS),
        ProtoApi(
            "google.monitoring.v3.NotificationChannelService",
            NotificationChannels,
            f"{_PACKAGE}.notification_channel_service",
            rules=rules.NOTIFICATION_CHANNELS,
        ),
    ),
    parts=(Part(SERIES, create_metrics), Part(METRICS, lambda cloud: cloud.part(SERIES))),
)
