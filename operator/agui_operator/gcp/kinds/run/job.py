"""Jobs: migrations and checks. One job per release and purpose, executed once, never retried by Cloud Run itself.

Source: https://cloud.google.com/run/docs/reference/rpc/google.cloud.run.v2#jobs
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agui_operator.core.actions import ExecutionCancelled, ExecutionStarted, JobDefined, JobDeleted, JobTemplate
from agui_operator.core.errors import CloudError
from agui_operator.core.names import OWNER_LABEL, RELEASE_LABEL, Names
from agui_operator.core.ownership import owned as owned_by
from agui_operator.core.snapshot import ExecutionView, JobView
from agui_operator.gcp.kinds.run import containers
from agui_operator.gcp.transport import operations
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.outcome import Outcome
from agui_operator.gcp.transport.paging import pages
from agui_operator.gcp.transport.run_views import execution_view, says_enough, short, task_ended
from agui_operator.gcp.transport.run_views import job_view as view_of

__all__ = ["apply", "desired", "execution_view", "observe", "owned", "view_of"]

JOB = "Cloud Run job"
_PAGE = 500
_TASKS = 10


async def observe(cloud: Cloud, names: Names, job: str) -> JobView | None:
    """The job with its newest execution: one call, and a second one when the job does not say how it ended. Raises
    NotOwned, CloudError."""
    from google.cloud import run_v2

    path = names.job_path(job)
    try:
        found = await cloud.rpc("Jobs.GetJob", run_v2.GetJobRequest(name=path), path)
    except CloudError as error:
        if error.code == 404:
            return None
        raise
    if found.delete_time:
        return None
    view = owned_by(names, JOB, view_of(found))
    if says_enough(found):
        return view
    execution = short(found.latest_created_execution.name)
    return view_of(found, await _execution(cloud, f"{path}/executions/{execution}"))


async def explained(cloud: Cloud, names: Names, job: str, execution: ExecutionView) -> ExecutionView:
    """A failed execution with the exit code of its task: one call, and none more where that fails."""
    from google.cloud import run_v2

    told = replace(execution, explained=True)
    if not execution.name:
        return told  # it never ran
    path = f"{names.job_path(job)}/executions/{execution.name}"
    try:
        reply = await cloud.rpc("Tasks.ListTasks", run_v2.ListTasksRequest(parent=path, page_size=_TASKS), path)
    except CloudError:
        return told
    ended = next((text for task in reply.tasks if (text := task_ended(task))), "")
    return replace(told, ended=ended)


async def owned(cloud: Cloud, names: Names) -> list[JobView]:
    """Every job of the region that carries the deployment's owner label, whatever it is called; one call for each 500
    jobs of the region. Raises CloudError."""
    from google.cloud import run_v2

    request = run_v2.ListJobsRequest(parent=names.parent, page_size=_PAGE)
    found: list[JobView] = []
    async for page in pages(cloud, "Jobs.ListJobs", request, names.parent):
        found += [view_of(j) for j in page.jobs if names.owns(j.labels.get(OWNER_LABEL, "")) and not j.delete_time]
    return found


async def apply(
    cloud: Cloud,
    names: Names,
    action: JobDefined | ExecutionStarted | ExecutionCancelled | JobDeleted,
    have: JobView | None,
    attested_by: str = "",
) -> Outcome:
    """Creates, runs or deletes the job, or ends its execution. An execution is started only if fewer than `attempt`
    exist. `attested_by`: the Binary Authorization that a new job's image is checked with. Raises NotOwned,
    CloudError."""
    match action:
        case JobDefined(template=template):
            return await _define(cloud, names, template, have, attested_by)
        case ExecutionStarted():
            return await _start(cloud, names, action, have)
        case ExecutionCancelled():
            return await _cancel(cloud, names, action)
        case JobDeleted(job=job):
            return await _delete(cloud, names, job, have)


async def take_over(cloud: Cloud, names: Names, label: str) -> None:
    """Gives every job that carries this owner label the deployment's own. Raises CloudError."""
    from google.cloud import run_v2

    request = run_v2.ListJobsRequest(parent=names.parent, page_size=_PAGE)
    found: list[Any] = []
    async for page in pages(cloud, "Jobs.ListJobs", request, names.parent):
        found += [j for j in page.jobs if j.labels.get(OWNER_LABEL) == label and not j.delete_time]
    for job in found:
        job.labels = {**job.labels, **names.labels}
        update = run_v2.UpdateJobRequest(job=job)
        outcome = _outcome(await cloud.rpc("Jobs.UpdateJob", update, job.name, write=True))
        if outcome.operation is not None:
            await operations.finish(cloud, outcome.operation)


