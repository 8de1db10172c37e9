"""Alert policies as Cloud Monitoring's messages, and back. What we do not set is neither sent nor read.

Source: https://cloud.google.com/monitoring/api/ref_v3/rpc/google.monitoring.v3#alertpolicy
"""

from __future__ import annotations

from typing import Any

from agui_operator.core.actions import AlertPolicy
from agui_operator.core.names import Names

# Label keys without a hyphen: a hyphen would have to be quoted in a list filter.
OWNER, KEY = "agui_owner", "agui_key"
FIELDS = ("display_name", "documentation", "user_labels", "conditions", "combiner", "notification_channels")


def to_message(policy: AlertPolicy, names: Names) -> Any:
    """monitoring_v3.AlertPolicy with one threshold condition."""
    from google.cloud import monitoring_v3

    how = {
        "alignment_period": {"seconds": policy.alignment},
        "per_series_aligner": monitoring_v3.Aggregation.Aligner[policy.aligner],
        "cross_series_reducer": monitoring_v3.Aggregation.Reducer[policy.reducer],
        "group_by_fields": list(policy.group_by),
    }
    threshold = {
        "filter": policy.filter,
        "aggregations": [how],
        "denominator_filter": policy.denominator_filter,
        "denominator_aggregations": [how] if policy.denominator_filter else [],
        "comparison": monitoring_v3.ComparisonType.COMPARISON_GT,
        "threshold_value": policy.threshold,
        "duration": {"seconds": policy.duration},
    }
    return monitoring_v3.AlertPolicy(
        display_name=policy.display_name,
        documentation={"content": policy.documentation, "mime_type": "text/markdown"},
        user_labels={**policy.labels, OWNER: names.owner, KEY: policy.key},
        conditions=[{"display_name": policy.display_name, "condition_threshold": threshold}],
        combiner=monitoring_v3.AlertPolicy.ConditionCombinerType.OR,
        notification_channels=list(policy.channels),
    )


def from_message(message: Any) -> AlertPolicy:
    """The policy as it is. A condition that is no threshold reads as one that nothing of ours is equal to."""
    from google.cloud import monitoring_v3

    only = message.conditions[0] if len(message.conditions) == 1 else monitoring_v3.AlertPolicy.Condition()
    threshold = only.condition_threshold
    how = threshold.aggregations[0] if len(threshold.aggregations) == 1 else monitoring_v3.Aggregation()
    labels = dict(message.user_labels)
    key = labels.pop(KEY, "")
    labels.pop(OWNER, None)
    return AlertPolicy(
        key=key,
        display_name=message.display_name,
        filter=threshold.filter,
        threshold=threshold.threshold_value,
        aligner=monitoring_v3.Aggregation.Aligner(how.per_series_aligner).name,
        reducer=monitoring_v3.Aggregation.Reducer(how.cross_series_reducer).name,
        group_by=tuple(how.group_by_fields),
        denominator_filter=threshold.denominator_filter,
        duration=_seconds(threshold.duration),
        alignment=_seconds(how.alignment_period),
        channels=tuple(message.notification_channels),
        documentation=message.documentation.content,
        labels=labels,
    )


def _seconds(duration: Any) -> int:
    """proto-plus gives a timedelta, or None when it is not set."""
    return int(duration.total_seconds()) if duration else 0
