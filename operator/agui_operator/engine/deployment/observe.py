"""Looks at what the phase needs, and at nothing else; changes nothing in the cloud."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, assert_never

from agui_operator.core.actions import Action
from agui_operator.core.analysis import Window, comparable, verdict
from agui_operator.core.errors import CloudError, Fault, LeaseLost, NotOwned, classify, reason_of, told
from agui_operator.core.looks import looks
from agui_operator.core.migrating import left_running
from agui_operator.core.names import Names
from agui_operator.core.phases.case import judged_since, stage_of, weight_of
from agui_operator.core.recovery import unknown_revision
from agui_operator.core.release import Release, make_release
from agui_operator.core.rollout import RESTING, Look, Phase
from agui_operator.core.snapshot import (
    AlertView,
    AnalysisResult,
    Found,
    Lacking,
    LookFault,
    ServiceView,
    Snapshot,
    TargetView,
)
from agui_operator.core.undo import target_of
from agui_operator.engine.cluster.feed import SILENT, Feed
from agui_operator.engine.cluster.wakeups import Wakeups
from agui_operator.engine.deployment import attempts, jobs, restorable
from agui_operator.engine.deployment.cache import ObjectCache
from agui_operator.engine.deployment.looking import PENDING
from agui_operator.engine.deployment.resolution import resolution
from agui_operator.engine.deployment.scope import Scope
from agui_operator.engine.deployment.shared import SharedViews
from agui_operator.engine.deployment.views import (
    ALERTS,
    ASSETS,
    BACKUP,
    LEFT_RUNNING,
    POINTER,
    SERVICE,
    TARGET,
)
from agui_operator.gcp.kinds.edge import url_map
from agui_operator.gcp.kinds.monitoring import alert_policy, timeseries
from agui_operator.gcp.kinds.run import job as run_job
from agui_operator.gcp.kinds.run import revision as run_revision
from agui_operator.gcp.kinds.run import service as run_service
from agui_operator.gcp.kinds.sql import backup as sql_backup
from agui_operator.gcp.kinds.storage import release_assets
from agui_operator.gcp.transport.clients import Cloud

# What decides where users go comes first.
_ORDER = (
    Look.RESOLUTION,
    Look.BACKUP,
    Look.MIGRATION,
    Look.ASSETS,
    Look.SERVICE,
    Look.ROUTING,
    Look.TARGET,
    Look.CHECKS,
    Look.ANALYSIS,
    Look.ALERTS,
)
# What these can't tell is said in a condition of its own; it is no fault of the turn.
BYSTANDERS = frozenset({Look.ALERTS})
_BYSTANDERS_AT_REST = BYSTANDERS | {Look.TARGET, Look.ASSETS}
_TARGET_EVERY = 12  # comparisons of a resting object with the cloud for one look at the release to go back to
BYSTANDER_RETRY = 15.0  # seconds


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen. `fault`: the first look that failed and is not a bystander's. `pending`: a look goes on beside the
    loop and wakes the object when it ends. `foreign`: the service by this name is somebody else's."""

    seen: Snapshot
    fault: Exception | None = None
    pending: bool = False
    foreign: bool = False


