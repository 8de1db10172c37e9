"""Two deployments with one name, one spec or one service: nothing of one leads to a decision about the other."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace
from typing import Any, cast

import pytest
from google.cloud import run_v2

from agui_operator.api.parse import parse_deployment
from agui_operator.checks.guard import Guard
from agui_operator.core.errors import CloudError, NotOwned
from agui_operator.core.memory import Memory, begin_attempt
from agui_operator.core.names import OWNER_LABEL, RELEASE_LABEL, Names, old_service_name
from agui_operator.core.release import Release, Resolved, make_release
from agui_operator.core.rollout import Look, Phase
from agui_operator.core.snapshot import Snapshot
from agui_operator.engine.cluster.wakeups import Wakeups
from agui_operator.engine.deployment import attempts
from agui_operator.engine.deployment.cache import ObjectCache
from agui_operator.engine.deployment.check_runner import CheckRunner
from agui_operator.engine.deployment.observe import Observer
from agui_operator.engine.deployment.scope import Scope, Scopes
from agui_operator.gcp.transport.clients import Cloud
from engine_fakes import NOW, FakeDirectory, FakeKube, sample

IMAGE = "us-central1-docker.pkg.dev/demo/agui/concierge@sha256:" + "a" * 64
VICTIM = Names("a", "b-c", "uid-1", "demo", "us-central1", "cluster", kept=old_service_name("a", "b-c"))
ATTACKER = Names("a-b", "c", "uid-2", "demo", "us-central1", "cluster", kept=old_service_name("a-b", "c"))
OTHERS = [
    ATTACKER,
    replace(VICTIM, name="other"),
    replace(VICTIM, namespace="other"),
    replace(VICTIM, cluster="other"),
    replace(VICTIM, namespace="a/b", name="c"),
    replace(VICTIM, namespace="a", name="b/c"),
]


def released(names: Names) -> Release:
    spec = parse_deployment(sample("release-v2.yaml"))
    return make_release(spec, Resolved(IMAGE, IMAGE, {}, "b" * 64), names.owner)


def test_equal_specs_of_different_deployments_have_different_release_ids() -> None:
    every = [VICTIM, *OTHERS]
    ids = [released(names).id for names in every]
    assert len(set(ids)) == len(every), [(a.owner, b.owner) for a, b in combinations(every, 2)]
    assert len({released(names).artifact for names in every}) == 1, "what was built is the same"
    again = replace(VICTIM, uid="made-again", project="other", region="other")
    assert released(again).id == ids[0], "a deployment that is made again has its ids again"


def test_names_of_two_deployments_with_one_service_differ() -> None:
    assert VICTIM.service == ATTACKER.service, "as an earlier version named them"
    first, second = released(VICTIM).id, released(ATTACKER).id
    for named in ("revision", "tag", "migration_job", "backup_description"):
        assert getattr(VICTIM, named)(first) != getattr(ATTACKER, named)(second)
    assert VICTIM.check_job(first, "ready") != ATTACKER.check_job(second, "ready")


def test_an_attempt_of_an_earlier_version_gives_no_name_twice() -> None:
    """Its ids had no owner in them: the same spec has another id now, so that nothing of the earlier one is met."""
    now, earlier = released(VICTIM), replace(released(VICTIM), id="0123456789")
    memory = begin_attempt(Memory(stable=earlier, attempts={earlier.id: 2}), now, (earlier.id, f"{earlier.id}-2"))
    assert memory.candidate == now


class Region:
    """A region in which the deployment's names belong to `owner`. `asked`: every call; `down`: methods that fail."""

    def __init__(self, owner: str, execution: int = 1) -> None:
        self.owner, self.execution, self.asked = owner, execution, list[str]()
        self.down = dict[str, CloudError]()

    async def rpc(self, method: str, request: Any, resource: str, **_: Any) -> Any:
        self.asked.append(method)
        labels = {OWNER_LABEL: self.owner, RELEASE_LABEL: "r1"}
        match method:
            case "Services.GetService":
                tags = [run_v2.TrafficTargetStatus(tag="r-r1", uri="https://tag.example", revision="x-r1", percent=100)]
                return run_v2.Service(
                    name=resource, labels=labels, uri="https://victim.example", traffic_statuses=tags, etag="e"
                )
            case "Services.ListServices":
                return run_v2.ListServicesResponse()
            case "Revisions.ListRevisions":
                return run_v2.ListRevisionsResponse(revisions=[run_v2.Revision(name="x-r1", labels=labels)])
            case "Jobs.ListJobs":
                return run_v2.ListJobsResponse(jobs=[run_v2.Job(name=f"x-{request.parent}", labels=labels)])
            case "Jobs.GetJob":
                newest = {"name": "x-1", "completion_status": self.execution}
                return run_v2.Job(name=resource, labels=labels, latest_created_execution=newest, execution_count=1)
        raise AssertionError(f"{method} about a resource of somebody else")

    async def rest(self, request: Any) -> Any:
        raise CloudError(404, "no such thing")


