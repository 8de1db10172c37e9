"""Cloud Logging through Google's own clients: what containers on the local Cloud Run wrote, with the labels that Cloud
Run gives it, filtered, sorted and paged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc.aio
import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import logging_v2, run_v2
from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2AsyncClient
from google.cloud.logging_v2.services.logging_service_v2.transports import LoggingServiceV2GrpcAsyncIOTransport
from google.cloud.logging_v2.types import ListLogEntriesRequest
from google.cloud.run_v2.services.jobs.transports import JobsGrpcAsyncIOTransport
from google.longrunning import operations_pb2
from googleapiclient.discovery import build

from agui_dev.testbed.images import SMALL_IMAGES
from agui_dev.testbed.local_cloud import LocalCloud
from agui_operator.api.policy import Diagnostics
from agui_operator.core.names import Names
from agui_operator.core.words import Disclosure
from agui_operator.gcp.kinds.run import log as run_log
from agui_operator.gcp.transport.clients import CloudSettings, connect

pytestmark = pytest.mark.contract

LOCALGCP_OPTIONS = ("--catalogue", str(SMALL_IMAGES))
TASK = "us-central1-docker.pkg.dev/demo/agui/task"
PROJECT = ["projects/demo"]


class Clients:
    def __init__(self, cloud: LocalCloud, channel: Any) -> None:
        self.cloud = cloud
        self.jobs = run_v2.JobsAsyncClient(transport=JobsGrpcAsyncIOTransport(channel=channel))
        self.logging = LoggingServiceV2AsyncClient(transport=LoggingServiceV2GrpcAsyncIOTransport(channel=channel))

    async def execution(self, job: str, *args: str) -> str:
        """Runs a job of these arguments to its end; returns the execution's short name."""
        template = {"template": {"containers": [{"image": f"{TASK}:v1", "args": list(args)}], "max_retries": 0}}
        made = await self.jobs.create_job(parent=self.cloud.parent, job_id=job, job={"template": template})
        await made.result(timeout=20)
        operation = await self.jobs.run_job(name=f"{self.cloud.parent}/jobs/{job}")
        await self.jobs.wait_operation(operations_pb2.WaitOperationRequest(name=operation.operation.name))
        return str(operation.metadata.name.rpartition("/")[2])

    async def entries(self, **request: Any) -> list[logging_v2.types.LogEntry]:
        pager = await self.logging.list_log_entries(ListLogEntriesRequest(resource_names=PROJECT, **request))
        return [entry async for entry in pager]


@pytest.fixture
async def clients(fresh_cloud: LocalCloud) -> AsyncIterator[Clients]:
    async with grpc.aio.insecure_channel(fresh_cloud.address) as channel:
        yield Clients(fresh_cloud, channel)


async def test_a_tasks_output_has_the_labels_of_its_execution(clients: Clients) -> None:
    execution = await clients.execution("migrate", "exit", "3")
    await clients.execution("other", "exit", "0")
    found = await clients.entries(filter=f'labels."run.googleapis.com/execution_name"="{execution}"')
    assert found, "what the task wrote is a log entry"
    entry = found[0]
    assert entry.log_name == "projects/demo/logs/run.googleapis.com%2Fstdout"
    assert (entry.resource.type, dict(entry.resource.labels)) == (
        "cloud_run_job",
        {"project_id": "demo", "location": "us-central1", "job_name": "migrate"},
    )
    assert entry.labels["run.googleapis.com/task_index"] == "0"
    assert abs(datetime.now(UTC) - entry.timestamp) < timedelta(minutes=5)
    assert {e.labels["run.googleapis.com/execution_name"] for e in found} == {execution}
    assert len({e.insert_id for e in found}) == len(found)


async def test_entries_have_an_order_and_pages(clients: Clients) -> None:
    await clients.execution("migrate", "exit", "0")
    await clients.execution("other", "exit", "3")
    oldest = await clients.entries(page_size=2)
    newest = await clients.entries(order_by="timestamp desc", page_size=1)
    assert len(oldest) > 3
    assert [e.insert_id for e in newest] == [e.insert_id for e in reversed(oldest)]
    assert [e.timestamp for e in oldest] == sorted(e.timestamp for e in oldest)
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert await clients.entries(filter=f'timestamp>="{later}"') == []
    assert await clients.entries(filter=f'timestamp<"{later}" AND resource.labels.job_name="migrate"') != []


async def test_a_structured_line_is_a_structured_entry(clients: Clients) -> None:
    await clients.execution("migrate", "log", '{"severity": "ERROR", "message": "no column", "step": 2}')
    (entry,) = await clients.entries(filter="severity>=ERROR")
    assert (entry.severity.name, dict(entry.json_payload)) == ("ERROR", {"message": "no column", "step": 2})
    assert await clients.entries(filter='jsonPayload.message:"no column"') == [entry]
    assert await clients.entries(filter="severity>=CRITICAL") == []


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"order_by": "severity"}, exceptions.InvalidArgument),
        ({"filter": "nonsense="}, exceptions.InvalidArgument),
        ({"filter": "noField=1"}, exceptions.InvalidArgument),
        ({"filter": "timestamp>yesterday"}, exceptions.InvalidArgument),
        ({"page_token": "forged"}, exceptions.InvalidArgument),
        ({"page_size": -1}, exceptions.InvalidArgument),
        ({"resource_names": []}, exceptions.InvalidArgument),
        ({"resource_names": ["organizations/1"]}, exceptions.MethodNotImplemented),
    ],
)
async def test_what_is_refused(clients: Clients, request_: dict[str, Any], error: type[Exception]) -> None:
    await clients.execution("migrate", "exit", "0")
    with pytest.raises(error):
        await clients.logging.list_log_entries(ListLogEntriesRequest({"resource_names": PROJECT, **request_}))


async def test_the_discovery_client_reads_the_same_entries(clients: Clients) -> None:
    await clients.execution("migrate", "exit", "3")
    rest = build(
        "logging",
        "v2",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": f"{clients.cloud.endpoint}/"},
    )
    reply = await asyncio.to_thread(rest.entries().list(body={"resourceNames": PROJECT}).execute)
    listed = await clients.entries()
    assert [e["insertId"] for e in reply["entries"]] == [e.insert_id for e in listed]
    assert reply["entries"][0]["resource"]["type"] == "cloud_run_job"


async def test_the_operator_reads_the_last_lines_of_a_failed_job(clients: Clients) -> None:
    execution = await clients.execution("migrate", "log", "starting", "password=hunter2", "column email already exists")
    names = Names("shop", "web", "uid", "demo", "us-central1")
    cloud = await connect(CloudSettings(endpoint=clients.cloud.endpoint))
    try:
        lines = await run_log.last_lines(cloud, names, "migrate", execution)
        none = await run_log.last_lines(cloud, names, "other", execution)
    finally:
        await cloud.close()
    shown = lines.told(Disclosure(Diagnostics.LOG_LINES))
    assert shown.endswith("starting | password=*** | column email already exists")
    assert (str(lines), none.told(Disclosure(Diagnostics.LOG_LINES))) == ("(not shown)", "")
