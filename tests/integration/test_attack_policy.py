"""A tenant and a careless administrator, after a rollout as well as on its way: nothing is written without a permission
that holds now."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from agui_dev.testbed.kube_api import condition
from agui_dev.testbed.operator_process import OperatorProcess
from agui_dev.testbed.releases import ENVIRONMENT, NAME, policy, release
from agui_dev.testbed.system import System, service_of, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

Json = dict[str, Any]
SERVICES = "/v2/projects/demo/locations/us-central1/services"


@pytest.fixture(scope="module", autouse=True)
def quick_operator(system: System) -> Iterator[OperatorProcess]:
    """Compares resting objects with the cloud every two seconds."""
    operator = system.operator(AGUI_RESYNC_SECONDS="2")
    yield operator
    system.retire(operator)


@pytest.fixture
def place(system: System) -> Iterator[str]:
    """A namespace with a policy of its own, which no other policy names, and v1 in it."""
    namespace = f"own-{uuid.uuid4().hex[:8]}"
    system.place(namespace)
    permit(system, namespace)
    system.api.apply(release(namespace, "v1"))
    system.settle(namespace, "Healthy", version="v1")
    yield namespace
    permit(system, namespace)


def permit(system: System, place: str, **changes: Any) -> None:
    system.api.apply(policy(place, (place,), **changes))


def until(system: System, place: str, kind: str, reason: str) -> Json:
    def told(found: Json) -> bool:
        return bool(condition(found, kind).get("reason") == reason)

    return system.api.until(place, NAME, told, f"{kind} with reason {reason}")


def asked(system: System, place: str, kind: str, value: str = "true") -> Json:
    """A request by annotation, and its answer: the object has had a turn."""
    before = (system.api.get(place, NAME)["status"].get("lastRequest") or {}).get("at")
    system.api.annotate(place, NAME, **{kind: value})
    found = system.api.until(
        place, NAME, lambda d: (d["status"].get("lastRequest") or {}).get("at") not in (None, before), kind
    )
    answer: Json = found["status"]["lastRequest"]
    return answer


def effects(system: System, place: str, since: int) -> list[str]:
    return [e["resource"] for e in system.effects(since) if place in e["resource"]]


def looks(system: System, since: int) -> list[str]:
    methods = [call["method"] for call in system.calls(since, writes=False)]
    return [method for method in methods if method.endswith("ListServices")]


def test_a_withdrawn_permission_stops_repair_until_it_is_back(system: System, place: str) -> None:
    permit(system, place, serviceAccounts=["somebody-else"])
    found = until(system, place, "DriftFree", "NotPermitted")
    assert "is not permitted any more and is not corrected" in condition(found, "DriftFree")["message"]
    asked_at = system.position
    system.cloud(f"{SERVICES}/{service_of(place)}", method="DELETE")
    # The deletion is an operation: its effect is recorded after the answer to the call.
    wait_for(lambda: effects(system, place, asked_at) != [], "the deletion of the service")
    before = system.position
    wait_for(lambda: len(looks(system, before)) >= 2, "two looks at the services")
    assert effects(system, place, before) == []
    permit(system, place)
    wait_for(lambda: effects(system, place, before) != [], "the service is made again")
    system.settle(place, "Healthy", version="v1")


def test_an_undo_brings_no_forbidden_release_back(system: System, place: str) -> None:
    second = release(place, "v2")
    second["spec"]["backend"]["serviceAccount"] = "shop-two"
    permit(system, place, serviceAccounts=["shop-runtime", "shop-two"])
    system.api.apply(second)
    stable = system.settle(place, "Healthy", version="v2")["status"]["stable"]["id"]
    permit(system, place, serviceAccounts=["shop-two"])
    until(system, place, "RollbackReady", "NotPermitted")
    refused = asked(system, place, "undo", "previous")
    assert refused["accepted"] is False
    assert "shop-runtime@demo.iam.gserviceaccount.com is not permitted" in refused["message"]
    assert system.api.get(place, NAME)["status"]["stable"]["id"] == stable
    permit(system, place, serviceAccounts=["shop-runtime", "shop-two"], stop={"active": True, "reason": "an incident"})
    until(system, place, "RollbackReady", "StableKnown")
    assert "an incident" in asked(system, place, "undo", "true")["message"]


def test_alerts_page_no_channel_that_is_not_permitted(system: System, place: str) -> None:
    permit(system, place, channels=["none"])
    system.api.merge(place, NAME, {"spec": {"alerts": {"errorRate": 0.05, "channels": ["oncall"]}}})
    until(system, place, "SpecAccepted", "NotPermitted")
    found = system.cloud("/v3/projects/demo/alertPolicies")
    assert not [p for p in found.get("alertPolicies", ()) if place in p["displayName"] and p["notificationChannels"]]


def test_an_environment_that_is_not_permitted_tells_nobody_what_exists(system: System, place: str) -> None:
    document = system.api.get(place, ENVIRONMENT, "aguienvironments")
    spec = {**document["spec"], "projectId": "victim-prod"}
    before = system.position
    probe = {**document, "metadata": {"name": "probe", "namespace": place}, "spec": spec}
    probe.pop("status", None)
    system.api.apply(probe)

    def ready(found: Json) -> bool:
        return bool(condition(found, "Ready").get("reason") == "NotPermitted")

    wait_for(lambda: ready(system.api.get(place, "probe", "aguienvironments")), "a refusal of the environment")
    found = system.api.get(place, "probe", "aguienvironments")
    assert found["status"]["resources"] == []
    assert "victim-prod is not permitted" in condition(found, "Ready")["message"]
    assert not [c for c in system.calls(before, writes=False) if "victim-prod" in str(c)]
