"""What many deployments read together: services by region, alert policies by project, URL maps. A resting fleet costs
calls for each project and sweep, none for each object; what this process changes itself is read again, and only that.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from agui_operator.core.actions import (
    Action,
    AlertCreated,
    AlertDeleted,
    AlertUpdated,
    AssetsPublished,
    PointerSet,
    RevisionStaged,
    ServiceDeleted,
    TrafficSplit,
)
from agui_operator.core.environment import Place
from agui_operator.core.names import Names
from agui_operator.core.snapshot import AlertView, ServiceView
from agui_operator.gcp.kinds.edge.map_inventory import MapInventory
from agui_operator.gcp.kinds.edge.url_map import Routing
from agui_operator.gcp.kinds.monitoring.alert_inventory import AlertInventory
from agui_operator.gcp.kinds.run.inventory import Inventory
from agui_operator.gcp.kinds.storage.page_inventory import PageInventory
from agui_operator.gcp.transport.clients import Cloud


class SharedViews:
    """Results are used for at most `age` seconds."""

    def __init__(self, cloud: Cloud, age: float) -> None:
        self._age = age
        self._services, self._alerts, self._maps = Inventory(cloud), AlertInventory(cloud), MapInventory(cloud)
        self._pages = PageInventory(cloud)

    async def service(self, names: Names) -> ServiceView | None:
        return await self._services.look(names, self._age)

    async def routing(self, names: Names, place: Place) -> Routing:
        return await self._maps.look(names, place, self._age)

    async def alerts(self, names: Names) -> tuple[AlertView, ...]:
        return await self._alerts.look(names, self._age)

    async def page(self, names: Names, place: Place, frontend: str) -> tuple[str, ...]:
        """Files of a page that are missing; () if it is complete."""
        return await self._pages.missing(place.assets_bucket, frontend, names.owner, self._age)

    def changed(self, names: Names, actions: Sequence[Action]) -> None:
        """To be called before and after the actions: a list may have been read in between."""
        for action in actions:
            match action:
                case RevisionStaged() | TrafficSplit() | ServiceDeleted():
                    self._services.forget(names)
                case PointerSet():
                    self._maps.forget(names)
                case AlertCreated() | AlertUpdated() | AlertDeleted():
                    self._alerts.forget(names)
                case AssetsPublished():
                    self._pages.forget(action.bucket)
                case _:
                    pass  # backups and jobs are never read in lists


def first_due(uid: str, interval: float) -> float:
    """Seconds until the first comparison of an object with the cloud: what started together is spread over the
    interval, each object at a time of its own."""
    share = int.from_bytes(sha256(uid.encode()).digest()[:4]) / 0xFFFFFFFF
    return interval * (0.1 + 0.9 * share)
