"""Services, jobs and operations of the operator against the local cloud: what is applied is what is then observed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import pytest

from agui_dev.testbed.images import SMALL_IMAGES
from agui_dev.testbed.kube_api import PATIENCE
from agui_dev.testbed.local_cloud import LocalCloud
from agui_operator.api.policy import Diagnostics
from agui_operator.core.actions import (
    ContainerTemplate,
    ExecutionStarted,
    HttpProbe,
    JobDefined,
    JobDeleted,
    JobTemplate,
    RevisionStaged,
    RevisionTemplate,
    ServiceDeleted,
    TrafficSplit,
)
from agui_operator.core.errors import CloudError, NotOwned, UserError
from agui_operator.core.names import Names
from agui_operator.core.snapshot import ServiceView
from agui_operator.core.traffic import Target, split
from agui_operator.core.words import UNDISCLOSED, Disclosure
from agui_operator.gcp.kinds.run import job as run_job
from agui_operator.gcp.kinds.run import service as run_service
from agui_operator.gcp.transport import operations
from agui_operator.gcp.transport.clients import Cloud, CloudSettings, connect
from agui_operator.gcp.transport.outcome import Outcome

T = TypeVar("T")

pytestmark = pytest.mark.contract
SHOWN = Disclosure(Diagnostics.MESSAGES)

LOCALGCP_OPTIONS = ("--catalogue", str(SMALL_IMAGES))
REPOSITORY = "us-central1-docker.pkg.dev/demo/agui"
NAMES = Names("shop", "concierge", "uid-1", "demo", "us-central1")
STRANGER = replace(NAMES, uid="uid-2", cluster="other")


def revision(release: str, tag: str = "v1") -> RevisionTemplate:
    container = ContainerTemplate(
        f"{REPOSITORY}/web:{tag}", "runtime@demo.iam.gserviceaccount.com", env={"B": "2", "A": "1"}
    )
    return RevisionTemplate(NAMES.revision(release), release, container, startup=HttpProbe("/readyz", 1, 1, 30))


def target(release: str) -> Target:
    return Target(NAMES.revision(release), 0, NAMES.tag(release))


async def ended(cloud: Cloud, outcome: Outcome) -> ServiceView:
    if outcome.operation is None:
        assert isinstance(outcome.view, ServiceView)
        return outcome.view
    result = await operations.wait(cloud, outcome.operation, 20)
    assert result.done
    if result.error is not None:
        raise result.error
    assert isinstance(result.view, ServiceView)
    return result.view


async def first(cloud: Cloud) -> ServiceView:
    staged = RevisionStaged(revision("r1"), split(target("r1"), None, 100))
    return await ended(cloud, await run_service.apply(cloud, NAMES, staged, None))


async def test_a_release_goes_out_in_steps(cloud: Cloud, fresh_cloud: LocalCloud) -> None:
    assert await run_service.observe(cloud, NAMES) is None
    have = await first(cloud)
    assert (have.owner, have.ready, have.reconciling) == (NAMES.owner, True, False)
    assert have == await run_service.observe(cloud, NAMES)

    since = fresh_cloud.last
    wanted = split(target("r2"), target("r1"), 0, have.traffic)
    outcome = await run_service.apply(cloud, NAMES, RevisionStaged(revision("r2", "v2"), wanted), have)
    assert isinstance(outcome.view, ServiceView)
    assert outcome.view.reconciling
    assert outcome.view.traffic == wanted
    have = await ended(cloud, outcome)
    assert have.latest_ready == NAMES.revision("r2")
    assert set(have.tag_uris) == {NAMES.tag("r1"), NAMES.tag("r2")}

    wanted = split(target("r2"), target("r1"), 50, have.traffic)
    have = await ended(cloud, await run_service.apply(cloud, NAMES, TrafficSplit(wanted), have))
    assert have.traffic == have.serving == wanted
    assert [e["method"] for e in fresh_cloud.ledger(since, kind="call")] == ["UpdateService", "WaitOperation"] * 2


async def test_applying_twice_writes_once(cloud: Cloud, fresh_cloud: LocalCloud) -> None:
    have = await first(cloud)
    since = fresh_cloud.last
    staged = RevisionStaged(revision("r1"), split(target("r1"), None, 100))
    assert await run_service.apply(cloud, NAMES, staged, have) == Outcome(None, have)
    assert await run_service.apply(cloud, NAMES, TrafficSplit(have.traffic), have) == Outcome(None, have)
    again = await run_service.apply(cloud, NAMES, staged, None)  # as after a crash: nothing is known
    assert again == Outcome(None, have)
    assert fresh_cloud.effects(since) == []


async def test_people_keep_their_tags_and_labels(cloud: Cloud) -> None:
    have = await first(cloud)
    mine = (*have.traffic, Target(NAMES.revision("r1"), 0, "demo-day"))
    have = await ended(cloud, await run_service.apply(cloud, NAMES, TrafficSplit(mine), have))
    wanted = split(target("r2"), target("r1"), 0, have.traffic)
    have = await ended(cloud, await run_service.apply(cloud, NAMES, RevisionStaged(revision("r2", "v2"), wanted), have))
    assert "demo-day" in have.tag_uris


async def test_a_stale_etag_writes_nothing(cloud: Cloud, fresh_cloud: LocalCloud) -> None:
    have = await first(cloud)
    since = fresh_cloud.last
    stale, split_again = replace(have, etag='"stale"'), TrafficSplit((Target(NAMES.revision("r1"), 100),))
    with pytest.raises(CloudError, match="Conflict for resource") as caught:
        await run_service.apply(cloud, NAMES, split_again, stale)
    assert (caught.value.code, caught.value.status) == (409, "ABORTED")
    assert fresh_cloud.effects(since) == []


async def test_a_strangers_service_is_left_alone(cloud: Cloud, fresh_cloud: LocalCloud) -> None:
    have = await first(cloud)
    since = fresh_cloud.last
    staged = RevisionStaged(revision("r2"), split(target("r2"), None, 100))
    for action in (staged, TrafficSplit(staged.traffic), ServiceDeleted(NAMES.service)):
        for known in (have, None):
            with pytest.raises(NotOwned, match=f"belongs to {NAMES.owner}"):
                await run_service.apply(cloud, STRANGER, action, known)
    assert fresh_cloud.effects(since) == []


async def test_a_broken_revision_says_why(cloud: Cloud) -> None:
    have = await first(cloud)
    staged = RevisionStaged(revision("r2", "broken"), split(target("r2"), target("r1"), 0, have.traffic))
    with pytest.raises(CloudError) as refused:
        await ended(cloud, await run_service.apply(cloud, NAMES, staged, have))
    assert "is not ready and cannot serve traffic" in refused.value.told(SHOWN)
    assert "cannot serve traffic" not in str(refused.value)
    seen = await run_service.observe(cloud, NAMES)
    assert seen is not None
    assert (seen.ready, seen.reconciling, seen.latest_ready) == (False, False, NAMES.revision("r1"))
    assert "cannot serve traffic" in seen.why(SHOWN)
    why = seen.why(UNDISCLOSED)
    assert why.startswith("the container did not start, or did not answer its startup probe, in time (HEALTH_CHECK_")
    assert f"revision_name/{NAMES.revision('r2')}; or: gcloud logging read" in why
    back = TrafficSplit(split(None, target("r1"), 0, seen.traffic))
    seen = await ended(cloud, await run_service.apply(cloud, NAMES, back, seen))
    assert seen.serving == (replace(target("r1"), percent=100),)
    again = RevisionStaged(revision("r2", "v2"), staged.traffic)
    with pytest.raises(UserError, match="exists with another template"):
        await run_service.apply(cloud, NAMES, again, replace(seen, template_revision="other"))


async def test_deleting_ends_with_nothing_and_may_be_repeated(cloud: Cloud) -> None:
    have = await first(cloud)
    outcome = await run_service.apply(cloud, NAMES, ServiceDeleted(NAMES.service), have)
    if outcome.operation is not None:
        assert (await operations.wait(cloud, outcome.operation, 20)).error is None
    assert await run_service.observe(cloud, NAMES) is None
    assert await run_service.apply(cloud, NAMES, ServiceDeleted(NAMES.service), None) == Outcome()


def job(*args: str) -> JobTemplate:
    container = ContainerTemplate(
        f"{REPOSITORY}/task:v1", "runtime@demo.iam.gserviceaccount.com", args=args, timeout=60
    )
    return JobTemplate(NAMES.migration_job("r1"), "r1", container)


async def defined(cloud: Cloud, template: JobTemplate) -> None:
    outcome = await run_job.apply(cloud, NAMES, JobDefined(template), None)
    if outcome.operation is not None:
        assert (await operations.wait(cloud, outcome.operation, 20)).error is None


async def test_a_job_is_defined_and_executed_once(cloud: Cloud, fresh_cloud: LocalCloud) -> None:
    template = job("exit", "0")
    assert await run_job.observe(cloud, NAMES, template.job) is None
    await defined(cloud, template)
    have = await run_job.observe(cloud, NAMES, template.job)
    assert have is not None
    assert (have.ready, have.execution, have.owner) == (True, None, NAMES.owner)
    started = await run_job.apply(cloud, NAMES, ExecutionStarted(template.job), have)
    assert started.operation is not None
    result = await operations.wait(cloud, started.operation, 20)
    assert result.view is not None
    assert (result.error, getattr(result.view, "succeeded", None)) == (None, True)
    have = await run_job.observe(cloud, NAMES, template.job)
    assert have is not None
    assert have.execution is not None
    assert (have.execution.succeeded, have.execution.count) == (True, 1)
    since = fresh_cloud.last
    await run_job.apply(cloud, NAMES, ExecutionStarted(template.job), have)
    await run_job.apply(cloud, NAMES, ExecutionStarted(template.job), None)
    await run_job.apply(cloud, NAMES, JobDefined(template), None)
    assert fresh_cloud.effects(since) == []


async def test_a_failed_execution_is_a_view_that_says_why(cloud: Cloud) -> None:
    template = job("exit", "3")
    await defined(cloud, template)
    started = await run_job.apply(cloud, NAMES, ExecutionStarted(template.job), None)
    assert started.operation is not None
    result = await operations.wait(cloud, started.operation, 20)
    assert result.error is None
    assert getattr(result.view, "succeeded", None) is False
    have = await run_job.observe(cloud, NAMES, template.job)
    assert have is not None
    assert have.execution is not None
    assert have.execution.succeeded is False
    assert "The container exited with an error." in have.execution.why(SHOWN)
    explained = await run_job.explained(cloud, NAMES, template.job, have.execution)
    why = "exit code 3: the container exited with an error (NON_ZERO_EXIT_CODE) (log: https://console.cloud.google.com/"
    assert explained.why(UNDISCLOSED).startswith(why)
    assert explained.why(SHOWN).startswith(
        "exit code 3: the container exited with an error (NON_ZERO_EXIT_CODE): Task "
    )
    gone = replace(have.execution, name="not-there")
    assert await run_job.explained(cloud, NAMES, template.job, gone) == replace(gone, explained=True)
    with pytest.raises(NotOwned):
        await run_job.apply(cloud, STRANGER, JobDeleted(template.job), None)
    deleted = await run_job.apply(cloud, NAMES, JobDeleted(template.job), have)
    if deleted.operation is not None:
        await operations.wait(cloud, deleted.operation, 20)
    assert await run_job.observe(cloud, NAMES, template.job) is None


async def test_a_running_execution_has_no_verdict(cloud: Cloud) -> None:
    template = job("sleep", "30")
    await defined(cloud, template)
    started = await run_job.apply(cloud, NAMES, ExecutionStarted(template.job), None)
    assert started.operation is not None
    began = asyncio.get_running_loop().time()
    result = await operations.wait(cloud, started.operation, 0.5)
    assert not result.done
    assert asyncio.get_running_loop().time() - began < 5
    have = await run_job.observe(cloud, NAMES, template.job)
    assert have is not None
    assert have.execution is not None
    assert have.execution.succeeded is None


async def test_a_job_without_image_shows_as_failed(cloud: Cloud) -> None:
    template = job()
    template = replace(template, container=replace(template.container, image=f"{REPOSITORY}/task:v9"))
    outcome = await run_job.apply(cloud, NAMES, JobDefined(template), None)
    if outcome.operation is not None:
        assert (await operations.wait(cloud, outcome.operation, 20)).error is not None
    have = await run_job.observe(cloud, NAMES, template.job)
    assert have is not None
    assert have.execution is not None
    assert have.execution.succeeded is False


async def test_an_unavailable_service_is_read_again_and_never_written_twice(fresh_cloud: LocalCloud) -> None:
    calls: list[tuple[str, int]] = []
    cloud = await connect(
        CloudSettings(endpoint=fresh_cloud.endpoint), on_call=lambda method, _, code, __: calls.append((method, code))
    )
    try:
        fresh_cloud.fault(method="*GetService", when="before", count=2, code="UNAVAILABLE", message="try again")
        assert await run_service.observe(cloud, NAMES) is None
        assert calls == [("Services.GetService", 503)] * 2 + [("Services.GetService", 404)]
        calls.clear()
        since = fresh_cloud.last
        fresh_cloud.fault(method="*CreateService", when="after", count=1, code="UNAVAILABLE", message="lost")
        with pytest.raises(CloudError, match="lost"):
            await first(cloud)
        assert calls == [("Services.CreateService", 503)]
        await first(cloud)
        services = [r for e, r in fresh_cloud.effects(since) if e == "create" and "/revisions/" not in r]
        assert services == [NAMES.service_path]
    finally:
        await cloud.close()


async def once_connected(look: Callable[[], Awaitable[T]]) -> T:
    """A gRPC channel whose server was away refuses calls until its own back-off is over."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await look()
            except CloudError as error:
                if error.code != 503:
                    raise
                await asyncio.sleep(0.1)


@pytest.mark.parametrize("kill", [False, True], ids=["terminated", "killed"])
async def test_a_wait_survives_the_end_of_the_server_as_an_error(fresh_cloud: LocalCloud, kill: bool) -> None:
    cloud = await connect(CloudSettings(endpoint=fresh_cloud.endpoint))
    try:
        template = job("sleep", "30")
        await defined(cloud, template)
        started = await run_job.apply(cloud, NAMES, ExecutionStarted(template.job), None)
        assert started.operation is not None
        waiting = asyncio.create_task(operations.wait(cloud, started.operation, 30))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(fresh_cloud.restart, kill=kill)
        (ended,) = await asyncio.gather(waiting, return_exceptions=True)
        if isinstance(ended, BaseException):
            assert isinstance(ended, CloudError)
            assert ended.code in (499, 503)
        else:  # asked again after the restart, which the execution did not survive
            assert getattr(ended.view, "succeeded", None) is False
        have = await once_connected(lambda: run_job.observe(cloud, NAMES, template.job))
        assert have is not None
        assert have.execution is not None
        assert have.execution.count == 1
    finally:
        await cloud.close()
