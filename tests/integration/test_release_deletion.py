"""Deleting a deployment ends, in every phase; what it owns goes or stays as its deletionPolicy says."""

from __future__ import annotations

from typing import Any

import pytest

from agui_dev.testbed.belongings import Belongings
from agui_dev.testbed.kube_api import ApiRefused, condition
from agui_dev.testbed.releases import ENVIRONMENT, HELD, NAME, REPOSITORY, full_release, release
from agui_dev.testbed.system import System, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600), pytest.mark.usefixtures("operator")]


@pytest.fixture
def place(system: System) -> str:
    return system.case()


def gone(system: System, place: str) -> None:
    wait_for(lambda: not system.api.exists(place, NAME), "the end of the object")


def uid_of(system: System, place: str) -> str:
    return str(system.api.get(place, NAME)["metadata"]["uid"])


def tear_away_environment(system: System, place: str) -> None:
    """Deletes it with its finalizer and waits until the operator knows, because two watches have no order."""
    system.api.delete(place, ENVIRONMENT, "aguienvironments")
    system.api.merge(place, ENVIRONMENT, {"metadata": {"finalizers": None}}, "aguienvironments")
    system.api.until(place, NAME, lambda d: condition(d, "EnvironmentReady").get("status") == "False", "its absence")


def test_by_default_data_stays_and_the_rest_goes(system: System, place: str) -> None:
    system.api.apply(full_release(place, "v1", "v1"))
    system.settle(place, "Healthy", version="v1")
    owner = system.owner(place)
    system.api.delete(place, NAME)
    gone(system, place)
    have = Belongings.of(system.gcp, place, owner)
    assert have.is_empty(), have
    assert len(have.backups) == 1
    folders = system.cloud(f"/storage/v1/b/{place}-assets/o?prefix=releases/")["items"]
    assert folders, "published files stay"
    assert system.get(place, "/api/orders/1")[1] == ""


def test_what_is_to_be_retained_stays_and_goes_on_serving(system: System, place: str) -> None:
    keep = {"backend": "Retain", "alerts": "Retain", "pointer": "Retain"}
    system.api.apply(full_release(place, "v1", "v1", migrations=None, deletionPolicy=keep))
    system.settle(place, "Healthy", version="v1")
    owner = system.owner(place)
    system.api.delete(place, NAME)
    gone(system, place)
    have = Belongings.of(system.gcp, place, owner)
    assert have.service is not None
    assert have.matcher is not None
    assert have.alerts
    assert system.get(place, "/api/orders/1")[0] == 200


SLOW: dict[str, dict[str, Any]] = {
    "BackingUp": {"method": "sqladmin.backupRuns.insert", "delay_ms": 2500},
    "Migrating": {"method": "Jobs.RunJob", "delay_ms": 2500},
    "Publishing": {"method": "storage.objects.insert", "delay_ms": 2500},
    "Staging": {"method": "Services.CreateService", "delay_ms": 2500},
}


@pytest.mark.parametrize("phase", SLOW)
def test_deleted_while_it_prepares_nothing_is_left(system: System, place: str, phase: str) -> None:
    shared = phase in ("BackingUp", "Publishing")
    system.fault(match="" if shared else place, when="before", **SLOW[phase])
    document = full_release(place, "v1", "v2")
    system.api.apply(document)
    try:
        system.reaches(place, phase)
        owner = system.owner(place)
        system.api.delete(place, NAME)
        gone(system, place)
    finally:
        system.clear_faults()
    wait_for(lambda: Belongings.of(system.gcp, place, owner).is_empty(), "the end of what it had begun")


def test_deleted_in_a_canary_everything_goes(system: System, place: str) -> None:
    system.api.apply(release(place, "v1"))
    system.settle(place, "Healthy", version="v1")
    system.api.apply(release(place, "v2", strategy={"canary": HELD}))
    system.reaches(place, "Paused")
    owner = system.owner(place)
    system.api.delete(place, NAME)
    gone(system, place)
    assert Belongings.of(system.gcp, place, owner).is_empty()


@pytest.mark.parametrize("tag", ["broken", "crashing"])
def test_deleted_after_a_failure_everything_goes(system: System, place: str, tag: str) -> None:
    system.api.apply(release(place, tag))
    system.settle(place, "Failed", version=tag)
    owner = system.owner(place)
    system.api.delete(place, NAME)
    gone(system, place)
    assert Belongings.of(system.gcp, place, owner).is_empty()


