"""Cloud Run messages reduced to what decisions need. Replies, operations and lists are all read by these functions.

Source: https://cloud.google.com/run/docs/reference/rpc/google.cloud.run.v2
"""

from __future__ import annotations

from dataclasses import replace
from enum import IntEnum
from typing import Any

from agui_operator.core.names import OWNER_LABEL
from agui_operator.core.snapshot import ExecutionView, JobView, ServiceView
from agui_operator.core.traffic import Target
from agui_operator.core.words import Words

LATEST = "LATEST"  # stands for "whatever is newest" in a Target; no revision can be called so
BY_LATEST, BY_REVISION = 1, 2  # run_v2.TrafficTargetAllocationType
_FAILED, _SUCCEEDED = 3, 4  # run_v2.Condition.State
# run_v2.ExecutionReference.CompletionStatus: succeeded, failed, cancelled
_COMPLETED = {1: True, 2: False, 5: False}
_RUNNING = (3, 4)
_CONSOLE = "https://console.cloud.google.com/logs/viewer"


def service_view(service: Any) -> ServiceView:
    """A run_v2.Service."""
    latest_ready = short(service.latest_ready_revision)
    return ServiceView(
        name=short(service.name),
        etag=service.etag,
        owner=service.labels.get(OWNER_LABEL, ""),
        uri=service.uri,
        traffic=tuple(_target(t, LATEST) for t in service.traffic),
        serving=tuple(_target(t, latest_ready) for t in service.traffic_statuses),
        tag_uris={t.tag: t.uri for t in service.traffic_statuses if t.tag and t.uri},
        template_revision=service.template.revision,
        latest_created=short(service.latest_created_revision),
        latest_ready=latest_ready,
        reconciling=_is_reconciling(service),
        ready=_verdict(service.terminal_condition),
        attested_by=_attested_by(service.binary_authorization),
        breakglass=bool(service.binary_authorization.breakglass_justification),
        **_why_not(service),
    )


def job_view(job: Any, execution: Any = None) -> JobView:
    """A run_v2.Job, with its newest execution where that was looked at. A job that can't be run (no such image or
    secret) shows as an execution that failed, because no execution will ever say so."""
    boxes = job.template.template.containers
    verdict = None if job.reconciling else _verdict(job.terminal_condition)
    seen = execution_view(execution, job.execution_count) if execution is not None else _referenced(job)
    if seen is None and verdict is False:
        failed = job.terminal_condition
        seen = ExecutionView("", False, _reason(failed), Words.of_workload(failed.message), count=0)
    return JobView(
        name=short(job.name),
        image=boxes[0].image if boxes else "",
        ready=verdict is True,
        execution=seen,
        owner=job.labels.get(OWNER_LABEL, ""),
    )


def execution_view(execution: Any, count: int = 1) -> ExecutionView:
    """A run_v2.Execution; `count` is how many the job has had."""
    completed = next((c for c in execution.conditions if c.type_ == "Completed"), None)
    succeeded = _verdict(completed) if completed is not None else None
    view = ExecutionView(short(execution.name), succeeded, count=max(count, 1))
    if completed is None or succeeded is not False:
        return view
    said = Words.of_workload(completed.message)
    return replace(view, reason=_reason(completed), said=said, log=_log(execution))


def task_ended(task: Any) -> str:
    """How the last attempt of a run_v2.Task ended; "" if it does not say so."""
    attempt = task.last_attempt_result
    if attempt.term_signal:
        return f"signal {attempt.term_signal} ended it (exit code {128 + attempt.term_signal})"
    return f"exit code {attempt.exit_code}" if attempt.exit_code else ""


def _log(execution: Any) -> str:
    """Where the log of an execution is: a link to the console, and a command."""
    name = str(execution.name)
    query = f'labels."run.googleapis.com/execution_name"="{short(name)}"'
    link = f"log: {execution.log_uri}; or: " if execution.log_uri else "log: "
    return f"{link}gcloud logging read '{query}' --project={_project(name)}"


def _revision_log(service: Any) -> str:
    """The same for a service's newest revision; the link is the one that the revision itself would give."""
    name, revision = str(service.name), short(service.latest_created_revision)
    if not revision:
        return ""
    project = _project(name)
    resource = f"cloud_run_revision/service_name/{short(name)}/revision_name/{revision}"
    link = f"{_CONSOLE}?project={project}&resource={resource}"
    query = f'resource.labels.revision_name="{revision}"'
    return f"log: {link}; or: gcloud logging read '{query}' --project={project}"


def _project(name: str) -> str:
    return name.removeprefix("projects/").partition("/")[0]


def says_enough(job: Any) -> bool:
    """True if a job itself says all about its newest execution: there is none, it runs, or it succeeded. Why one
    failed is said by the execution alone."""
    reference = job.latest_created_execution
    status = int(reference.completion_status)
    return not reference.name or status in _RUNNING or _COMPLETED.get(status) is True


def short(name: str) -> str:
    """The last part of a resource name."""
    return str(name).rpartition("/")[2]


def _attested_by(found: Any) -> str:
    return str(found.policy) or ("Default" if found.use_default else "")


def _referenced(job: Any) -> ExecutionView | None:
    """What the job itself says about its newest execution."""
    reference = job.latest_created_execution
    if not reference.name:
        return None
    succeeded = _COMPLETED.get(int(reference.completion_status))
    reason = "the execution failed; it is not there any more to say why" if succeeded is False else ""
    return ExecutionView(short(reference.name), succeeded, reason, count=max(job.execution_count, 1))


def _target(target: Any, latest: str) -> Target:
    revision = short(target.revision) if int(target.type_) == BY_REVISION else latest
    return Target(revision, target.percent, target.tag or None)


def _is_reconciling(service: Any) -> bool:
    """A generation that failed is never observed: `observed_generation` keeps that of the last serving revision
    (comment of `reconciling` in run_v2.Service)."""
    behind = service.observed_generation < service.generation
    return bool(service.reconciling) or (behind and _verdict(service.terminal_condition) is not False)


def _verdict(condition: Any) -> bool | None:
    return {_SUCCEEDED: True, _FAILED: False}.get(int(condition.state))


def _why_not(service: Any) -> dict[str, Any]:
    """Why the service is not ready: by the first failed condition, which is more specific than their summary."""
    summary = service.terminal_condition
    if _verdict(summary) is not False:
        return {}
    failed = next((c for c in service.conditions if _verdict(c) is False and c.message), summary)
    said = Words.of_workload(failed.message)
    return {"reason": _reason(failed) or _reason(summary), "said": said, "log": _revision_log(service)}


def _reason(condition: Any) -> str:
    """The code of a condition, one of Google's enums; "" if it has none, or one that is newer than the client."""
    for field in ("execution_reason", "revision_reason", "reason"):
        code = getattr(condition, field)
        if code and isinstance(code, IntEnum):
            return code.name
    return ""
