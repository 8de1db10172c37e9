"""A notification channel of Cloud Monitoring: an e-mail address that alerts go to.

Monitoring assigns the resource name, so an owned channel is found by its labels; any other one by its resource name.
Source: https://cloud.google.com/monitoring/api/ref_v3/rpc/google.monitoring.v3#notificationchannel
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agui_operator.core.provisioning.graph import Site
from agui_operator.gcp.kinds.contract import Kind, View
from agui_operator.gcp.transport.absent import or_none
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.outcome import Outcome
from agui_operator.gcp.transport.paging import pages

# Label keys without a hyphen: a hyphen would have to be quoted in a list filter.
_OWNER, _NAME = "agui_owner", "agui_name"
_ADDRESS = "email_address"
_PAGE = 500


@dataclass(frozen=True, slots=True)
class NotificationChannel:
    """`name` is what deployments call it; `resource`: its full resource name, for a channel that is only observed."""

    name: str
    email: str | None = None
    resource: str | None = None


class NotificationChannels(Kind[NotificationChannel]):
    name = "NotificationChannel"
    desired = NotificationChannel

    def full_name(self, site: Site, want: NotificationChannel) -> str:
        return want.resource or f"projects/{site.project}/notificationChannels: {want.name}"

    async def observe(self, cloud: Cloud, site: Site, want: NotificationChannel) -> View | None:
        if want.resource is None:
            return next(iter(sorted(await _ours(cloud, site, want.name), key=lambda view: view.name)), None)
        from google.cloud import monitoring_v3

        request = monitoring_v3.GetNotificationChannelRequest(name=want.resource)
        method = "NotificationChannelService.GetNotificationChannel"
        found = await or_none(cloud.rpc(method, request, want.resource))
        return None if found is None else _view(found)

    async def create(self, cloud: Cloud, site: Site, want: NotificationChannel) -> Outcome:
        """Reads first: the API would create a second channel with the same name."""
        from google.cloud import monitoring_v3

        have = await self.observe(cloud, site, want)
        if have is not None:
            return Outcome(None, have)
        project = f"projects/{site.project}"
        channel = {
            "type_": "email",
            "display_name": want.name,
            "labels": {_ADDRESS: want.email or ""},
            "user_labels": {_OWNER: site.owner, _NAME: want.name},
        }
        request = monitoring_v3.CreateNotificationChannelRequest(name=project, notification_channel=channel)
        method = "NotificationChannelService.CreateNotificationChannel"
        return Outcome(None, _view(await cloud.rpc(method, request, project, write=True)))

    async def update(self, cloud: Cloud, site: Site, want: NotificationChannel, have: View) -> Outcome:
        from google.cloud import monitoring_v3

        channel = {"name": have.name, "labels": {_ADDRESS: want.email or ""}}
        request = monitoring_v3.UpdateNotificationChannelRequest(
            notification_channel=channel, update_mask={"paths": ["labels"]}
        )
        await cloud.rpc("NotificationChannelService.UpdateNotificationChannel", request, have.name, write=True)
        return Outcome()

    async def delete(self, cloud: Cloud, site: Site, want: NotificationChannel) -> Outcome:
        """Raises CloudError 400 while an alert policy uses it."""
        from google.cloud import monitoring_v3

        for view in await _ours(cloud, site, want.name):
            request = monitoring_v3.DeleteNotificationChannelRequest(name=view.name)
            method = "NotificationChannelService.DeleteNotificationChannel"
            await or_none(cloud.rpc(method, request, view.name, write=True))
        return Outcome()

    async def owned(self, cloud: Cloud, site: Site) -> Sequence[NotificationChannel]:
        names = [view.outputs["key"] for view in await _ours(cloud, site)]
        return [NotificationChannel(name) for name in dict.fromkeys(names)]


async def _ours(cloud: Cloud, site: Site, name: str = "") -> list[View]:
    """The channels that carry the site's owner, of one name or of all. The labels are compared again: deleting must not
    depend on how a filter is understood."""
    from google.cloud import monitoring_v3

    project = f"projects/{site.project}"
    request = monitoring_v3.ListNotificationChannelsRequest(
        name=project, filter=f'user_labels.{_OWNER}="{site.owner}"', page_size=_PAGE
    )
    found: list[View] = []
    async for page in pages(cloud, "NotificationChannelService.ListNotificationChannels", request, project):
        found += [_view(channel) for channel in page.notification_channels]
    return [view for view in found if view.owner == site.owner and name in ("", view.outputs["key"])]


def _view(channel: Any) -> View:
    return View(
        fields={"email": str(channel.labels.get(_ADDRESS, ""))},
        outputs={"name": str(channel.name), "key": str(channel.user_labels.get(_NAME, ""))},
        owner=str(channel.user_labels.get(_OWNER, "")),
        name=str(channel.name),
    )


KIND = NotificationChannels()
