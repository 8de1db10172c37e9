"""One list of a bucket's release folders, and one of its pool, for all deployments that publish into it: which files of
a page are missing?"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from agui_operator.gcp.kinds.shared import Changes, SharedReads
from agui_operator.gcp.kinds.storage import objects, release_assets
from agui_operator.gcp.kinds.storage.manifests import Manifests
from agui_operator.gcp.kinds.storage.unpack import POOL
from agui_operator.gcp.transport.clients import Cloud

logger = logging.getLogger(__name__)


class PageInventory:
    """Names of objects by bucket. Times in seconds of `clock`."""

    def __init__(self, cloud: Cloud, clock: Callable[[], float] = time.monotonic) -> None:
        self._cloud = cloud
        self._lists: SharedReads[tuple[str, str], frozenset[str]] = SharedReads(clock)
        self._changes = Changes(clock)

    async def missing(self, bucket: str, frontend: str, owner: str, age: float) -> tuple[str, ...]:
        """Names of the page's objects that do not exist, the claim of the owner last; () if it is complete. Of lists
        that are at most `age` seconds old and did not begin before this process changed the bucket: one call for each
        1000 objects, and one for a manifest that was not read yet. Raises CloudError."""
        self._changes.forget_before(self._lists.clock() - age)
        since = max(self._lists.clock() - age, self._changes.at(bucket))
        have = await self._names(bucket, release_assets.RELEASES, since)
        wanted = release_assets.needed(frontend)
        if wanted <= have:
            files = await self._files(bucket, frontend)
            if any(name.startswith(POOL) for name in files):
                have |= await self._names(bucket, POOL, since)
            wanted |= files
        claim = {release_assets.claim(frontend, owner).name}
        return (*sorted(wanted - have), *(claim - have))

    async def _files(self, bucket: str, frontend: str) -> frozenset[str]:
        """What the manifest lists; nothing if somebody replaced it by something that is none."""
        try:
            return await self._cloud.shared(Manifests).files(self._cloud, bucket, frontend)
        except ValueError as error:
            logger.warning("manifest of release folder %s in gs://%s can't be read: %s", frontend, bucket, error)
            return frozenset()

    async def _names(self, bucket: str, prefix: str, since: float) -> frozenset[str]:
        return (await self._lists.get((bucket, prefix), since, lambda: self._list(bucket, prefix))).value

    def forget(self, bucket: str) -> None:
        """This process changes the bucket."""
        self._changes.note(bucket)

    async def _list(self, bucket: str, prefix: str) -> frozenset[str]:
        return frozenset(await objects.list_objects(self._cloud, bucket, prefix))
