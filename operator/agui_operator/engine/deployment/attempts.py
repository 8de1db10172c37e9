"""Attempts that the cloud knows of, whatever became of the status: it may be lost, or of an older time."""

from __future__ import annotations

from agui_operator.core.migrating import left_running
from agui_operator.engine.deployment.cache import ObjectCache
from agui_operator.engine.deployment.scope import Scope
from agui_operator.engine.deployment.views import LEFT_RUNNING
from agui_operator.gcp.kinds.run import collect
from agui_operator.gcp.kinds.run import job as run_job
from agui_operator.gcp.transport.clients import Cloud


async def look(cloud: Cloud, scope: Scope, cache: ObjectCache) -> tuple[str, ...]:
    """Releases that have a revision or a migration job. The list of jobs also tells whether a migration still runs, so
    that it is not asked for again. Raises CloudError."""
    names = scope.names
    revisions = await collect.attempted(cloud, names)
    jobs = await run_job.owned(cloud, names)
    if not left_running(names, jobs, ""):
        cache.views.mark_fresh(LEFT_RUNNING)
    migrated = {job.name.removeprefix(names.migration_job("")) for job in jobs if names.is_migration(job.name)}
    return tuple(sorted(migrated | {one.release for one in revisions}))
