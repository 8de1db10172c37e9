"""HTTP rules of Cloud Monitoring: its client packages carry none.

Source: https://cloud.google.com/monitoring/api/ref_v3/rest
"""

from __future__ import annotations

from localgcp.kit.service import HttpTemplate

ALERT_POLICIES: tuple[HttpTemplate, ...] = (
    ("GET", "/v3/{name=projects/*}/alertPolicies", None, "ListAlertPolicies"),
    ("GET", "/v3/{name=projects/*/alertPolicies/*}", None, "GetAlertPolicy"),
    ("POST", "/v3/{name=projects/*}/alertPolicies", "alert_policy", "CreateAlertPolicy"),
    ("DELETE", "/v3/{name=projects/*/alertPolicies/*}", None, "DeleteAlertPolicy"),
    ("PATCH", "/v3/{alert_policy.name=projects/*/alertPolicies/*}", "alert_policy", "UpdateAlertPolicy"),
)
METRICS: tuple[HttpTemplate, ...] = (
    ("GET", "/v3/{name=projects/*}/metricDescriptors", None, "ListMetricDescriptors"),
    ("GET", "/v3/{name=projects/*/metricDescriptors/**}", None, "GetMetricDescriptor"),
    ("POST", "/v3/{name=projects/*}/metricDescriptors", "metric_descriptor", "CreateMetricDescriptor"),
    ("DELETE", "/v3/{name=projects/*/metricDescriptors/**}", None, "DeleteMetricDescriptor"),
    ("GET", "/v3/{name=projects/*}/timeSeries", None, "ListTimeSeries"),
    ("POST", "/v3/{name=projects/*}/timeSeries", "*", "CreateTimeSeries"),
)
NOTIFICATION_CHANNELS: tuple[HttpTemplate, ...] = (
    ("GET", "/v3/{name=projects/*}/notificationChannels", None, "ListNotificationChannels"),
    ("GET", "/v3/{name=projects/*/notificationChannels/*}", None, "GetNotificationChannel"),
    ("POST", "/v3/{name=projects/*}/notificationChannels", "notification_channel", "CreateNotificationChannel"),
    (
        "PATCH",
        "/v3/{notification_channel.name=projects/*/notificationChannels/*}",
        "notification_channel",
        "UpdateNotificationChannel",
    ),
    ("DELETE", "/v3/{name=projects/*/notificationChannels/*}", None, "DeleteNotificationChannel"),
)