def test_deleted_before_anything_was_made(system: System, place: str) -> None:
    document = release(place, "v1")
    document["spec"]["backend"]["serviceAccount"] = "root-of-all"
    system.api.apply(document)
    system.api.until(place, NAME, lambda d: condition(d, "Ready").get("reason") == "NotPermitted", "the refusal")
    system.api.delete(place, NAME)
    gone(system, place)


def test_while_the_cloud_refuses_the_object_says_why_and_goes_on_later(system: System, place: str) -> None:
    system.api.apply(release(place, "v1"))
    system.settle(place, "Healthy", version="v1")
    owner = system.owner(place)
    system.fault(method="Services.DeleteService", match=place, code="UNAVAILABLE", count=2, message="no delete")
    system.api.delete(place, NAME)
    found = system.api.until(
        place, NAME, lambda d: condition(d, "Ready").get("reason") == "DeletionBlocked", "the reason"
    )
    assert "no delete" in found["status"]["message"]
    assert "agui.dev/abandon" in found["status"]["message"]
    gone(system, place)
    assert [e for e in system.api.events(place) if e["reason"] == "DeletionBlocked"], "an Event says why, too"
    assert Belongings.of(system.gcp, place, owner).is_empty()


def test_with_its_environment_gone_everything_goes_all_the_same(system: System, place: str) -> None:
    system.api.apply(full_release(place, "v1", "v1"))
    system.settle(place, "Healthy", version="v1")
    tear_away_environment(system, place)
    system.api.delete(place, NAME)
    gone(system, place)
    assert Belongings.of(system.gcp, place, system.owner(place)).is_empty()


def test_an_abandoned_object_leaves_everything(system: System, place: str) -> None:
    system.api.apply(release(place, "v1"))
    system.settle(place, "Healthy", version="v1")
    tear_away_environment(system, place)
    system.api.annotate(place, NAME, abandon="true")
    system.api.delete(place, NAME)
    gone(system, place)
    assert Belongings.of(system.gcp, place, system.owner(place)).service is not None


def test_an_object_made_again_under_the_same_name_is_another_one(system: System, place: str) -> None:
    system.api.apply(release(place, "v1"))
    system.settle(place, "Healthy", version="v1")
    first = uid_of(system, place)
    system.api.delete(place, NAME)
    gone(system, place)
    with pytest.raises(ApiRefused):
        system.api.get(place, NAME)
    system.api.apply(release(place, "v1"))
    found = system.settle(place, "Healthy", version="v1")
    assert found["metadata"]["uid"] != first
    assert len(found["status"]["history"]) == 1


def test_while_the_spec_is_invalid_its_deletion_policy_still_holds(system: System, place: str) -> None:
    """The API server admits a check with `jsonPath` and without `equals`; the operator does not."""
    keep = {"backend": "Retain", "alerts": "Delete", "pointer": "Retain"}
    system.api.apply(full_release(place, "v1", "v1", migrations=None, deletionPolicy=keep))
    system.settle(place, "Healthy", version="v1")
    owner = system.owner(place)
    unreadable = [{"name": "version", "http": {"path": "/version", "jsonPath": "$.schema.required"}}]
    system.api.merge(place, NAME, {"spec": {"smoke": unreadable}})
    system.api.until(place, NAME, lambda d: condition(d, "Ready").get("reason") == "InvalidSpec", "the refusal")
    system.api.delete(place, NAME)
    gone(system, place)
    have = Belongings.of(system.gcp, place, owner)
    assert have.service is not None
    assert have.matcher is not None
    assert have.alerts == []
    assert system.get(place, "/api/orders/1")[0] == 200, "users are served as before"


def test_jobs_that_neither_spec_nor_history_name_go_too(system: System, place: str) -> None:
    """Of a check that was renamed or removed since, or of a release that the history has forgotten."""
    system.api.apply(full_release(place, "v1", "v1"))
    system.settle(place, "Healthy", version="v1")
    owner = system.owner(place)
    forgotten, foreign = f"{place}-forgotten", f"{place}-foreign"
    for job, label in ((forgotten, owner), (foreign, "somebody-else")):
        body = {
            "labels": {"agui-owner": label, "agui-release": "0123456789"},
            "template": {"template": {"containers": [{"image": f"{REPOSITORY}:v1"}]}},
        }
        system.cloud(f"/v2/projects/demo/locations/us-central1/jobs?jobId={job}", body)
    assert forgotten in Belongings.of(system.gcp, place, owner).jobs
    system.api.delete(place, NAME)
    gone(system, place)
    assert Belongings.of(system.gcp, place, owner).is_empty()
    assert foreign in Belongings.of(system.gcp, place, "somebody-else").jobs
