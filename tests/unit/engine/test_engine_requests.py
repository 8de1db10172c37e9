"""Requests by annotation as the engine answers them: one by one, with an Event each, and no fight with a manifest."""

from __future__ import annotations

import asyncio
from typing import Any

from engine_fakes import Bench, FakeKube, sample

PAUSES = [{"setWeight": 10}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]
SECOND = {"version": "2.0.0", "backend": {"image": "us-central1-docker.pkg.dev/demo/agui/concierge:v3"}}


async def paused() -> Bench:
    """A second release that waits in its first pause."""
    spec = sample("release-v2.yaml")
    spec["strategy"]["canary"] = {"steps": PAUSES}
    bench = Bench(FakeKube(spec))
    assert await bench.settle() == "Healthy"
    bench.kube.edit(**SECOND)
    assert await bench.settle() == "Paused"
    bench.kube.events.clear()
    return bench


async def told(bench: Bench) -> list[tuple[str, str]]:
    await asyncio.sleep(0.05)
    return [(e["reason"], e["message"]) for e in bench.kube.events]


def keep(bench: Bench, **annotations: str) -> None:
    """A tool applies a manifest that has these annotations."""
    bench.kube.annotate(**annotations)
    fields: dict[str, Any] = {f"f:agui.dev/{key}": {} for key in annotations}
    entry = {"operation": "Apply", "fieldsV1": {"f:metadata": {"f:annotations": fields}}}
    bench.kube.object["metadata"]["managedFields"] = [entry]
    bench.kube.deliver()


def annotations(bench: Bench) -> list[str]:
    return sorted(bench.kube.object["metadata"]["annotations"])


async def test_requests_at_once_are_all_answered_the_most_urgent_first() -> None:
    bench = await paused()
    bench.kube.annotate(promote="true", abort="true", pause="🚀")
    assert await bench.settle() == "RolledBack"
    answers = [text for reason, text in await told(bench) if reason.startswith("Request")]
    assert [text.split()[:2] for text in answers] == [
        ["abort", "accepted"],
        ["pause", "refused:"],
        ["promote", "refused:"],
    ]
    assert annotations(bench) == []


async def test_each_answer_is_in_the_status_before_the_next_request_is_read() -> None:
    bench = await paused()
    before = len(bench.kube.patches)
    bench.kube.annotate(retry="true", resume="true")
    await bench.settle()
    written = [p["lastRequest"]["kind"] for p in bench.kube.patches[before:] if p["lastRequest"]]
    assert list(dict.fromkeys(written)) == ["resume", "retry"]


async def test_an_abort_does_not_wait_for_an_answer_that_can_not_be_written() -> None:
    bench = await paused()
    bench.kube.annotate(retry="true")
    bench.kube.faults["remove_annotation"] = [ConnectionError("away"), ConnectionError("away")]
    await bench.turn()
    bench.kube.annotate(abort="true", promote="true")
    assert await bench.settle() == "RolledBack"
    assert annotations(bench) == []


async def test_a_request_that_replaces_an_answered_one_is_read() -> None:
    bench = await paused()
    bench.kube.annotate(promote="maybe")
    bench.kube.faults["remove_annotation"] = [ConnectionError("away")]
    await bench.turn()
    assert "its value is 'maybe'" in bench.kube.status["lastRequest"]["message"]
    bench.kube.annotate(promote="2")
    await bench.settle()
    assert bench.kube.status["lastRequest"]["message"].startswith("promote accepted")
    assert bench.kube.status["rollout"]["step"] == 3
    assert annotations(bench) == []


async def test_a_manifest_that_asks_again_is_refused_once_and_left_alone() -> None:
    bench = await paused()
    keep(bench, promote="true")
    await bench.settle()
    assert bench.kube.status["rollout"]["step"] == 3
    assert annotations(bench) == []
    keep(bench, promote="true")
    await bench.settle()
    assert "remove the annotation from Git" in bench.kube.status["lastRequest"]["message"]
    assert bench.kube.status["rollout"]["obeyed"][0]["repeated"] is True
    assert annotations(bench) == ["agui.dev/promote"], "the tool would only put it back"
    log = len(bench.kube.log)
    for _ in range(3):
        await bench.turn()
    bench.restart()
    await bench.turn()
    assert bench.kube.log[log:] == []
    assert bench.kube.status["rollout"]["step"] == 3
    assert len([t for t in await told(bench) if t[0] == "RequestRefused"]) == 1


async def test_a_person_may_ask_twice() -> None:
    bench = await paused()
    for _ in range(2):
        bench.kube.annotate(promote="true")
        await bench.settle()
    assert bench.kube.status["phase"] == "Healthy"


async def test_a_misspelt_annotation_gets_one_event() -> None:
    bench = await paused()
    bench.kube.annotate(abrt="true")
    for _ in range(3):
        await bench.turn()
    found = [text for reason, text in await told(bench) if reason == "UnknownAnnotation"]
    assert len(found) == 1
    assert "did you mean agui.dev/abort?" in found[0]
    assert annotations(bench) == ["agui.dev/abrt"]
