"""What both protocols share: one port, strict JSON, error bodies, faults at exact calls, the ledger."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
import pytest
from google.api_core import exceptions
from google.cloud import run_v2
from google.cloud.run_v2.services.jobs.transports import JobsGrpcAsyncIOTransport
from google.rpc import error_details_pb2, status_pb2

from agui_dev.testbed.images import SMALL_IMAGES
from agui_dev.testbed.local_cloud import LocalCloud

pytestmark = pytest.mark.contract

LOCALGCP_OPTIONS = ("--catalogue", str(SMALL_IMAGES), "--lro-seconds", "0")
TASK = "us-central1-docker.pkg.dev/demo/agui/task"
JOB: dict[str, Any] = {"template": {"template": {"containers": [{"image": f"{TASK}:v1"}], "max_retries": 0}}}


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def jobs(fresh_cloud: LocalCloud) -> AsyncIterator[run_v2.JobsAsyncClient]:
    async with grpc.aio.insecure_channel(fresh_cloud.address) as channel:
        yield run_v2.JobsAsyncClient(transport=JobsGrpcAsyncIOTransport(channel=channel))


async def create(jobs: run_v2.JobsAsyncClient, cloud: LocalCloud, job_id: str = "one", **options: Any) -> Any:
    request = run_v2.CreateJobRequest(parent=cloud.parent, job_id=job_id, job=JOB)
    return await jobs.create_job(request, **options)


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("jobs?jobId=one", {**JOB, "tempalte": {}}, "tempalte"),
        ("jobs?jobId=one", {"template": {"template": {"containers": [{"imagge": "x"}]}}}, "imagge"),
        ("jobs?jobId=one", {"template": {"taskCount": "many"}}, "taskCount"),
        ("jobs?jobId=one&dryRun=true", JOB, "dryRun"),
        ("jobs?jobId=One", JOB, "Job id 'One' is not valid"),
    ],
)
async def test_json_is_read_strictly(
    fresh_cloud: LocalCloud, http: aiohttp.ClientSession, path: str, body: Any, named: str
) -> None:
    async with http.post(f"{fresh_cloud.endpoint}/v2/{fresh_cloud.parent}/{path}", json=body) as response:
        error = (await response.json())["error"]
    assert (response.status, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert named in error["message"]
    assert fresh_cloud.ledger(kind="call")[-1]["code"] == "INVALID_ARGUMENT"


async def test_what_does_not_exist(fresh_cloud: LocalCloud, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{fresh_cloud.endpoint}/v2/{fresh_cloud.parent}/jobs/none") as response:
        assert (response.status, (await response.json())["error"]["status"]) == (404, "NOT_FOUND")
    async with http.get(f"{fresh_cloud.endpoint}/v9/nothing") as response:
        assert response.status == 404


async def test_grpc_errors_carry_their_details(fresh_cloud: LocalCloud) -> None:
    request = run_v2.CreateJobRequest.serialize(
        run_v2.CreateJobRequest(parent=fresh_cloud.parent, job_id="BAD", job=JOB)
    )
    async with grpc.aio.insecure_channel(fresh_cloud.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/google.cloud.run.v2.Jobs/CreateJob")(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    raw = dict(caught.value.trailing_metadata())["grpc-status-details-bin"]
    (detail,) = status_pb2.Status.FromString(raw).details
    bad = error_details_pb2.BadRequest()
    assert detail.Unpack(bad)
    assert bad.field_violations[0].field == "job_id"


async def test_unknown_methods(fresh_cloud: LocalCloud) -> None:
    async with grpc.aio.insecure_channel(fresh_cloud.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/google.cloud.run.v2.Builds/SubmitBuild")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_preface_in_pieces_is_still_http2(fresh_cloud: LocalCloud) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(fresh_cloud.endpoint.rpartition(":")[2]))
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # an empty SETTINGS frame
    for begin in range(0, len(preface), 5):
        writer.write(preface[begin : begin + 5])
        await writer.drain()
        await asyncio.sleep(0.02)
    frame = await asyncio.wait_for(reader.readexactly(9), 5)
    assert frame[3] == 4, "the server's first frame is SETTINGS"
    writer.close()
    await writer.wait_closed()


async def test_an_operation_without_duration_is_done_at_once(
    fresh_cloud: LocalCloud, jobs: run_v2.JobsAsyncClient
) -> None:
    operation = await create(jobs, fresh_cloud)
    assert operation.operation.done


async def test_a_fault_before_the_effect(fresh_cloud: LocalCloud, jobs: run_v2.JobsAsyncClient) -> None:
    fresh_cloud.fault(method="Jobs.CreateJob", code="UNAVAILABLE", message="try later", count=1)
    since = fresh_cloud.last
    with pytest.raises(exceptions.ServiceUnavailable, match="try later"):
        await create(jobs, fresh_cloud)
    assert fresh_cloud.effects(since) == []
    assert [entry["code"] for entry in fresh_cloud.ledger(since)] == ["UNAVAILABLE"]
    await create(jobs, fresh_cloud)


async def test_a_fault_after_the_effect(fresh_cloud: LocalCloud, jobs: run_v2.JobsAsyncClient) -> None:
    fresh_cloud.fault(method="*.CreateJob", when="after", code=503)
    since = fresh_cloud.last
    with pytest.raises(exceptions.ServiceUnavailable):
        await create(jobs, fresh_cloud)
    assert ("create", f"{fresh_cloud.parent}/jobs/one") in fresh_cloud.effects(since)
    with pytest.raises(exceptions.AlreadyExists):
        await create(jobs, fresh_cloud)


async def test_faults_pick_their_call(
    fresh_cloud: LocalCloud, jobs: run_v2.JobsAsyncClient, http: aiohttp.ClientSession
) -> None:
    fresh_cloud.fault(method="CreateJob", match="/jobs/two", code=429, skip=1, count=1)
    await create(jobs, fresh_cloud, "one")
    await create(jobs, fresh_cloud, "two")
    url = f"{fresh_cloud.endpoint}/v2/{fresh_cloud.parent}/jobs?jobId=two"
    async with http.post(url, json=JOB) as response:
        assert (response.status, (await response.json())["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
    async with http.post(url, json=JOB) as response:
        assert response.status == 409
    (rule,) = fresh_cloud.admin("faults")["faults"]
    assert rule["hits"] == 2


async def test_a_delay_is_a_deadline_for_the_caller(fresh_cloud: LocalCloud, jobs: run_v2.JobsAsyncClient) -> None:
    fresh_cloud.fault(method="GetJob", delay_ms=2000, count=0)
    await create(jobs, fresh_cloud)
    with pytest.raises(exceptions.DeadlineExceeded):
        await jobs.get_job(name=f"{fresh_cloud.parent}/jobs/one", timeout=0.3, retry=None)


def test_a_fault_can_kill_its_caller(fresh_cloud: LocalCloud) -> None:
    """The caller is killed after its write took effect: the write is there, nobody has the answer."""
    code = (
        "import json, sys, urllib.request as u\n"
        "sys.stdin.readline()\n"
        f"u.urlopen(u.Request(sys.argv[1], json.dumps({JOB!r}).encode(), {{'Content-Type': 'application/json'}}))\n"
    )
    url = f"{fresh_cloud.endpoint}/v2/{fresh_cloud.parent}/jobs?jobId=one"
    caller = subprocess.Popen([sys.executable, "-c", code, url], stdin=subprocess.PIPE)
    try:
        fresh_cloud.fault(method="CreateJob", when="after", kill_pid=caller.pid)
        caller.communicate(b"go\n", 20)
        assert caller.returncode == -signal.SIGKILL
    finally:
        caller.kill()
        caller.wait()
    assert fresh_cloud.call(f"/v2/{fresh_cloud.parent}/jobs/one")["generation"] == "1"


@pytest.mark.parametrize("rule", [{"colour": "red"}, {"when": "during"}, {"code": "SOMETIMES"}, {"count": "one"}])
async def test_a_wrong_fault_is_refused(fresh_cloud: LocalCloud, rule: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="INVALID_ARGUMENT"):
        fresh_cloud.fault(**rule)
    assert fresh_cloud.admin("faults") == {"faults": []}


async def test_the_ledger_tells_who_did_what(fresh_cloud: LocalCloud, jobs: run_v2.JobsAsyncClient) -> None:
    since = fresh_cloud.last
    await create(jobs, fresh_cloud, metadata=(("x-request-note", "n"),))
    await jobs.get_job(name=f"{fresh_cloud.parent}/jobs/one")
    effect, write, read = fresh_cloud.ledger(since)
    assert (effect["kind"], effect["effect"], effect["resource"]) == (
        "effect",
        "create",
        f"{fresh_cloud.parent}/jobs/one",
    )
    assert (write["method"], write["code"], write["write"]) == ("CreateJob", "OK", True)
    assert write["resource"] == f"{fresh_cloud.parent}/jobs/one"
    assert write["request_id"] == effect["request_id"]
    assert "gapic" in write["caller"]
    assert (read["method"], read["write"]) == ("GetJob", False)
    assert [entry["method"] for entry in fresh_cloud.ledger(since, kind="call", write="true")] == ["CreateJob"]
    lines = (fresh_cloud.state_dir / "ledger.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["seq"] == read["seq"]


async def test_the_registry_knows_a_tags_digest(fresh_cloud: LocalCloud, http: aiohttp.ClientSession) -> None:
    base = f"{fresh_cloud.endpoint}/v2/demo/agui/web/manifests"
    async with http.head(f"{base}/v1") as response:
        assert response.status == 200
        digest = response.headers["Docker-Content-Digest"]
    async with http.get(f"{base}/{digest}") as response:
        assert "sha256:" + hashlib.sha256(await response.read()).hexdigest() == digest
    async with http.head(f"{base}/v2") as response:
        assert response.headers["Docker-Content-Digest"] != digest
    async with http.head(f"{base}/same-as-v1") as response:
        assert response.headers["Docker-Content-Digest"] == digest
    async with http.get(f"{base}/v9") as response:
        assert (response.status, (await response.json())["errors"][0]["code"]) == (404, "MANIFEST_UNKNOWN")
    async with http.get(f"{fresh_cloud.endpoint}/v2/demo/agui/web/tags/list") as response:
        assert (await response.json())["tags"] == ["broken", "same-as-v1", "v1", "v2"]


def test_the_command_line_talks_to_a_running_cloud(fresh_cloud: LocalCloud) -> None:
    def localgcp(*words: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "LOCALGCP_ENDPOINT": fresh_cloud.endpoint}
        return subprocess.run(
            [sys.executable, "-m", "localgcp", *words],
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    assert json.loads(localgcp("status").stdout)["pid"] == fresh_cloud.pid
    localgcp("faults", "add", "--method", "Jobs.ListJobs", "--code", "UNAVAILABLE")
    assert json.loads(localgcp("faults").stdout)["faults"][0]["code"] == "UNAVAILABLE"
    with pytest.raises(AssertionError, match="503"):
        fresh_cloud.call(f"/v2/{fresh_cloud.parent}/jobs")
    (line,) = localgcp("ledger", "--method", "Jobs.ListJobs", "--limit", "1").stdout.splitlines()
    assert json.loads(line)["code"] == "UNAVAILABLE"
    assert localgcp("faults", "clear").returncode == 0
    assert localgcp("reset").returncode == 0
    refused = localgcp("faults", "add", "--code", "NEVER")
    assert refused.returncode == 1
    assert "neither a google.rpc.Code nor an HTTP status" in refused.stderr


def test_a_taken_port_and_a_wrong_catalogue_are_told(fresh_cloud: LocalCloud, tmp_path: Path) -> None:
    def serve(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "localgcp", "serve", "--state-dir", str(tmp_path / "state"), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    port = fresh_cloud.endpoint.rpartition(":")[2]
    taken = serve("--port", port, "--edge-port", "0")
    assert (taken.returncode, f"port {port}" in taken.stderr) == (1, True)
    catalogue = tmp_path / "images.yaml"
    catalogue.write_text("images: {repo: {v1: {comand: [x]}}}")
    wrong = serve("--port", "0", "--edge-port", "0", "--catalogue", str(catalogue))
    assert wrong.returncode == 1
    assert "repo:v1: unknown key `comand`" in wrong.stderr
