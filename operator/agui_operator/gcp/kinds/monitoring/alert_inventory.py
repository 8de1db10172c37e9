"""One list of alert policies per project instead of one per object and sweep.

Source: https://cloud.google.com/monitoring/api/ref_v3/rpc/google.monitoring.v3#listalertpoliciesrequest
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

from agui_operator.core.names import Names
from agui_operator.core.snapshot import AlertView
from agui_operator.gcp.kinds.monitoring import alert_policy
from agui_operator.gcp.kinds.monitoring.alert_messages import KEY, OWNER, from_message
from agui_operator.gcp.kinds.shared import Changes, SharedReads
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.paging import pages

_PAGE = 500
Views = tuple[AlertView, ...]


class AlertInventory:
    """Alert policies by project and owner. Times in seconds of `clock`."""

    def __init__(self, cloud: Cloud, clock: Callable[[], float] = time.monotonic) -> None:
        self._cloud = cloud
        self._lists: SharedReads[str, dict[str, Views]] = SharedReads(clock)
        self._changes = Changes(clock)

    async def look(self, names: Names, age: float) -> Views:
        """The deployment's policies: of a list that is at most `age` seconds old, or listed by themselves if this
        process has changed them since. An object that never had alerts is in no list and costs no call of its own.
        Raises CloudError."""
        since = self._lists.clock() - age
        self._changes.forget_before(since)
        read = await self._lists.get(names.project, since, lambda: self._list(names.project))
        if self._changes.after(names.owner, read.at):
            return await alert_policy.observe(self._cloud, names)
        return tuple(view for owner in names.owners for view in read.value.get(owner, ()))

    def forget(self, names: Names) -> None:
        """This process changes the deployment's policies."""
        self._changes.note(names.owner)

    async def _list(self, project: str) -> dict[str, Views]:
        """One call for each 500 policies; those without our labels are skipped."""
        from google.cloud import monitoring_v3

        name = f"projects/{project}"
        found: defaultdict[str, list[AlertView]] = defaultdict(list)
        request = monitoring_v3.ListAlertPoliciesRequest(name=name, page_size=_PAGE)
        async for page in pages(self._cloud, "AlertPolicyService.ListAlertPolicies", request, name):
            for policy in page.alert_policies:
                if policy.user_labels.get(OWNER) and policy.user_labels.get(KEY):
                    found[policy.user_labels[OWNER]].append(AlertView(policy.name, from_message(policy)))
        return {owner: tuple(views) for owner, views in found.items()}
