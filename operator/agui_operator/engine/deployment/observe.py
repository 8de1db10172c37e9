"""Looks at what the phase needs, and at nothing else; changes nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from agui_operator.api.deployment import AgUiDeploymentSpec, SmokeCheck
from agui_operator.checks.guard import Guard
from agui_operator.checks.run import CheckTarget, reported_schema, run_check
from agui_operator.checks.synthetic import SyntheticConversations
from agui_operator.core.analysis import Window, verdict
from agui_operator.core.blueprint import CANDIDATE, Blueprint
from agui_operator.core.environment import Place
from agui_operator.core.looks import looks
from agui_operator.core.memory import Memory
from agui_operator.core.names import Names
from agui_operator.core.phases.case import stage_of
from agui_operator.core.release import make_release
from agui_operator.core.rollout import RESTING, Look, Phase
from agui_operator.core.snapshot import AlertView, CheckResult, Finding, JobView, ServiceView, Snapshot
from agui_operator.engine.cluster.feed import SILENT, Feed
from agui_operator.engine.cluster.wakeups import Wakeups
from agui_operator.engine.deployment.cache import ALERTS, ASSETS, BACKUP, POINTER, SERVICE, ObjectCache
from agui_operator.gcp.kinds.edge import url_map
from agui_operator.gcp.kinds.monitoring import alert_policy, timeseries
from agui_operator.gcp.kinds.run import job as run_job
from agui_operator.gcp.kinds.run import service as run_service
from agui_operator.gcp.kinds.run.inventory import Inventory
from agui_operator.gcp.kinds.sql import backup as sql_backup
from agui_operator.gcp.kinds.storage import release_assets
from agui_operator.gcp.pinning import resolve
from agui_operator.gcp.transport.clients import Cloud

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scope:
    """The object that is looked at."""

    cache: ObjectCache
    memory: Memory
    spec: AgUiDeploymentSpec | None
    names: Names
    place: Place
    plan: Blueprint | None


class Observer:
    """Fills snapshots."""

    def __init__(
        self,
        cloud: Cloud,
        guard: Guard,
        wakeups: Wakeups,
        clock: Callable[[], datetime],
        *,
        resync: float,
        local: bool,
        feed: Feed = SILENT,
    ) -> None:
        self._inventory, self._resync, self._local = Inventory(cloud), resync, local
        self._cloud, self._guard, self._wakeups, self._clock = cloud, guard, wakeups, clock
        self._feed = feed

    def invalidate(self, names: Names) -> None:
        """The last list of services may not be used any more: a write met a fault, or the cloud was changed."""
        self._inventory.forget(names)

    async def look(self, scope: Scope, basic: Snapshot, *, drift: bool) -> Snapshot:
        """`basic` with what the phase needs added. `drift`: a resting object is compared with the cloud."""
        memory = scope.memory
        wanted, again = looks(memory, drift=drift), memory.phase in RESTING
        if Look.RESOLUTION in wanted:
            return await self._resolve(scope, basic)
        seen = await self._preparation(scope, basic, wanted)
        if Look.SERVICE in wanted:
            service = await self._service(scope, again=again)
            seen = replace(seen, service=service, service_known=True)
        if Look.ROUTING in wanted:
            seen = await self._pointer(scope, seen, again=again)
        stage = stage_of(memory.phase)
        if stage is not None:
            seen = await self._checks(scope, seen, stage)
        await self._synthetic(scope)
        if Look.ANALYSIS in wanted:
            seen = replace(seen, analysis=await self._analysis(scope))
        if Look.ALERTS in wanted:
            seen = replace(seen, alerts=await self._alerts(scope, again=again))
        return replace(seen, schema=scope.cache.schema)

    async def _resolve(self, scope: Scope, seen: Snapshot) -> Snapshot:
        if scope.spec is None:
            return seen
        resolved = await resolve.resolve(self._cloud, scope.names, scope.spec, scope.place)
        return replace(seen, resolved=make_release(scope.spec, resolved))

    async def _preparation(self, scope: Scope, seen: Snapshot, wanted: frozenset[Look]) -> Snapshot:
        cache, plan = scope.cache, scope.plan
        if plan is None:
            return seen
        if Look.BACKUP in wanted and plan.backup_instance is not None:
            if not cache.is_known(BACKUP):
                description = scope.names.backup_description(plan.release.id)
                cache.backup = await sql_backup.observe(self._cloud, scope.names, plan.backup_instance, description)
            return replace(seen, backup=cache.backup)
        if Look.MIGRATION in wanted and plan.migration is not None:
            return replace(seen, migration=await self._job(scope, plan.migration.job))
        if Look.ASSETS in wanted and plan.bundle is not None and plan.release.frontend is not None:
            if not cache.is_known(ASSETS):
                where = plan.assets_bucket, plan.release.frontend
                cache.assets = await release_assets.observe(self._cloud, *where, scope.names.uid)
                cache.keep(ASSETS)
            return replace(seen, assets_complete=cache.assets)
        return seen

    async def _job(self, scope: Scope, job: str) -> JobView | None:
        cache, view = scope.cache, f"job/{job}"
        if view in cache.pending:
            return cache.jobs.get(job)
        if job not in cache.jobs and scope.plan is not None and cache.fresh_release == scope.plan.release.id:
            return None
        have = cache.jobs.get(job)
        ended = have is not None and have.execution is not None and have.execution.succeeded is not None
        if view in cache.fresh and (ended or have is None or have.execution is None):
            return have
        cache.jobs[job] = await run_job.observe(self._cloud, scope.names, job)
        cache.keep(view)
        return cache.jobs[job]

    async def _service(self, scope: Scope, *, again: bool) -> ServiceView | None:
        cache = scope.cache
        if again and SERVICE not in cache.pending:
            await self._inventory.fresh(scope.names.project, scope.names.region, self._resync / 2)
            cache.service = self._inventory.service(scope.names)
            cache.keep(SERVICE)  # its etag guards the next write: a view that is old by then is refused and read again
            return cache.service
        if not cache.is_known(SERVICE):
            cache.service = await run_service.observe(self._cloud, scope.names)
            cache.keep(SERVICE, fresh=cache.service is None or not cache.service.reconciling)
        elif SERVICE in cache.pending and cache.service is not None:
            return replace(cache.service, reconciling=True)
        return cache.service

    async def _pointer(self, scope: Scope, seen: Snapshot, *, again: bool) -> Snapshot:
        cache = scope.cache
        if scope.place.edge is None:
            return replace(seen, pointer_known=True)
        if POINTER in cache.pending:
            return replace(seen, pointer_known=False)
        if again or POINTER not in cache.fresh:
            routing, _ = await url_map.observe(self._cloud, scope.names, scope.place)
            cache.pointer, cache.candidate_pointer = routing.pointer, routing.candidate
            cache.keep(POINTER)
        return replace(seen, pointer=cache.pointer, candidate_pointer=cache.candidate_pointer, pointer_known=True)

    async def _checks(self, scope: Scope, seen: Snapshot, stage: str) -> Snapshot:
        """Starts the checks that have no verdict yet and collects those that ended."""
        cache, memory, plan = scope.cache, scope.memory, scope.plan
        if plan is None or cache.service is None:
            return seen
        results: dict[str, CheckResult] = {}
        jobs: dict[str, JobView | None] = {}
        for check in plan.checks(stage):
            if check.name in memory.verdicts:
                continue
            key = (plan.release.id, stage, check.name)
            if key in cache.results:
                results[check.name] = cache.results[key]
            elif (stage, check.name) in plan.check_jobs:
                jobs[check.name] = job = await self._job(scope, plan.check_jobs[stage, check.name].job)
                result = _job_result(check.name, job)
                if result is not None:
                    results[check.name] = result
            elif (target := self._target(scope, check, stage)) is not None:
                cache.spawn(cache.tasks, key, self._run(cache, key, check, target))
        if stage == CANDIDATE and cache.schema is None:
            self._ask_schema(scope)
        return replace(seen, checks=results, check_jobs=jobs)

    def _target(self, scope: Scope, check: SmokeCheck, stage: str) -> CheckTarget | None:
        plan, place, service = scope.plan, scope.place, scope.cache.service
        assert plan is not None
        assert service is not None
        tag = scope.names.tag(plan.release.id)
        backend = service.tag_uris.get(tag) if stage == CANDIDATE else service.uri
        origin = place.edge.origin if check.assets is not None and place.edge else backend
        if origin is None:
            return None
        return CheckTarget(
            origin=origin,
            public=stage != CANDIDATE,
            release=plan.release.id,
            runtime_url=plan.runtime_url,
            frontend=plan.release.frontend,
            by_name=plan.release.id if check.assets is not None and stage == CANDIDATE and place.edge else None,
            audience=service.uri if check.assets is None and not self._local else None,
        )

    async def _run(self, cache: ObjectCache, key: tuple[str, str, str], check: SmokeCheck, target: CheckTarget) -> None:
        result = await run_check(check, target, self._guard)
        if result.passed is False:
            cache.failed_at = time.monotonic()
        cache.results[key] = result
        self._wakeups.ring(cache.uid)

    def _ask_schema(self, scope: Scope) -> None:
        cache, plan = scope.cache, scope.plan
        assert plan is not None
        origin = cache.service.tag_uris.get(scope.names.tag(plan.release.id)) if cache.service else None
        if origin is not None:
            key = (plan.release.id, CANDIDATE, "/version")
            if key not in cache.results:
                cache.spawn(cache.tasks, key, self._read_schema(cache, key, origin))

    async def _read_schema(self, cache: ObjectCache, key: tuple[str, str, str], origin: str) -> None:
        audience = cache.service.uri if cache.service and not self._local else None
        cache.schema = await reported_schema(self._guard, origin, audience=audience)
        cache.results[key] = CheckResult("/version", cache.schema is not None)

    async def _analysis(self, scope: Scope) -> Finding | None:
        """Reads the time series once per interval, from the moment the step began."""
        cache, memory, plan = scope.cache, scope.memory, scope.plan
        if plan is None or plan.analysis is None or memory.since is None or memory.step >= len(plan.steps):
            return None
        if plan.steps[memory.step].analysis is None:
            return None
        now = self._clock()
        age = time.monotonic() - cache.analysed_at
        if (now - memory.since).total_seconds() < plan.analysis.interval or age < plan.analysis.interval * 0.9:
            return None
        stable = scope.names.revision(memory.stable.id) if memory.stable else None
        revisions = [plan.revision.revision, *([stable] if stable else [])]
        guardrails = any(limit.name == "guardrail-failure-rate" for limit in plan.analysis.limits)
        samples = await timeseries.read(self._cloud, scope.names, revisions, memory.since, now, guardrails=guardrails)
        cache.analysed_at = time.monotonic()
        window = Window(
            candidate=samples[plan.revision.revision],
            stable=samples[stable] if stable else None,
            min_samples=plan.analysis.min_samples,
            limits=plan.analysis.limits,
        )
        self._feed.measured(cache.uid, plan.release.id, now, window)
        return verdict(window)

    async def _synthetic(self, scope: Scope) -> None:
        """Conversations that fill a quiet canary, for as long as its steps last."""
        cache, plan, service, names = scope.cache, scope.plan, scope.cache.service, scope.names
        rate = plan.analysis.synthetic_per_minute if plan is not None and plan.analysis is not None else None
        wanted = scope.memory.phase in (Phase.PROGRESSING, Phase.PAUSED) and rate is not None
        if cache.synthetic is not None and not wanted:
            await cache.synthetic.stop()
            cache.synthetic = None
        if not wanted or cache.synthetic is not None or plan is None or service is None or rate is None:
            return
        releases = [r.id for r in (scope.memory.stable, scope.memory.candidate) if r is not None]
        audience = None if self._local else service.uri
        targets = [
            CheckTarget(origin=uri, public=False, release=release, audience=audience)
            for release in releases
            if (uri := service.tag_uris.get(names.tag(release)))
        ]
        cache.synthetic = SyntheticConversations(self._guard, plan.smoke, targets, rate)
        cache.synthetic.start()

    async def _alerts(self, scope: Scope, *, again: bool) -> tuple[AlertView, ...]:
        cache = scope.cache
        if again or ALERTS not in cache.fresh:
            cache.alerts = await alert_policy.observe(self._cloud, scope.names)
            cache.keep(ALERTS)
        return cache.alerts


def _job_result(name: str, job: JobView | None) -> CheckResult | None:
    if job is None or job.execution is None or job.execution.succeeded is None:
        return None
    return CheckResult(name, job.execution.succeeded, job.execution.message)
