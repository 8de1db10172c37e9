"""Runs executions of jobs: tasks in parallel, attempts in a row, and the status of each.

Each attempt is a process. The last output of an execution is kept with it, because a migration that failed
is understood from its last lines.
Source: https://cloud.google.com/run/docs/reference/rpc/google.cloud.run.v2#executions
"""

from __future__ import annotations

import asyncio
import random
import string
import uuid
from typing import TYPE_CHECKING, Any

import grpc

from localgcp.kit.call import Call
from localgcp.kit.errors import ApiError, invalid, unimplemented
from localgcp.kit.interfaces import RUNTIME, RevisionProcess, StartFailed, TaskResult, Workload
from localgcp.kit.service import Slot
from localgcp.kit.store import ProtoTable, etag_of
from localgcp.services.run.container import check_containers, environment
from localgcp.services.run.names import project_and_location, short
from localgcp.services.run.types import (
    FAILED,
    PENDING,
    RECONCILING,
    RUN_CANCELLED,
    RUN_FAILED,
    RUN_SUCCEEDED,
    SUCCEEDED,
    Execution,
    ExecutionReason,
    ExecutionTemplate,
    Job,
    Task,
    condition,
    condition_of,
    now,
    set_conditions,
)

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

_EXITED = "The container exited with an error."
_TIMED_OUT = "The configured timeout was reached."
_CANCELLED = "Execution was cancelled."
_TAIL_LINES = 20


