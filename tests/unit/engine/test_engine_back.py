"""Turns of an undo, and of a canary whose traffic somebody moved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agui_operator.core.snapshot import TargetView
from engine_fakes import Bench

SECOND = {"version": "2.0.0", "backend": {"image": "us-central1-docker.pkg.dev/demo/agui/concierge:v3"}}
AT_ONCE = {"canary": None}


async def promoted_twice() -> Bench:
    bench = Bench()
    assert await bench.settle() == "Healthy"
    bench.kube.edit(**SECOND, strategy=AT_ONCE)
    assert await bench.settle() == "Healthy"
    assert bench.kube.status["stable"]["version"] == "2.0.0"
    bench.kube.log.clear()
    return bench


async def test_an_undo_is_checked_at_0_percent_and_then_moves_traffic_and_page() -> None:
    bench = await promoted_twice()
    first = bench.kube.status["promoted"][1]
    assert first["checks"], "the checks of the sample that reach the backend"
    bench.kube.annotate(undo="previous")
    assert await bench.settle() == "RolledBack"
    assert bench.kube.log.index("status RollingBack") < bench.kube.log.index("TrafficSplit")
    moves = [a for a in bench.cloud.actions if type(a).__name__ == "TrafficSplit"][-2:]
    last = [{t.revision.rpartition("-")[2]: t.percent for t in move.traffic} for move in moves]  # type: ignore[union-attr]
    stable = bench.kube.status["stable"]["id"]
    assert last[-1] == {stable: 100}
    assert bench.kube.status["stable"]["id"] == first["release"]["id"]
    assert [p["release"]["id"] for p in bench.kube.status["promoted"]] == [stable]


@pytest.mark.parametrize(
    ("lacks", "text"),
    [({"assets": False}, "page of release"), ({"secrets": ("db@1",)}, "db@1")],
    ids=["page", "secret"],
)
async def test_an_undo_to_what_can_not_be_restored_changes_nothing_and_says_so(lacks: Any, text: str) -> None:
    bench = await promoted_twice()
    bench.cloud.target = TargetView("", **lacks)
    before = len(bench.cloud.actions)
    bench.kube.annotate(undo="true")
    assert await bench.settle() == "Healthy"
    assert bench.kube.status["stable"]["version"] == "2.0.0"
    assert text in bench.kube.status["lastRequest"]["message"]
    assert len(bench.cloud.actions) == before
    assert bench.kube.status["history"][0]["outcome"] == "NotRestored"


async def test_traffic_that_somebody_moves_in_a_pause_is_said_and_set_back() -> None:
    bench = Bench()
    assert await bench.settle() == "Healthy"
    bench.kube.edit(**SECOND, strategy={"canary": {"steps": [{"setWeight": 10}, {"pause": {}}], "analysis": None}})
    assert await bench.settle() == "Paused"
    service = bench.cloud.world.service
    assert service is not None
    by_hand = tuple(replace(t, percent=100 - t.percent) for t in service.traffic)
    bench.cloud.world = replace(bench.cloud.world, service=replace(service, traffic=by_hand, serving=by_hand))
    bench.kube.patches.clear()
    await bench.turn()
    said = bench.kube.patches[0]
    assert said["rollout"]["weight"] == 90, "what is true"
    assert [c["reason"] for c in said["conditions"] if c["type"] == "DriftFree"] == ["Drifted"]
    after = bench.cloud.world.service
    assert after is not None
    assert sorted(t.percent for t in after.traffic) == [10, 90]
    assert after.traffic == service.traffic or set(after.traffic) == set(service.traffic)
    assert bench.kube.status["rollout"]["weight"] == 10
    assert bench.kube.condition("DriftFree")["reason"] == "NotCompared", "in flight"
