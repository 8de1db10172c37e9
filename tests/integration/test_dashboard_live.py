"""The dashboard of a real operator: rollouts are followed without a reload, at no cost to the API server."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import pytest

from agui_dev.ports import free_port
from agui_dev.testbed.api_proxy import is_status_write
from agui_dev.testbed.load import load
from agui_dev.testbed.operator_process import OperatorProcess
from agui_dev.testbed.releases import NAME, SECRET_VALUE, full_release, release
from agui_dev.testbed.system import System, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

Json = dict[str, Any]


class Dashboard:
    """The page of an operator, as a browser without a script and as one with it."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=180)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    @contextmanager
    def follow(self, path: str) -> Iterator[Iterator[Json]]:
        """The contents of the events of a stream, for as long as the block lasts. The stream has told where things
        stand by then, so nothing that happens in the block is missed."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=180)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            assert answer.status == 200
            events = (json.loads(line[6:]) for raw in answer if (line := raw.decode()).startswith("data: "))
            first = next(events)
            yield chain((first,), events)
        finally:
            connection.close()


@pytest.fixture
def dashboard(dashboard_operator: OperatorProcess, dashboard_port: int) -> Dashboard:
    return Dashboard(dashboard_port)


def test_a_rollout_is_followed_from_its_first_phase_to_its_last(system: System, dashboard: Dashboard) -> None:
    place = system.case()
    seen: list[str] = []
    # The stream may leave out a phase that lasts shorter than its reader takes: two of them last until they were seen.
    with (
        system.proxy.held(is_status_write(place, "Staging")) as before_staging,
        system.proxy.held(is_status_write(place, "Smoking")) as before_smoking,
        dashboard.follow(f"/live?namespace={place}") as events,
    ):
        system.api.apply(release(place, "v1"))
        for event in events:
            for line in event.get("lines", {}).values():
                seen += re.findall(r'class="phase \w+">(\w+)<', line)
            before_staging.set() if seen else None
            before_smoking.set() if "Staging" in seen else None
            if seen[-1:] == ["Healthy"]:
                break
    system.proxy.clear()
    assert seen[0] in ("Pending", "Resolving")
    assert "Staging" in seen, seen


def test_the_page_of_an_object_shows_all_of_its_release_and_no_secret(system: System, dashboard: Dashboard) -> None:
    place = system.case()
    system.api.apply(full_release(place, "v1", "v1"))
    system.settle(place, "Healthy", version="v1")
    code, page = dashboard.get(f"/d/{place}/{NAME}")
    assert code == 200
    stable = system.api.get(place, NAME)["status"]["stable"]
    for text in (stable["id"], stable["backend"], stable["frontend"], "SHOP_SECRET: version", "is healthy and stable"):
        assert text in page
    assert SECRET_VALUE not in page
    assert f'href="{system.origin(place)}"' in page


def test_what_was_measured_is_drawn(system: System, dashboard: Dashboard) -> None:
    place = system.case()
    system.api.apply(full_release(place, "v1", "v1"))
    system.settle(place, "Healthy", version="v1")
    with load(system, place):
        system.api.apply(full_release(place, "v2", "v2"))
        system.settle(place, "Healthy", version="v2")
    _, page = dashboard.get(f"/d/{place}/{NAME}")
    assert re.search(r'aria-label="error-rate: candidate [\d.]+ %, stable [\d.]+ %, limit 5 %"', page), page


def test_a_deleted_object_leaves_the_list(system: System, dashboard: Dashboard) -> None:
    place = system.case()
    system.api.apply(release(place, "v1"))
    system.settle(place, "Healthy", version="v1")
    with dashboard.follow(f"/live?namespace={place}") as events:
        assert any(len(event.get("order", ())) == 1 for event in events)
        system.api.call("DELETE", system.api.path(place, name=NAME))
        assert any(event.get("order") == [] for event in events)
    assert dashboard.get(f"/d/{place}/{NAME}")[0] == 404


@pytest.mark.usefixtures("dashboard_operator")
def test_looking_asks_the_api_server_nothing(system: System, dashboard: Dashboard) -> None:
    asked: list[str] = []
    system.proxy.strike(lambda _, path, __: asked.append(path) is not None)  # strikes at nothing, sees everything
    try:
        deadline = time.monotonic() + 120
        while not any("leases" in path for path in asked):  # what the operator asks anyway
            assert dashboard.get("/")[0] == 200
            assert time.monotonic() < deadline
    finally:
        system.proxy.clear()
    assert [path for path in asked if "agui.dev" in path] == []


def test_a_replica_without_the_lease_says_that_it_stands_by(
    system: System, dashboard_operator: OperatorProcess
) -> None:
    own = free_port()
    second = system.operator(start=False, AGUI_DASHBOARD_PORT=str(own)).start(wait=False)
    try:
        wait_for(lambda: _listens(own), "the page of the second operator")
        assert "This replica stands by" in Dashboard(own).get("/")[1]
        assert second.http("/readyz")[0] == 503
    finally:
        second.stop()


def _listens(port: int) -> bool:
    try:
        Dashboard(port).get("/")
    except OSError:
        return False
    return True


def test_nothing_listens_unless_it_is_asked_for(system: System, dashboard_operator: OperatorProcess) -> None:
    assert dashboard_operator.http("/d/demo/shop")[0] == 404, "the port of health and metrics shows no rollouts"
    assert dashboard_operator.http("/")[0] == 404