class Runs:
    """Executions and tasks; one object per cloud, shared by the Jobs, Executions and Tasks APIs."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.executions: ProtoTable[Any] = cloud.store.protos("run.executions", Execution)
        self._jobs: ProtoTable[Any] = cloud.store.protos("run.jobs", Job)
        self.tasks: ProtoTable[Any] = cloud.store.protos("run.tasks", Task)
        self._logs = cloud.store.json("run.execution_logs")
        self._cancelled: set[str] = set()
        cloud.operations.resume("run.execution", self._interrupted)

    def prepare(self, job: Any, overrides: Any) -> Any:
        """An execution as a job's template and the overrides ask for. Raises ApiError INVALID_ARGUMENT."""
        template = ExecutionTemplate()
        template.CopyFrom(job.template)
        task = template.template
        if overrides.task_count:
            template.task_count = overrides.task_count
        if overrides.HasField("timeout"):
            task.timeout.CopyFrom(overrides.timeout)
        if len(overrides.container_overrides) > 1:
            raise invalid("overrides.container_overrides: the job has one container", "overrides")
        for override in overrides.container_overrides:
            _override_container(task.containers[0], override)
        check_containers(task, "template.template.")
        suffix = "".join(random.choices(string.ascii_lowercase + string.digits, k=5))
        name = f"{job.name}/executions/{short(job.name)}-{suffix}"
        project, location = project_and_location(name)
        execution = Execution(
            name=name,
            uid=str(uuid.uuid4()),
            creator=job.last_modifier,
            generation=1,
            labels=template.labels,
            annotations=template.annotations,
            create_time=now(),
            update_time=now(),
            launch_stage=job.launch_stage,
            job=short(job.name),
            parallelism=template.parallelism,
            task_count=template.task_count,
            template=task,
            reconciling=True,
            log_uri=f"https://console.cloud.google.com/logs/viewer?project={project}&resource=cloud_run_job/"
            f"job_name/{short(job.name)}/location/{location}/execution_name/{short(name)}",
        )
        set_conditions(execution, [condition("Completed", RECONCILING), condition("Started", RECONCILING)])
        return execution

    def create(self, execution: Any) -> None:
        """Stores an execution and its tasks."""
        self.save(execution)
        for index in range(execution.task_count):
            task = Task(
                name=f"{execution.name}/tasks/{short(execution.name)}-task{index}",
                uid=str(uuid.uuid4()),
                generation=1,
                create_time=now(),
                job=execution.job,
                execution=short(execution.name),
                containers=execution.template.containers,
                volumes=execution.template.volumes,
                max_retries=execution.template.max_retries,
                timeout=execution.template.timeout,
                service_account=execution.template.service_account,
                index=index,
                reconciling=True,
                log_uri=execution.log_uri,
            )
            set_conditions(task, [condition("Completed", PENDING)])
            self._save_task(task)

    async def run(self, name: str, operation: Any, call: Call) -> Any:
        """Runs all tasks to their end and returns the execution. Raises ApiError when it did not succeed."""
        execution = self.executions.get(name)
        if execution is None or name in self._cancelled:
            return self._end(name, operation, call)
        execution.start_time.CopyFrom(now())
        started = [condition("Completed", RECONCILING), condition("Started", SUCCEEDED)]
        set_conditions(execution, [*started, condition("ResourcesAvailable", SUCCEEDED)])
        self.save(execution)
        self._cloud.operations.note(operation, execution)
        try:
            spec = await self._spec(execution)
        except ApiError as error:
            for task in self.tasks.values(f"{name}/tasks/"):
                self._end_task(task, -1, error.message)
            return self._end(name, operation, call)
        call.effect("start", name, " ".join([*(spec.command or spec.image.command), *spec.args]))
        limit = asyncio.Semaphore(execution.parallelism or execution.task_count)
        await asyncio.gather(*(self._run_task(execution, index, spec, limit) for index in range(execution.task_count)))
        return self._end(name, operation, call)

    async def cancel(self, name: str) -> None:
        self._cancelled.add(name)
        await self._cloud.part(RUNTIME).cancel_tasks(Workload.of(name))

    def running(self, job_name: str) -> bool:
        return any(execution.reconciling for execution in self.executions.values(f"{job_name}/executions/"))

    def forget(self, prefix: str) -> None:
        """Removes the executions, tasks and logs below a job or of one execution."""
        with self._cloud.store.transaction():
            for table in (self.executions, self.tasks, self._logs):
                for key, _ in list(table.items(prefix)):
                    if key == prefix or key.startswith(f"{prefix}/"):
                        table.delete(key)

    async def reset(self) -> None:
        for execution in self.executions.values():
            if execution.reconciling:
                await self.cancel(execution.name)
        self._cancelled.clear()

    def save(self, execution: Any) -> None:
        execution.update_time.CopyFrom(now())
        execution.etag = f'"{etag_of(execution.uid, self.executions.version(execution.name) + 1)}"'
        self.executions.put(execution.name, execution)

    async def _run_task(self, execution: Any, index: int, spec: RevisionProcess, limit: asyncio.Semaphore) -> None:
        name = f"{execution.name}/tasks/{short(execution.name)}-task{index}"
        async with limit:
            for attempt in range(execution.template.max_retries + 1):
                task = self.tasks.get(name)
                if task is None or execution.name in self._cancelled:
                    return
                if attempt == 0:
                    task.scheduled_time.CopyFrom(now())
                    task.start_time.CopyFrom(now())
                task.retried = attempt
                set_conditions(task, [condition("Completed", RECONCILING), condition("Started", SUCCEEDED)])
                self._save_task(task)
                result = await self._attempt(execution, index, attempt, spec)
                self._keep_log(execution.name, index, attempt, result)
                if execution.name in self._cancelled or self.tasks.get(name) is None:
                    return
                if result.exit_code == 0:
                    self._end_task(task, 0, "")
                    return
                timeout = execution.template.timeout.ToTimedelta().total_seconds()
                self._end_task(task, result.exit_code, _TIMED_OUT if result.seconds >= timeout else _EXITED)

    async def _attempt(self, execution: Any, index: int, attempt: int, spec: RevisionProcess) -> TaskResult:
        env = {
            "CLOUD_RUN_JOB": execution.job,
            "CLOUD_RUN_EXECUTION": short(execution.name),
            "CLOUD_RUN_TASK_INDEX": str(index),
            "CLOUD_RUN_TASK_ATTEMPT": str(attempt),
            "CLOUD_RUN_TASK_COUNT": str(execution.task_count),
        }
        try:
            return await self._cloud.part(RUNTIME).run_task(spec, env, spec.timeout)
        except StartFailed as error:
            return TaskResult(exit_code=127, tail=(str(error),), seconds=0.0)

    async def _spec(self, execution: Any) -> RevisionProcess:
        container = execution.template.containers[0]
        image = self._cloud.catalogue.resolve(container.image)
        project, location = project_and_location(execution.name)
        return RevisionProcess(
            revision=short(execution.name),
            service=execution.job,
            project=project,
            location=location,
            image=image,
            command=tuple(container.command),
            args=tuple(container.args),
            env=await environment(self._cloud, project, execution.template, image, "spec.template.spec.template.spec."),
            timeout=execution.template.timeout.ToTimedelta().total_seconds(),
        )

    def _end_task(self, task: Any, exit_code: int, message: str) -> None:
        task.reconciling, task.observed_generation = False, task.generation
        task.completion_time.CopyFrom(now())
        attempt = task.last_attempt_result
        attempt.Clear()
        attempt.status.SetInParent()
        if exit_code == 0 and not message:
            set_conditions(task, [condition("Completed", SUCCEEDED), condition("Started", SUCCEEDED)])
        else:
            if exit_code < 0:
                attempt.term_signal = -exit_code
            attempt.exit_code = exit_code if exit_code >= 0 else 128 - exit_code
            attempt.status.code, attempt.status.message = 2, message
            reason = ExecutionReason.NON_ZERO_EXIT_CODE
            set_conditions(task, [condition("Completed", FAILED, message, execution_reason=reason)])
        self._save_task(task)

    def _end(self, name: str, operation: Any, call: Call) -> Any:
        """Counts what the tasks did and closes the execution."""
        execution = self.executions.get(name)
        if execution is None:
            raise ApiError(grpc.StatusCode.ABORTED, f"Execution '{short(name)}' was deleted meanwhile.")
        tasks = self.tasks.values(f"{name}/tasks/")
        if name in self._cancelled:
            self._cancel_tasks(tasks)
        states = [condition_of(task, "Completed") for task in tasks]
        cancelled = ExecutionReason.CANCELLED
        execution.succeeded_count = sum(state.state == SUCCEEDED for state in states)
        execution.cancelled_count = sum(state.execution_reason == cancelled for state in states)
        execution.failed_count = sum(state.state == FAILED for state in states) - execution.cancelled_count
        execution.retried_count = sum(task.retried for task in tasks)
        execution.running_count = 0
        execution.reconciling, execution.observed_generation = False, execution.generation
        execution.completion_time.CopyFrom(now())
        completed, failure = _completed(execution, tasks)
        set_conditions(
            execution, [completed, condition("Started", SUCCEEDED), condition("ResourcesAvailable", SUCCEEDED)]
        )
        self.save(execution)
        self._tell_job(execution)
        self._cloud.operations.note(operation, execution)
        call.effect("complete" if failure is None else "fail", name, completed.message)
        self._cancelled.discard(name)
        if failure is not None:
            raise failure
        return execution

    def _tell_job(self, execution: Any) -> None:
        """The job's reference to its newest execution says how that ended. It changes neither generation nor etag."""
        job = self._jobs.get(execution.name.partition("/executions/")[0])
        if job is None or job.latest_created_execution.name != short(execution.name):
            return
        reference = job.latest_created_execution
        reference.completion_time.CopyFrom(execution.completion_time)
        failed = RUN_CANCELLED if execution.cancelled_count else RUN_FAILED
        reference.completion_status = RUN_SUCCEEDED if execution.succeeded_count == execution.task_count else failed
        self._jobs.put(job.name, job)

    def _cancel_tasks(self, tasks: list[Any]) -> None:
        for task in tasks:
            if task.reconciling:
                task.reconciling = False
                reason = ExecutionReason.CANCELLED
                set_conditions(task, [condition("Completed", FAILED, _CANCELLED, execution_reason=reason)])
                self._save_task(task)

    async def _interrupted(self, operation: Any) -> Any:
        """After a restart of localgcp: the processes are gone, so the execution has failed, or was cancelled if
        that was requested."""
        for other in self._cloud.operations.list(target=operation.target):
            if other.kind == "run.execution.cancel" and not other.done:
                self._cancelled.add(operation.target)
        for task in self.tasks.values(f"{operation.target}/tasks/"):
            if task.reconciling and operation.target not in self._cancelled:
                self._end_task(task, -9, "localgcp was restarted while this task was running.")
        call = Call("google.cloud.run.v2.Jobs", "RunJob", {}, self._cloud.ledger, "localgcp")
        return self._end(operation.target, operation, call)

    def _save_task(self, task: Any) -> None:
        task.update_time.CopyFrom(now())
        task.etag = f'"{etag_of(task.uid, self.tasks.version(task.name) + 1)}"'
        self.tasks.put(task.name, task)

    def _keep_log(self, name: str, index: int, attempt: int, result: TaskResult) -> None:
        record = self._logs.get(name) or {"execution": short(name), "attempts": []}
        record["attempts"].append(
            {
                "task": index,
                "attempt": attempt,
                "exitCode": result.exit_code,
                "seconds": round(result.seconds, 3),
                "lines": list(result.tail[-_TAIL_LINES:]),
            }
        )
        record["lines"] = record["attempts"][-1]["lines"]
        self._logs.put(name, record)


