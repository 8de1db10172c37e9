"""Cloud Run jobs: the API. The module `tasks` runs them.

Source: https://cloud.google.com/run/docs/reference/rpc/google.cloud.run.v2#jobs
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from localgcp.kit.errors import ApiError, aborted, already_exists, failed_precondition, invalid, not_found
from localgcp.kit.iam import Policies
from localgcp.kit.masks import apply_mask
from localgcp.kit.operations import Operation
from localgcp.kit.paging import proto_page
from localgcp.kit.store import ProtoTable, etag_of
from localgcp.services.run.attestation import check_image, check_setting
from localgcp.services.run.container import check_containers, set_container_defaults
from localgcp.services.run.names import PAGE, check_id, check_labels, location_of, normal_name, short
from localgcp.services.run.tasks import RUNS
from localgcp.services.run.types import (
    FAILED,
    GA,
    GEN2,
    RUN_RUNNING,
    SUCCEEDED,
    CommonReason,
    Job,
    ListJobsResponse,
    condition,
    now,
    set_conditions,
)

if TYPE_CHECKING:
    from localgcp.kit.call import Call
    from localgcp.kit.cloud import Cloud

_SETTABLE = (
    "labels",
    "annotations",
    "client",
    "client_version",
    "launch_stage",
    "binary_authorization",
    "template",
)


class Jobs:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._policies = Policies(cloud)
        self._table: ProtoTable[Any] = cloud.store.protos("run.jobs", Job)
        self._runs = cloud.part(RUNS)
        cloud.operations.resume("run.job", self._resume)
        cloud.operations.resume("run.job.delete", self._resume_drop)

    async def GetJob(self, request: Any, call: Call) -> Any:
        return self._found(request.name)

    async def ListJobs(self, request: Any, call: Call) -> Any:
        parent = location_of(request.parent, self._cloud.settings)
        found = self._table.values(f"{parent}/jobs/")
        jobs, token = proto_page(request, found, lambda job: (job.name,), PAGE)
        return ListJobsResponse(jobs=jobs, next_page_token=token)

    async def CreateJob(self, request: Any, call: Call) -> Any:
        parent = location_of(request.parent, self._cloud.settings)
        return await self._create(f"{parent}/jobs/{request.job_id}", request.job, request.validate_only, call)

    async def UpdateJob(self, request: Any, call: Call) -> Any:
        """Replaces all settable fields: this method has no update mask."""
        name = normal_name(request.job.name, self._cloud.settings, "jobs")
        before = self._table.get(name)
        if before is None:
            if request.allow_missing:
                return await self._create(name, request.job, request.validate_only, call)
            raise _missing(name)
        self._check_etag(before, request.job.etag)
        after = Job()
        after.CopyFrom(before)
        apply_mask(after, request.job, _SETTABLE)
        self._complete(after)
        if all(getattr(after, field) == getattr(before, field) for field in _SETTABLE):
            return self._done(before)
        after.generation += 1
        return await self._accept(after, "update", request.validate_only, call)

    async def DeleteJob(self, request: Any, call: Call) -> Any:
        job = self._found(request.name)
        self._check_etag(job, request.etag)
        if request.validate_only:
            return self._done(job)
        if self._runs.running(job.name):
            raise failed_precondition(
                f"Job '{short(job.name)}' cannot be deleted: it has running executions; cancel or delete them first."
            )
        operation = await self._cloud.operations.start(
            "run.job.delete", _parent(job.name), job.name, lambda _: self._drop(job.name, call), job
        )
        return operation.pb

    async def RunJob(self, request: Any, call: Call) -> Any:
        """Starts an execution with the job's template and the request's overrides; the operation ends with it."""
        job = self._found(request.name)
        self._check_etag(job, request.etag)
        execution = self._runs.prepare(job, request.overrides)
        parent = _parent(job.name)
        if request.validate_only:
            return self._cloud.operations.finished("run.execution", parent, execution.name, execution, execution).pb
        job.execution_count += 1
        job.latest_created_execution.Clear()
        job.latest_created_execution.name = short(execution.name)
        job.latest_created_execution.create_time.CopyFrom(execution.create_time)
        job.latest_created_execution.completion_status = RUN_RUNNING
        with self._cloud.store.transaction():
            self._runs.create(execution)
            self._save(job)
            operation = self._cloud.operations.begin(
                "run.execution", parent, execution.name, lambda op: self._runs.run(execution.name, op, call), execution
            )
        call.effect("create", execution.name, " ".join(execution.template.containers[0].args))
        return (await self._cloud.operations.settled(operation)).pb

    async def GetIamPolicy(self, request: Any, call: Call) -> Any:
        return self._policies.get(self._found(request.resource).name)

    async def SetIamPolicy(self, request: Any, call: Call) -> Any:
        return self._policies.set(self._found(request.resource).name, request.policy, call)

    async def TestIamPermissions(self, request: Any, call: Call) -> Any:
        self._found(request.resource)
        return self._policies.test(request.permissions)

    async def _create(self, name: str, wanted: Any, validate_only: bool, call: Call) -> Any:
        check_id(short(name), "Job", "job_id")
        if self._table.get(name) is not None:
            raise already_exists(f"Resource '{short(name)}' already exists.")
        job = Job(name=name, uid=str(uuid.uuid4()), generation=1, create_time=now(), creator=self._account())
        apply_mask(job, wanted, _SETTABLE)
        self._complete(job)
        return await self._accept(job, "create", validate_only, call)

    async def _accept(self, job: Any, effect: str, validate_only: bool, call: Call) -> Any:
        if validate_only:
            return self._done(job)
        job.update_time.CopyFrom(now())
        job.last_modifier = self._account()
        job.reconciling = True
        with self._cloud.store.transaction():
            self._save(job)
            operation = self._cloud.operations.begin("run.job", _parent(job.name), job.name, self._resume, job)
        call.effect(effect, job.name, f"generation {job.generation}")
        return (await self._cloud.operations.settled(operation)).pb

    async def _resume(self, operation: Any) -> Any:
        """A job is ready as soon as its image is known."""
        job = self._table.get(operation.target)
        if job is None:
            raise aborted(f"Job '{short(operation.target)}' was deleted meanwhile.")
        failure: ApiError | None = None
        reason = CommonReason.CONTAINER_MISSING
        try:
            image = self._cloud.catalogue.resolve(job.template.template.containers[0].image)
            reason = CommonReason.CONTAINER_IMAGE_UNAUTHORIZED
            check_image(self._cloud.settings, job.binary_authorization, image)
            ready = condition("Ready", SUCCEEDED)
        except ApiError as error:
            failure = error
            ready = condition("Ready", FAILED, error.message, reason=reason)
        job.reconciling, job.observed_generation = False, job.generation
        job.terminal_condition.CopyFrom(ready)
        set_conditions(job, [condition("ResourcesAvailable", SUCCEEDED if failure is None else FAILED)])
        self._save(job)
        if failure is not None:
            raise failure
        return job

    async def _resume_drop(self, operation: Operation) -> Any:
        if self._table.get(operation.target) is None:
            return operation.about(Job())
        return await self._drop(operation.target, None)

    async def _drop(self, name: str, call: Call | None) -> Any:
        job = self._found(name)
        with self._cloud.store.transaction():
            self._runs.forget(name)
            self._table.delete(name)
        job.delete_time.CopyFrom(now())
        if call is not None:
            call.effect("delete", name)
        return job

    def _complete(self, job: Any) -> None:
        """Validates the desired state and fills in Cloud Run's defaults. Raises ApiError INVALID_ARGUMENT."""
        check_labels(job, "")
        check_labels(job.template, "template.")
        execution, task = job.template, job.template.template
        set_container_defaults(check_containers(task, "template.template."))
        if execution.task_count < 0 or execution.parallelism < 0:
            raise invalid("template: task_count and parallelism must not be negative", "template")
        execution.task_count = execution.task_count or 1
        if execution.parallelism > execution.task_count:
            raise invalid("template.parallelism must not be greater than template.task_count", "template.parallelism")
        if not task.HasField("timeout"):
            task.timeout.FromSeconds(600)
        if not 1 <= task.timeout.ToSeconds() <= 7 * 86400:
            raise invalid("template.template.timeout must be between 1 second and 7 days", "template.template.timeout")
        if task.WhichOneof("retries") is None:
            task.max_retries = 3
        if not 0 <= task.max_retries <= 10:
            raise invalid("template.template.max_retries must be between 0 and 10", "template.template.max_retries")
        task.execution_environment = task.execution_environment or GEN2
        number = self._cloud.settings.number_of(job.name.split("/")[1])
        task.service_account = task.service_account or f"{number}-compute@developer.gserviceaccount.com"
        check_setting(job.binary_authorization)
        job.launch_stage = job.launch_stage or GA

    def _save(self, job: Any) -> None:
        job.etag = f'"{etag_of(job.uid, self._table.version(job.name) + 1)}"'
        self._table.put(job.name, job)

    def _done(self, job: Any) -> Any:
        return self._cloud.operations.finished("run.job", _parent(job.name), job.name, job, job).pb

    def _found(self, name: str) -> Any:
        job = self._table.get(normal_name(name, self._cloud.settings, "jobs"))
        if job is None:
            raise _missing(name)
        return job

    def _check_etag(self, job: Any, etag: str) -> None:
        if etag and etag != job.etag:
            raise aborted(
                f"Conflict for resource '{short(job.name)}': version '{etag}' was specified but current version is "
                f"'{job.etag}'."
            )

    def _account(self) -> str:
        return f"local@{self._cloud.settings.project}.iam.gserviceaccount.com"


def _missing(name: str) -> Exception:
    return not_found(f"Resource '{short(name)}' of kind 'JOB' in region '{name.split('/')[3]}' does not exist.")


def _parent(name: str) -> str:
    return name.partition("/jobs/")[0]
