"""Image provenance: what a policy demands is asked for on everything that is written, and nobody breaks the glass."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from google.cloud import run_v2

from agui_operator.api.conditions import ConditionType, Reason
from agui_operator.api.parse import SpecInvalid, parse_policy
from agui_operator.core.actions import ContainerTemplate, JobTemplate, RevisionStaged, RevisionTemplate
from agui_operator.core.blockers import breakglass
from agui_operator.core.errors import CloudError
from agui_operator.core.memory import Memory
from agui_operator.core.names import OWNER_LABEL, Names
from agui_operator.core.permitted import attested_by
from agui_operator.core.rollout import Phase
from agui_operator.core.snapshot import ServiceView, Snapshot
from agui_operator.engine.cluster.wakeups import Wakeups
from agui_operator.engine.deployment.cache import ObjectCache
from agui_operator.engine.deployment.observe import Observer
from agui_operator.engine.deployment.scope import Scopes
from agui_operator.gcp.kinds.run import job as run_job
from agui_operator.gcp.kinds.run import service as run_service
from agui_operator.gcp.transport import operations
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.run_views import service_view
from engine_fakes import NOW, Bench, FakeDirectory, FakeKube, sample
from world_model import NAMES

NAMED = "projects/acme-prod/platforms/cloudRun/signed"
POLICY = sample("policy.yaml")
LABELS = {OWNER_LABEL: Names("demo", "concierge", "uid-1", "demo", "us-central1").owner}
SERVICE = ServiceView("shop", "e", "o", "http://x", (), (), {}, "", "", "", False, True)


def policy(namespace: str = "demo", **more: Any) -> Any:
    return parse_policy({**POLICY, "namespaces": [namespace], **more})


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ([policy()], ""),
        ([policy(binaryAuthorization="Default")], "Default"),
        ([policy(binaryAuthorization=NAMED)], NAMED),
        ([policy("other", binaryAuthorization="Default")], ""),
        (
            [policy(), policy("d*", binaryAuthorization=NAMED)],
            NAMED,
        ),  # a permissive policy beside it takes nothing away
        ([], ""),
    ],
)
def test_any_policy_of_the_namespace_demands_it(policies: list[Any], expected: str) -> None:
    assert attested_by(policies, "demo") == expected


@pytest.mark.parametrize(
    "value",
    ["", "default", "None", "projects/p", "projects/p/platforms/cloudRun/", "projects/p/platforms/gke/a", "a\n"],
)
def test_what_is_no_policy_is_refused(value: str) -> None:
    with pytest.raises(SpecInvalid, match="binaryAuthorization"):
        policy(binaryAuthorization=value)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({}, ("", False)),
        ({"use_default": True}, ("Default", False)),
        ({"use_default": False}, ("", False)),
        ({"policy": NAMED}, (NAMED, False)),
        ({"use_default": True, "breakglass_justification": "in a hurry"}, ("Default", True)),
        ({"policy": NAMED, "breakglass_justification": "in a hurry"}, (NAMED, True)),
    ],
)
def test_what_a_service_is_checked_with_is_seen(found: dict[str, Any], expected: tuple[str, bool]) -> None:
    view = service_view(run_v2.Service(name="a/shop", binary_authorization=found))
    assert (view.attested_by, view.breakglass) == expected


def test_a_broken_glass_is_refused_where_it_is_demanded_and_told_without_the_justification() -> None:
    broken = replace(SERVICE, attested_by="Default", breakglass=True)
    assert breakglass("", broken) is None
    assert breakglass("Default", None) is None
    assert breakglass("Default", replace(broken, breakglass=False)) is None
    found = breakglass("Default", broken)
    assert found is not None
    assert (found.condition, found.reason, found.holds_running) == (
        ConditionType.SPEC_ACCEPTED,
        Reason.NOT_PERMITTED,
        True,
    )
    assert "gcloud run services update shop" in found.unblock_with


async def test_a_broken_glass_holds_the_next_release_and_is_said() -> None:
    bench = Bench()
    bench.directory = FakeDirectory(allowed=(policy(binaryAuthorization="Default"),))
    bench.restart()
    assert await bench.settle() == "Healthy"
    service = bench.cloud.world.service
    assert service is not None
    bench.cache.views.put_service(replace(service, breakglass=True))
    bench.cloud.world = replace(bench.cloud.world, service=replace(service, breakglass=True))
    before = len(bench.cloud.actions)
    bench.kube.edit(version="2.2.2", backend={"env": [{"name": "NEW", "value": "1"}]})
    assert await bench.settle() == "Pending"
    assert bench.kube.condition("SpecAccepted")["reason"] == "NotPermitted"
    assert "breakglass" in bench.kube.condition("SpecAccepted")["message"]
    assert len(bench.cloud.actions) == before
    bench.cache.views.put_service(service)
    bench.cloud.world = replace(bench.cloud.world, service=service)
    assert await bench.settle() == "Healthy"


class Region:
    """Answers with a service whose glass is broken, or mended."""

    def __init__(self) -> None:
        self.justification, self.asked = "in a hurry", list[str]()

    async def rpc(self, method: str, request: Any, resource: str, **_: Any) -> Any:
        self.asked.append(method)
        checked = {"use_default": True, "breakglass_justification": self.justification}
        assert method == "Services.GetService", method
        return run_v2.Service(name=resource, labels=LABELS, binary_authorization=checked)

    async def rest(self, request: Any) -> Any:
        raise CloudError(404, "no such thing")


async def test_a_held_release_sees_that_the_glass_is_mended() -> None:
    """While nothing may begin, nothing is looked at: but for what a look alone can tell."""
    cloud, cache = Region(), ObjectCache("uid-1")
    directory = FakeDirectory(allowed=(policy(binaryAuthorization="Default"),))
    scopes = Scopes(directory, lambda: NOW)
    observer = Observer(cast(Cloud, cloud), lambda: NOW, Wakeups(), resync=60)
    held = []
    for justification in ("in a hurry", "in a hurry", ""):
        cloud.justification = justification
        scope = scopes.build(FakeKube().object, Memory(phase=Phase.PENDING)).having(cache.views.service)
        held.append(bool(scope.every_blocker))
        await observer.look(scope, cache, Snapshot(), drift=False)
    held.append(bool(scopes.build(FakeKube().object, Memory()).having(cache.views.service).every_blocker))
    assert held == [False, True, True, False]
    assert cloud.asked == ["Services.GetService"] * 3


TEMPLATE = RevisionTemplate("shop-concierge-r1", "r1", ContainerTemplate("repo@sha256:" + "a" * 64, "runtime@demo"))


@pytest.mark.parametrize(
    ("asked", "sent"), [("", None), ("Default", {"use_default": True}), (NAMED, {"policy": NAMED})]
)
def test_it_is_asked_for_on_services_and_jobs(asked: str, sent: dict[str, Any] | None) -> None:
    job = JobTemplate("m", "r1", TEMPLATE.container)
    for message in (run_service.desired(TEMPLATE, (), NAMES, asked), run_job.desired(job, NAMES, asked)):
        assert ("binary_authorization" in message) == (sent is not None)
        assert message.binary_authorization == run_v2.BinaryAuthorization(sent or {})


class Writes:
    """Keeps what is sent to update a service."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def rpc(self, method: str, request: Any, resource: str, **_: Any) -> Any:
        assert method == "Services.UpdateService"
        self.sent.append(request)
        return SimpleNamespace(done=False, name="op", metadata=None)


@pytest.mark.parametrize(
    ("asked", "have", "is_written"),
    [("", "", False), ("Default", "Default", False), ("Default", "", True), ("", NAMED, False)],
)
async def test_a_service_that_is_not_checked_yet_is_written_with_its_next_release(
    monkeypatch: pytest.MonkeyPatch, asked: str, have: str, is_written: bool
) -> None:
    monkeypatch.setattr(operations, "started_view", lambda operation: None)
    cloud = Writes()
    view = replace(SERVICE, owner=NAMES.owner, template_revision=TEMPLATE.revision, attested_by=have)
    await run_service.apply(cast(Cloud, cloud), NAMES, RevisionStaged(TEMPLATE, ()), view, asked)
    assert bool(cloud.sent) == is_written
    for request in cloud.sent:
        assert "binary_authorization" in request.update_mask.paths
    moved = replace(view, template_revision="another")
    await run_service.apply(cast(Cloud, cloud), NAMES, RevisionStaged(TEMPLATE, ()), moved, asked)
    mask = set(cloud.sent[-1].update_mask.paths)
    assert ("binary_authorization" in mask) == bool(asked), "what a person set stays where nothing is demanded"
