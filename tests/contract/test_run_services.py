"""Cloud Run services through Google's gRPC aio client: rollouts as an operator does them, and what the API refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import grpc.aio
import pytest
from google.api_core import exceptions
from google.cloud import run_v2
from google.longrunning import operations_pb2

from agui_dev.testbed.images import SMALL_IMAGES
from agui_dev.testbed.local_cloud import LocalCloud
from run_client import STATES, WEB, Run, host_of, served, service, share, template

pytestmark = pytest.mark.contract

LOCALGCP_OPTIONS = ("--catalogue", str(SMALL_IMAGES))
LATEST = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST


@pytest.fixture
async def run(fresh_cloud: LocalCloud) -> AsyncIterator[Run]:
    async with grpc.aio.insecure_channel(fresh_cloud.address) as channel:
        yield Run(fresh_cloud, channel)


async def test_first_deploy_serves_all_traffic(run: Run) -> None:
    created = await run.create(revision="web-a")
    assert created.terminal_condition.state == STATES.CONDITION_SUCCEEDED
    assert created.latest_ready_revision == created.latest_created_revision == f"{run.name}/revisions/web-a"
    assert (created.generation, created.observed_generation, created.reconciling) == (1, 1, False)
    assert [(t.type_, t.percent, t.revision) for t in created.traffic_statuses] == [(LATEST, 100, "")]
    assert (await served(run.cloud, host_of(created.uri)))["revision"] == "web-a"
    revision = await run.revisions.get_revision(name=created.latest_ready_revision)
    assert revision.containers[0].image.startswith(f"{WEB}@sha256:")
    assert {c.type_: c.state for c in revision.conditions}["Active"] == STATES.CONDITION_SUCCEEDED


async def test_state_while_reconciling(run: Run) -> None:
    operation = await run.services.create_service(
        parent=run.cloud.parent, service_id="web", service=service(revision="web-a")
    )
    seen = await run.get()
    assert (seen.reconciling, seen.generation, seen.observed_generation) == (True, 1, 0)
    assert seen.terminal_condition.state == STATES.CONDITION_RECONCILING
    assert operation.metadata.name == run.name
    await run.ended(operation)


async def test_staged_then_shifted_then_taken_back(run: Run) -> None:
    await run.create(revision="web-a")
    staged = await run.update(
        service("v2", "web-b", traffic=[share("web-a", 100), share("web-b", 0, "next")]), "template,traffic"
    )
    tagged = {t.tag: t for t in staged.traffic_statuses}["next"]
    assert tagged.uri == staged.uri.replace("http://", "http://next---")
    assert (await served(run.cloud, host_of(staged.uri)))["revision"] == "web-a"
    assert (await served(run.cloud, host_of(tagged.uri)))["revision"] == "web-b"

    split = await run.update({"traffic": [share("web-a", 50), share("web-b", 50, "next")]}, "traffic")
    assert split.template.revision == "web-b"
    seen = {(await served(run.cloud, host_of(split.uri)))["revision"] for _ in range(40)}
    assert seen == {"web-a", "web-b"}

    back = await run.update({"traffic": [share("web-a", 100)]}, "traffic")
    assert {(await served(run.cloud, host_of(back.uri)))["revision"] for _ in range(10)} == {"web-a"}
    retired = await run.revisions.get_revision(name=f"{run.name}/revisions/web-b")
    active = {c.type_: c for c in retired.conditions}["Active"]
    assert (active.state, active.severity) == (STATES.CONDITION_FAILED, run_v2.Condition.Severity.INFO)


async def test_broken_revision_leaves_traffic_where_it_was(run: Run) -> None:
    await run.create(revision="web-a", traffic=[share("web-a", 100)])
    with pytest.raises(exceptions.FailedPrecondition, match="'web-bad' is not ready and cannot serve traffic"):
        await run.update(
            service("broken", "web-bad", traffic=[share("web-a", 100), share("web-bad", 0, "next")]), "template,traffic"
        )
    seen = await run.get()
    assert seen.terminal_condition.state == STATES.CONDITION_FAILED
    assert (seen.reconciling, seen.generation, seen.observed_generation) == (False, 2, 1)  # as run_v2.Service says
    assert seen.latest_ready_revision.endswith("/web-a")
    assert seen.latest_created_revision.endswith("/web-bad")
    assert [(t.revision, t.percent, t.tag) for t in seen.traffic_statuses] == [("web-a", 100, "")]
    assert (await served(run.cloud, host_of(seen.uri)))["revision"] == "web-a"
    restored = await run.update({"traffic": [share("web-a", 100)]}, "traffic")
    assert {c.type_: c.state for c in restored.conditions}["RoutesReady"] == STATES.CONDITION_SUCCEEDED
    fixed = await run.update(service("v2", "web-b", traffic=[share("web-b", 100)]), "template,traffic")
    assert fixed.terminal_condition.state == STATES.CONDITION_SUCCEEDED


async def test_unknown_image_is_told_by_the_operation(run: Run) -> None:
    with pytest.raises(exceptions.NotFound, match=f"Image '{WEB}:v9' not found"):
        await run.create("v9", revision="web-a")
    assert (await run.get()).terminal_condition.state == STATES.CONDITION_FAILED


async def test_traffic_to_a_missing_revision_fails_and_moves_nothing(run: Run) -> None:
    await run.create(revision="web-a")
    with pytest.raises(exceptions.InternalServerError, match="'web-x' does not exist or is deleted"):
        await run.update({"traffic": [share("web-x", 100)]}, "traffic")
    seen = await run.get()
    assert [(t.type_, t.percent) for t in seen.traffic_statuses] == [(LATEST, 100)]
    assert (await served(run.cloud, host_of(seen.uri)))["revision"] == "web-a"


REFUSED = [
    pytest.param({"traffic": [share("web-a", 60), share("web-b", 30)]}, "must sum to 100, got 90", id="traffic-sum"),
    pytest.param({"traffic": [share("web-a", 100, "t"), share("web-a", 0, "t")]}, "used twice", id="tag-twice"),
    pytest.param({"traffic": [share("", 100)]}, "needs a revision|LATEST", id="no-revision"),
    pytest.param({"template": template(revision="shop-1")}, "must begin with 'web-'", id="revision-name"),
    pytest.param({"template": {"containers": []}}, "at least one container", id="no-container"),
    pytest.param(
        {"template": {"containers": [{"image": f"{WEB}:v1", "env": [{"name": "K_SERVICE", "value": "x"}]}]}},
        "reserved env names were provided: K_SERVICE",
        id="reserved-env",
    ),
    pytest.param(
        {"template": template(scaling={"min_instance_count": 5, "max_instance_count": 2})},
        "min_instance_count",
        id="min",
    ),
    pytest.param({"template": template(timeout="7200s")}, "between 1 and 3600", id="timeout"),
    pytest.param({"labels": {"run.googleapis.com/x": "y"}}, "reserved namespace", id="label"),
]


@pytest.mark.parametrize(("wanted", "message"), REFUSED)
async def test_refused(run: Run, wanted: dict[str, Any], message: str) -> None:
    await run.create(revision="web-a")
    before, since = await run.get(), run.cloud.last
    with pytest.raises(exceptions.InvalidArgument, match=message):
        await run.update(wanted, ",".join(wanted))
    assert await run.get() == before
    assert run.cloud.effects(since) == []


async def test_stale_etag_is_aborted_and_fresh_one_passes(run: Run) -> None:
    created = await run.create(revision="web-a")
    updated = await run.update({"labels": {"team": "a"}, "etag": created.etag}, "labels")
    assert updated.etag != created.etag
    with pytest.raises(exceptions.Aborted, match="Conflict for resource 'web'"):
        await run.update({"labels": {"team": "b"}, "etag": created.etag}, "labels")
    assert (await run.get()).labels == {"team": "a"}


async def test_revision_name_cannot_be_used_for_another_template(run: Run) -> None:
    await run.create(revision="web-a")
    with pytest.raises(exceptions.AlreadyExists, match="'web-a' with different configuration already exists"):
        await run.update(service("v2", "web-a"), "template")
    same = await run.update(service("v1", "web-a"), "template")
    assert same.generation == 1


async def test_a_mask_leaves_the_rest_alone(run: Run) -> None:
    await run.create(revision="web-a", labels={"team": "a"}, description="first")
    updated = await run.update({"description": "second", "labels": {"team": "b"}}, "description")
    assert (updated.description, dict(updated.labels)) == ("second", {"team": "a"})
    assert updated.latest_created_revision.endswith("/web-a")
    whole = await run.update({**service("v1", "web-a"), "description": "third"})
    assert (whole.description, dict(whole.labels)) == ("third", {})
    with pytest.raises(exceptions.InvalidArgument, match="field 'nonsense' does not exist"):
        await run.update({}, "nonsense")


async def test_a_later_update_takes_over(run: Run) -> None:
    await run.create(revision="web-a")
    requests = [
        run_v2.UpdateServiceRequest(
            service={"name": run.name, **service("v2", f"web-{letter}")}, update_mask={"paths": ["template"]}
        )
        for letter in "bc"
    ]
    first = await run.services.update_service(requests[0])
    second = await run.services.update_service(requests[1])
    with pytest.raises(exceptions.Aborted, match="updated meanwhile"):
        await run.ended(first)
    assert (await run.ended(second)).latest_ready_revision.endswith("/web-c")


async def test_validate_only_changes_nothing(run: Run) -> None:
    request = run_v2.CreateServiceRequest(
        parent=run.cloud.parent, service_id="web", service=service(), validate_only=True
    )
    operation = await run.services.create_service(request)
    assert operation.operation.done
    with pytest.raises(exceptions.NotFound):
        await run.get()
    assert run.cloud.effects(since=run.cloud.last) == []


async def test_list_by_pages_and_delete(run: Run) -> None:
    for service_id in ("web", "web2", "web3"):
        await run.create(service_id=service_id)
    pager = await run.services.list_services(run_v2.ListServicesRequest(parent=run.cloud.parent, page_size=2))
    assert [s.name.rpartition("/")[2] async for s in pager] == ["web", "web2", "web3"]
    gone = await run.services.get_service(name=run.name)
    with pytest.raises(exceptions.Aborted):
        await run.services.delete_service(run_v2.DeleteServiceRequest(name=run.name, etag='"stale"'))
    deleted = await run.ended(await run.services.delete_service(name=run.name))
    assert deleted.delete_time
    with pytest.raises(exceptions.NotFound, match="'web' of kind 'SERVICE'"):
        await run.get()
    async with (
        aiohttp.ClientSession() as session,
        session.get(run.cloud.edge, headers={"Host": host_of(gone.uri)}) as response,
    ):
        assert response.status == 404
    assert [
        row["revision"] for row in run.cloud.admin("status")["instances"] if row["revision"].startswith("web-0")
    ] == []


async def test_revisions_newest_first_and_only_idle_ones_go(run: Run) -> None:
    await run.create(revision="web-a")
    await run.update(service("v2", "web-b"), "template")
    await run.update(service("v1", "web-c", traffic=[share("web-b", 100)]), "template,traffic")
    pager = await run.revisions.list_revisions(parent=run.name)
    assert [r.name.rpartition("/")[2] async for r in pager] == ["web-c", "web-b", "web-a"]
    for name, message in (("web-b", "being routed to"), ("web-c", "latest revision")):
        with pytest.raises(exceptions.FailedPrecondition, match=message):
            await run.revisions.delete_revision(name=f"{run.name}/revisions/{name}")
    operation = await run.revisions.delete_revision(name=f"{run.name}/revisions/web-a")
    await operation.result(timeout=60)
    with pytest.raises(exceptions.NotFound):
        await run.revisions.get_revision(name=f"{run.name}/revisions/web-a")


async def test_operations_can_be_read_and_listed(run: Run) -> None:
    operation = await run.services.create_service(parent=run.cloud.parent, service_id="web", service=service())
    name = operation.operation.name
    early = await run.services.get_operation(operations_pb2.GetOperationRequest(name=name))
    assert not early.done
    raw = await run.services.wait_operation(
        operations_pb2.WaitOperationRequest(name=name, timeout={"nanos": 1_000_000})
    )
    assert not operations_pb2.Operation.FromString(raw).done
    await run.ended(operation)
    listed = await run.services.list_operations(operations_pb2.ListOperationsRequest(name=run.cloud.parent))
    assert name in [entry.name for entry in listed.operations]
    with pytest.raises(exceptions.NotFound):
        await run.services.get_operation(operations_pb2.GetOperationRequest(name=f"{run.cloud.parent}/operations/none"))


@pytest.mark.parametrize("kill", [False, True], ids=["terminated", "killed"])
async def test_a_restart_keeps_services_and_finishes_open_operations(local_cloud: LocalCloud, kill: bool) -> None:
    local_cloud.reset()
    async with grpc.aio.insecure_channel(local_cloud.address) as channel:
        run = Run(local_cloud, channel)
        created = await run.create(revision="web-a")
        request = run_v2.UpdateServiceRequest(
            service={"name": run.name, **service("v2", "web-b")}, update_mask={"paths": ["template"]}
        )
        operation = await run.services.update_service(request)
    await asyncio.to_thread(local_cloud.restart, kill=kill)
    async with grpc.aio.insecure_channel(local_cloud.address) as channel:
        run = Run(local_cloud, channel)
        done = await run.ended(operation)
        assert done.latest_ready_revision.endswith("/web-b")
        assert (done.uri, done.uid) == (created.uri, created.uid)
        assert (await served(local_cloud, host_of(done.uri)))["revision"] == "web-b"
