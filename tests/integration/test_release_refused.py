"""What may not be released: by the policy, by the environment, by the spec itself. Nothing is written, and the object
says what to change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agui_dev.testbed.belongings import Belongings
from agui_dev.testbed.kube_api import ApiRefused, condition
from agui_dev.testbed.releases import HELD, NAME, full_release, policy, release
from agui_dev.testbed.system import System, service_of, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600), pytest.mark.usefixtures("operator")]

Json = dict[str, Any]


def stalled(system: System, place: str, reason: str) -> Json:
    return system.api.until(
        place,
        NAME,
        lambda d: condition(d, "Ready").get("reason") == reason and condition(d, "Ready")["status"] == "False",
        f"Ready=False with reason {reason}",
    )


@pytest.fixture
def place(system: System) -> str:
    return system.case()


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        pytest.param("image", "docker.io/library/shop:v1", "spec.backend.image", id="an image from elsewhere"),
        pytest.param("serviceAccount", "root-of-all", "spec.backend.serviceAccount", id="another identity"),
        pytest.param("ingress", "All", "spec.backend.ingress", id="open to everybody"),
        pytest.param("scaling", {"maxInstances": 500}, "spec.backend.scaling.maxInstances", id="too many instances"),
    ],
)
def test_what_the_policy_forbids_is_not_permitted(
    system: System, place: str, field: str, value: object, says: str
) -> None:
    before = system.rested()
    document = release(place, "v1")
    document["spec"]["backend"][field] = value
    system.api.apply(document)
    found = stalled(system, place, "NotPermitted")
    assert says in condition(found, "SpecAccepted")["message"]
    assert "administrator" in found["status"]["waitingFor"]["unblockWith"]
    assert not [c for c in system.calls(before) if place in c["resource"]]
    system.api.apply(release(place, "v1"))
    system.settle(place, "Healthy", version="v1")


def test_a_permission_that_is_withdrawn_takes_a_canary_back(system: System) -> None:
    place = system.case()
    system.api.apply(release(place, "v1"))
    system.settle(place, "Healthy", version="v1")
    system.api.apply(release(place, "v2", strategy={"canary": HELD}))
    system.reaches(place, "Paused")
    system.api.apply(policy(serviceAccounts=["somebody-else"]))
    try:
        found = stalled(system, place, "NotPermitted")
        assert [found["status"]["history"][0][key] for key in ("outcome", "reason")] == ["RolledBack", "NotPermitted"]
        assert found["status"]["stable"]["version"] == "v1"
        assert system.get(place, "/api/orders/1")[0] == 200
    finally:
        system.api.apply(policy())


def test_a_namespace_without_a_policy_deploys_nothing(system: System) -> None:
    place = system.case()
    system.api.apply(policy(namespaces=("u-*",)))
    try:
        system.api.apply(release(place, "v1"))
        found = stalled(system, place, "NotPermitted")
        assert "no AgUiPolicy names it" in found["status"]["message"]
    finally:
        system.api.apply(policy())
    system.settle(place, "Healthy", version="v1")


def test_a_freeze_window_holds_back_until_it_ends(system: System, place: str) -> None:
    now = datetime.now(UTC)
    window = {"name": "holidays", "from": stamp(now - timedelta(hours=1)), "until": stamp(now + timedelta(hours=1))}
    system.api.apply(policy("frozen", (place,), freezes=[window]))
    try:
        system.api.apply(release(place, "v1"))
        found = stalled(system, place, "Frozen")
        assert "holidays" in found["status"]["message"]
        assert found["status"]["waitingFor"]["until"] == stamp(now + timedelta(hours=1))
    finally:
        system.api.delete("", "frozen", "aguipolicies")
    system.settle(place, "Healthy", version="v1")


def test_the_stop_button_holds_a_canary_where_it_is(system: System, place: str) -> None:
    system.api.apply(release(place, "v1"))
    system.settle(place, "Healthy", version="v1")
    slow = {"canary": {"steps": [{"setWeight": 30}, {"pause": {"duration": "8s"}}]}}
    system.api.apply(release(place, "v2", strategy=slow))
    system.reaches(place, "Progressing")
    system.api.apply(policy("stopped", (place,), stop={"active": True, "reason": "incident 7"}))
    try:
        found = system.reaches(place, "Paused")
        assert found["status"]["rollout"]["heldBy"] == "Policy"
        assert "incident 7" in found["status"]["waitingFor"]["what"]
    finally:
        system.api.delete("", "stopped", "aguipolicies")
    system.settle(place, "Healthy", version="v2")


def test_suspend_starts_nothing_and_its_end_starts_it(system: System, place: str) -> None:
    before = system.rested()
    system.api.apply(release(place, "v1", suspend=True))
    found = system.reaches(place, "Suspended")
    assert condition(found, "Ready")["reason"] == "Suspended"
    assert not [c for c in system.calls(before) if place in c["resource"]]
    system.api.apply(release(place, "v1", suspend=False))
    system.settle(place, "Healthy", version="v1")


def test_the_api_server_refuses_what_cel_can_see(system: System, place: str) -> None:
    document = release(place, "v1", strategy={"canary": {"steps": [{"setWeight": 50}, {"setWeight": 10}]}})
    with pytest.raises(ApiRefused, match="increasing setWeight"):
        system.api.apply(document)


def test_a_spec_that_passed_the_api_server_and_is_wrong_names_the_field(system: System, place: str) -> None:
    """`500d` has the form of a duration; that it is too long only the operator knows."""
    system.api.apply(release(place, "v1", strategy={"progressDeadline": "500d"}))
    found = stalled(system, place, "InvalidSpec")
    message = condition(found, "SpecAccepted")["message"]
    assert "spec.strategy.progressDeadline" in message
    assert "366d" in message
    assert condition(found, "Stalled")["status"] == "True"
    system.api.apply(release(place, "v1"))
    system.settle(place, "Healthy", version="v1")


def test_an_absent_environment_is_waited_for(system: System) -> None:
    place = system.case(environment_too=False)
    system.api.apply(release(place, "v1"))
    found = stalled(system, place, "EnvironmentNotReady")
    assert "AgUiEnvironment" in found["status"]["message"]
    assert condition(found, "EnvironmentReady")["status"] == "False"


@pytest.mark.parametrize(
    ("change", "reason", "says"),
    [
        pytest.param({"image": "us-central1-docker.pkg.dev/demo/agui/shop:v99"}, None, "v99", id="an unknown tag"),
        pytest.param({"secrets": [{"env": "A", "secret": "no-such-secret"}]}, None, "no-such-secret", id="no secret"),
    ],
)
def test_what_can_not_be_resolved_is_said_by_name_and_mended_without_a_new_spec(
    system: System, place: str, change: Json, reason: str | None, says: str
) -> None:
    document = release(place, "v1")
    document["spec"]["backend"] |= change
    system.api.apply(document)
    found = system.api.until(place, NAME, lambda d: says in (d.get("status") or {}).get("message", ""), f"{says} named")
    assert found["status"]["phase"] == "Resolving"
    assert condition(found, "Ready")["status"] == "False"
    system.api.apply(release(place, "v1"))
    system.settle(place, "Healthy", version="v1")


def test_a_service_of_somebody_else_is_never_touched(system: System, place: str) -> None:
    parent = "/v2/projects/demo/locations/us-central1/services"
    theirs = {"template": {"containers": [{"image": "us-central1-docker.pkg.dev/demo/agui/shop:v1"}]}}
    system.cloud(f"{parent}?serviceId={service_of(place)}", theirs)
    wait_for(lambda: "latestReadyRevision" in system.cloud(f"{parent}/{service_of(place)}"), "their service")
    before = system.cloud(f"{parent}/{service_of(place)}")
    system.api.apply(release(place, "v1"))
    found = stalled(system, place, "NotOwned")
    assert "has no label agui-owner" in found["status"]["message"]
    assert "agui.dev/adopt=true" in found["status"]["message"]
    assert system.cloud(f"{parent}/{service_of(place)}")["generation"] == before["generation"]


def test_a_bundle_with_another_digest_is_refused(system: System, place: str) -> None:
    document = full_release(place, "v1", "v1", migrations=None)
    document["spec"]["frontend"]["bundle"]["sha256"] = "0" * 64
    system.api.apply(document)
    found = stalled(system, place, "BundleRefused")
    assert "sha256" in found["status"]["message"]
    assert Belongings.of(system.gcp, place, system.owner(place)).is_empty()


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
