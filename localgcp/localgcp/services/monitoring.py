"""Cloud Monitoring v3: where its services and its store of time series are found by those who build the cloud."""

from localgcp.services.monitoring_metrics import Metrics
from localgcp.services.monitoring_policies import AlertPolicies, NotificationChannels
from localgcp.services.monitoring_series import create_metrics

__all__ = ["AlertPolicies", "Metrics", "NotificationChannels", "create_metrics"]
