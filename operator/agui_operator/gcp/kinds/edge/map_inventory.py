"""One read of a URL map for all deployments behind it: the map has everybody's rules."""

from __future__ import annotations

import time
from collections.abc import Callable

from agui_operator.core.environment import Place
from agui_operator.core.names import Names
from agui_operator.gcp.kinds.edge import url_map
from agui_operator.gcp.kinds.edge.url_map import Routing, UrlMap
from agui_operator.gcp.kinds.shared import Changes, SharedReads
from agui_operator.gcp.transport.clients import Cloud


class MapInventory:
    """URL maps by project and name. Times in seconds of `clock`."""

    def __init__(self, cloud: Cloud, clock: Callable[[], float] = time.monotonic) -> None:
        self._cloud = cloud
        self._maps: SharedReads[tuple[str, str], UrlMap] = SharedReads(clock)
        self._changes = Changes(clock)

    async def look(self, names: Names, place: Place, age: float) -> Routing:
        """The deployment's routing, of a map read at most `age` seconds ago and not before this process changed the
        routing; the map is read again for that, and serves the others too. Raises CloudError."""
        assert place.edge is not None
        self._changes.forget_before(self._maps.clock() - age)
        since = max(self._maps.clock() - age, self._changes.at(names.owner))

        async def load() -> UrlMap:
            return (await url_map.observe(self._cloud, names, place))[1]

        read = await self._maps.get((names.project, place.edge.url_map), since, load)
        return url_map.parse(read.value, place.edge, names)

    def forget(self, names: Names) -> None:
        """This process changes the deployment's routing."""
        self._changes.note(names.owner)
