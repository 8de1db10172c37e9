"""Deletes what is left of earlier releases, beside the loop: of a deployment at rest, once an hour, a bounded go at a
time.

It is no part of a turn because it is no part of a release's way: it must neither delay one nor fail it. What stays is
decided from the status alone (core/retention.py), and asked again before each deletion.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from hashlib import sha256

from agui_operator.api.deployment import Frontend
from agui_operator.core.errors import CloudError, LeaseLost
from agui_operator.core.names import Names
from agui_operator.core.retention import Kept, Made, collect_run, due, kept_by, unneeded_since
from agui_operator.core.rollout import Phase
from agui_operator.engine.cluster import metrics
from agui_operator.engine.deployment.cache import ObjectCache
from agui_operator.engine.deployment.observe import Scope
from agui_operator.gcp.kinds.run import collect as run
from agui_operator.gcp.kinds.storage import collect as collect_assets
from agui_operator.gcp.transport.clients import Cloud

logger = logging.getLogger(__name__)
_MOST = 20  # revisions and jobs deleted in one go
Delete = Callable[[Cloud, Names, Made], Awaitable[bool]]
_REST = (Phase.HEALTHY, Phase.ROLLED_BACK)


class GarbageCollector:
    """One per process. `interval` in seconds between two looks at one deployment."""

    def __init__(self, cloud: Cloud, interval: float, clock: Callable[[], datetime]) -> None:
        self._cloud, self._interval, self._clock = cloud, interval, clock
        self._jobs, self._manifests = run.Jobs(cloud), collect_assets.Manifests()

    def consider(self, scope: Scope) -> None:
        """Begins a go if the deployment rests and one is due. The first looks of a fleet are spread over the
        interval."""
        cache, memory, spec = scope.cache, scope.cache.memory, scope.spec
        if spec is None or memory is None or memory.phase not in _REST or memory.stable is None:
            return
        now = time.monotonic()
        if cache.collect_due is None:
            share = int.from_bytes(sha256(cache.uid.encode()).digest()[:2]) / 0xFFFF
            cache.collect_due = now + self._interval * share
        if now < cache.collect_due:
            return
        cache.collect_due = now + self._interval
        cache.spawn(cache.collecting, cache.uid, self._go(scope, spec.rollback.window, _skew_of(scope)))

    async def _go(self, scope: Scope, rollback: timedelta, skew: timedelta | None) -> None:
        try:
            await self._run(scope, rollback)
            if skew is not None:
                await self._assets(scope, max(rollback, skew))
        except (CloudError, LeaseLost, TimeoutError, ConnectionError) as error:
            logger.warning("old releases could not be tidied away, they are looked at again later: %s", error)
        except Exception:
            logger.exception("internal error while old releases were tidied away")

    async def _run(self, scope: Scope, window: timedelta) -> None:
        cache, names = scope.cache, scope.names
        made = await run.revisions(self._cloud, names)
        jobs = await self._jobs.of(names, self._interval / 2)
        kept, now = kept_of(cache), self._clock()
        if kept is None or cache.memory is None:
            return
        dropped = {one.release for one in (*made, *jobs) if one.release not in kept.releases}
        since = cache.unneeded_releases = unneeded_since(dropped, cache.unneeded_releases, cache.memory, now)
        going = collect_run(made, kept, since, now - window, cache.service) if cache.service is not None else ()
        for one in going[:_MOST]:
            await self._delete(cache, names, one, run.delete_revision, "revision")
        for one in collect_run(jobs, kept, since, now - window, None)[:_MOST]:
            await self._delete(cache, names, one, run.delete_job, "job")

    async def _delete(self, cache: ObjectCache, names: Names, one: Made, delete: Delete, kind: str) -> None:
        kept = kept_of(cache)
        if kept is not None and one.release not in kept.releases and await delete(self._cloud, names, one):
            logger.info("%s %s of a forgotten release deleted", kind, one.name)
            metrics.COLLECTED.labels(kind).inc()

    async def _assets(self, scope: Scope, window: timedelta) -> None:
        cache, owner, bucket = scope.cache, scope.names.uid, scope.place.assets_bucket
        folders = await collect_assets.observe(self._cloud, bucket)
        kept, now = kept_of(cache), self._clock()
        if kept is None or cache.memory is None:
            return
        dropped = {f.frontend for f in folders if owner in f.claims and f.frontend not in kept.frontends}
        since = cache.unneeded_folders = unneeded_since(dropped, cache.unneeded_folders, cache.memory, now)
        if not due(folders, owner, kept, since, now - window):
            return
        unneeded = collect_assets.Unneeded(owner, since, now, window)
        gone = await collect_assets.collect(self._cloud, bucket, unneeded, lambda: kept_of(cache), self._manifests)
        metrics.COLLECTED.labels("object").inc(gone)


def kept_of(cache: ObjectCache) -> Kept | None:
    """What must stay at this moment; None while a release is on its way."""
    memory = cache.memory
    if memory is None or memory.phase not in _REST or memory.stable is None:
        return None
    return kept_by(memory, [p.frontend for p in (cache.pointer, cache.candidate_pointer) if p is not None])


def _skew_of(scope: Scope) -> timedelta | None:
    """None: no bucket to look at. A deployment that had a page once keeps its window."""
    spec, memory = scope.spec, scope.cache.memory
    if spec is not None and spec.frontend is not None:
        return spec.frontend.skew_window
    had = memory is not None and any(entry.release.frontend for entry in memory.history)
    default: timedelta = Frontend.model_fields["skew_window"].default
    return default if had else None
