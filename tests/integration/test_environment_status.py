"""The status of an environment follows the cloud: what is created or deleted later is noticed without a change of the
object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agui_dev.testbed.kube_api import PATIENCE, condition
from agui_dev.testbed.releases import ENVIRONMENT
from agui_dev.testbed.system import OperatorProcess, System, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
Json = dict[str, Any]
_RESYNC = 2


@pytest.fixture(scope="module")
def operator(system: System) -> Iterator[OperatorProcess]:
    running = system.operator(AGUI_RESYNC_SECONDS=str(_RESYNC))
    yield running
    system.retire(running)


@pytest.fixture
def place(system: System, operator: OperatorProcess) -> str:
    return system.case()


def ready(system: System, place: str) -> Json:
    found = system.api.get(place, ENVIRONMENT, "aguienvironments")
    return condition(found, "Ready")


def becomes(system: System, place: str, reason: str, seconds: float = PATIENCE) -> Json:
    wait_for(lambda: ready(system, place).get("reason") == reason, f"Ready with reason {reason}", seconds)
    return ready(system, place)


def name_bucket(system: System, place: str, bucket: str) -> None:
    storage = {"assets": {"bucket": bucket}}
    system.api.merge(place, ENVIRONMENT, {"spec": {"storage": storage}}, "aguienvironments")


def test_a_bucket_that_is_created_later_is_found(system: System, place: str) -> None:
    becomes(system, place, "Observed")
    bucket = f"{place}-late"
    name_bucket(system, place, bucket)
    missing = becomes(system, place, "Missing")
    assert (missing["status"], bucket in missing["message"]) == ("False", True)
    system.cloud("/storage/v1/b?project=demo", {"name": bucket})
    assert becomes(system, place, "Observed")["status"] == "True"
    system.cloud(f"/storage/v1/b/{bucket}", method="DELETE")
    becomes(system, place, "Missing")


def test_looks_that_fail_are_retried_until_one_succeeds(system: System, place: str) -> None:
    becomes(system, place, "Observed")
    bucket = f"{place}-assets-2"
    system.fault(method="storage.buckets.get", match=bucket, code="UNAVAILABLE", count=40, message="no look")
    try:
        name_bucket(system, place, bucket)
        failed = becomes(system, place, "NotObserved")
        assert (failed["status"], "no look" in failed["message"]) == ("Unknown", True)
    finally:
        system.clear_faults()
    becomes(system, place, "Missing")


def test_an_idle_environment_is_looked_at_and_not_written(system: System, place: str) -> None:
    becomes(system, place, "Observed")
    version = system.api.get(place, ENVIRONMENT, "aguienvironments")["metadata"]["resourceVersion"]
    since = system.position

    def looked() -> bool:
        calls = system.calls(since, writes=False)
        return sum(f"{place}-assets" in str(call) for call in calls if "buckets.get" in str(call)) >= 2

    wait_for(looked, "two more looks")
    assert system.api.get(place, ENVIRONMENT, "aguienvironments")["metadata"]["resourceVersion"] == version
