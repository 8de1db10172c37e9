"""What a rollout survives on real parts: services, pages and statuses that are gone, an API that is down, a newer CRD,
names that are alike, and what the object says at moments that pass quickly."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from agui_dev.paths import ROOT
from agui_dev.testbed.api_proxy import is_status_write
from agui_dev.testbed.belongings import Belongings
from agui_dev.testbed.kube_api import condition
from agui_dev.testbed.load import load
from agui_dev.testbed.operator_process import OperatorProcess
from agui_dev.testbed.releases import AT_ONCE, ENVIRONMENT, HELD, NAME, full_release, release
from agui_dev.testbed.system import System, service_of, wait_for
from agui_operator.core.names import service_name

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

Json = dict[str, Any]
RUN = "/v2/projects/demo/locations/us-central1"
NO_BACKUP: Json = {"target": "head", "backup": "Never"}


@pytest.fixture(scope="module", autouse=True)
def quick_operator(system: System) -> Iterator[OperatorProcess]:
    """Compares resting objects with the cloud every two seconds."""
    operator = system.operator(AGUI_RESYNC_SECONDS="2")
    yield operator
    system.retire(operator)


@pytest.fixture
def healthy(system: System) -> str:
    """A namespace in which v1, with a page and alerts, is healthy."""
    place = system.case()
    paged(system, place, "v1", "v1")
    system.settle(place, "Healthy", version="v1")
    return place


def paged(system: System, place: str, tag: str, page: str, **parts: Any) -> Json:
    return system.api.apply(full_release(place, tag, page, **{"migrations": None, "strategy": AT_ONCE} | parts))


def stable_of(system: System, place: str) -> str:
    return str(system.api.get(place, NAME)["status"]["stable"]["id"])


def answers(system: System, place: str) -> str:
    """The release that answers a user."""
    return system.get(place, "/api/orders/1")[1].removeprefix(f"{service_of(place)}-")


def test_a_roll_back_waits_for_no_api_that_it_does_not_need(system: System, healthy: str) -> None:
    """Monitoring answers 503 to everything while an undo is asked for."""
    first = stable_of(system, healthy)
    paged(system, healthy, "v2", "v2")
    system.settle(healthy, "Healthy", version="v2")
    system.fault(method="*AlertPolic*", code="UNAVAILABLE", count=0)
    system.fault(method="*TimeSeries*", code="UNAVAILABLE", count=0)
    try:
        system.api.annotate(healthy, NAME, undo="previous")
        wait_for(lambda: answers(system, healthy) == first, "users on the release before")
        wait_for(lambda: "1.0.0" in system.get(healthy, "/")[2], "the page of the release before")
        found = system.settle(healthy, "RolledBack")
        alerts = condition(found, "AlertsConfigured")
        assert alerts["status"] != "True", "the alert policies are those of the release that was taken back"
    finally:
        system.clear_faults()
    system.api.until(
        healthy,
        NAME,
        lambda d: condition(d, "AlertsConfigured")["status"] == "True",
        "the alerts of the stable release",
    )


def test_a_service_that_is_deleted_in_a_canary_is_made_again_and_a_newer_spec_gets_its_turn(
    system: System, healthy: str
) -> None:
    first = stable_of(system, healthy)
    paged(system, healthy, "v2", "v2", strategy={"canary": HELD})
    system.reaches(healthy, "Paused")
    system.cloud(f"{RUN}/services/{service_of(healthy)}", method="DELETE")
    wait_for(lambda: answers(system, healthy) == first, "users on the stable release again")
    paged(system, healthy, "v3", "v3")
    system.settle(healthy, "Healthy", version="v3")
    assert answers(system, healthy) == stable_of(system, healthy)


@pytest.mark.parametrize("running", [True, False], ids=["while it runs", "while it is stopped"])
def test_a_status_that_is_wiped_takes_nothing_from_users(
    system: System, healthy: str, quick_operator: OperatorProcess, running: bool
) -> None:
    """A bad release comes right after it."""
    first = stable_of(system, healthy)
    if not running:
        quick_operator.stop()
    found = system.api.get(healthy, NAME)
    with load(system, healthy, rate=30, paths=("/", "/api/orders/1")) as met:
        system.api.call("PUT", f"{system.api.path(healthy, name=NAME)}/status", {**found, "status": {}})
        paged(system, healthy, "crashing", "v2")
        if not running:
            quick_operator.start()
        found = system.api.until(
            healthy, NAME, lambda d: bool((d.get("status") or {}).get("rejected")), "the end of the bad release"
        )
        found = system.settle(healthy, "RolledBack")
    assert found["status"]["stable"]["id"] == first
    assert {a.status for a in met} == {200}
    assert {a.revision for a in met if a.path != "/"} == {f"{service_of(healthy)}-{first}"}
    assert "never received user traffic" not in found["status"]["message"]


def test_files_of_the_page_that_are_gone_are_said_and_a_release_publishes_them(system: System, healthy: str) -> None:
    folder = system.api.get(healthy, NAME)["status"]["stable"]["frontend"]
    page = f"/storage/v1/b/{healthy}-assets/o/releases%2F{folder}%2Findex.html"
    system.cloud(page, method="DELETE")
    found = system.api.until(healthy, NAME, lambda d: condition(d, "Ready")["status"] == "False", "a page that is gone")
    assert condition(found, "Promoted")["status"] == "False"
    assert "missing in the assets bucket" in found["status"]["message"]
    paged(system, healthy, "v1", "v1", env={"AGAIN": "1"})
    system.settle(healthy, "Healthy")
    system.api.until(healthy, NAME, lambda d: condition(d, "Ready")["status"] == "True", "the page again")
    assert system.get(healthy, "/")[0] == 200


def test_rules_of_the_page_that_are_gone_are_set_back(system: System, healthy: str) -> None:
    url_map = system.cloud("/compute/v1/projects/demo/global/urlMaps/shared")
    others = [rule for rule in url_map["hostRules"] if healthy not in str(rule["hosts"])]
    body = {"fingerprint": url_map["fingerprint"], "hostRules": others or None}
    system.cloud("/compute/v1/projects/demo/global/urlMaps/shared", body, "PATCH")
    wait_for(lambda: system.get(healthy, "/")[0] == 200, "the page again")
    assert Belongings.of(system.gcp, healthy, system.owner(healthy)).matcher is not None


def test_a_field_of_a_newer_crd_takes_no_canary_back(system: System, healthy: str) -> None:
    """The CRD of a later version, with one more field that has a default, is applied before its operator."""
    first = stable_of(system, healthy)
    paged(system, healthy, "v2", "v2", strategy={"canary": HELD})
    system.reaches(healthy, "Paused")
    crd = yaml.safe_load((ROOT / "crds" / "agui.dev_aguideployments.yaml").read_text())
    newer = copy.deepcopy(crd)
    spec = newer["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    spec["laterField"] = {"type": "string", "default": "new", "description": "Of a later version."}
    try:
        system.plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=yaml.safe_dump(newer))
        wait_for(lambda: "laterField" in system.api.get(healthy, NAME)["spec"], "the field in the stored object")
        system.api.merge(healthy, NAME, {"metadata": {"labels": {"touched": "yes"}}})  # the watch tells of the field
        found = system.api.until(
            healthy, NAME, lambda d: condition(d, "SpecAccepted")["reason"] == "UnknownFields", "the ignored field"
        )
        assert "laterField" in condition(found, "SpecAccepted")["message"]
        assert (found["status"]["phase"], found["status"]["rollout"]["weight"]) == ("Paused", 20)
        assert found["status"]["stable"]["id"] == first
        system.api.annotate(healthy, NAME, **{"promote-full": "true"})
        system.settle(healthy, "Healthy", version="v2")
    finally:
        system.plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=yaml.safe_dump(crd))


def test_a_migration_whose_operation_is_never_answered_is_seen_to_have_succeeded(system: System) -> None:
    place = system.case()
    system.fault(method="Operations.*", hang=True, count=0, match="", delay_ms=0)
    try:
        system.api.apply(release(place, "v1", migrations=NO_BACKUP, strategy={"progressDeadline": "5m"}))
        found = system.api.until(
            place, NAME, lambda d: condition(d, "Migrated").get("status") == "True", "the end of the migration"
        )
    finally:
        system.clear_faults()
    assert found["status"].get("rejected") is None
    system.settle(place, "Healthy", version="v1")


def test_names_that_concatenate_alike_or_are_long_and_odd_never_meet(system: System) -> None:
    mark = uuid.uuid4().hex[:6]
    longest = f"1.{'a' * 55}.{mark}"[:63]
    cases = [(f"t-{mark}", "b-shop"), (f"t-{mark}-b", "shop"), (f"t-{mark}", longest), (f"t-{mark}", longest[:-1])]
    for namespace in dict(cases):
        system.place(namespace)
        environment = system.api.get(namespace, ENVIRONMENT, "aguienvironments")
        environment["spec"].pop("edge")
        kept = {key: environment[key] for key in ("apiVersion", "kind", "spec")}
        system.api.delete(namespace, ENVIRONMENT, "aguienvironments")
        wait_for(lambda n=namespace: not system.api.exists(n, ENVIRONMENT, "aguienvironments"), "its end")
        system.api.apply({**kept, "metadata": {"name": ENVIRONMENT, "namespace": namespace}})
    for namespace, name in cases:
        system.api.apply(release(namespace, "v1", name=name, strategy=AT_ONCE))
    for namespace, name in cases:
        system.api.until(
            namespace, name, lambda d: (d.get("status") or {}).get("phase") == "Healthy", f"{name} Healthy"
        )
    assert len({service_name(*case) for case in cases}) == len(cases)
    owners = {case: system.cloud(f"{RUN}/services/{service_name(*case)}")["labels"]["agui-owner"] for case in cases}
    assert owners == {case: system.owner(*case) for case in cases}


def test_promoted_becomes_true_when_the_checks_after_promotion_have_passed(system: System, healthy: str) -> None:
    with system.proxy.held(is_status_write(healthy, "Healthy")):
        paged(system, healthy, "v2", "v2")
        found = system.reaches(healthy, "Baking")
        assert condition(found, "Promoted")["status"] != "True"
        assert condition(found, "Ready")["status"] != "True"
    system.settle(healthy, "Healthy", version="v2")
    assert condition(system.api.get(healthy, NAME), "Promoted")["status"] == "True"


def test_a_release_that_is_not_exposed_yet_has_no_weight(system: System, healthy: str) -> None:
    with system.proxy.held(is_status_write(healthy, "Migrating")):
        paged(system, healthy, "v2", "v2", migrations={"target": "head", "backup": "Always"})
        found = system.reaches(healthy, "BackingUp")
        assert found["status"]["rollout"]["weight"] == 0
        shown = system.plane.kubectl("get", "agd", NAME, "-n", healthy)
        assert "v2" in shown
        assert "100" not in shown
    system.settle(healthy, "Healthy", version="v2")


def test_no_event_says_that_the_stable_release_was_taken_back_when_a_newer_image_is_forbidden(
    system: System, healthy: str
) -> None:
    stable = stable_of(system, healthy)
    system.fault(method="*", match="/shop", delay_ms=1500, count=2)  # so that the next spec meets it in Resolving
    try:
        paged(system, healthy, "v2", "v2")
        document = full_release(healthy, "v2", "v2", migrations=None, strategy=AT_ONCE)
        document["spec"]["backend"]["image"] = "docker.io/library/nginx:1"
        system.api.apply(document)
        system.api.until(
            healthy, NAME, lambda d: condition(d, "Ready").get("reason") == "NotPermitted", "the forbidden image"
        )
    finally:
        system.clear_faults()
    told = [e["message"] for e in system.api.events(healthy) if stable in e["message"] and e["type"] == "Warning"]
    assert told == []
    assert answers(system, healthy) == stable
