"""Alert policies and notification channels: kept, named and checked as Cloud Monitoring does. No alert ever fires here.

Source: google/monitoring/v3/alert.proto and notification.proto
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from google.cloud import monitoring_v3
from google.protobuf import empty_pb2

from localgcp.kit.call import Call
from localgcp.kit.errors import ApiError, failed_precondition, invalid, not_found
from localgcp.kit.filters import matching, parse
from localgcp.kit.masks import apply_mask
from localgcp.kit.paging import Limits, proto_page
from localgcp.kit.store import ProtoTable
from localgcp.services.monitoring.filters import MONITORING

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_MOST_CONDITIONS, _MOST_CHANNELS, _MOST_LABELS = 6, 16, 64
_COMPARISONS = (int(monitoring_v3.ComparisonType.COMPARISON_GT), int(monitoring_v3.ComparisonType.COMPARISON_LT))
_ALIGN_NONE = int(monitoring_v3.Aggregation.Aligner.ALIGN_NONE)
_AUTO_CLOSE_SECONDS = (1800, 7 * 86_400)
_PAGE = Limits(default=1000, largest=1000)
_CHANNEL_LABELS: Mapping[str, tuple[str, ...]] = {
    "email": ("email_address",),
    "pubsub": ("topic",),
    "slack": ("channel_name",),
    "sms": ("number",),
    "webhook_basicauth": ("url",),
    "webhook_tokenauth": ("url",),
    "pagerduty": (),
}
_Policies: Any = monitoring_v3.ListAlertPoliciesResponse.pb()
_Channels: Any = monitoring_v3.ListNotificationChannelsResponse.pb()


class AlertPolicies:
    def __init__(self, cloud: Cloud) -> None:
        self._settings = cloud.settings
        self._table: ProtoTable[Any] = cloud.store.protos("monitoring.policies", monitoring_v3.AlertPolicy.pb())
        self._channels: ProtoTable[Any] = channel_table(cloud)

    async def CreateAlertPolicy(self, request: Any, call: Call) -> Any:
        policy = request.alert_policy
        policy.name = f"{_parent(request.name, self._settings.project_id)}/alertPolicies/{_new_id()}"
        for condition in policy.conditions:
            condition.name = ""
        self._complete(policy)
        _record(policy.creation_record, call)
        policy.mutation_record.CopyFrom(policy.creation_record)
        return self._saved(policy, call, "create")

    async def GetAlertPolicy(self, request: Any, call: Call) -> Any:
        return self._found(request.name)

    async def ListAlertPolicies(self, request: Any, call: Call) -> Any:
        parent = _parent(request.name, self._settings.project_id)
        found = matching(self._table.values(parent + "/"), request.filter, _policy_field, MONITORING)
        page, token = proto_page(request, found, lambda resource: (resource.name,), _PAGE)
        return _Policies(alert_policies=page, next_page_token=token, total_size=len(found))

    async def UpdateAlertPolicy(self, request: Any, call: Call) -> Any:
        """With a mask only what it names, else all but what the server sets."""
        current = self._found(request.alert_policy.name)
        policy = type(current)()
        policy.CopyFrom(current)
        if request.update_mask.paths:
            apply_mask(policy, request.alert_policy, request.update_mask.paths)
        else:
            policy.CopyFrom(request.alert_policy)
        policy.name = current.name
        policy.creation_record.CopyFrom(current.creation_record)
        known = {condition.name for condition in current.conditions}
        for condition in policy.conditions:
            if condition.name and condition.name not in known:
                raise invalid(f"The condition '{condition.name}' does not exist.", "alert_policy.conditions.name")
        self._complete(policy)
        _record(policy.mutation_record, call)
        return self._saved(policy, call, "update")

    async def DeleteAlertPolicy(self, request: Any, call: Call) -> Any:
        policy = self._found(request.name)
        self._table.delete(policy.name)
        call.effect("delete", policy.name)
        return empty_pb2.Empty()

    def _complete(self, policy: Any) -> None:
        """Checks a policy and gives names to new conditions. Raises ApiError INVALID_ARGUMENT, NOT_FOUND."""
        check_policy(policy)
        for channel in policy.notification_channels:
            if self._channels.get(_canonical(channel, self._settings.project_id)) is None:
                raise not_found(f"The notification channel '{channel}' does not exist.")
        for condition in policy.conditions:
            condition.name = condition.name or f"{policy.name}/conditions/{_new_id()}"
        if not policy.HasField("enabled"):
            policy.enabled.value = True

    def _saved(self, policy: Any, call: Call, effect: str) -> Any:
        self._table.put(policy.name, policy)
        call.effect(effect, policy.name, policy.display_name)
        return policy

    def _found(self, name: str) -> Any:
        policy = self._table.get(_canonical(name, self._settings.project_id))
        if policy is None:
            raise not_found(f"The alert policy '{name}' does not exist.")
        return policy


class NotificationChannels:
    def __init__(self, cloud: Cloud) -> None:
        self._settings = cloud.settings
        self._table = channel_table(cloud)
        self._policies: ProtoTable[Any] = cloud.store.protos("monitoring.policies", monitoring_v3.AlertPolicy.pb())

    async def CreateNotificationChannel(self, request: Any, call: Call) -> Any:
        channel = request.notification_channel
        channel.name = f"{_parent(request.name, self._settings.project_id)}/notificationChannels/{_new_id()}"
        _check_channel(channel)
        if not channel.HasField("enabled"):
            channel.enabled.value = True
        _record(channel.creation_record, call)
        return self._saved(channel, call, "create")

    async def GetNotificationChannel(self, request: Any, call: Call) -> Any:
        return self._found(request.name)

    async def ListNotificationChannels(self, request: Any, call: Call) -> Any:
        parent = _parent(request.name, self._settings.project_id)
        found = matching(self._table.values(parent + "/"), request.filter, _channel_field, MONITORING)
        page, token = proto_page(request, found, lambda resource: (resource.name,), _PAGE)
        return _Channels(notification_channels=page, next_page_token=token, total_size=len(found))

    async def UpdateNotificationChannel(self, request: Any, call: Call) -> Any:
        channel = self._found(request.notification_channel.name)
        paths = request.update_mask.paths or ("display_name", "description", "labels", "user_labels", "enabled", "type")
        apply_mask(channel, request.notification_channel, paths)
        _check_channel(channel)
        _record(channel.mutation_records.add(), call)
        return self._saved(channel, call, "update")

    async def DeleteNotificationChannel(self, request: Any, call: Call) -> Any:
        """With `force`, policies that use the channel lose it; else such a channel stays."""
        channel = self._found(request.name)
        users = [p for p in self._policies.values() if channel.name in p.notification_channels]
        if users and not request.force:
            raise failed_precondition(f"The notification channel is in use by '{users[0].name}'.")
        for policy in users:
            policy.notification_channels.remove(channel.name)
            self._policies.put(policy.name, policy)
        self._table.delete(channel.name)
        call.effect("delete", channel.name)
        return empty_pb2.Empty()

    def _saved(self, channel: Any, call: Call, effect: str) -> Any:
        self._table.put(channel.name, channel)
        call.effect(effect, channel.name, channel.display_name)
        return channel

    def _found(self, name: str) -> Any:
        channel = self._table.get(_canonical(name, self._settings.project_id))
        if channel is None:
            raise not_found(f"The notification channel '{name}' does not exist.")
        return channel


def channel_table(cloud: Cloud) -> ProtoTable[Any]:
    table: ProtoTable[Any] = cloud.store.protos("monitoring.channels", monitoring_v3.NotificationChannel.pb())
    return table


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


def _check_channel(channel: Any) -> None:
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


def _policy_field(policy: Any, selector: str) -> str | None:
    if selector == "enabled":
        return str(policy.enabled.value).lower()
    return _common_field(policy, selector)


def _channel_field(channel: Any, selector: str) -> str | None:
    if selector == "type":
        return str(channel.type_)
    if selector.startswith("labels."):
        return _text(channel.labels, selector.removeprefix("labels."))
    return _common_field(channel, selector)


def _common_field(resource: Any, selector: str) -> str | None:
    for prefix in ("user_labels.", "user_label.", "userLabels."):
        if selector.startswith(prefix):
            return _text(resource.user_labels, selector.removeprefix(prefix))
    plain = {"name": resource.name, "display_name": resource.display_name, "displayName": resource.display_name}
    return str(plain[selector])


def _text(labels: Mapping[str, str], key: str) -> str | None:
    return labels.get(key)


def _parent(name: str, project_id: Callable[[str], str]) -> str:
    kind, _, project = name.partition("/")
    if kind != "projects" or not project or "/" in project:
        raise invalid(f"Field name had an invalid value of '{name}': projects/PROJECT is expected.", "name")
    return f"projects/{project_id(project)}"


def _canonical(name: str, project_id: Callable[[str], str]) -> str:
    """A resource's name with the project's id where its number stood."""
    kind, _, rest = name.partition("/")
    project, _, path = rest.partition("/")
    return f"{kind}/{project_id(project)}/{path}"


def _new_id() -> str:
    return str(10**18 + secrets.randbelow(9 * 10**18))


def _record(record: Any, call: Call) -> None:
    record.mutate_time.FromNanoseconds(time.time_ns())
    record.mutated_by = call.caller[:80] or "anonymous"


def _bad(field: str, message: str) -> ApiError:
    return invalid(f"Field alert_policy.{field} had an invalid value: {message}.", f"alert_policy.{field}")
