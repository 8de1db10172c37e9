"""Deletes leftovers of earlier releases beside the loop: of a deployment at rest, once an hour, a bounded number at a
time.

It is no part of a turn, because it must neither delay nor fail a release. What stays is decided from the status alone
(core/retention.py), and asked again before each deletion.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256

from agui_operator.api.deployment import Frontend
from agui_operator.core.errors import CloudError, LeaseLost
from agui_operator.core.names import Names
from agui_operator.core.retention import Kept, Made, collect_run, due, kept_by, unneeded_since
from agui_operator.core.rollout import Phase
from agui_operator.engine.cluster import metrics
from agui_operator.engine.deployment.cache import ObjectCache
from agui_operator.engine.deployment.scope import Scope
from agui_operator.engine.tasks import Tasks
from agui_operator.gcp.kinds.run import collect as run
from agui_operator.gcp.kinds.storage import collect as collect_assets
from agui_operator.gcp.kinds.storage.manifests import Manifests
from agui_operator.gcp.transport.clients import Cloud

logger = logging.getLogger(__name__)
_MOST = 20  # revisions and jobs deleted in one go
Delete = Callable[[Cloud, Names, Made], Awaitable[bool]]
_REST = (Phase.HEALTHY, Phase.ROLLED_BACK)


@dataclass(slots=True)
class _Object:
    """What is known of one deployment between two goes."""

    due: float  # monotonic time of the next go
    unneeded_releases: dict[str, datetime] = field(default_factory=dict)  # since when nobody needs them
    unneeded_folders: dict[str, datetime] = field(default_factory=dict)


class GarbageCollector:
    """One per process. `interval` in seconds between two looks at one deployment."""

    def __init__(self, cloud: Cloud, interval: float, clock: Callable[[], datetime]) -> None:
        self._cloud, self._interval, self._clock = cloud, interval, clock
        self._jobs = run.Jobs(cloud)
        self._objects: dict[str, _Object] = {}
        self._running = Tasks()

    def consider(self, scope: Scope, cache: ObjectCache) -> None:
        """Begins a go if the deployment rests and one is due. The first looks of a fleet are spread over the interval.
        While the spec can't be read its windows are unknown, so everything stays."""
        memory, spec = scope.memory, scope.spec
        if spec is None or memory.phase not in _REST or memory.stable is None:
            return
        now = time.monotonic()
        known = self._objects.get(scope.uid)
        if known is None:
            share = int.from_bytes(sha256(scope.uid.encode()).digest()[:2]) / 0xFFFF
            known = self._objects[scope.uid] = _Object(now + self._interval * share)
        if now < known.due:
            return
        known.due = now + self._interval
        self._running.start(scope.uid, self._go(scope, cache, known, spec.rollback.window))

    def forget(self, uid: str) -> None:
        """The object is gone: a go in progress ends."""
        self._objects.pop(uid, None)
        self._running.cancel(uid)

    async def wait(self) -> None:
        """Until every go in progress has ended."""
        await self._running.wait()

    async def _go(self, scope: Scope, cache: ObjectCache, known: _Object, rollback: timedelta) -> None:
        try:
            await self._run(scope, cache, known, rollback)
            skew = _skew_of(scope)
            if skew is not None:
                await self._assets(scope, cache, known, max(rollback, skew))
        except (CloudError, LeaseLost, TimeoutError, ConnectionError) as error:
            logger.warning("leftovers of earlier releases could not be deleted, retried later: %s", error)
        except Exception:
            logger.exception("internal error while leftovers of earlier releases were deleted")

    async def _run(self, scope: Scope, cache: ObjectCache, known: _Object, window: timedelta) -> None:
        names = scope.names
        made = await run.revisions(self._cloud, names)
        jobs = await self._jobs.of(names, self._interval / 2)
        kept, now = kept_of(cache), self._clock()
        if kept is None or cache.memory is None:
            return
        dropped = {one.release for one in (*made, *jobs) if one.release not in kept.releases}
        since = known.unneeded_releases = unneeded_since(dropped, known.unneeded_releases, cache.memory, now)
        service = cache.views.service
        going = collect_run(made, kept, since, now - window, service) if service is not None else ()
        for one in going[:_MOST]:
            await self._delete(cache, names, one, run.delete_revision, "revision")
        for one in collect_run(jobs, kept, since, now - window, None)[:_MOST]:
            await self._delete(cache, names, one, run.delete_job, "job")

    async def _delete(self, cache: ObjectCache, names: Names, one: Made, delete: Delete, kind: str) -> None:
        kept = kept_of(cache)
        if kept is not None and one.release not in kept.releases and await delete(self._cloud, names, one):
            logger.info("%s %s of a forgotten release deleted", kind, one.name)
            metrics.COLLECTED.labels(kind).inc()

    async def _assets(self, scope: Scope, cache: ObjectCache, known: _Object, window: timedelta) -> None:
        owner, bucket = scope.names.owner, scope.place.assets_bucket
        folders = await collect_assets.observe(self._cloud, bucket)
        kept, now = kept_of(cache), self._clock()
        if kept is None or cache.memory is None:
            return
        dropped = {f.frontend for f in folders if owner in f.claims and f.frontend not in kept.frontends}
        since = known.unneeded_folders = unneeded_since(dropped, known.unneeded_folders, cache.memory, now)
        if not due(folders, owner, kept, since, now - window):
            return
        unneeded = collect_assets.Unneeded(owner, since, now, window)
        manifests = self._cloud.shared(Manifests)
        gone = await collect_assets.collect(self._cloud, bucket, unneeded, lambda: kept_of(cache), manifests)
        metrics.COLLECTED.labels("object").inc(gone)


def kept_of(cache: ObjectCache) -> Kept | None:
    """What must stay at this moment; None while a release is on its way."""
    memory = cache.memory
    if memory is None or memory.phase not in _REST or memory.stable is None:
        return None
    return kept_by(memory, [p.frontend for p in (cache.views.pointer, cache.views.candidate_pointer) if p is not None])


def _skew_of(scope: Scope) -> timedelta | None:
    """None: no bucket to look at. A deployment that had a page once keeps the documented default."""
    spec, memory = scope.spec, scope.memory
    if spec is not None and spec.frontend is not None:
        return spec.frontend.skew_window
    had = any(release.frontend for release in memory.past)
    default: timedelta = Frontend.model_fields["skew_window"].default
    return default if had else None
