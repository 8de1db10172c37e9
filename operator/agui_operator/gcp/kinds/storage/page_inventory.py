"""One list of a bucket's release folders for all deployments that publish into it: which pages are complete?"""

from __future__ import annotations

import time
from collections.abc import Callable

from agui_operator.gcp.kinds.shared import Changes, SharedReads
from agui_operator.gcp.kinds.storage import objects, release_assets
from agui_operator.gcp.transport.clients import Cloud


class PageInventory:
    """Names of objects by bucket. Times in seconds of `clock`."""

    def __init__(self, cloud: Cloud, clock: Callable[[], float] = time.monotonic) -> None:
        self._cloud = cloud
        self._lists: SharedReads[str, frozenset[str]] = SharedReads(clock)
        self._changes = Changes(clock)

    async def is_complete(self, bucket: str, frontend: str, owner: str, age: float) -> bool:
        """Of a list that is at most `age` seconds old and did not begin before this process changed the bucket. One
        call for each 1000 objects. Raises CloudError."""
        self._changes.forget_before(self._lists.clock() - age)
        since = max(self._lists.clock() - age, self._changes.at(bucket))
        read = await self._lists.get(bucket, since, lambda: self._list(bucket))
        return release_assets.is_complete(frontend, (owner,), read.value)

    def forget(self, bucket: str) -> None:
        """This process changes the bucket."""
        self._changes.note(bucket)

    async def _list(self, bucket: str) -> frozenset[str]:
        return frozenset(await objects.list_objects(self._cloud, bucket, release_assets.RELEASES))
