"""Cloud Run executions and tasks: the API to watch, cancel and delete what a job has run.

Source: https://cloud.google.com/run/docs/reference/rpc/google.cloud.run.v2#executions
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from localgcp.kit.errors import aborted, failed_precondition, not_found
from localgcp.kit.operations import Operation
from localgcp.kit.paging import proto_page
from localgcp.services.run.names import PAGE, location_of, newest_first, normal_name, short
from localgcp.services.run.tasks import RUNS
from localgcp.services.run.types import Execution, ListExecutionsResponse, ListTasksResponse, now

if TYPE_CHECKING:
    from localgcp.kit.call import Call
    from localgcp.kit.cloud import Cloud

_END_SECONDS = 15.0  # until a cancelled process has been killed for certain


class Executions:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._runs = cloud.part(RUNS)
        cloud.operations.resume("run.execution.cancel", self._resume_cancel)
        cloud.operations.resume("run.execution.delete", self._resume_drop)

    async def GetExecution(self, request: Any, call: Call) -> Any:
        return self._found(request.name)

    async def ListExecutions(self, request: Any, call: Call) -> Any:
        """Newest first; the job "-" means all jobs of the location."""
        parent = f"{location_of(request.parent, self._cloud.settings)}/jobs/{short(request.parent)}"
        prefix = parent.removesuffix("-") if parent.endswith("/jobs/-") else f"{parent}/executions/"
        found = self._runs.executions.values(prefix)
        executions, token = proto_page(request, found, newest_first, PAGE)
        return ListExecutionsResponse(executions=executions, next_page_token=token)

    async def CancelExecution(self, request: Any, call: Call) -> Any:
        execution = self._checked(request)
        if not execution.reconciling:
            raise failed_precondition(f"Execution '{short(execution.name)}' cannot be cancelled: it has completed.")
        if request.validate_only:
            return self._done("run.execution.cancel", execution)

        async def work(operation: Any) -> Any:
            await self._runs.cancel(execution.name)
            call.effect("cancel", execution.name)
            return await self._ended(execution.name)

        operation = await self._cloud.operations.start(
            "run.execution.cancel", _parent(execution.name), execution.name, work, execution
        )
        return operation.pb

    async def DeleteExecution(self, request: Any, call: Call) -> Any:
        execution = self._checked(request)
        if request.validate_only:
            return self._done("run.execution.delete", execution)

        async def work(operation: Any) -> Any:
            return await self._drop(execution.name, call)

        operation = await self._cloud.operations.start(
            "run.execution.delete", _parent(execution.name), execution.name, work, execution
        )
        return operation.pb

    async def _drop(self, name: str, call: Call | None) -> Any:
        execution = self._found(name)
        if execution.reconciling:
            await self._runs.cancel(name)
            execution = await self._ended(name)
        self._runs.forget(name)
        execution.delete_time.CopyFrom(now())
        if call is not None:
            call.effect("delete", name)
        return execution

    async def _resume_drop(self, operation: Operation) -> Any:
        if self._runs.executions.get(operation.target) is None:
            return operation.about(Execution())
        return await self._drop(operation.target, None)

    async def _resume_cancel(self, operation: Any) -> Any:
        return await self._ended(operation.target)

    async def _ended(self, name: str) -> Any:
        """The execution once its own operation has ended."""
        for operation in self._cloud.operations.list(target=name):
            if operation.kind == "run.execution" and not operation.done:
                await self._cloud.operations.wait(operation.name, _END_SECONDS)
        return self._found(name)

    def _checked(self, request: Any) -> Any:
        execution = self._found(request.name)
        if request.etag and request.etag != execution.etag:
            raise aborted(f"Conflict for resource '{short(execution.name)}': the etag does not match.")
        return execution

    def _done(self, kind: str, execution: Any) -> Any:
        parent = _parent(execution.name)
        return self._cloud.operations.finished(kind, parent, execution.name, execution, execution).pb

    def _found(self, name: str) -> Any:
        execution = self._runs.executions.get(normal_name(name, self._cloud.settings, "jobs", "executions"))
        if execution is None:
            raise not_found(f"Resource '{short(name)}' of kind 'EXECUTION' does not exist.")
        return execution


class Tasks:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._runs = cloud.part(RUNS)

    async def GetTask(self, request: Any, call: Call) -> Any:
        task = self._runs.tasks.get(normal_name(request.name, self._cloud.settings, "jobs", "executions", "tasks"))
        if task is None:
            raise not_found(f"Resource '{short(request.name)}' of kind 'TASK' does not exist.")
        return task

    async def ListTasks(self, request: Any, call: Call) -> Any:
        """By index; "-" as the execution or the job means all."""
        parent = location_of(request.parent, self._cloud.settings)
        parts = request.parent.split("/")[4:]
        job, execution = parts[1] if len(parts) > 1 else "-", parts[3] if len(parts) > 3 else "-"
        found = [
            task
            for task in self._runs.tasks.values(f"{parent}/jobs/")
            if job in ("-", task.job) and execution in ("-", task.execution)
        ]
        tasks, token = proto_page(request, found, lambda task: (task.execution, task.index, task.name), PAGE)
        return ListTasksResponse(tasks=tasks, next_page_token=token)


def _parent(name: str) -> str:
    return name.partition("/jobs/")[0]
