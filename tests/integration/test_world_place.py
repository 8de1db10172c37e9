"""Where a release lives and who owns it: environments edited, deleted or shared, migrations left running."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from agui_dev.testbed.belongings import Belongings
from agui_dev.testbed.kube_api import condition
from agui_dev.testbed.releases import AT_ONCE, ENVIRONMENT, HELD, NAME, full_release, policy, release
from agui_dev.testbed.system import System, service_of, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600), pytest.mark.usefixtures("operator")]

Json = dict[str, Any]
SERVICES = "/v2/projects/demo/locations/us-central1/services"


@pytest.fixture
def place(system: System) -> str:
    """A namespace in which v1 is healthy."""
    namespace = system.case()
    system.api.apply(release(namespace, "v1"))
    system.settle(namespace, "Healthy", version="v1")
    return namespace


def gone(system: System, place: str) -> None:
    wait_for(lambda: not system.api.exists(place, NAME), "the end of the object")


def edit_environment(system: System, place: str, **spec: Any) -> None:
    system.api.merge(place, ENVIRONMENT, {"spec": spec}, "aguienvironments")


def refused(system: System, place: str, reason: str, kind: str = "EnvironmentReady") -> Json:
    return system.api.until(
        place, NAME, lambda d: condition(d, kind).get("reason") == reason, f"{kind} with reason {reason}"
    )


def test_a_release_stays_where_it_is_when_its_environment_names_another_region(system: System, place: str) -> None:
    before = system.rested()
    edit_environment(system, place, region="europe-west1")
    found = refused(system, place, "PlaceChanged")
    message = condition(found, "EnvironmentReady")["message"]
    assert "us-central1" in message
    assert "region: us-central1 -> europe-west1" in message
    system.api.apply(release(place, "v2"))
    found = system.api.until(place, NAME, lambda d: condition(d, "Ready").get("reason") == "PlaceChanged", "a refusal")
    assert "change it back" in found["status"]["waitingFor"]["unblockWith"]
    assert found["status"]["place"]["region"] == "us-central1"
    assert not [e for e in system.effects(before) if place in e["resource"] and "europe-west1" in e["resource"]]
    edit_environment(system, place, region="us-central1")
    system.settle(place, "Healthy", version="v2")


def test_a_canary_is_taken_back_where_it_runs(system: System, place: str) -> None:
    """The environment moves and the spec changes while 20 % are on the candidate."""
    stable = system.api.get(place, NAME)["status"]["stable"]["id"]
    system.api.apply(release(place, "v2", strategy={"canary": HELD}))
    system.reaches(place, "Paused")
    edit_environment(system, place, region="europe-west1")
    refused(system, place, "PlaceChanged")
    system.api.annotate(place, NAME, abort="true")
    found = system.settle(place, "RolledBack", version="v2")
    service = system.cloud(f"{SERVICES}/{service_of(place)}")
    assert {t["revision"]: t.get("percent", 0) for t in service["traffic"] if t.get("percent")} == {
        f"{service_of(place)}-{stable}": 100
    }
    assert found["status"]["place"]["region"] == "us-central1"


def test_deleted_in_any_order_both_end_and_nothing_is_left(system: System, place: str) -> None:
    """The environment first; it waits while the deployment needs it, and says so."""
    kept = system.api.get(place, ENVIRONMENT, "aguienvironments")
    system.api.delete(place, ENVIRONMENT, "aguienvironments")

    def blocked() -> Json:
        return condition(system.api.get(place, ENVIRONMENT, "aguienvironments"), "DeletionBlocked")

    wait_for(lambda: blocked().get("status") == "True", "an environment that waits")
    assert NAME in blocked()["message"]
    assert system.api.get(place, NAME)["status"]["phase"] == "Healthy"
    system.api.delete(place, NAME)
    gone(system, place)
    assert Belongings.of(system.gcp, place, system.owner(place)).is_empty()
    wait_for(lambda: not system.api.exists(place, ENVIRONMENT, "aguienvironments"), "the end of the environment")
    meta = {"name": ENVIRONMENT, "namespace": place}
    system.api.apply({key: kept[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": meta})
    system.api.apply(release(place, "v1"))
    system.settle(place, "Healthy", version="v1")


def test_a_deployment_is_deleted_after_its_environment_was_torn_away(system: System, place: str) -> None:
    """By hand, finalizer and all: what is owned is found by the place in the status."""
    system.api.delete(place, ENVIRONMENT, "aguienvironments")
    system.api.merge(place, ENVIRONMENT, {"metadata": {"finalizers": None}}, "aguienvironments")
    refused(system, place, "EnvironmentNotReady")
    system.api.delete(place, NAME)
    gone(system, place)
    assert Belongings.of(system.gcp, place, system.owner(place)).is_empty()


def test_what_was_abandoned_is_found_by_the_same_deployment_made_again(system: System, place: str) -> None:
    first = system.api.get(place, NAME)["status"]["stable"]["id"]
    system.api.annotate(place, NAME, abandon="true")
    system.api.delete(place, NAME)
    gone(system, place)
    assert system.get(place, "/api/orders/1")[0] == 200
    system.api.apply(release(place, "v2"))
    found = system.settle(place, "Healthy", version="v2")
    assert found["status"]["place"]["service"] == service_of(place)
    assert found["status"]["stable"]["id"] != first
    system.api.delete(place, NAME)
    gone(system, place)
    assert Belongings.of(system.gcp, place, system.owner(place)).is_empty()


def relabel(system: System, place: str, owner: str) -> None:
    """What the service would say if another cluster had made it."""
    path = f"{SERVICES}/{service_of(place)}"
    labels = {**system.cloud(path)["labels"], "agui-owner": owner}
    system.cloud(f"{path}?updateMask=labels", {"labels": labels}, "PATCH")


def test_a_service_of_a_lost_cluster_is_taken_over_when_it_is_asked_for_and_allowed(system: System, place: str) -> None:
    system.api.annotate(place, NAME, abandon="true")
    system.api.delete(place, NAME)
    gone(system, place)
    relabel(system, place, "0123456789abcdef0123456789abcdef")
    before = system.position
    system.api.apply(full_release(place, "v2", strategy=AT_ONCE))
    found = system.api.until(place, NAME, lambda d: condition(d, "Ready").get("reason") == "NotOwned", "a refusal")
    assert "agui.dev/adopt=true" in found["status"]["message"]
    assert "spec.adopt" in found["status"]["message"]
    assert not [e for e in system.effects(before) if place in e["resource"]], "refused before anything is done"
    system.api.annotate(place, NAME, adopt="true")
    found = system.api.until(
        place, NAME, lambda d: "no AgUiPolicy" in d["status"].get("message", ""), "a refusal by policy"
    )
    system.api.apply(policy(f"adopt-{place}", (place,), adopt=[f"{place}-*"]))
    try:
        found = system.settle(place, "Healthy", version="v2")
    finally:
        system.api.delete("", f"adopt-{place}", "aguipolicies")
    service = system.cloud(f"{SERVICES}/{service_of(place)}")
    assert service["labels"]["agui-owner"] == system.owner(place) == found["status"]["place"]["owner"]
    assert service["labels"]["agui-namespace"] == place
    system.api.delete(place, NAME)
    gone(system, place)
    assert Belongings.of(system.gcp, place, system.owner(place)).is_empty()


def test_a_second_deployment_on_a_host_is_refused_before_anything_is_done(system: System, place: str) -> None:
    before = system.rested()
    document = full_release(place, "v1")
    document["metadata"]["name"] = "second"
    system.api.apply(document)
    found = system.api.until(
        place, "second", lambda d: condition(d, "Ready").get("reason") == "HostConflict", "a refusal"
    )
    assert f"{place}/{NAME}" in found["status"]["message"]
    assert "delete that deployment" in found["status"]["waitingFor"]["unblockWith"]
    assert not [e for e in system.effects(before) if place in e["resource"]]
    system.api.delete(place, NAME)
    gone(system, place)
    system.api.until(place, "second", lambda d: d["status"]["phase"] != "Pending", "the end of the conflict")
    system.api.delete(place, "second")
    wait_for(lambda: not system.api.exists(place, "second"), "the end of the second one")
    assert Belongings.of(system.gcp, place, system.owner(place, "second")).is_empty()


def test_a_second_deployment_on_a_database_is_refused(system: System) -> None:
    first, second = system.case(), system.case()
    for namespace in (first, second):
        edit_environment(system, namespace, database={"databases": [f"db-{first}"]})
    system.api.apply(full_release(first, "v1"))
    system.reaches(first, "BackingUp")
    before = system.position
    system.api.apply(full_release(second, "v1"))
    found = refused(system, second, "DatabaseConflict")
    assert f"{first}/{NAME}" in condition(found, "EnvironmentReady")["message"]
    assert not [e for e in system.effects(before) if second in e["resource"]]


HANGING: Json = {"migrations": {"target": "head", "backup": "Never"}, "env": {"APP_JOB_SECONDS": "600"}}


def executions(system: System, place: str, *, running: bool) -> list[str]:
    """Names of the executions of a case's migrations."""
    found = []
    for job in system.gcp.items("/v2/projects/demo/locations/us-central1/jobs", "jobs"):
        if f"/jobs/{service_of(place)}-m-" in job["name"]:
            path = f"/v2/{job['name']}/executions"
            found += [e["name"] for e in system.gcp.items(path, "executions") if ("completionTime" not in e) is running]
    return found


