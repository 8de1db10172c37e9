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
from agui_operator.core.actions import Action
from agui_operator.core.analysis import Window, verdict
from agui_operator.core.blueprint import CANDIDATE, Blueprint
from agui_operator.core.environment import Place
from agui_operator.core.memory import Memory
from agui_operator.core.names import Names
from agui_operator.core.release import make_release
from agui_operator.core.rollout import RESTING, Phase
from agui_operator.core.snapshot import CheckResult, Finding, JobView, ServiceView, Snapshot
from agui_operator.core.turn import stage_of
from agui_operator.engine.desk import ALERTS, ASSETS, BACKUP, POINTER, SERVICE, Desk
from agui_operator.engine.feed import SILENT, Feed
from agui_operator.engine.wakeups import Wakeups
from agui_operator.gcp import (
    alert_policy,
    release_assets,
    resolve,
    run_job,
    run_service,
    sql_backup,
    timeseries,
    url_map,
)
from agui_operator.gcp.clients import Cloud
from agui_operator.gcp.inventory import Inventory

logger = logging.getLogger(__name__)

_SERVICE_PHASES = frozenset(
    {Phase.STAGING, Phase.SMOKING, Phase.PROGRESSING, Phase.PAUSED, Phase.PROMOTING, Phase.BAKING, Phase.ROLLING_BACK}
)
_POINTER_PHASES = frozenset({Phase.STAGING, Phase.PROMOTING, Phase.ROLLING_BACK})


@dataclass(frozen=True, slots=True)
class Subject:
    """The object that is looked at."""

    desk: Desk
    memory: Memory
    spec: AgUiDeploymentSpec | None
    names: Names
    place: Place
    plan: Blueprint | None