RUNS: Slot[Runs] = Slot("run.runs")


def _completed(execution: Any, tasks: list[Any]) -> tuple[Any, ApiError | None]:
    """The execution's Completed condition and, unless it succeeded, the error that its operation ends with."""
    if execution.succeeded_count == execution.task_count:
        return condition("Completed", SUCCEEDED), None
    if execution.cancelled_count:
        done = condition("Completed", FAILED, _CANCELLED, execution_reason=ExecutionReason.CANCELLED)
        return done, ApiError(grpc.StatusCode.CANCELLED, _CANCELLED)
    failed = next(task for task in tasks if condition_of(task, "Completed").state == FAILED)
    text = f"Task {short(failed.name)} failed with message: {condition_of(failed, 'Completed').message}"
    done = condition("Completed", FAILED, text, execution_reason=ExecutionReason.NON_ZERO_EXIT_CODE)
    return done, ApiError(grpc.StatusCode.UNKNOWN, text)


def _override_container(container: Any, override: Any) -> None:
    if override.name and container.name and override.name != container.name:
        raise invalid(f"overrides: the job has no container '{override.name}'", "overrides.container_overrides[0].name")
    if override.clear_args and override.args:
        raise invalid("overrides: args and clear_args exclude each other", "overrides.container_overrides[0]")
    if override.clear_args or override.args:
        del container.args[:]
        container.args.extend(override.args)
    for variable in override.env:
        if variable.WhichOneof("values") == "value_source":
            raise unimplemented("overrides.env: only literal values can be overridden")
        present = next((known for known in container.env if known.name == variable.name), None)
        (present if present is not None else container.env.add()).CopyFrom(variable)