class Observer:
    """Fills snapshots, and puts what it read into the object's views."""

    def __init__(
        self, cloud: Cloud, clock: Callable[[], datetime], wakeups: Wakeups, *, resync: float, feed: Feed = SILENT
    ) -> None:
        self._cloud, self._clock, self._wakeups, self._feed = cloud, clock, wakeups, feed
        self._shared, self._target_age = SharedViews(cloud, resync / 2), resync * _TARGET_EVERY
        self._resync = resync

    def changed(self, names: Names, actions: Sequence[Action]) -> None:
        """This process changes what the deployment owns: the shared views until now do not tell about it."""
        self._shared.changed(names, actions)

    async def look(self, scope: Scope, cache: ObjectCache, basic: Snapshot, *, drift: bool) -> Sight:
        """`basic` with what the phase needs added. `drift`: a resting object is compared with the cloud. Each look
        stands alone: what one could not tell is not known, and the others count."""
        again = scope.memory.phase in RESTING
        wanted = looks(scope.memory, drift=drift)
        if scope.memory.phase is Phase.PENDING and (scope.blockers or scope.spec is None):
            wanted = frozenset()  # nothing is begun, and perhaps nobody permits to look there
        seen, pending = basic, False
        fault: Exception | None = None
        for look in (kind for kind in _ORDER if kind in wanted):
            try:
                answer = await self._one(look, scope, cache, seen, again=again)
            except LeaseLost:
                raise
            except Exception as exc:
                if look is Look.SERVICE and isinstance(exc, NotOwned):  # what else was seen is about it, too
                    cache.views.disown()
                    return Sight(basic, exc, foreign=True)
                bystander = look in (_BYSTANDERS_AT_REST if again else BYSTANDERS)
                failed = LookFault(reason_of(exc), told(exc, scope.disclosure))
                cache.look_failed(look, failed, BYSTANDER_RETRY if bystander else 0.0)
                if not bystander or classify(exc) is Fault.BUG:
                    fault = fault or exc
                continue
            if answer is PENDING:
                pending = True
                continue
            if answer is not seen:  # it told something
                cache.look_succeeded(look)
            seen = answer
        if Look.SERVICE not in wanted and SERVICE in cache.views.fresh:
            seen = replace(seen, last_service=cache.views.service)
        known = cache.views.target if again else None
        if known is not None and seen.target is None and known.release == _id(target_of(scope.memory)):
            seen = replace(seen, target=known)
        if fault is None:
            seen, fault = await self._lost(scope, cache, seen)
        return Sight(replace(seen, failed=dict(cache.failed_looks)), fault, pending)

    async def _lost(self, scope: Scope, cache: ObjectCache, seen: Snapshot) -> tuple[Snapshot, Exception | None]:
        """What serves users although the status does not know it."""
        revision = unknown_revision(scope.memory, seen, scope.names)
        if revision is None or seen.service is None or cache.views.found == Found(None, revision):
            return seen, None
        try:
            release = await run_revision.release_of(self._cloud, scope.names, seen.service, revision)
        except CloudError as exc:
            return replace(seen, service=None, service_known=False), exc
        if release is not None and release.frontend is None and seen.pointer is not None:
            release = replace(release, frontend=seen.pointer.frontend)
        cache.views.put_found(Found(release, revision))
        return replace(seen, found=cache.views.found), None

    async def _one(self, look: Look, scope: Scope, cache: ObjectCache, seen: Snapshot, *, again: bool) -> Any:
        """`seen` with what one look tells, or PENDING."""
        match look:
            case Look.RESOLUTION:
                return await self._resolve(scope, cache, seen)
            case Look.ASSETS if again:
                return await self._page(scope, cache, seen)
            case Look.BACKUP | Look.MIGRATION | Look.ASSETS:
                return await self._preparation(scope, cache, seen, look)
            case Look.SERVICE:
                service = await self._service(scope, cache, again=again)
                missing = await self._missing(scope, cache, service)
                return replace(seen, service=service, service_known=True, missing=missing)
            case Look.CHECKS:
                stage = stage_of(scope.memory.phase)
                return await jobs.checks(self._cloud, scope, cache, seen, stage) if stage is not None else seen
            case Look.ROUTING:
                found = await self._beside(look, again, scope, cache, lambda: self._pointer(scope, cache, again=again))
                return found if found is PENDING else _with_routing(seen, cache, known=found)
            case Look.ANALYSIS:
                candidate, weight_since = scope.memory.candidate, scope.memory.weight_since
                about = candidate.id if candidate else None, weight_since  # a hold or a pause is no other question
                found = await self._beside(look, about, scope, cache, lambda: self._analysis(scope, cache))
                return found if found is PENDING else replace(seen, analysis=found) if found is not None else seen
            case Look.ALERTS:
                if ALERTS in cache.operations:
                    return PENDING
                if cache.is_deferred(look):
                    return seen
                found = await self._beside(look, again, scope, cache, lambda: self._alerts(scope, cache, again=again))
                return found if found is PENDING else replace(seen, alerts=found)
            case Look.TARGET:
                release = target_of(scope.memory)
                if release is None or cache.is_deferred(look):
                    return seen
                found = await self._beside(look, release.id, scope, cache, lambda: self._target(scope, cache, release))
                return found if found is PENDING else replace(seen, target=found)
            case _:
                assert_never(look)

    async def _target(self, scope: Scope, cache: ObjectCache, release: Release) -> TargetView:
        """A release that lacks something is looked at again: it may be made again meanwhile."""
        views, have = cache.views, cache.views.target
        is_young = TARGET in views.fresh and time.monotonic() - views.target_at < self._target_age
        if have is not None and is_young and have.release == release.id and have.problem is None:
            return have
        found = await restorable.look(self._cloud, scope, views.service, release)
        views.put_target(found)
        views.mark_fresh(TARGET)
        return found

    async def _beside(
        self, look: Look, key: Hashable, scope: Scope, cache: ObjectCache, read: Callable[[], Awaitable[Any]]
    ) -> Any:
        return await cache.looking.answer(look, key, read, lambda: self._wakeups.wake(scope.uid))

    async def _resolve(self, scope: Scope, cache: ObjectCache, seen: Snapshot) -> Snapshot:
        if scope.spec is None:
            return seen
        resolved = await resolution(self._cloud, scope.names, scope.spec, scope.place)
        tried = await attempts.look(self._cloud, scope, cache)
        return replace(seen, resolved=make_release(scope.spec, resolved, scope.names.owner), tried=tried)

    async def _preparation(self, scope: Scope, cache: ObjectCache, seen: Snapshot, look: Look) -> Snapshot:
        views, blueprint = cache.views, scope.blueprint
        if blueprint is None:
            return seen
        if look is Look.BACKUP and blueprint.migration is not None and LEFT_RUNNING not in views.fresh:
            left = left_running(scope.names, await run_job.owned(self._cloud, scope.names), blueprint.release.id)
            seen = replace(seen, left_running=left)
            if left:
                return seen
            views.mark_fresh(LEFT_RUNNING)
        if look is Look.BACKUP and blueprint.backup_instance is not None:
            if not cache.is_known(BACKUP):
                description = scope.names.backup_description(blueprint.release.id)
                instance = blueprint.backup_instance
                views.put_backup(await sql_backup.observe(self._cloud, scope.names, instance, description))
            return replace(seen, backup=views.backup)
        if look is Look.MIGRATION and blueprint.migration is not None:
            job = await jobs.look(self._cloud, scope, cache, blueprint.migration.job)
            return replace(seen, migration=job)
        if look is Look.ASSETS and blueprint.bundle is not None and blueprint.release.frontend is not None:
            if not cache.is_known(ASSETS):
                where = blueprint.assets_bucket, blueprint.release.frontend
                views.put_assets(await release_assets.observe(self._cloud, *where, (scope.names.owner,)))
                views.mark_fresh(ASSETS)
            return replace(seen, assets_complete=views.assets)
        return seen

    async def _page(self, scope: Scope, cache: ObjectCache, seen: Snapshot) -> Snapshot:
        """Whether the page of the stable release is complete; nothing if it has none, or nobody reaches it."""
        stable = scope.memory.stable
        if stable is None or stable.frontend is None or scope.place.edge is None:
            return replace(seen, assets_complete=None)
        missing = await self._shared.page(scope.names, scope.place, stable.frontend)
        if not missing:
            return replace(seen, assets_complete=True)
        first = f"gs://{scope.place.assets_bucket}/{missing[0]}"
        return replace(seen, assets_complete=False, lacking=Lacking(first, len(missing), cache.unpublished or ""))

    async def _service(self, scope: Scope, cache: ObjectCache, *, again: bool) -> ServiceView | None:
        views = cache.views
        if scope.glass is not None:
            views.mark_stale(SERVICE)  # a person removes the justification
        if again and not cache.is_awaited(SERVICE):
            views.put_service(await self._shared.service(scope.names))
            views.mark_fresh(SERVICE)  # its etag guards the next write: one on an old view is refused and looks again
            return views.service
        if self._is_old(scope, cache):
            views.put_service(await self._shared.service(scope.names))
        if not cache.is_known(SERVICE):
            views.put_service(await run_service.observe(self._cloud, scope.names))
            if views.service is None or not views.service.reconciling:
                views.mark_fresh(SERVICE)
        elif cache.is_awaited(SERVICE) and views.service is not None:
            return replace(views.service, reconciling=True)
        return views.service

    def _is_old(self, scope: Scope, cache: ObjectCache) -> bool:
        """True if somebody may have moved the traffic of a canary that waits for long."""
        if scope.memory.phase not in (Phase.PROGRESSING, Phase.PAUSED) or SERVICE in cache.operations:
            return False
        return SERVICE in cache.views.fresh and time.monotonic() - cache.views.service_at > self._resync

    async def _missing(self, scope: Scope, cache: ObjectCache, service: ServiceView | None) -> frozenset[str]:
        """Revisions that traffic was asked for and that do not exist; asked once for each state of the service."""
        doubt = run_revision.doubtful(service)
        if not doubt or service is None:
            return frozenset()
        if cache.views.missing_at != service.etag:
            gone = {r for r in doubt if not await run_revision.exists(self._cloud, scope.names, service, r)}
            cache.views.put_missing(frozenset(gone), service.etag)
        return cache.views.missing

    async def _pointer(self, scope: Scope, cache: ObjectCache, *, again: bool) -> bool:
        """Reads the URL map into the views; True if they say what it says now."""
        views = cache.views
        if scope.place.edge is None:
            return True
        if cache.is_awaited(POINTER):
            return False
        if again or POINTER not in views.fresh:
            if again:
                routing = await self._shared.routing(scope.names, scope.place)
            else:
                routing, _ = await url_map.observe(self._cloud, scope.names, scope.place)
            views.put_routing(routing.pointer, routing.candidate)
            views.mark_fresh(POINTER)
        return True

    async def _analysis(self, scope: Scope, cache: ObjectCache) -> AnalysisResult | None:
        """Reads the time series once per interval, from the moment the present weight began to serve."""
        memory, blueprint = scope.memory, scope.blueprint
        since = judged_since(memory, blueprint) if blueprint is not None else None
        if blueprint is None or blueprint.analysis is None or since is None:
            return None
        analysis, now = blueprint.analysis, self._clock()
        age = time.monotonic() - cache.views.analysed_at
        if (now - since).total_seconds() < analysis.interval or age < analysis.interval * 0.9:
            return None
        stable = scope.names.revision(memory.stable.id) if memory.stable else None
        revisions = [blueprint.revision.revision, *([stable] if stable else [])]
        guardrails = any(limit.name == "guardrail-failure-rate" for limit in analysis.limits)
        start = max(since, now - timedelta(seconds=analysis.window))
        samples = await timeseries.read(self._cloud, scope.names, revisions, start, now, guardrails=guardrails)
        cache.views.analysed(time.monotonic())
        weight = weight_of(memory, blueprint)
        window = Window(
            candidate=samples[blueprint.revision.revision],
            stable=comparable(samples[stable] if stable else None, weight, analysis.min_samples),
            min_samples=analysis.min_samples,
            limits=analysis.limits,
        )
        self._feed.measured(scope.uid, blueprint.release.id, now, window)
        return verdict(window)

    async def _alerts(self, scope: Scope, cache: ObjectCache, *, again: bool) -> tuple[AlertView, ...]:
        if again or ALERTS not in cache.views.fresh:
            release = scope.memory.candidate or scope.memory.serving
            shared = again or release is None or not release.alerts  # a release with alerts reads its own
            look = self._shared.alerts(scope.names) if shared else alert_policy.observe(self._cloud, scope.names)
            cache.views.put_alerts(await look)
            cache.views.mark_fresh(ALERTS)
        return cache.views.alerts


def _id(release: Release | None) -> str | None:
    return release.id if release is not None else None


def _with_routing(seen: Snapshot, cache: ObjectCache, *, known: bool) -> Snapshot:
    if not known:
        return replace(seen, pointer_known=False)
    views = cache.views
    return replace(seen, pointer=views.pointer, candidate_pointer=views.candidate_pointer, pointer_known=True)
