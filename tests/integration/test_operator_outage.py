"""The operator while the API server is away, slow or restarted in mid-rollout; and while nothing happens."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from agui_dev.testbed.api_proxy import is_status_write
from agui_dev.testbed.load import load
from agui_dev.testbed.operator_process import OperatorProcess
from agui_dev.testbed.releases import AT_ONCE, HELD, NAME, full_release, release
from agui_dev.testbed.system import System, wait_for
from end_state import faults_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def worker(system: System) -> Iterator[OperatorProcess]:
    running = system.operator()
    yield running
    system.retire(running)


@pytest.fixture
def place(system: System, worker: OperatorProcess) -> str:
    namespace = system.case()
    system.api.apply(full_release(namespace, "v1", "v1", migrations=None))
    system.settle(namespace, "Healthy", version="v1")
    return namespace


def is_quiet(system: System) -> bool:
    """True when nothing was written and no cloud was asked for some seconds."""
    before = len(system.proxy.writes), system.position
    time.sleep(3)
    now = len([w for w in system.proxy.writes[before[0] :] if "/leases/" not in w.path]), system.position
    return now == (0, before[1])


def test_an_idle_object_costs_no_write(system: System, place: str) -> None:
    wait_for(lambda: is_quiet(system), "an end of the writes about the release")
    written, before = len(system.proxy.writes), system.position
    time.sleep(10)
    writes = [w for w in system.proxy.writes[written:] if "/leases/" not in w.path]
    assert not writes, [(w.method, w.path) for w in writes]
    assert not system.calls(before, writes=False), "an idle object was looked at before its resync"


def test_health_says_when_the_api_server_is_away(system: System, worker: OperatorProcess) -> None:
    assert worker.http("/healthz")[0] == 200
    system.proxy.cut = True
    try:
        wait_for(lambda: worker.http("/healthz")[0] == 503, "a red /healthz")
        assert json.loads(worker.http("/healthz")[1])["apiServerReachable"] is False
        wait_for(lambda: worker.http("/readyz")[0] == 503, "the lease's end")
    finally:
        system.proxy.cut = False
    wait_for(lambda: worker.http("/healthz")[0] == 200, "a green /healthz")
    wait_for(lambda: worker.http("/readyz")[0] == 200, "a green /readyz")


def test_an_api_server_that_restarts_in_mid_rollout_changes_nothing(
    system: System, place: str, worker: OperatorProcess
) -> None:
    before, written = system.position, len(system.proxy.writes)
    with load(system, place) as answers:
        system.api.apply(full_release(place, "v2", "v2"))
        system.api.until(place, NAME, lambda d: d["status"]["phase"] != "Healthy", "the start of v2")
        system.plane.restart_apiserver()
        found = system.settle(place, "Healthy", version="v2")
    assert {answer.status for answer in answers} == {200}
    assert found["status"]["stable"]["version"] == "v2"
    assert faults_of(system, place, system.effects(before), system.proxy.status_writes(place, written)) == []
    assert worker.http("/healthz")[0] == 200


def test_a_lost_answer_to_a_status_write_is_no_second_rollout(system: System, place: str) -> None:
    before, written = system.position, len(system.proxy.writes)
    system.proxy.strike(is_status_write(place, "Staging"), when="after", drop=True)
    system.proxy.strike(is_status_write(place, "Smoking"), when="before", drop=True, times=2)
    try:
        system.api.apply(release(place, "v3", strategy=AT_ONCE))
        system.settle(place, "Healthy", version="v3")
    finally:
        system.proxy.clear()
    assert faults_of(system, place, system.effects(before), system.proxy.status_writes(place, written)) == []


def test_a_slow_api_server_slows_and_breaks_nothing(system: System, place: str) -> None:
    strike = system.proxy.strike(lambda method, path, _: method == "PATCH", delay=0.4, times=100)
    try:
        system.api.apply(release(place, "v2", strategy={"canary": HELD}))
        system.reaches(place, "Paused")
        assert strike.hits >= 3
    finally:
        system.proxy.clear()
    system.api.annotate(place, NAME, promote_full="true")
    system.settle(place, "Healthy", version="v2")


def test_a_cloud_that_fails_for_a_while_is_said_and_outlasted(system: System, place: str) -> None:
    system.fault(method="Services.UpdateService", match=place, code="UNAVAILABLE", count=2, message="try later")
    try:
        system.api.apply(release(place, "v2", strategy=AT_ONCE))
        found = system.api.until(
            place, NAME, lambda d: "try later" in (d.get("status") or {}).get("message", ""), "the fault in the status"
        )
        assert found["status"]["waitingFor"]["until"]
        system.settle(place, "Healthy", version="v2")
    finally:
        system.clear_faults()


def test_a_restart_between_rollouts_does_nothing(system: System, place: str, worker: OperatorProcess) -> None:
    generation = system.api.get(place, NAME)["status"]["stable"]["id"]
    before = system.rested()
    worker.kill()
    worker.start()
    wait_for(lambda: bool(system.calls(before, writes=False)), "the first look after the start")
    time.sleep(1.5)
    assert not system.calls(before)
    assert system.api.get(place, NAME)["status"]["stable"]["id"] == generation


def test_an_operator_that_starts_while_the_api_server_is_away_begins_when_it_is_back(
    system: System, worker: OperatorProcess
) -> None:
    worker.stop()
    system.proxy.cut = True
    try:
        worker.start(wait=False)
        wait_for(lambda: worker.http("/healthz")[0] != 0, "its own HTTP server")
        assert worker.http("/readyz")[0] == 503
        time.sleep(3)
    finally:
        system.proxy.cut = False
    worker.wait_ready()
