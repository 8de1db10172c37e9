"""One list per project and region instead of one look per object: what a resting fleet is compared with.

An idle deployment costs calls per project and sweep, not per object. Only a rollout in flight reads its own service.
Source: https://cloud.google.com/run/docs/reference/rpc/google.cloud.run.v2#listservicesrequest
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable

from agui_operator.core.names import Names
from agui_operator.core.snapshot import ServiceView
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.run_views import service_view, short

_PAGE = 500
Region = tuple[str, str]


class Inventory:
    """Services by project and region, as of the last sweep. Times in seconds of `clock`."""

    def __init__(self, cloud: Cloud, clock: Callable[[], float] = time.monotonic) -> None:
        self._cloud, self._clock = cloud, clock
        self._services: dict[Region, dict[str, ServiceView]] = {}
        self._swept: dict[Region, float] = {}
        self._locks: defaultdict[Region, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def sweep(self, project: str, region: str) -> None:
        """Lists now, one call for each 500 services. Raises CloudError; the last sweep then stays as it was."""
        from google.cloud import run_v2

        parent = f"projects/{project}/locations/{region}"
        began = self._clock()
        found: dict[str, ServiceView] = {}
        token = ""
        while True:
            request = run_v2.ListServicesRequest(parent=parent, page_size=_PAGE, page_token=token)
            page = await self._cloud.rpc("Services.ListServices", request, parent)
            found |= {short(s.name): service_view(s) for s in page.services if not s.delete_time}
            token = str(page.next_page_token)
            if not token:
                break
        self._services[project, region] = found
        self._swept[project, region] = began

    async def fresh(self, project: str, region: str, age: float) -> None:
        """Sweeps unless the last sweep is at most `age` seconds old. Whoever comes while one is under way shares it."""
        async with self._locks[project, region]:
            if self._clock() - self._swept.get((project, region), float("-inf")) > age:
                await self.sweep(project, region)

    def service(self, names: Names) -> ServiceView | None:
        """The deployment's service in the last sweep; None: there was none. Raises LookupError before the first
        sweep."""
        region = (names.project, names.region)
        if region not in self._services:
            raise LookupError(f"{names.parent} was never swept")
        return self._services[region].get(names.service)

    def forget(self, names: Names) -> None:
        """The next `fresh` sweeps: something in this region was just changed by us."""
        self._swept.pop((names.project, names.region), None)