def test_deleted_while_a_migration_hangs_it_is_cancelled_and_everything_goes(system: System) -> None:
    place = system.case()
    system.api.apply(release(place, "v1", **HANGING))
    wait_for(lambda: bool(executions(system, place, running=True)), "a migration that hangs")
    before = system.position
    system.api.delete(place, NAME)
    gone(system, place)
    assert Belongings.of(system.gcp, place, system.owner(place)).is_empty()
    ended = [e["effect"] for e in system.effects(before) if service_of(place) in e["resource"]]
    assert "cancel" in ended


def test_two_migrations_never_run_at_the_same_time(system: System) -> None:
    """The spec is superseded twice while the first one hangs."""
    place = system.case()
    for number in ("1", "2"):
        hanging = {**HANGING, "env": {**HANGING["env"], "APP_NUMBER": number}}
        system.api.apply(release(place, "v1", **hanging))
        wait_for(lambda seen=number: len(executions(system, place, running=True)) == 1 and len(
            executions(system, place, running=False)) == int(seen) - 1, f"migration {number} alone")  # fmt: skip
    system.api.apply(release(place, "v1", migrations={"target": "head", "backup": "Never"}))
    stable = system.settle(place, "Healthy")["status"]["stable"]["id"]
    assert executions(system, place, running=True) == []
    ended = executions(system, place, running=False)  # jobs of superseded releases may have been collected by now
    assert any(f"-m-{stable}/" in name for name in ended), ended


