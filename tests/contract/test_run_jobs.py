"""Cloud Run jobs through Google's gRPC aio client: an execution tells how its tasks ended, and what they printed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
from google.api_core import exceptions
from google.cloud import run_v2
from google.cloud.run_v2.services.executions.transports import ExecutionsGrpcAsyncIOTransport
from google.cloud.run_v2.services.jobs.transports import JobsGrpcAsyncIOTransport
from google.cloud.run_v2.services.tasks.transports import TasksGrpcAsyncIOTransport
from google.longrunning import operations_pb2

from agui_dev.testbed.images import SMALL_IMAGES
from agui_dev.testbed.local_cloud import LocalCloud

pytestmark = pytest.mark.contract

LOCALGCP_OPTIONS = ("--catalogue", str(SMALL_IMAGES))
TASK = "us-central1-docker.pkg.dev/demo/agui/task"
STATES = run_v2.Condition.State


class JobClients:
    def __init__(self, cloud: LocalCloud, channel: Any) -> None:
        self.cloud = cloud
        self.jobs = run_v2.JobsAsyncClient(transport=JobsGrpcAsyncIOTransport(channel=channel))
        self.executions = run_v2.ExecutionsAsyncClient(transport=ExecutionsGrpcAsyncIOTransport(channel=channel))
        self.tasks = run_v2.TasksAsyncClient(transport=TasksGrpcAsyncIOTransport(channel=channel))
        self.name = f"{cloud.parent}/jobs/migrate"

    async def create(self, *args: str, tag: str = "v1", retries: int = 0, **template: Any) -> run_v2.Job:
        container = {"image": f"{TASK}:{tag}", "args": list(args)}
        task = {"containers": [container], "max_retries": retries, "timeout": template.pop("timeout", "60s")}
        operation = await self.jobs.create_job(
            parent=self.cloud.parent, job_id="migrate", job={"template": {"template": task, **template}}
        )
        return await operation.result(timeout=60)

    async def run(self, **overrides: Any) -> run_v2.Execution:
        """Runs the job to its end and returns the execution, whether it succeeded or not."""
        operation = await self.jobs.run_job(run_v2.RunJobRequest(name=self.name, overrides=overrides or None))
        await self.done(operation)
        return await self.executions.get_execution(name=operation.metadata.name)

    async def done(self, operation: Any) -> Any:
        raw = await self.jobs.wait_operation(operations_pb2.WaitOperationRequest(name=operation.operation.name))
        ended = operations_pb2.Operation.FromString(raw)
        assert ended.done
        return ended

    async def started(self, name: str) -> None:
        for _ in range(500):
            if (await self.executions.get_execution(name=name)).start_time:
                return
            await asyncio.sleep(0.02)
        pytest.fail(f"{name} did not start")

    def log(self, execution: run_v2.Execution) -> dict[str, Any]:
        record: dict[str, Any] = self.cloud.admin(f"executions/{execution.name}/log")
        return record


@pytest.fixture
async def clients(fresh_cloud: LocalCloud) -> AsyncIterator[JobClients]:
    async with grpc.aio.insecure_channel(fresh_cloud.address) as channel:
        yield JobClients(fresh_cloud, channel)


async def outcome(clients: JobClients) -> str:
    """What the job itself says of its newest execution."""
    reference = (await clients.jobs.get_job(name=clients.name)).latest_created_execution
    assert bool(reference.completion_time) is (reference.completion_status.name != "EXECUTION_RUNNING")
    return reference.completion_status.name


def completed(resource: Any) -> Any:
    return next(c for c in resource.conditions if c.type_ == "Completed")


async def test_an_execution_that_succeeds(clients: JobClients) -> None:
    job = await clients.create("exit", "0")
    assert job.terminal_condition.state == STATES.CONDITION_SUCCEEDED
    execution = await clients.run()
    assert completed(execution).state == STATES.CONDITION_SUCCEEDED
    assert (execution.task_count, execution.succeeded_count, execution.failed_count) == (1, 1, 0)
    assert execution.completion_time >= execution.start_time
    assert execution.log_uri.startswith("https://console.cloud.google.com/logs/viewer?project=demo")
    job = await clients.jobs.get_job(name=clients.name)
    assert (job.execution_count, job.latest_created_execution.name) == (1, execution.name.rpartition("/")[2])
    assert await outcome(clients) == "EXECUTION_SUCCEEDED"


async def test_a_failure_carries_its_exit_code_and_last_lines(clients: JobClients) -> None:
    await clients.create("exit", "3", retries=2)
    operation = await clients.jobs.run_job(name=clients.name)
    ended = await clients.done(operation)
    assert ended.error.message.endswith("failed with message: The container exited with an error.")
    execution = await clients.executions.get_execution(name=operation.metadata.name)
    assert completed(execution).execution_reason == run_v2.Condition.ExecutionReason.NON_ZERO_EXIT_CODE
    assert (execution.failed_count, execution.retried_count) == (1, 2)
    (task,) = [task async for task in await clients.tasks.list_tasks(parent=execution.name)]
    assert task.last_attempt_result.exit_code == 3
    assert completed(task).message == "The container exited with an error."
    assert await outcome(clients) == "EXECUTION_FAILED"
    log = clients.log(execution)
    assert [attempt["exitCode"] for attempt in log["attempts"]] == [3, 3, 3]
    assert '"args": ["exit", "3"]' in log["lines"][-1]


async def test_a_retry_can_succeed(clients: JobClients) -> None:
    await clients.create("flaky", retries=1)
    execution = await clients.run()
    assert (execution.succeeded_count, execution.retried_count) == (1, 1)


async def test_overrides_hold_for_one_execution(clients: JobClients) -> None:
    await clients.create("exit", "1")
    env = [{"name": "GREETING", "value": "hello"}]
    execution = await clients.run(container_overrides=[{"args": ["exit", "0"], "env": env}])
    assert execution.succeeded_count == 1
    (line,) = clients.log(execution)["lines"]
    assert '"GREETING": "hello"' in line
    assert '"CLOUD_RUN_JOB": "migrate"' in line
    job = await clients.jobs.get_job(name=clients.name)
    assert list(job.template.template.containers[0].args) == ["exit", "1"]


async def test_tasks_run_beside_each_other(clients: JobClients) -> None:
    await clients.create("sleep", "0.5", task_count=3)
    execution = await clients.run()
    assert execution.succeeded_count == 3
    assert (execution.completion_time - execution.start_time).total_seconds() < 1.4
    tasks = [task async for task in await clients.tasks.list_tasks(parent=execution.name)]
    assert [task.index for task in tasks] == [0, 1, 2]


async def test_a_task_past_its_timeout_fails(clients: JobClients) -> None:
    await clients.create("sleep", "30", timeout="1s")
    execution = await clients.run()
    assert "The configured timeout was reached." in completed(execution).message


async def test_cancelling_ends_the_process(clients: JobClients) -> None:
    await clients.create("sleep", "60")
    operation = await clients.jobs.run_job(name=clients.name)
    name = operation.metadata.name
    await clients.started(name)
    assert await outcome(clients) == "EXECUTION_RUNNING"
    with pytest.raises(exceptions.FailedPrecondition, match="running executions"):
        await clients.jobs.delete_job(name=clients.name)
    cancelled = await (await clients.executions.cancel_execution(name=name)).result(timeout=60)
    assert completed(cancelled).execution_reason == run_v2.Condition.ExecutionReason.CANCELLED
    assert cancelled.cancelled_count == 1
    assert await outcome(clients) == "EXECUTION_CANCELLED"
    await (await clients.jobs.delete_job(name=clients.name)).result(timeout=60)
    with pytest.raises(exceptions.NotFound):
        await clients.executions.get_execution(name=name)


async def test_unknown_image_fails_the_job(clients: JobClients) -> None:
    with pytest.raises(exceptions.GoogleAPICallError, match=f"Image '{TASK}:v9' not found"):
        await clients.create("exit", "0", tag="v9")
    job = await clients.jobs.get_job(name=clients.name)
    assert job.terminal_condition.state == STATES.CONDITION_FAILED
    assert not job.reconciling


async def test_update_keeps_the_name_and_checks_the_etag(clients: JobClients) -> None:
    job = await clients.create("exit", "0")
    job.template.template.containers[0].args = ["exit", "5"]
    updated = await (await clients.jobs.update_job(job=job)).result(timeout=60)
    assert (updated.generation, updated.uid) == (2, job.uid)
    with pytest.raises(exceptions.Aborted):
        await clients.jobs.update_job(job=job)
    with pytest.raises(exceptions.AlreadyExists):
        await clients.create("exit", "0")


async def test_the_ledger_shows_one_start_per_execution(clients: JobClients) -> None:
    await clients.create("flaky", retries=1)
    since = clients.cloud.last
    execution = await clients.run()
    effects = clients.cloud.effects(since)
    assert effects == [("create", execution.name), ("start", execution.name), ("complete", execution.name)]


async def test_a_restart_ends_what_was_running(local_cloud: LocalCloud) -> None:
    local_cloud.reset()
    async with grpc.aio.insecure_channel(local_cloud.address) as channel:
        clients = JobClients(local_cloud, channel)
        await clients.create("sleep", "60")
        operation = await clients.jobs.run_job(name=clients.name)
        await clients.started(operation.metadata.name)
    await asyncio.to_thread(local_cloud.restart, kill=True)
    async with grpc.aio.insecure_channel(local_cloud.address) as channel:
        clients = JobClients(local_cloud, channel)
        ended = await clients.done(operation)
        assert "localgcp was restarted while this task was running" in ended.error.message
        execution = await clients.executions.get_execution(name=operation.metadata.name)
        assert (execution.failed_count, execution.reconciling) == (1, False)
