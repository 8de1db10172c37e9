"""One list of services per project and region instead of one look per object: what a resting fleet is compared with.

An idle deployment costs calls per project and sweep, not per object. Only a rollout in flight reads its own service.
Source: https://cloud.google.com/run/docs/reference/rpc/google.cloud.run.v2#listservicesrequest
"""

from __future__ import annotations

import time
from collections.abc import Callable

from agui_operator.core.names import Names
from agui_operator.core.ownership import owned
from agui_operator.core.snapshot import ServiceView
from agui_operator.gcp.kinds.run import service as run_service
from agui_operator.gcp.kinds.shared import Changes, SharedReads
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.paging import pages
from agui_operator.gcp.transport.run_views import service_view, short

_PAGE = 500
Region = tuple[str, str]


class Inventory:
    """Services by project and region, as of the last sweep. Times in seconds of `clock`."""

    def __init__(self, cloud: Cloud, clock: Callable[[], float] = time.monotonic) -> None:
        self._cloud = cloud
        self._lists: SharedReads[Region, dict[str, ServiceView]] = SharedReads(clock)
        self._changes = Changes(clock)

    async def look(self, names: Names, age: float) -> ServiceView | None:
        """The deployment's service, or None: of a list that is at most `age` seconds old, or read by itself if this
        process has changed it since. Raises NotOwned, CloudError."""
        region = names.project, names.region
        since = self._lists.clock() - age
        self._changes.forget_before(since)
        read = await self._lists.get(region, since, lambda: self._list(*region))
        if self._changes.after(names.owner, read.at):
            return await run_service.observe(self._cloud, names)
        found = read.value.get(names.service)
        return found if found is None else owned(names, run_service.SERVICE, found)

    def forget(self, names: Names) -> None:
        """This process changes the deployment's service: no list that began before tells how it is."""
        self._changes.note(names.owner)

    async def _list(self, project: str, region: str) -> dict[str, ServiceView]:
        """One call for each 500 services."""
        from google.cloud import run_v2

        parent = f"projects/{project}/locations/{region}"
        found: dict[str, ServiceView] = {}
        request = run_v2.ListServicesRequest(parent=parent, page_size=_PAGE)
        async for page in pages(self._cloud, "Services.ListServices", request, parent):
            found |= {short(s.name): service_view(s) for s in page.services if not s.delete_time}
        return found
