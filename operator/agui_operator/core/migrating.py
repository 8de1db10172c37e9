"""One migration at a time works on a database: before the next one begins, those of earlier releases have ended.

A rollout that was superseded, aborted or timed out while it migrated leaves an execution behind, which Cloud Run goes
on with. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from agui_operator.core.actions import ExecutionCancelled
from agui_operator.core.names import Names
from agui_operator.core.snapshot import JobView


def left_running(names: Names, jobs: Iterable[JobView], release: str) -> tuple[JobView, ...]:
    """Of the deployment's jobs, the migrations of other releases that have not ended."""
    own = names.migration_job(release)
    return tuple(job for job in jobs if job.name != own and names.is_migration(job.name) and is_running(job))


def is_running(job: JobView) -> bool:
    return job.execution is not None and job.execution.succeeded is None


def cancelled(jobs: Iterable[JobView]) -> tuple[ExecutionCancelled, ...]:
    """What ends them."""
    return tuple(ExecutionCancelled(job.name, job.execution.name) for job in jobs if job.execution is not None)