class Observer:
    """Fills snapshots. `alert_actions` keeps what the last look at the alert policies asked for."""

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

    def mistrust(self, names: Names) -> None:
        """The last list of services may not be used any more: a write met a fault, or the cloud was changed."""
        self._inventory.forget(names)

    async def look(self, subject: Subject, basic: Snapshot, *, drift: bool) -> tuple[Snapshot, tuple[Action, ...]]:
        """`basic` with what the phase needs added, and the alert policies' own plan where it is due. `drift`: a resting
        object is compared with the cloud."""
        memory, desk = subject.memory, subject.desk
        phase = memory.phase
        seen = basic
        if phase is Phase.RESOLVING:
            return await self._resolve(subject, seen), ()
        seen = await self._preparation(subject, seen)
        resting = phase in (Phase.HEALTHY, Phase.ROLLED_BACK)
        if phase in _SERVICE_PHASES or (resting and drift):
            service = await self._service(subject, again=resting)
            seen = replace(seen, service=service, service_known=True)
        if phase in _POINTER_PHASES or (drift and (resting or phase is Phase.FAILED)):
            seen = await self._pointer(subject, seen, again=phase in RESTING)
        stage = stage_of(memory)
        if stage is not None:
            seen = await self._checks(subject, seen, stage)
        await self._synthetic(subject)
        if phase in (Phase.PROGRESSING, Phase.PAUSED):
            seen = replace(seen, analysis=await self._analysis(subject))
        plan_alerts: tuple[Action, ...] = ()
        if self._alerts_due(memory, drift):
            seen, plan_alerts = await self._alerts(subject, seen, again=resting)
        return replace(seen, schema=desk.schema), plan_alerts

    async def _resolve(self, subject: Subject, seen: Snapshot) -> Snapshot:
        if subject.spec is None:
            return seen
        resolved = await resolve.resolve(self._cloud, subject.names, subject.spec, subject.place)
        return replace(seen, resolved=make_release(subject.spec, resolved))

    async def _preparation(self, subject: Subject, seen: Snapshot) -> Snapshot:
        desk, plan, phase = subject.desk, subject.plan, subject.memory.phase
        if plan is None:
            return seen
        if phase is Phase.BACKING_UP and plan.backup_instance is not None:
            if not desk.is_known(BACKUP):
                description = subject.names.backup_description(plan.release.id)
                desk.backup = await sql_backup.observe(self._cloud, subject.names, plan.backup_instance, description)
            return replace(seen, backup=desk.backup)
        if phase is Phase.MIGRATING and plan.migration is not None:
            return replace(seen, migration=await self._job(subject, plan.migration.job))
        if phase is Phase.PUBLISHING and plan.bundle is not None and plan.release.frontend is not None:
            if not desk.is_known(ASSETS):
                where = plan.assets_bucket, plan.release.frontend
                desk.assets = await release_assets.observe(self._cloud, *where, subject.names.uid)
                desk.keep(ASSETS)
            return replace(seen, assets_complete=desk.assets)
        return seen

    async def _job(self, subject: Subject, job: str) -> JobView | None:
        desk, view = subject.desk, f"job/{job}"
        if view in desk.pending:
            return desk.jobs.get(job)
        if job not in desk.jobs and subject.plan is not None and desk.born == subject.plan.release.id:
            return None
        have = desk.jobs.get(job)
        ended = have is not None and have.execution is not None and have.execution.succeeded is not None
        if view in desk.fresh and (ended or have is None or have.execution is None):
            return have
        desk.jobs[job] = await run_job.observe(self._cloud, subject.names, job)
        desk.keep(view)
        return desk.jobs[job]

    async def _service(self, subject: Subject, *, again: bool) -> ServiceView | None:
        desk = subject.desk
        if again and SERVICE not in desk.pending:
            await self._inventory.fresh(subject.names.project, subject.names.region, self._resync / 2)
            desk.service = self._inventory.service(subject.names)
            desk.keep(SERVICE)  # its etag guards the next write: a view that is old by then is refused and read again
            return desk.service
        if not desk.is_known(SERVICE):
            desk.service = await run_service.observe(self._cloud, subject.names)
            desk.keep(SERVICE, fresh=desk.service is None or not desk.service.reconciling)
        elif SERVICE in desk.pending and desk.service is not None:
            return replace(desk.service, reconciling=True)
        return desk.service

    async def _pointer(self, subject: Subject, seen: Snapshot, *, again: bool) -> Snapshot:
        desk = subject.desk
        if subject.place.edge is None:
            return replace(seen, pointer_known=True)
        if POINTER in desk.pending:
            return replace(seen, pointer_known=False)
        if again or POINTER not in desk.fresh:
            routing, _ = await url_map.observe(self._cloud, subject.names, subject.place)
            desk.pointer, desk.shown = routing.pointer, routing.candidate
            desk.keep(POINTER)
        return replace(seen, pointer=desk.pointer, shown=desk.shown, pointer_known=True)

    async def _checks(self, subject: Subject, seen: Snapshot, stage: str) -> Snapshot:
        """Starts the checks that have no verdict yet and collects those that ended."""
        desk, memory, plan = subject.desk, subject.memory, subject.plan
        if plan is None or desk.service is None:
            return seen
        results: dict[str, CheckResult] = {}
        jobs: dict[str, JobView | None] = {}
        for check in plan.checks(stage):
            if check.name in memory.verdicts:
                continue
            key = (plan.release.id, stage, check.name)
            if key in desk.results:
                results[check.name] = desk.results[key]
            elif (stage, check.name) in plan.check_jobs:
                jobs[check.name] = job = await self._job(subject, plan.check_jobs[stage, check.name].job)
                result = _job_result(check.name, job)
                if result is not None:
                    results[check.name] = result
            elif (target := self._target(subject, check, stage)) is not None:
                desk.spawn(desk.tasks, key, self._run(desk, key, check, target))
        if stage == CANDIDATE and desk.schema is None:
            self._ask_schema(subject)
        return replace(seen, checks=results, check_jobs=jobs)

    def _target(self, subject: Subject, check: SmokeCheck, stage: str) -> CheckTarget | None:
        plan, place, service = subject.plan, subject.place, subject.desk.service
        assert plan is not None
        assert service is not None
        tag = subject.names.tag(plan.release.id)
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

    async def _run(self, desk: Desk, key: tuple[str, str, str], check: SmokeCheck, target: CheckTarget) -> None:
        result = await run_check(check, target, self._guard)
        if result.passed is False:
            desk.failed_at = time.monotonic()
        desk.results[key] = result
        self._wakeups.ring(desk.uid)

    def _ask_schema(self, subject: Subject) -> None:
        desk, plan = subject.desk, subject.plan
        assert plan is not None
        origin = desk.service.tag_uris.get(subject.names.tag(plan.release.id)) if desk.service else None
        if origin is not None:
            key = (plan.release.id, CANDIDATE, "/version")
            if key not in desk.results:
                desk.spawn(desk.tasks, key, self._read_schema(desk, key, origin))

    async def _read_schema(self, desk: Desk, key: tuple[str, str, str], origin: str) -> None:
        audience = desk.service.uri if desk.service and not self._local else None
        desk.schema = await reported_schema(self._guard, origin, audience=audience)
        desk.results[key] = CheckResult("/version", desk.schema is not None)

    async def _analysis(self, subject: Subject) -> Finding | None:
        """Reads the time series once per interval, from the moment the step began."""
        desk, memory, plan = subject.desk, subject.memory, subject.plan
        if plan is None or plan.analysis is None or memory.since is None or memory.step >= len(plan.steps):
            return None
        if plan.steps[memory.step].analysis is None:
            return None
        now = self._clock()
        age = time.monotonic() - desk.analysed_at
        if (now - memory.since).total_seconds() < plan.analysis.interval or age < plan.analysis.interval * 0.9:
            return None
        stable = subject.names.revision(memory.stable.id) if memory.stable else None
        revisions = [plan.revision.revision, *([stable] if stable else [])]
        guardrails = any(limit.name == "guardrail-failure-rate" for limit in plan.analysis.limits)
        samples = await timeseries.read(self._cloud, subject.names, revisions, memory.since, now, guardrails=guardrails)
        desk.analysed_at = time.monotonic()
        window = Window(
            candidate=samples[plan.revision.revision],
            stable=samples[stable] if stable else None,
            min_samples=plan.analysis.min_samples,
            limits=plan.analysis.limits,
        )
        self._feed.measured(desk.uid, plan.release.id, now, window)
        return verdict(window)

    async def _synthetic(self, subject: Subject) -> None:
        """Conversations that fill a quiet canary, for as long as its steps last."""
        desk, plan, service, names = subject.desk, subject.plan, subject.desk.service, subject.names
        rate = plan.analysis.synthetic_per_minute if plan is not None and plan.analysis is not None else None
        wanted = subject.memory.phase in (Phase.PROGRESSING, Phase.PAUSED) and rate is not None
        if desk.synthetic is not None and not wanted:
            await desk.synthetic.stop()
            desk.synthetic = None
        if not wanted or desk.synthetic is not None or plan is None or service is None or rate is None:
            return
        releases = [r.id for r in (subject.memory.stable, subject.memory.candidate) if r is not None]
        audience = None if self._local else service.uri
        targets = [
            CheckTarget(origin=uri, public=False, release=release, audience=audience)
            for release in releases
            if (uri := service.tag_uris.get(names.tag(release)))
        ]
        desk.synthetic = SyntheticConversations(self._guard, plan.smoke, targets, rate)
        desk.synthetic.start()

    def _alerts_due(self, memory: Memory, drift: bool) -> bool:
        if memory.phase is Phase.BAKING:
            return True
        if memory.phase is Phase.ROLLING_BACK:
            return memory.cause is not None and memory.cause.phase in (Phase.BAKING, Phase.HEALTHY)
        return drift and memory.phase in (Phase.HEALTHY, Phase.ROLLED_BACK)

    async def _alerts(self, subject: Subject, seen: Snapshot, *, again: bool) -> tuple[Snapshot, tuple[Action, ...]]:
        desk, memory = subject.desk, subject.memory
        if ALERTS in desk.fresh and not again:
            return replace(seen, alerts_converged=True), ()
        release = memory.candidate if memory.phase is Phase.BAKING else memory.serving
        alerts = release.alerts if release is not None else {}
        want = alert_policy.desired(subject.names, subject.place, alerts, release.id if release else "")
        have = await alert_policy.observe(self._cloud, subject.names)
        actions = alert_policy.plan(want, have)
        if not actions:
            desk.keep(ALERTS)
        return replace(seen, alerts_converged=not actions), actions


def _job_result(name: str, job: JobView | None) -> CheckResult | None:
    if job is None or job.execution is None or job.execution.succeeded is None:
        return None
    return CheckResult(name, job.execution.succeeded, job.execution.message)
