"""Everything that carries another owner's label becomes the deployment's own: of an earlier version, which wrote the
uid of the object, silently; of a lost cluster, because it is asked for and allowed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from agui_dev.testbed.images import SMALL_IMAGES
from agui_dev.testbed.local_cloud import LocalCloud
from agui_operator.api.parse import parse_policy
from agui_operator.core.actions import (
    AlertCreated,
    AlertPolicy,
    ContainerTemplate,
    ExecutionCancelled,
    JobDefined,
    JobTemplate,
    Pointer,
    PointerSet,
    RevisionStaged,
    RevisionTemplate,
)
from agui_operator.core.environment import Edge, Place
from agui_operator.core.errors import NotOwned
from agui_operator.core.memory import Memory
from agui_operator.core.names import Names
from agui_operator.core.release import Release
from agui_operator.core.rollout import Phase
from agui_operator.core.traffic import Target
from agui_operator.engine.deployment.placing import Placer
from agui_operator.engine.deployment.scope import Directory, Scope
from agui_operator.gcp.kinds.edge import url_map
from agui_operator.gcp.kinds.monitoring import alert_policy
from agui_operator.gcp.kinds.run import job as run_job
from agui_operator.gcp.kinds.run import revision as run_revision
from agui_operator.gcp.kinds.run import service as run_service
from agui_operator.gcp.kinds.storage import objects, release_assets
from agui_operator.gcp.transport.clients import Cloud, CloudSettings, connect
from agui_operator.gcp.transport.outcome import Outcome
from cloud_calls import finished, make_balancer
from engine_fakes import FakeDirectory, sample

pytestmark = pytest.mark.contract

LOCALGCP_OPTIONS = ("--catalogue", str(SMALL_IMAGES))
REPOSITORY = "us-central1-docker.pkg.dev/demo/agui"
FILTER = 'metric.type="run.googleapis.com/request_count" resource.type="cloud_run_revision"'
LOST = Names("shop", "concierge", "uid-1", "demo", "us-central1", "lost", kept="shop-concierge")
STRANGER = replace(LOST, name="other", uid="uid-2", kept="")
EDGE = Edge("a.example", "site", "site-assets", "site-api", ("/copilotkit",))
PLACE = Place("demo", "us-central1", "assets", "artifacts", None, EDGE)
STABLE = Release("r1", "a", "fp", "1", "img@sha256:a")


@pytest.fixture
async def cloud(fresh_cloud: LocalCloud) -> AsyncIterator[Cloud]:
    """With everything that a deployment of the lost cluster, or of an earlier version, owned; and a stranger's."""
    make_balancer(fresh_cloud)
    cloud = await connect(CloudSettings(endpoint=fresh_cloud.endpoint))
    for names, host in ((LOST, "a.example"), (STRANGER, "b.example")):
        await released(cloud, names, host)
    yield cloud
    await cloud.close()


async def released(cloud: Cloud, names: Names, host: str) -> None:
    account = "runtime@demo.iam.gserviceaccount.com"
    template = RevisionTemplate(names.revision("r1"), "r1", ContainerTemplate(f"{REPOSITORY}/web:v1", account))
    staged = RevisionStaged(template, (Target(names.revision("r1"), 100),))
    await finished(cloud, await run_service.apply(cloud, names, staged, None))
    task = JobTemplate(names.migration_job("r1"), "r1", ContainerTemplate(f"{REPOSITORY}/task:v1", account))
    await finished(cloud, await run_job.apply(cloud, names, JobDefined(task), None))
    policy = AlertPolicy("latency-p95", "latency", FILTER, 1, "ALIGN_DELTA", "REDUCE_SUM")
    await alert_policy.apply(cloud, names, AlertCreated(policy))
    place = replace(PLACE, edge=replace(EDGE, domain=host))
    await finished(cloud, await url_map.apply(cloud, names, place, PointerSet(Pointer("f-1", "r1"))))
    await objects.create(cloud, "assets", release_assets.claim("f-1", names.owner))


async def owned(cloud: Cloud, names: Names) -> dict[str, list[str]]:
    return {
        "services": [view.name for view in await run_service.owned(cloud, names)],
        "jobs": [view.name for view in await run_job.owned(cloud, names)],
        "alerts": await alert_policy.owned(cloud, names),
        "maps": await url_map.owned(cloud, names),
        "claims": await release_assets.owned(cloud, "assets", names.owner),
    }


def scope_of(names: Names, memory: Memory, **annotations: str) -> Scope:
    parsed = SimpleNamespace(environment_name="demo")
    location = SimpleNamespace(names=names, place=PLACE)
    fields = {"names": names, "memory": memory, "place": PLACE, "annotations": annotations}
    return cast(Scope, SimpleNamespace(parsed=parsed, location=location, **fields))


