"""What a deployment owns is found by its owner label, on every page of every list, and nothing else is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
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
    JobDefined,
    JobDeleted,
    JobTemplate,
    Pointer,
    PointerSet,
    RevisionStaged,
    RevisionTemplate,
    ServiceDeleted,
)
from agui_operator.core.environment import Edge, Place
from agui_operator.core.errors import CloudError
from agui_operator.core.names import Names
from agui_operator.core.traffic import Target
from agui_operator.gcp.kinds.edge import url_map
from agui_operator.gcp.kinds.monitoring import alert_policy
from agui_operator.gcp.kinds.run import job as run_job
from agui_operator.gcp.kinds.run import service as run_service
from agui_operator.gcp.kinds.sql import backup as sql_backup
from agui_operator.gcp.kinds.storage import objects, release_assets
from agui_operator.gcp.transport import operations
from agui_operator.gcp.transport.clients import Cloud, CloudSettings, connect
from agui_operator.gcp.transport.outcome import Outcome
from cloud_calls import finished

pytestmark = pytest.mark.contract

LOCALGCP_OPTIONS = ("--catalogue", str(SMALL_IMAGES))
REPOSITORY = "us-central1-docker.pkg.dev/demo/agui"
NAMES = Names("shop", "concierge", "uid-1", "demo", "us-central1")
FILTER = 'metric.type="run.googleapis.com/request_count" resource.type="cloud_run_revision"'
STRANGER = Names("shop", "other", "uid-2", "demo", "us-central1")


@pytest.fixture
async def cloud(fresh_cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cloud]:
    monkeypatch.setattr(run_job, "_PAGE", 2)
    monkeypatch.setattr(run_service, "_PAGE", 1)
    cloud = await connect(CloudSettings(endpoint=fresh_cloud.endpoint))
    yield cloud
    await cloud.close()


async def define(cloud: Cloud, names: Names, job: str) -> None:
    container = ContainerTemplate(f"{REPOSITORY}/task:v1", "runtime@demo.iam.gserviceaccount.com")
    await finished(cloud, await run_job.apply(cloud, names, JobDefined(JobTemplate(job, "r1", container)), None))


async def test_jobs_are_found_by_owner_whatever_they_are_called(cloud: Cloud, fresh_cloud: LocalCloud) -> None:
    mine = ["agui-old-name", NAMES.check_job("r0", "candidate/gone"), NAMES.migration_job("r1"), "x-1", "x-2"]
    await asyncio.gather(*(define(cloud, NAMES, job) for job in mine), define(cloud, STRANGER, "theirs"))
    since = fresh_cloud.last
    found = await run_job.owned(cloud, NAMES)
    assert sorted(view.name for view in found) == sorted(mine)
    assert {view.owner for view in found} == {NAMES.owner}
    assert [e["method"] for e in fresh_cloud.ledger(since, kind="call")] == ["ListJobs"] * 3
    for view in found:
        await finished(cloud, await run_job.apply(cloud, NAMES, JobDeleted(view.name), view))
    assert await run_job.owned(cloud, NAMES) == []
    assert [view.name for view in await run_job.owned(cloud, STRANGER)] == ["theirs"]


async def stage(cloud: Cloud, names: Names) -> None:
    container = ContainerTemplate(f"{REPOSITORY}/web:v1", "runtime@demo.iam.gserviceaccount.com")
    template = RevisionTemplate(names.revision("r1"), "r1", container)
    action = RevisionStaged(template, (Target(names.revision("r1"), 100),))
    await finished(cloud, await run_service.apply(cloud, names, action, None))


async def test_services_are_found_by_owner_and_deleted_by_their_own_name(cloud: Cloud) -> None:
    renamed = replace(NAMES, kept="before")  # the same owner under another name
    for names in (NAMES, renamed, STRANGER):
        await stage(cloud, names)
    found = await run_service.owned(cloud, NAMES)
    assert sorted(view.name for view in found) == sorted([NAMES.service, renamed.service])
    for view in found:
        await finished(cloud, await run_service.apply(cloud, NAMES, ServiceDeleted(view.name), view))
    assert await run_service.owned(cloud, NAMES) == []
    assert [view.name for view in await run_service.owned(cloud, STRANGER)] == [STRANGER.service]


def make(fresh: LocalCloud, collection: str, body: dict[str, Any]) -> None:
    project = "/compute/v1/projects/demo"
    answer = fresh.call(f"{project}/global/{collection}", "POST", body)
    while answer["status"] != "DONE":
        answer = fresh.call(f"{project}/global/operations/{answer['name']}")
    assert "error" not in answer, answer


@pytest.fixture
async def maps(fresh_cloud: LocalCloud) -> LocalCloud:
    link = "https://www.googleapis.com/compute/v1/projects/demo/global/backendBuckets/site-assets"
    fresh_cloud.call("/storage/v1/b?project=demo", "POST", {"name": "assets"})
    make(fresh_cloud, "backendBuckets", {"name": "site-assets", "bucketName": "assets"})
    for name in ("site", "former", "foreign"):
        make(fresh_cloud, "urlMaps", {"name": name, "defaultService": link})
    make(fresh_cloud, "backendServices", {"name": "site-api", "loadBalancingScheme": "EXTERNAL_MANAGED"})
    return fresh_cloud


def place(name: str, domain: str) -> Place:
    edge = Edge(domain, name, "site-assets", "site-api", ("/copilotkit",))
    return Place("demo", "us-central1", "assets", "artifacts", "main", edge)


async def test_rules_are_found_in_every_map_and_others_stay(cloud: Cloud, maps: LocalCloud) -> None:
    pointer = PointerSet(Pointer("f-1", "r1"))
    for name in ("site", "former"):
        await finished(cloud, await url_map.apply(cloud, NAMES, place(name, "a.example"), pointer))
    for name in ("site", "foreign"):
        await finished(cloud, await url_map.apply(cloud, STRANGER, place(name, "b.example"), pointer))
    theirs = maps.call("/compute/v1/projects/demo/global/urlMaps/foreign")
    assert sorted(await url_map.owned(cloud, NAMES)) == ["former", "site"]
    for name in ("site", "former"):
        await finished(cloud, await url_map.remove(cloud, NAMES, name))
    assert await url_map.owned(cloud, NAMES) == []
    left = maps.call("/compute/v1/projects/demo/global/urlMaps/site")
    assert [rule["hosts"] for rule in left["hostRules"]] == [["b.example"]]
    assert [matcher["name"] for matcher in left["pathMatchers"]] == [STRANGER.path_matcher]
    assert maps.call("/compute/v1/projects/demo/global/urlMaps/foreign") == theirs
    assert "pathMatchers" not in maps.call("/compute/v1/projects/demo/global/urlMaps/former")


async def test_removing_rules_twice_or_from_no_map_writes_nothing(cloud: Cloud, maps: LocalCloud) -> None:
    since = maps.last
    for name in ("site", "absent"):
        assert await url_map.remove(cloud, NAMES, name) == Outcome()
    assert maps.effects(since) == []


async def test_removing_looks_again_when_somebody_else_wrote(cloud: Cloud, maps: LocalCloud) -> None:
    pointer = PointerSet(Pointer("f-1", "r1"))
    await finished(cloud, await url_map.apply(cloud, NAMES, place("site", "a.example"), pointer))
    maps.fault(method="compute.urlMaps.patch", count=1, code=412, message="stale fingerprint")
    await finished(cloud, await url_map.remove(cloud, NAMES, "site"))
    assert await url_map.owned(cloud, NAMES) == []
    await finished(cloud, await url_map.apply(cloud, NAMES, place("site", "a.example"), pointer))
    maps.fault(method="compute.urlMaps.patch", count=3, code=412, message="stale fingerprint")
    with pytest.raises(CloudError, match="stale fingerprint"):
        await url_map.remove(cloud, NAMES, "site")


async def test_alert_policies_are_found_whatever_limits_there_are_now(cloud: Cloud) -> None:
    for names in (NAMES, STRANGER):
        for key in ("latency-p95", "forgotten"):
            policy = AlertPolicy(key, key, FILTER, 1, "ALIGN_DELTA", "REDUCE_SUM")
            await alert_policy.apply(cloud, names, AlertCreated(policy))
    mine = await alert_policy.owned(cloud, NAMES)
    assert len(mine) == 2
    assert not set(mine) & set(await alert_policy.owned(cloud, STRANGER))


async def test_release_folders_are_found_by_their_claims(cloud: Cloud, fresh_cloud: LocalCloud) -> None:
    fresh_cloud.call("/storage/v1/b?project=demo", "POST", {"name": "assets"})
    for frontend, owner in (
        ("f-2", NAMES.owner),
        ("f-1", NAMES.owner),
        ("f-1", STRANGER.owner),
        ("f-3", STRANGER.owner),
    ):
        await objects.create(cloud, "assets", release_assets.claim(frontend, owner))
    assert await release_assets.owned(cloud, "assets", NAMES.owner) == ["f-1", "f-2"]
    assert await release_assets.owned(cloud, "assets", STRANGER.owner) == ["f-1", "f-3"]


async def test_backups_are_found_by_owner(
    cloud: Cloud, fresh_cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "_SQL_FIRST_LOOK", 0.2)
    settings = {"tier": "db-custom-1-3840"}
    body = {"name": "main", "region": NAMES.region, "databaseVersion": "POSTGRES_16", "settings": settings}
    operation = fresh_cloud.call("/v1/projects/demo/instances", "POST", body)
    await finished(cloud, Outcome(operations.sql_name("demo", operation)))
    for description in (NAMES.backup_description("r1"), STRANGER.backup_description("r1"), "nightly"):
        await finished(cloud, await sql_backup.apply(cloud, NAMES, BackupTaken("main", description)))
    (mine,) = await sql_backup.owned(cloud, NAMES, "main")
    assert mine.succeeded is True
    assert len(await sql_backup.owned(cloud, STRANGER, "main")) == 1
