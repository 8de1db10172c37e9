"""Before anything serves: resolve, back up, migrate, publish."""

from __future__ import annotations

from agui_operator.api.conditions import Reason
from agui_operator.core.actions import (
    AssetsPublished,
    BackupTaken,
    ExecutionStarted,
    JobDefined,
    JobTemplate,
)
from agui_operator.core.memory import Cause
from agui_operator.core.migrating import cancelled
from agui_operator.core.phases.case import Actions, Case, Happened, Logic, no_actions
from agui_operator.core.rollout import Event, Look
from agui_operator.core.snapshot import JobView

_DONE: Happened = (Event.SUCCEEDED, None)


def _resolved(case: Case) -> Happened | None:
    """The spec may have gone back, since the start, to what is stable or rejected: Pending decides what follows."""
    memory, seen = case.memory, case.seen
    stable, rejected, fingerprint = memory.stable, memory.rejected, seen.fingerprint
    serves = stable is not None and stable.fingerprint == fingerprint
    if fingerprint is None or serves or (rejected and rejected.covers(fingerprint, seen.procedure)):
        cause = Cause(Reason.SUPERSEDED, "the spec went back", memory.phase, case.now, rejects=False)
        return Event.SPEC_CHANGED, cause
    return None if seen.resolved is None else _DONE


def _backed_up(case: Case) -> Happened | None:
    backup = case.seen.backup
    if case.seen.left_running:
        return None
    if case.plan.backup_instance is None or (backup and backup.succeeded):
        return _DONE
    if backup and backup.succeeded is False:
        return case.fail(Reason.BACKUP_FAILED, f"Backup {backup.name} failed: {backup.said.told(case.seen.disclosure)}")
    return None


def _back_up(case: Case) -> Actions:
    if case.seen.left_running:
        return cancelled(case.seen.left_running)
    if case.plan.backup_instance is None or case.seen.backup is not None or Look.BACKUP in case.seen.failed:
        return ()
    return (BackupTaken(case.plan.backup_instance, case.names.backup_description(case.plan.release.id)),)


def _migrated(case: Case) -> Happened | None:
    execution = case.seen.migration.execution if case.seen.migration else None
    if case.plan.migration is None or (execution and execution.succeeded):
        return _DONE
    if execution and execution.succeeded is False:
        return case.fail(
            Reason.MIGRATION_FAILED, f'Job "{case.plan.migration.job}" failed: {execution.why(case.seen.disclosure)}'
        )
    return None


def _migrate(case: Case) -> Actions:
    if case.plan.migration is None or Look.MIGRATION in case.seen.failed:
        return ()
    return run_job(case.plan.migration, case.seen.migration)


def run_job(template: JobTemplate, job: JobView | None) -> Actions:
    """Define the job, then execute it once it is ready; () while it runs or has run."""
    if job is None:
        return (JobDefined(template),)
    return (ExecutionStarted(job.name),) if job.ready and job.execution is None else ()


def _published(case: Case) -> Happened | None:
    return _DONE if case.plan.bundle is None or case.seen.assets_complete else None


def publish(case: Case) -> Actions:
    plan = case.plan
    if plan.bundle is None or case.seen.assets_complete is not False or not plan.release.frontend:
        return ()
    return (AssetsPublished(plan.bundle, plan.release.frontend, plan.assets_bucket, plan.runtime_url),)


RESOLVING = Logic(_resolved, no_actions, planned=False)
BACKING_UP = Logic(_backed_up, _back_up)
MIGRATING = Logic(_migrated, _migrate)
PUBLISHING = Logic(_published, publish)