def placer(cloud: Cloud, *adopt: str) -> Placer:
    policy = parse_policy({**sample("policy.yaml"), "namespaces": ["shop"], "adopt": list(adopt)})
    return Placer(cloud, cast(Directory, FakeDirectory(allowed=(policy,))))


async def test_what_an_earlier_version_made_is_taken_over_silently_under_its_old_name(
    cloud: Cloud, fresh_cloud: LocalCloud
) -> None:
    before, theirs = await owned(cloud, LOST), await owned(cloud, STRANGER)
    assert all(before.values())
    new = replace(LOST, uid=LOST.owner, cluster="this", kept="")  # the label is the object's own uid
    scope = scope_of(new, Memory(phase=Phase.RESOLVING, stable=STABLE))
    assert placer(cloud).is_needed(scope)
    record = await placer(cloud).settle(scope)
    assert (record.service, record.owner, record.place) == ("shop-concierge", new.owner, PLACE)
    by_owner_alone = replace(new, uid="", kept="shop-concierge")
    assert await owned(cloud, by_owner_alone) == before
    assert not any((await owned(cloud, LOST)).values()), "nothing says the old owner any more"
    assert await owned(cloud, STRANGER) == theirs
    service = fresh_cloud.call("/v2/projects/demo/locations/us-central1/services/shop-concierge")
    assert service["labels"]["agui-cluster"] == "this"
    since = fresh_cloud.last
    assert not placer(cloud).is_needed(scope_of(new, Memory(phase=Phase.RESOLVING, stable=STABLE, place=record)))
    assert (await placer(cloud).settle(scope)).owner == new.owner
    assert fresh_cloud.effects(since) == [], "twice is once"


async def test_at_rest_what_an_earlier_version_made_is_recorded_and_not_written(
    cloud: Cloud, fresh_cloud: LocalCloud
) -> None:
    new = replace(LOST, uid=LOST.owner, cluster="this", kept="")
    since = fresh_cloud.last
    record = await placer(cloud).settle(scope_of(new, Memory(phase=Phase.HEALTHY, stable=STABLE)))
    assert (record.service, record.owner) == ("shop-concierge", new.uid)
    assert fresh_cloud.effects(since) == []
    assert not placer(cloud).is_needed(scope_of(new, Memory(phase=Phase.HEALTHY, stable=STABLE, place=record)))
    fresh_cloud.fault(method="AlertPolicyService.ListAlertPolicies", code="PERMISSION_DENIED", message="disabled")
    starting = scope_of(new, Memory(phase=Phase.RESOLVING, stable=STABLE, place=record))
    assert placer(cloud).is_needed(starting)
    assert (await placer(cloud).settle(starting)).owner == new.owner, "no release waits for Monitoring"


async def test_what_another_cluster_made_is_refused_until_it_is_asked_for_and_allowed(
    cloud: Cloud, fresh_cloud: LocalCloud
) -> None:
    before = await owned(cloud, LOST)
    new = replace(LOST, uid="uid-9", cluster="this", kept="")
    since = fresh_cloud.last
    with pytest.raises(NotOwned, match=r"annotate this deployment with agui\.dev/adopt=true"):
        await placer(cloud, "*").settle(scope_of(new, Memory(phase=Phase.RESOLVING)))
    asking = scope_of(new, Memory(phase=Phase.RESOLVING), **{"agui.dev/adopt": "true"})
    with pytest.raises(NotOwned, match=r"add shop-concierge to its spec\.adopt"):
        await placer(cloud, "other-*").settle(asking)
    assert fresh_cloud.effects(since) == []
    record = await placer(cloud, "shop-*").settle(asking)
    assert await owned(cloud, record.names(new)) == before
    assert not any((await owned(cloud, LOST)).values())


async def test_what_serves_is_found_again_on_a_revision_of_the_lost_cluster(cloud: Cloud) -> None:
    """The labels of a revision never change: it keeps the owner of the cluster that made it."""
    new = replace(LOST, uid="uid-9", cluster="this", kept="")
    asking = scope_of(new, Memory(phase=Phase.RESOLVING), **{"agui.dev/adopt": "true"})
    names = (await placer(cloud, "shop-*").settle(asking)).names(new)
    service = await run_service.observe(cloud, names)
    assert service is not None
    found = await run_revision.release_of(cloud, names, service, names.revision("r1"))
    assert found is not None
    assert found.id == "r1"


async def test_a_host_of_somebody_else_is_refused_before_anything_is_made(cloud: Cloud) -> None:
    new = Names("shop", "third", "uid-3", "demo", "us-central1", "this")
    with pytest.raises(NotOwned, match=r"a\.example"):
        await placer(cloud).settle(scope_of(new, Memory(phase=Phase.RESOLVING)))


async def test_an_execution_that_has_ended_or_is_gone_needs_no_cancelling(cloud: Cloud) -> None:
    action = ExecutionCancelled(LOST.migration_job("r1"), "absent")
    assert await run_job.apply(cloud, LOST, action, None) == Outcome()
