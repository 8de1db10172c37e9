"""What a resting fleet costs: calls for each project and sweep, none for each object."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any, cast

import pytest
from google.cloud import monitoring_v3, run_v2

from agui_operator.core.actions import AlertDeleted, AssetsPublished, BackupTaken, Bundle, PointerSet, TrafficSplit
from agui_operator.core.environment import Edge, Place
from agui_operator.core.names import OWNER_LABEL, Names
from agui_operator.engine.deployment import shared as shared_module
from agui_operator.engine.deployment.shared import SharedViews, first_due
from agui_operator.gcp.kinds.monitoring.alert_messages import KEY, OWNER
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.rest import RestRequest

N = 500
EDGE = Edge("https://shop.example", "map", "pages", "api", ("/api",))
PLACE = Place("p1", "r1", "assets", "artifacts", None, EDGE, ())
ALERTS, MAP = "AlertPolicyService.ListAlertPolicies", "compute.urlMaps.get"
PAGES = "storage.objects.list"
LIST, GET = "Services.ListServices", "Services.GetService"


def names(number: int, project: str = "p1") -> Names:
    return Names("demo", f"shop-{number}", f"uid-{number}", project, "r1")


OWNERS = {names(number).service_path: names(number).owner for number in range(N)}


class CountingCloud:
    """Answers lists of two pages each; the policy on the second page is owned by uid-7."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    async def rpc(self, method: str, request: Any, resource: str, **_: Any) -> Any:
        self.calls[method] += 1
        await asyncio.sleep(0)
        if method == LIST:
            return run_v2.ListServicesResponse(next_page_token="" if request.page_token else "2")
        if method == GET:
            return run_v2.Service(name=request.name, labels={OWNER_LABEL: OWNERS[request.name]})
        if not request.page_token:
            return monitoring_v3.ListAlertPoliciesResponse(next_page_token="2")
        labels = {OWNER: "uid-7", KEY: "error-rate"}
        policies = [monitoring_v3.AlertPolicy(name="a/7", user_labels=labels), monitoring_v3.AlertPolicy(name="other")]
        return monitoring_v3.ListAlertPoliciesResponse(alert_policies=policies)

    async def rest(self, request: RestRequest) -> Any:
        self.calls[request.method] += 1
        await asyncio.sleep(0)
        return {"fingerprint": "f"}


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock()


@pytest.fixture
def cloud() -> CountingCloud:
    return CountingCloud()


@pytest.fixture
def views(cloud: CountingCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> SharedViews:
    for kind in ("Inventory", "AlertInventory", "MapInventory", "PageInventory"):
        made = getattr(shared_module, kind)
        monkeypatch.setattr(shared_module, kind, lambda cloud, made=made: made(cloud, clock.monotonic))
    return SharedViews(cast(Cloud, cloud), 150)


async def sweep(views: SharedViews, count: int = N) -> None:
    async def look(one: Names) -> None:
        await views.service(one)
        await views.routing(one, PLACE)
        await views.alerts(one)
        await views.page(one, PLACE, "f1")

    await asyncio.gather(*(look(names(number)) for number in range(count)))


async def test_a_resting_fleet_costs_one_list_for_each_project_and_none_for_each_object(
    views: SharedViews, cloud: CountingCloud, clock: Clock
) -> None:
    await sweep(views)
    assert cloud.calls == {LIST: 2, ALERTS: 2, MAP: 1, PAGES: 1}, "two pages each, one map, one bucket"
    clock.now += 149
    await sweep(views)
    assert cloud.calls.total() == 6, "within the age of the first"
    clock.now += 151
    await sweep(views)
    assert cloud.calls.total() == 12
    await views.alerts(names(1, "p2"))
    assert cloud.calls[ALERTS] == 6, "another project is another list"


async def test_alerts_that_are_owned_are_found_in_the_list_and_an_object_without_any_costs_nothing(
    views: SharedViews, cloud: CountingCloud
) -> None:
    """One whose alerts were removed from its spec still has to have them deleted."""
    assert [view.name for view in await views.alerts(names(7))] == ["a/7"]
    assert await views.alerts(names(8)) == ()
    assert cloud.calls[ALERTS] == 2


async def test_an_action_makes_only_its_own_part_of_its_own_object_old(
    views: SharedViews, cloud: CountingCloud, clock: Clock
) -> None:
    await sweep(views)
    cloud.calls.clear()
    clock.now += 1
    views.changed(names(3), [TrafficSplit(())])
    await sweep(views)
    assert cloud.calls == {GET: 1}, "the list of the region serves all others"
    cloud.calls.clear()
    views.changed(names(3), [AlertDeleted("a/3")])
    await views.alerts(names(3))
    await views.alerts(names(4))
    assert cloud.calls[ALERTS] == 2, "two pages of its own list; the other one is in the shared list"
    cloud.calls.clear()
    views.changed(names(3), [PointerSet(None)])
    await views.routing(names(3), PLACE)
    await views.routing(names(4), PLACE)
    assert cloud.calls == {MAP: 1}, "the map that was read again serves the others too"
    cloud.calls.clear()
    views.changed(names(3), [cast(Any, object.__new__(BackupTaken))])
    await views.routing(names(3), PLACE)
    assert not cloud.calls
    views.changed(names(3), [AssetsPublished(Bundle("artifacts", "b", "s"), "f1", "assets")])
    clock.now += 1
    assert await views.page(names(3), PLACE, "f1")
    assert cloud.calls == {PAGES: 1}


async def test_a_list_that_was_under_way_during_a_change_is_not_believed(
    views: SharedViews, cloud: CountingCloud, clock: Clock
) -> None:
    reading = asyncio.create_task(views.service(names(1)))
    await asyncio.sleep(0)
    views.changed(names(2), [TrafficSplit(())])
    clock.now += 1
    await reading
    assert await views.service(names(2)) is not None
    assert cloud.calls[GET] == 1


async def test_old_changes_are_forgotten(views: SharedViews, clock: Clock) -> None:
    for number in range(100):
        views.changed(names(number), [TrafficSplit(())])
    clock.now += 1000
    await sweep(views, 1)
    assert not views._services._changes._at


async def test_a_list_that_fails_is_asked_for_again(views: SharedViews, cloud: CountingCloud) -> None:
    good = cloud.rpc

    async def down(*_: Any, **__: Any) -> Any:
        raise ConnectionError("down")

    cloud.rpc = down  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        await views.service(names(1))
    cloud.rpc = good  # type: ignore[method-assign]
    assert await views.service(replace(names(1), name="none")) is None


def test_what_starts_together_is_due_at_different_times_over_the_whole_interval() -> None:
    due = sorted(first_due(f"uid-{number}", 300) for number in range(1000))
    assert due[0] >= 30
    assert due[-1] <= 300
    for tenth in range(9):
        start = 30 + tenth * 30
        assert 60 <= sum(start <= moment < start + 30 for moment in due) <= 140
