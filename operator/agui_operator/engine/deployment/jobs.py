"""Looks at the Cloud Run jobs of a release: its migration, and the checks that run as jobs."""

from __future__ import annotations

from dataclasses import replace

from agui_operator.api.smoke import SmokeCheck
from agui_operator.core.rollout import Phase
from agui_operator.core.snapshot import CheckResult, JobView, Snapshot
from agui_operator.core.verdicts import check_digest, verdict_on
from agui_operator.core.words import Disclosure
from agui_operator.engine.deployment.cache import ObjectCache
from agui_operator.engine.deployment.scope import Scope
from agui_operator.engine.deployment.views import of_job
from agui_operator.gcp.kinds.run import job as run_job
from agui_operator.gcp.kinds.run import log as run_log
from agui_operator.gcp.transport.clients import Cloud


async def look(cloud: Cloud, scope: Scope, cache: ObjectCache, job: str) -> JobView | None:
    """The job with its newest execution, and of one that failed with its exit code and, where an AgUiPolicy permits
    it, its last lines. While the release has users, its verdict waits for neither. Raises CloudError."""
    found = await _found(cloud, scope, cache, job)
    execution = found.execution if found is not None else None
    if found is None or execution is None or execution.succeeded is not False or execution.explained:
        return found
    if scope.memory.phase is Phase.BAKING:
        return found
    execution = await run_job.explained(cloud, scope.names, job, execution)
    if scope.disclosure.log_lines and execution.name:
        lines = await run_log.last_lines(cloud, scope.names, job, execution.name)
        execution = replace(execution, lines=lines)
    found = replace(found, execution=execution)
    cache.views.put_job(job, found)
    return found


async def checks(cloud: Cloud, scope: Scope, cache: ObjectCache, seen: Snapshot, stage: str) -> Snapshot:
    """Checks that run as Cloud Run jobs: the jobs, and the results of those that ended. Raises CloudError."""
    blueprint = scope.blueprint
    if blueprint is None or cache.views.service is None:
        return seen
    results: dict[str, CheckResult] = {}
    jobs: dict[str, JobView | None] = {}
    for check in blueprint.checks(stage):
        known = verdict_on(scope.memory.verdicts, check) is not None
        if known or (stage, check.name) not in blueprint.check_jobs:
            continue
        jobs[check.name] = job = await look(cloud, scope, cache, blueprint.check_jobs[stage, check.name].job)
        result = _result(check, job, scope.disclosure)
        if result is not None:
            results[check.name] = result
    return replace(seen, checks=results, check_jobs=jobs)


async def _found(cloud: Cloud, scope: Scope, cache: ObjectCache, job: str) -> JobView | None:
    views, view = cache.views, of_job(job)
    if cache.is_awaited(view):
        return views.jobs.get(job)
    release = scope.blueprint.release.id if scope.blueprint is not None else None
    if job not in views.jobs and release is not None and views.fresh_release == release:
        return None
    have = views.jobs.get(job)
    ended = have is not None and have.execution is not None and have.execution.succeeded is not None
    if view in views.fresh and (ended or have is None or have.execution is None):
        return have
    found = await run_job.observe(cloud, scope.names, job)
    views.put_job(job, found)
    views.mark_fresh(view)
    return found


def _result(check: SmokeCheck, job: JobView | None, disclosure: Disclosure) -> CheckResult | None:
    if job is None or job.execution is None or job.execution.succeeded is None:
        return None
    return CheckResult(check.name, job.execution.succeeded, job.execution.why(disclosure), check=check_digest(check))
