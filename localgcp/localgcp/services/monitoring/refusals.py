"""What Cloud Monitoring refuses of alert policies and notification channels.

Source: google/monitoring/v3/alert.proto and notification.proto
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from google.cloud import monitoring_v3

from localgcp.kit.errors import ApiError, invalid
from localgcp.kit.filters import parse
from localgcp.services.monitoring.filters import MONITORING

_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_MOST_CONDITIONS, _MOST_CHANNELS, _MOST_LABELS = 6, 16, 64
_COMPARISONS = (int(monitoring_v3.ComparisonType.COMPARISON_GT), int(monitoring_v3.ComparisonType.COMPARISON_LT))
_ALIGN_NONE = int(monitoring_v3.Aggregation.Aligner.ALIGN_NONE)
_AUTO_CLOSE_SECONDS = (1800, 7 * 86_400)
_CHANNEL_LABELS: Mapping[str, tuple[str, ...]] = {
    "email": ("email_address",),
    "pubsub": ("topic",),
    "slack": ("channel_name",),
    "sms": ("number",),
    "webhook_basicauth": ("url",),
    "webhook_tokenauth": ("url",),
    "pagerduty": (),
}


def check_policy(policy: Any) -> None:
    """Raises ApiError INVALID_ARGUMENT for the first thing that Google would refuse."""
    if not policy.display_name or len(policy.display_name) > 512:
        raise _bad("display_name", "it needs 1 to 512 characters")
    if not policy.combiner:
        raise _bad("combiner", "it must be AND, OR or AND_WITH_MATCHING_RESOURCE")
    if not 0 < len(policy.conditions) <= _MOST_CONDITIONS:
        raise _bad("conditions", f"a policy has 1 to {_MOST_CONDITIONS} conditions")
    if len(policy.notification_channels) > _MOST_CHANNELS:
        raise _bad("notification_channels", f"at most {_MOST_CHANNELS} are allowed")
    _check_labels(policy.user_labels, "user_labels")
    if policy.alert_strategy.HasField("auto_close"):
        low, high = _AUTO_CLOSE_SECONDS
        if not low <= policy.alert_strategy.auto_close.seconds <= high:
            raise _bad("alert_strategy.auto_close", "it must be from 30 minutes to 7 days")
    for index, condition in enumerate(policy.conditions):
        _check_condition(condition, f"conditions[{index}]")


def _check_condition(condition: Any, where: str) -> None:
    kind = condition.WhichOneof("condition")
    if kind is None:
        raise _bad(where, "one kind of condition must be set")
    if not condition.display_name:
        raise _bad(f"{where}.display_name", "it is required")
    given = getattr(condition, kind)
    at = f"{where}.{kind}"
    if kind in ("condition_threshold", "condition_absent"):
        _check_metric_filter(given.filter, f"{at}.filter")
        _check_aggregations(given.aggregations, f"{at}.aggregations")
    if kind == "condition_threshold":
        if given.comparison not in _COMPARISONS:
            raise _bad(f"{at}.comparison", "it must be COMPARISON_GT or COMPARISON_LT")
        if given.denominator_filter:
            _check_metric_filter(given.denominator_filter, f"{at}.denominator_filter")
            _check_aggregations(given.denominator_aggregations, f"{at}.denominator_aggregations")
        if given.trigger.count < 0 or not 0 <= given.trigger.percent <= 100:
            raise _bad(f"{at}.trigger", "count must be positive, percent from 0 to 100")
        _check_duration(given.duration, f"{at}.duration", 0)
    elif kind == "condition_absent":
        _check_duration(given.duration, f"{at}.duration", 120)
    elif "query" in given.DESCRIPTOR.fields_by_name and not given.query:
        raise _bad(f"{at}.query", "it is required")


def _check_metric_filter(text: str, where: str) -> None:
    parsed = parse(text, MONITORING)
    for selector in ("metric.type", "resource.type"):
        if not any(c.selector == selector for c in parsed.comparisons):
            raise _bad(where, f"the filter must restrict {selector}")
    for comparison in parsed.comparisons:
        head = comparison.selector.partition(".")[0]
        if head not in ("metric", "resource", "project", "group", "metadata"):
            raise _bad(where, f"unknown selector '{comparison.selector}'")


def _check_aggregations(aggregations: Iterable[Any], where: str) -> None:
    for index, how in enumerate(aggregations):
        seconds = how.alignment_period.seconds
        if how.per_series_aligner == _ALIGN_NONE and how.cross_series_reducer:
            raise _bad(f"{where}[{index}].cross_series_reducer", "it needs a per_series_aligner")
        if how.per_series_aligner != _ALIGN_NONE and (seconds < 60 or seconds > 90_000 or seconds % 60):
            raise _bad(f"{where}[{index}].alignment_period", "it must be a multiple of 60 s, from 60 s to 25 h")


def _check_duration(duration: Any, where: str, least: int) -> None:
    if duration.nanos or duration.seconds % 60 or duration.seconds < least:
        raise _bad(where, f"it must be a multiple of 60 s and at least {least} s")


def check_channel(channel: Any) -> None:
    wanted = _CHANNEL_LABELS.get(channel.type_)
    if wanted is None:
        raise invalid(f"Field notification_channel.type had an invalid value of '{channel.type_}'.", "type")
    for label in wanted:
        if not channel.labels.get(label):
            raise invalid(f"Field notification_channel.labels['{label}'] is required.", "notification_channel.labels")
    _check_labels(channel.user_labels, "user_labels")


def _check_labels(labels: Mapping[str, str], where: str) -> None:
    if len(labels) > _MOST_LABELS:
        raise _bad(where, f"at most {_MOST_LABELS} are allowed")
    for key, value in labels.items():
        if not _KEY.fullmatch(key) or len(value) > 63 or value != value.lower():
            raise _bad(where, f"'{key}={value}': lower-case letters, digits, _ and - only, at most 63 characters")


def _bad(field: str, message: str) -> ApiError:
    return invalid(f"Field alert_policy.{field} had an invalid value: {message}.", f"alert_policy.{field}")
