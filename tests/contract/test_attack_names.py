"""Somebody else's resource under the name that a deployment's own would have: it is looked at, and nothing follows.

Every kind, against the local cloud: the look makes no further call about the resource, and tells nothing but that it
belongs to another owner.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from agui_dev.testbed.images import SMALL_IMAGES
from agui_dev.testbed.local_cloud import LocalCloud
from agui_operator.core.actions import (
    AlertCreated,
    AlertPolicy,
    BackupTaken,
    ContainerTemplate,
    ExecutionStarted,
    JobDefined,
    JobTemplate,
    Pointer,
    PointerSet,
    RevisionStaged,
    RevisionTemplate,
)
from agui_operator.core.environment import Edge, Place
from agui_operator.core.errors import CloudError, NotOwned
from agui_operator.core.names import Names
from agui_operator.core.traffic import Target
from agui_operator.gcp.kinds.edge import url_map
from agui_operator.gcp.kinds.monitoring import alert_policy
from agui_operator.gcp.kinds.registry import RELEASE_PARTS
from agui_operator.gcp.kinds.run import collect, revision
from agui_operator.gcp.kinds.run import job as run_job
from agui_operator.gcp.kinds.run import service as run_service
from agui_operator.gcp.kinds.run.inventory import Inventory
from agui_operator.gcp.kinds.sql import backup as sql_backup
from agui_operator.gcp.kinds.storage import objects, release_assets
from agui_operator.gcp.kinds.storage.objects import Upload
from agui_operator.gcp.kinds.storage.unpack import ENTRYPOINT, MANIFEST
from agui_operator.gcp.transport.clients import Cloud, CloudSettings, connect
from cloud_calls import finished, make, make_balancer

pytestmark = pytest.mark.contract

LOCALGCP_OPTIONS = ("--catalogue", str(SMALL_IMAGES))
REPOSITORY = "us-central1-docker.pkg.dev/demo/agui"
ACCOUNT = "runtime@demo.iam.gserviceaccount.com"
FILTER = 'metric.type="run.googleapis.com/request_count" resource.type="cloud_run_revision"'
MINE = Names("shop", "concierge", "uid-1", "demo", "us-central1", "mine")
THEIRS = replace(MINE, uid="uid-2", cluster="theirs")  # the same names for everything
EDGE = Edge("a.example", "site", "site-assets", "site-api", ("/copilotkit",))
PLACE = Place("demo", "us-central1", "assets", "artifacts", "main", EDGE)
FRONTEND, JOB = "f-1", MINE.migration_job("r1")


@pytest.fixture
async def cloud(fresh_cloud: LocalCloud) -> AsyncIterator[Cloud]:
    """With everything that `THEIRS` has of release r1."""
    make_balancer(fresh_cloud)
    instance = {"name": "main", "region": "us-central1", "databaseVersion": "POSTGRES_16", "settings": {"tier": "t"}}
    make(fresh_cloud, "/v1/projects/demo/instances", instance)
    cloud = await connect(CloudSettings(endpoint=fresh_cloud.endpoint))
    await released(cloud)
    yield cloud
    await cloud.close()


async def released(cloud: Cloud) -> None:
    template = RevisionTemplate(THEIRS.revision("r1"), "r1", ContainerTemplate(f"{REPOSITORY}/web:v1", ACCOUNT))
    staged = RevisionStaged(template, (Target(THEIRS.revision("r1"), 100),))
    await finished(cloud, await run_service.apply(cloud, THEIRS, staged, None))
    task = JobTemplate(JOB, "r1", ContainerTemplate(f"{REPOSITORY}/task:v1", ACCOUNT))
    await finished(cloud, await run_job.apply(cloud, THEIRS, JobDefined(task), None))
    await finished(cloud, await run_job.apply(cloud, THEIRS, ExecutionStarted(JOB), None))
    policy = AlertPolicy("latency-p95", "latency", FILTER, 1, "ALIGN_DELTA", "REDUCE_SUM")
    await alert_policy.apply(cloud, THEIRS, AlertCreated(policy))
    await finished(cloud, await url_map.apply(cloud, THEIRS, PLACE, PointerSet(Pointer(FRONTEND, "r1"))))
    await finished(cloud, await sql_backup.apply(cloud, THEIRS, BackupTaken("main", THEIRS.backup_description("r1"))))
    await objects.create(cloud, "assets", release_assets.claim(FRONTEND, THEIRS.owner))
    for name in (MANIFEST, ENTRYPOINT):
        page = Upload.of(release_assets.folder(FRONTEND) + name, b"{}", "text/html", release_assets.NEVER)
        await objects.create(cloud, "assets", page)


Look = Callable[[Cloud, Names], Awaitable[Any]]
# By kind: the look, and what it tells whom the resource does not belong to; NotOwned is raised.
LOOKS: dict[str, tuple[Look, Any]] = {
    "Service": (run_service.observe, NotOwned),
    "Job": (lambda cloud, names: run_job.observe(cloud, names, JOB), NotOwned),
    "Backup": (lambda c, names: sql_backup.observe(c, names, "main", names.backup_description("r1")), None),
    "Assets": (lambda c, names: release_assets.observe(c, "assets", FRONTEND, names.owners), False),
    "Routing": (lambda cloud, names: _routing(cloud, names), url_map.Routing(None)),
    "AlertPolicy": (alert_policy.observe, ()),
}
# Further looks that lead to a decision.
MORE: dict[str, tuple[Look, Any]] = {
    "services of a region": (lambda cloud, names: Inventory(cloud).look(names, 60), NotOwned),
    "attempts": (collect.attempted, ()),
    "leftovers": (collect.revisions, ()),
    "jobs": (run_job.owned, []),
    "URL maps": (url_map.owned, []),
    "backups": (lambda cloud, names: sql_backup.owned(cloud, names, "main"), []),
    "folders": (lambda cloud, names: release_assets.owned(cloud, "assets", names.owner), []),
}


async def _routing(cloud: Cloud, names: Names) -> Any:
    return (await url_map.observe(cloud, names, PLACE))[0]


def test_every_kind_of_a_release_is_in_the_table() -> None:
    assert set(LOOKS) == set(RELEASE_PARTS)


@pytest.mark.parametrize("kind", [*LOOKS, *MORE])
async def test_a_look_at_what_somebody_else_owns_ends_there(cloud: Cloud, fresh_cloud: LocalCloud, kind: str) -> None:
    look, nothing = {**LOOKS, **MORE}[kind]
    told = await look(cloud, THEIRS)
    assert told not in (None, False, (), [], url_map.Routing(None)), "its owner sees it"
    since = fresh_cloud.last
    if nothing is NotOwned:
        with pytest.raises(NotOwned) as caught:
            await look(cloud, MINE)
        assert f"belongs to {THEIRS.owner}" in str(caught.value)
        assert not [word for word in ("http", "web:v1", "task:v1", "r1:", ACCOUNT) if word in str(caught.value)]
    else:
        assert await look(cloud, MINE) == nothing
    calls = [entry["method"] for entry in fresh_cloud.ledger(since, kind="call")]
    assert len(calls) == 1, calls
    assert not fresh_cloud.effects(since)


async def test_a_revision_is_not_read_through_a_service_of_somebody_else(cloud: Cloud, fresh_cloud: LocalCloud) -> None:
    theirs = await run_service.observe(cloud, THEIRS)
    assert theirs is not None
    since = fresh_cloud.last
    for read in (revision.exists, revision.release_of, revision.secrets):
        with pytest.raises(NotOwned):
            await read(cloud, MINE, theirs, MINE.revision("r1"))
    assert fresh_cloud.ledger(since, kind="call") == []


@pytest.mark.parametrize("label", ["", "somebody"])
async def test_a_service_that_changed_hands_meanwhile_is_not_taken_over(
    cloud: Cloud, fresh_cloud: LocalCloud, label: str
) -> None:
    since = fresh_cloud.last
    with pytest.raises(NotOwned, match="got another owner"):
        await run_service.take_over(cloud, MINE, label)
    assert fresh_cloud.effects(since) == []
    await run_service.take_over(cloud, MINE, THEIRS.owner)
    have = await run_service.observe(cloud, MINE)
    assert have is not None
    assert {one.release for one in await collect.revisions(cloud, MINE)} == {"r1"}, "the service tells whose they are"
    assert await collect.attempted(cloud, MINE) == ()


async def test_a_job_of_somebody_else_is_not_started(cloud: Cloud, fresh_cloud: LocalCloud) -> None:
    since = fresh_cloud.last
    with pytest.raises((NotOwned, CloudError)):
        await run_job.apply(cloud, MINE, ExecutionStarted(JOB, attempt=2), None)
    assert fresh_cloud.effects(since) == []