def scope_in(phase: Phase, spec: dict[str, Any] | None = None) -> Scope:
    body = copy.deepcopy(FakeKube(spec).object)
    scope = Scopes(FakeDirectory(), lambda: NOW).build(body, Memory())
    assert scope.spec is not None
    secrets = {secret.env: "1" for secret in scope.spec.backend.secrets}
    release = replace(released(scope.names), id="r1", fingerprint=scope.parsed.fingerprint or "", secrets=secrets)
    at_rest = phase is Phase.HEALTHY
    memory = Memory(phase=phase, candidate=None if at_rest else release, stable=release if at_rest else None)
    return scope.remembering(replace(memory, since=NOW, started=NOW))


def observer(cloud: Region) -> Observer:
    return Observer(cast(Cloud, cloud), lambda: NOW, Wakeups(), resync=60)


IN_PHASES = [Phase.SMOKING, Phase.STAGING, Phase.BAKING, Phase.HEALTHY]


@pytest.mark.parametrize("phase", IN_PHASES)
async def test_a_service_of_somebody_else_is_looked_at_and_nothing_follows(phase: Phase) -> None:
    cloud, scope, cache = Region("somebody"), scope_in(phase), ObjectCache("uid-1")
    cache.views.put_service(None)
    if phase is Phase.HEALTHY:
        shared = SimpleNamespace(service=lambda names: _foreign(cloud, names))
        look = observer(cloud)
        look._shared = cast(Any, shared)
    else:
        look = observer(cloud)
    basic = Snapshot()
    sight = await look.look(scope, cache, basic, drift=True)
    assert isinstance(sight.fault, NotOwned)
    assert sight.foreign
    assert sight.seen == basic, "nothing of it is known"
    assert cache.views.service is None, "so that its address is told to nobody"
    assert [method for method in cloud.asked if "Service" in method] == ["Services.GetService"]
    assert not [method for method in cloud.asked if "Revision" in method]


async def _foreign(cloud: Region, names: Names) -> Any:
    from agui_operator.gcp.kinds.run import service as run_service

    return await run_service.observe(cast(Cloud, cloud), names)


async def test_a_service_without_a_look_that_owns_it_is_not_asked_by_checks() -> None:
    guard = SimpleNamespace(asked=[])
    runner = CheckRunner(cast(Guard, guard), Wakeups(), local=False)
    cloud, scope, cache = Region("somebody"), scope_in(Phase.SMOKING), ObjectCache("uid-1")
    await observer(cloud).look(scope, cache, Snapshot(), drift=False)
    report = await runner.run(scope, cache.views.service)
    assert (report.results, report.schema) == ({}, None)
    assert not runner.is_running(scope.uid), "no request and no token goes to it"


@pytest.mark.parametrize("status", [1, 2], ids=["succeeded", "failed"])
async def test_how_somebody_elses_job_ended_is_no_verdict(status: int) -> None:
    cloud, scope, cache = Region("somebody", execution=status), scope_in(Phase.MIGRATING), ObjectCache("uid-1")
    sight = await observer(cloud).look(scope, cache, Snapshot(), drift=False)
    assert isinstance(sight.fault, NotOwned)
    assert "somebody" in str(sight.fault)
    assert sight.seen.migration is None
    assert Look.MIGRATION in sight.seen.failed, "and it is not defined either"
    assert [method for method in cloud.asked if "Job" in method] == ["Jobs.GetJob"]


async def test_attempts_of_somebody_else_are_no_attempts() -> None:
    scope = cast(Scope, SimpleNamespace(names=VICTIM))
    for owner, found in ((ATTACKER.owner, ()), (VICTIM.owner, ("r1",))):
        assert await attempts.look(cast(Cloud, Region(owner)), scope, ObjectCache("uid")) == found
