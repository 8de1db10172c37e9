"""How things end on real parts: why a job failed, what serves after an undo, and what Ready is worth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agui_dev.controlplane import KubectlFailed
from agui_dev.testbed.kube_api import condition
from agui_dev.testbed.operator_process import OperatorProcess
from agui_dev.testbed.releases import AT_ONCE, NAME, REPOSITORY, release
from agui_dev.testbed.system import System, service_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

Json = dict[str, Any]
RUN = "/v2/projects/demo/locations/us-central1/services"
NO_BACKUP = {"target": "head", "backup": "Never"}


@pytest.fixture(scope="module", autouse=True)
def quick_operator(system: System) -> Iterator[OperatorProcess]:
    """Compares resting objects with the cloud every two seconds."""
    operator = system.operator(AGUI_RESYNC_SECONDS="2")
    yield operator
    system.retire(operator)


@pytest.fixture(scope="module")
def place(system: System) -> str:
    """A namespace with v1, v2 and v1 again promoted, in this order."""
    namespace = system.case()
    for tag in ("v1", "v2", "v1"):
        system.api.apply(release(namespace, tag, strategy=AT_ONCE))
        system.settle(namespace, "Healthy", version=tag)
    return namespace


def is_ready(system: System, place: str) -> bool:
    """`kubectl wait --for=condition=Ready`, as a pipeline has it."""
    try:
        system.plane.kubectl("wait", "--for=condition=Ready", "--timeout=1s", "-n", place, f"agd/{NAME}")
    except KubectlFailed:
        return False
    return True


def move(system: System, place: str, shares: dict[str, int]) -> None:
    """Somebody moves the traffic in the console."""
    path = f"{RUN}/{service_of(place)}"
    kind = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
    traffic = [{"type": kind, "revision": revision, "percent": share} for revision, share in shares.items()]
    system.cloud(f"{path}?updateMask=traffic", {"traffic": traffic, "etag": system.cloud(path)["etag"]}, "PATCH")


def test_ready_is_false_while_somebody_keeps_users_elsewhere_under_suspend(system: System, place: str) -> None:
    status = system.api.get(place, NAME)["status"]
    first = status["promoted"][-1]["release"]["id"]
    stable, other = (f"{service_of(place)}-{name}" for name in (status["stable"]["id"], first))
    system.api.merge(place, NAME, {"spec": {"suspend": True}})
    assert is_ready(system, place)
    move(system, place, {stable: 40, other: 60})
    found = system.api.until(place, NAME, lambda d: condition(d, "Ready")["reason"] == "Drifted", "the drift")
    assert f"60 % of the traffic is not on revision {stable}" in found["status"]["message"]
    assert condition(found, "Stalled")["status"] == "True"
    assert not is_ready(system, place)
    system.api.merge(place, NAME, {"spec": {"suspend": False}})
    system.api.until(place, NAME, lambda d: condition(d, "Ready")["status"] == "True", "the way back")
    assert system.get(place, "/api/orders/1")[1] == stable


def test_an_undo_to_an_earlier_attempt_of_the_same_spec_ends_healthy(system: System, place: str) -> None:
    first, newest = (system.api.get(place, NAME)["status"]["promoted"][n]["release"]["id"] for n in (-1, 0))
    assert newest == f"{first}-2"
    system.api.annotate(place, NAME, undo=first)
    found = system.api.until(
        place,
        NAME,
        lambda d: d["status"]["phase"] == "Healthy" and d["status"]["stable"]["id"] == first,
        "the earlier attempt",
    )
    assert found["status"].get("rejected") is None
    assert condition(found, "Ready")["status"] == "True"
    assert system.get(place, "/api/orders/1")[1] == f"{service_of(place)}-{first}"


def test_an_undo_says_that_git_still_asks_for_what_was_undone(system: System, place: str) -> None:
    system.api.apply(release(place, "v2", strategy=AT_ONCE, env={"COLOUR": "red"}))
    system.settle(place, "Healthy", version="v2")
    system.api.annotate(place, NAME, undo="previous")
    message = system.settle(place, "RolledBack")["status"]["message"]
    assert "the spec still asks for v2: revert it where it comes from (Git), apply another spec" in message


@pytest.mark.parametrize("part", ["migration", "check"])
def test_a_failed_job_says_its_exit_code_and_where_its_log_is(system: System, part: str) -> None:
    place, image = system.case(), f"{REPOSITORY}:bad-migration"
    if part == "migration":
        document = release(place, "bad-migration", migrations=NO_BACKUP)
    else:
        document = release(place, "v1", smoke=[{"name": "job", "job": {"image": image}, "attempts": 1}])
    system.api.apply(document)
    rejected = system.settle(place, "Failed")["status"]["rejected"]
    assert rejected["reason"] == {"migration": "MigrationFailed", "check": "SmokeFailed"}[part]
    assert "exit code 1: the container exited with an error (NON_ZERO_EXIT_CODE) (log: " in rejected["message"]
    assert "log: https://console.cloud.google.com/logs/" in rejected["message"]


def test_a_lost_status_reuses_no_attempt(system: System, quick_operator: OperatorProcess) -> None:
    """The verdict of a forgotten attempt's job is not that of a new one."""
    place = system.case()
    system.api.apply(release(place, "bad-migration", migrations=NO_BACKUP))
    first = system.settle(place, "Failed")["status"]["rejected"]["release"]
    quick_operator.stop()
    lost = system.api.get(place, NAME)
    system.api.call("PUT", system.api.path(place, name=NAME) + "/status", {**lost, "status": {}})
    quick_operator.start()
    rejected = system.settle(place, "Failed")["status"]["rejected"]
    assert (rejected["reason"], rejected["release"]) == ("MigrationFailed", f"{first}-2")
    jobs = system.gcp.items("/v2/projects/demo/locations/us-central1/jobs", "jobs")
    ours = sorted(job["name"].rpartition("-m-")[2] for job in jobs if f"/jobs/{service_of(place)}-m-" in job["name"])
    assert ours == [first, f"{first}-2"]
