"""Alert policies and notification channels: kept, named and checked as Cloud Monitoring does. No alert ever fires here.

Source: google/monitoring/v3/alert.proto and notification.proto
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from google.cloud import monitoring_v3
from google.protobuf import empty_pb2

from localgcp.kit.call import Call
from localgcp.kit.errors import failed_precondition, invalid, not_found
from localgcp.kit.filters import matching
from localgcp.kit.masks import apply_mask
from localgcp.kit.paging import Limits, proto_page
from localgcp.kit.store import ProtoTable
from localgcp.services.monitoring.filters import MONITORING
from localgcp.services.monitoring.refusals import check_channel, check_policy

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

_PAGE = Limits(default=1000, largest=1000)
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
        check_channel(channel)
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
        check_channel(channel)
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