def desired(template: JobTemplate, names: Names, attested_by: str = "") -> Any:
    """The run_v2.Job of a release, as it is sent."""
    from google.cloud import run_v2

    box = template.container
    labels = {**names.labels, RELEASE_LABEL: template.release}
    resources = run_v2.ResourceRequirements(limits=containers.limits(box))
    task = run_v2.TaskTemplate(
        containers=[containers.container(box, template.release, resources=resources)],
        volumes=containers.volumes(box),
        max_retries=0,
        timeout={"seconds": box.timeout},
        service_account=box.service_account,
    )
    execution = run_v2.ExecutionTemplate(labels=labels, task_count=1, parallelism=1, template=task)
    checked = containers.binary_authorization(attested_by)
    return run_v2.Job(labels=labels, template=execution, binary_authorization=checked)


async def _define(cloud: Cloud, names: Names, template: JobTemplate, have: JobView | None, attested_by: str) -> Outcome:
    from google.cloud import run_v2

    if have is not None:
        return Outcome(None, owned_by(names, JOB, have))  # the name holds the release, so its template is this one
    path = names.job_path(template.job)
    job = desired(template, names, attested_by)
    request = run_v2.CreateJobRequest(parent=names.parent, job=job, job_id=template.job)
    try:
        operation = await cloud.rpc("Jobs.CreateJob", request, path, write=True)
    except CloudError as error:
        found = await observe(cloud, names, template.job) if error.code == 409 else None
        if found is None:
            raise
        return Outcome(None, found)
    return _outcome(operation)


async def _start(cloud: Cloud, names: Names, action: ExecutionStarted, have: JobView | None) -> Outcome:
    from google.cloud import run_v2

    have = have or await observe(cloud, names, action.job)
    path = names.job_path(action.job)
    if have is None:
        raise CloudError(404, f"job {action.job} does not exist", method="Jobs.RunJob", resource=path)
    owned_by(names, JOB, have)
    if have.execution is not None and have.execution.count >= action.attempt:
        return Outcome(None, have)
    request = run_v2.RunJobRequest(name=path)
    if action.args:
        request.overrides = {"container_overrides": [{"args": list(action.args)}]}
    return _outcome(await cloud.rpc("Jobs.RunJob", request, path, write=True))


async def _cancel(cloud: Cloud, names: Names, action: ExecutionCancelled) -> Outcome:
    """An execution that is gone, or has ended by now, needs no cancelling."""
    from google.cloud import run_v2

    path = f"{names.job_path(action.job)}/executions/{action.execution}"
    try:
        operation = await cloud.rpc(
            "Executions.CancelExecution", run_v2.CancelExecutionRequest(name=path), path, write=True
        )
    except CloudError as error:
        if error.code == 404 or error.status == "FAILED_PRECONDITION":
            return Outcome()
        raise
    return Outcome(None if operation.done else operation.name)


async def _delete(cloud: Cloud, names: Names, job: str, have: JobView | None) -> Outcome:
    from google.cloud import run_v2

    path = names.job_path(job)
    have = have or await observe(cloud, names, job)
    if have is None:
        return Outcome()
    owned_by(names, JOB, have)
    try:
        operation = await cloud.rpc("Jobs.DeleteJob", run_v2.DeleteJobRequest(name=path), path, write=True)
    except CloudError as error:
        if error.code == 404:
            return Outcome()
        raise
    return Outcome(None if operation.done else operation.name)


async def _execution(cloud: Cloud, path: str) -> Any | None:
    from google.cloud import run_v2

    try:
        return await cloud.rpc("Executions.GetExecution", run_v2.GetExecutionRequest(name=path), path)
    except CloudError as error:
        if error.code == 404:  # deleted by hand; the count on the job still tells that it was
            return None
        raise


def _outcome(operation: Any) -> Outcome:
    if not operation.done:
        return Outcome(operation.name, operations.started_view(operation))
    result = operations.result_of(operation)
    if result.error is not None:
        raise result.error
    return Outcome(None, result.view)
