"""Looks at what the phase needs, and at nothing else; changes nothing in the cloud."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from agui_operator.core.actions import Action
from agui_operator.core.analysis import Window, verdict
from agui_operator.core.decide import stage_of
from agui_operator.core.memory import Memory
from agui_operator.core.names import Names
from agui_operator.core.release import make_release
from agui_operator.core.rollout import RESTING, Phase
from agui_operator.core.snapshot import CheckResult, Finding, JobView, ServiceView, Snapshot
from agui_operator.engine.cluster.feed import SILENT, Feed
from agui_operator.engine.deployment.cache import ObjectCache
from agui_operator.engine.deployment.scope import Scope
from agui_operator.engine.deployment.views import ALERTS, ASSETS, BACKUP, POINTER, SERVICE, of_job
from agui_operator.gcp import resolve
from agui_operator.gcp.kinds.edge import url_map
from agui_operator.gcp.kinds.monitoring import alert_policy, timeseries
from agui_operator.gcp.kinds.run import job as run_job
from agui_operator.gcp.kinds.run import service as run_service
from agui_operator.gcp.kinds.run.inventory import Inventory
from agui_operator.gcp.kinds.sql import backup as sql_backup
from agui_operator.gcp.kinds.storage import release_assets
from agui_operator.gcp.transport.clients import Cloud

_SERVICE_PHASES = frozenset(
    {Phase.STAGING, Phase.SMOKING, Phase.PROGRESSING, Phase.PAUSED, Phase.PROMOTING, Phase.BAKING, Phase.ROLLING_BACK}
)
_POINTER_PHASES = frozenset({Phase.STAGING, Phase.PROMOTING, Phase.ROLLING_BACK})


class Observer:
    """Fills snapshots, and puts what it read into the object's views."""

    def __init__(self, cloud: Cloud, clock: Callable[[], datetime], *, resync: float, feed: Feed = SILENT) -> None:
        self._cloud, self._clock, self._resync, self._feed = cloud, clock, resync, feed
        self._inventory = Inventory(cloud)

    def invalidate(self, names: Names) -> None:
        """The last list of services may not be used any more: a write met a fault, or the cloud was changed."""
        self._inventory.forget(names)

    async def look(
        self, scope: Scope, cache: ObjectCache, basic: Snapshot, *, drift: bool
    ) -> tuple[Snapshot, tuple[Action, ...]]:
        """`basic` with what the phase needs added, and the actions that alert policies need where that is due. `drift`:
        a resting object is compared with the cloud."""
        phase = scope.memory.phase
        if phase is Phase.RESOLVING:
            return await self._resolve(scope, basic), ()
        seen = await self._preparation(scope, cache, basic)
        resting = phase in (Phase.HEALTHY, Phase.ROLLED_BACK)
        if phase in _SERVICE_PHASES or (resting and drift):
            service = await self._service(scope, cache, again=resting)
            seen = replace(seen, service=service, service_known=True)
        if phase in _POINTER_PHASES or (drift and (resting or phase is Phase.FAILED)):
            seen = await self._pointer(scope, cache, seen, again=phase in RESTING)
        stage = stage_of(scope.memory)
        if stage is not None:
            seen = await self._check_jobs(scope, cache, seen, stage)
        if phase in (Phase.PROGRESSING, Phase.PAUSED):
            seen = replace(seen, analysis=await self._analysis(scope, cache))
        if self._alerts_due(scope.memory, drift):
            return await self._alerts(scope, cache, seen, again=resting)
        return seen, ()

    async def _resolve(self, scope: Scope, seen: Snapshot) -> Snapshot:
        if scope.spec is None:
            return seen
        resolved = await resolve.resolve(self._cloud, scope.names, scope.spec, scope.place)
        return replace(seen, resolved=make_release(scope.spec, resolved))

    async def _preparation(self, scope: Scope, cache: ObjectCache, seen: Snapshot) -> Snapshot:
        views, blueprint, phase = cache.views, scope.blueprint, scope.memory.phase
        if blueprint is None:
            return seen
        if phase is Phase.BACKING_UP and blueprint.backup_instance is not None:
            if not cache.is_known(BACKUP):
                description = scope.names.backup_description(blueprint.release.id)
                instance = blueprint.backup_instance
                views.put_backup(await sql_backup.observe(self._cloud, scope.names, instance, description))
            return replace(seen, backup=views.backup)
        if phase is Phase.MIGRATING and blueprint.migration is not None:
            return replace(seen, migration=await self._job(scope, cache, blueprint.migration.job))
        if phase is Phase.PUBLISHING and blueprint.bundle is not None and blueprint.release.frontend is not None:
            if not cache.is_known(ASSETS):
                where = blueprint.assets_bucket, blueprint.release.frontend
                views.put_assets(await release_assets.observe(self._cloud, *where, scope.names.uid))
                views.mark_fresh(ASSETS)
            return replace(seen, assets_complete=views.assets)
        return seen

    async def _job(self, scope: Scope, cache: ObjectCache, job: str) -> JobView | None:
        views, view = cache.views, of_job(job)
        if view in cache.operations:
            return views.jobs.get(job)
        release = scope.blueprint.release.id if scope.blueprint is not None else None
        if job not in views.jobs and release is not None and views.fresh_release == release:
            return None
        have = views.jobs.get(job)
        ended = have is not None and have.execution is not None and have.execution.succeeded is not None
        if view in views.fresh and (ended or have is None or have.execution is None):
            return have
        found = await run_job.observe(self._cloud, scope.names, job)
        views.put_job(job, found)
        views.mark_fresh(view)
        return found

    async def _service(self, scope: Scope, cache: ObjectCache, *, again: bool) -> ServiceView | None:
        views = cache.views
        if again and SERVICE not in cache.operations:
            await self._inventory.fresh(scope.names.project, scope.names.region, self._resync / 2)
            views.put_service(self._inventory.service(scope.names))
            views.mark_fresh(SERVICE)  # its etag guards the next write: one on an old view is refused and looks again
            return views.service
        if not cache.is_known(SERVICE):
            views.put_service(await run_service.observe(self._cloud, scope.names))
            if views.service is None or not views.service.reconciling:
                views.mark_fresh(SERVICE)
        elif SERVICE in cache.operations and views.service is not None:
            return replace(views.service, reconciling=True)
        return views.service

    async def _pointer(self, scope: Scope, cache: ObjectCache, seen: Snapshot, *, again: bool) -> Snapshot:
        views = cache.views
        if scope.place.edge is None:
            return replace(seen, pointer_known=True)
        if POINTER in cache.operations:
            return replace(seen, pointer_known=False)
        if again or POINTER not in views.fresh:
            routing, _ = await url_map.observe(self._cloud, scope.names, scope.place)
            views.put_routing(routing.pointer, routing.candidate)
            views.mark_fresh(POINTER)
        return replace(seen, pointer=views.pointer, candidate_pointer=views.candidate_pointer, pointer_known=True)

    async def _check_jobs(self, scope: Scope, cache: ObjectCache, seen: Snapshot, stage: str) -> Snapshot:
        """Checks that run as Cloud Run jobs: the jobs, and the results of those that ended."""
        blueprint = scope.blueprint
        if blueprint is None or cache.views.service is None:
            return seen
        results: dict[str, CheckResult] = {}
        jobs: dict[str, JobView | None] = {}
        for check in blueprint.checks(stage):
            if check.name in scope.memory.verdicts or (stage, check.name) not in blueprint.check_jobs:
                continue
            jobs[check.name] = job = await self._job(scope, cache, blueprint.check_jobs[stage, check.name].job)
            result = _job_result(check.name, job)
            if result is not None:
                results[check.name] = result
        return replace(seen, checks=results, check_jobs=jobs)

    async def _analysis(self, scope: Scope, cache: ObjectCache) -> Finding | None:
        """Reads the time series once per interval, from the moment the step began."""
        memory, blueprint = scope.memory, scope.blueprint
        if blueprint is None or blueprint.analysis is None or memory.since is None:
            return None
        if memory.step >= len(blueprint.steps) or blueprint.steps[memory.step].analysis is None:
            return None
        now = self._clock()
        age = time.monotonic() - cache.views.analysed_at
        interval = blueprint.analysis.interval
        if (now - memory.since).total_seconds() < interval or age < interval * 0.9:
            return None
        stable = scope.names.revision(memory.stable.id) if memory.stable else None
        revisions = [blueprint.revision.revision, *([stable] if stable else [])]
        guardrails = any(limit.name == "guardrail-failure-rate" for limit in blueprint.analysis.limits)
        samples = await timeseries.read(self._cloud, scope.names, revisions, memory.since, now, guardrails=guardrails)
        cache.views.analysed(time.monotonic())
        window = Window(
            candidate=samples[blueprint.revision.revision],
            stable=samples[stable] if stable else None,
            min_samples=blueprint.analysis.min_samples,
            limits=blueprint.analysis.limits,
        )
        self._feed.measured(scope.uid, blueprint.release.id, now, window)
        return verdict(window)

    def _alerts_due(self, memory: Memory, drift: bool) -> bool:
        if memory.phase is Phase.BAKING:
            return True
        if memory.phase is Phase.ROLLING_BACK:
            return memory.cause is not None and memory.cause.phase in (Phase.BAKING, Phase.HEALTHY)
        return drift and memory.phase in (Phase.HEALTHY, Phase.ROLLED_BACK)

    async def _alerts(
        self, scope: Scope, cache: ObjectCache, seen: Snapshot, *, again: bool
    ) -> tuple[Snapshot, tuple[Action, ...]]:
        memory = scope.memory
        if ALERTS in cache.views.fresh and not again:
            return replace(seen, alerts_converged=True), ()
        release = memory.candidate if memory.phase is Phase.BAKING else memory.serving
        alerts = release.alerts if release is not None else {}
        want = alert_policy.desired(scope.names, scope.place, alerts, release.id if release else "")
        have = await alert_policy.observe(self._cloud, scope.names)
        actions = alert_policy.plan(want, have)
        if not actions:
            cache.views.mark_fresh(ALERTS)
        return replace(seen, alerts_converged=not actions), actions


def _job_result(name: str, job: JobView | None) -> CheckResult | None:
    if job is None or job.execution is None or job.execution.succeeded is None:
        return None
    return CheckResult(name, job.execution.succeeded, job.execution.message)