def test_a_policy_that_is_deleted_and_applied_again_holds_a_canary_and_takes_nothing_back(system: System) -> None:
    """As a GitOps tool replaces it."""
    place = f"p-{uuid.uuid4().hex[:8]}"  # the policy of all cases does not name it
    system.place(place)
    namespace_policy = policy(f"own-{place}", (place,))
    try:
        system.api.apply(namespace_policy)
        system.api.apply(release(place, "v1"))
        system.settle(place, "Healthy", version="v1")
        pause = {"canary": {"steps": [{"setWeight": 20}, {"pause": {}}]}}
        system.api.apply(release(place, "v2", strategy=pause))
        system.reaches(place, "Paused")
        system.api.delete("", f"own-{place}", "aguipolicies")
        found = refused(system, place, "NotPermitted", "SpecAccepted")
        assert found["status"]["phase"] == "Paused"
        assert "rolled back at" in condition(found, "SpecAccepted")["message"]
        system.api.apply(namespace_policy)
        system.api.until(
            place, NAME, lambda d: condition(d, "SpecAccepted").get("status") == "True", "the permission again"
        )
        system.api.annotate(place, NAME, promote="true")
        system.settle(place, "Healthy", version="v2")
    finally:
        system.api.delete("", f"own-{place}", "aguipolicies")
