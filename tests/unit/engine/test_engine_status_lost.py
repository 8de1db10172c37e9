"""Somebody changes the status of an object while the operator runs: what it remembers is written again as a whole."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine_fakes import Bench

SECOND = {"version": "2.0.0", "backend": {"image": "us-central1-docker.pkg.dev/demo/agui/concierge:v3"}}
HELD = {"canary": {"steps": [{"setWeight": 10}, {"pause": {}}]}}


@pytest.fixture
async def bench() -> Bench:
    bench = Bench()
    assert await bench.settle() == "Healthy"
    return bench


def replaced(bench: Bench, status: dict[str, Any]) -> None:
    """`kubectl replace --subresource=status`."""
    bench.kube.object = {**bench.kube.object, "status": status}
    bench.kube.annotate(touched="yes")  # the object has a newer version, as every write gives it


async def test_the_first_write_after_a_wipe_says_everything_though_the_watch_has_not_told_of_it(bench: Bench) -> None:
    bench.kube.edit(**SECOND, strategy=HELD)
    bench.kube.watch = False
    bench.kube.deliver()
    stable = bench.kube.status["stable"]["id"]
    replaced(bench, {})
    await bench.settle()
    assert bench.kube.status["stable"]["id"] == stable
    bench.restart()
    bench.kube.watch = True
    assert await bench.settle() == "Paused", "the next process has all that the first one knew"
    assert bench.kube.status["release"]["version"] == "2.0.0"


async def test_a_wiped_status_of_a_resting_object_is_written_again_at_the_next_look(bench: Bench) -> None:
    before = json.loads(json.dumps(bench.kube.status))
    replaced(bench, {})
    await bench.turn()
    assert bench.kube.status == before
    writes = len(bench.kube.patches)
    await bench.turn()
    assert len(bench.kube.patches) == writes


async def test_a_restored_status_does_not_bring_back_what_is_over(bench: Bench) -> None:
    before = json.loads(json.dumps(bench.kube.status))
    old = {**before, "phase": "Progressing", "rejected": {"release": "x"}, "newer": {"field": 1}}
    old["rollout"] = {**before["rollout"], "phase": "Progressing", "heldBy": "Step", "verdicts": {"x": {"code": 1}}}
    replaced(bench, old)
    await bench.turn()
    after = bench.kube.status
    assert {k: v for k, v in after.items() if k != "newer"} == before


async def test_a_status_that_is_restored_a_moment_after_its_object_counts() -> None:
    """As a backup tool restores it: the object first, then its status, while the operator runs."""
    bench = Bench()
    bench.kube.edit(strategy=HELD)
    assert await bench.settle() == "Healthy"
    saved = json.loads(json.dumps(bench.kube.status))
    again = Bench()
    again.kube.edit(suspend=True)
    assert await again.settle() == "Suspended"
    replaced(again, saved)
    await again.turn()
    assert again.kube.status["stable"] == saved["stable"]
    assert again.kube.status["promoted"] == saved["promoted"]
