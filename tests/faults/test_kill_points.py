"""SIGKILL of the operator at the points where it writes: before a call, after its effect but before the answer, before
and after a write of the status. Whenever it dies, it must end where it would have ended, and do nothing twice.

The points are those of a recorded run of the same story. A run of the tests takes an even spread of them;
AGUI_KILL_POINTS=all takes every one.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from agui_dev.testbed.api_proxy import Write, is_status_write
from agui_dev.testbed.load import load
from agui_dev.testbed.operator_process import OperatorProcess
from agui_dev.testbed.releases import NAME, full_release
from agui_dev.testbed.system import System, wait_for
from end_state import end_state, faults_of

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

KINDS = ("before-call", "after-call", "before-status", "after-status")
ALL = os.environ.get("AGUI_KILL_POINTS") == "all"
SLOTS = range(30 if ALL else 3)
STORIES = {"v2": ("v2", "v2", "Healthy"), "v4": ("degrading", "v3", "RolledBack")}  # tag, page, where it ends
IDENTITY = "operator-0"  # a container that is restarted keeps its pod's name


@dataclass(frozen=True, slots=True)
class Point:
    """The `number`-th write (from 0) of this name: a method of the cloud, or a phase that the status enters."""

    name: str
    number: int
    own: bool = False  # the resource's name holds the namespace's


@dataclass(slots=True)
class Recording:
    """A run in which nobody died."""

    calls: list[Point]
    statuses: list[Point]
    state: dict[str, Any]

    def point(self, kind: str, slot: int) -> Point | None:
        """Slots are spread over the whole run, first and last point included."""
        points = self.calls if kind.endswith("call") else self.statuses
        if ALL:
            return points[slot] if slot < len(points) else None
        return points[round(slot * (len(points) - 1) / (len(SLOTS) - 1))]


@dataclass(slots=True)
class Stage:
    """The system with one operator, which is started again whenever it was killed, and namespaces that run v1."""

    system: System
    operator: OperatorProcess
    ready: list[str] = field(default_factory=list)
    recordings: dict[str, Recording] = field(default_factory=dict)

    def prepare(self, count: int) -> None:
        """v1 in so many namespaces, a few at a time."""
        while count > 0:
            places = [self.system.case() for _ in range(min(count, 6))]
            count -= len(places)
            for place in places:
                self.system.api.apply(full_release(place, "v1", "v1", migrations=None))
            for place in places:
                self.system.settle(place, "Healthy", version="v1")
            self.ready += places

    def place(self) -> str:
        if not self.ready:
            self.prepare(1)
        return self.ready.pop(0)


@pytest.fixture(scope="module")
def stage(system: System) -> Iterator[Stage]:
    operator = system.operator(AGUI_LEASE_HOLDER=IDENTITY)
    stage = Stage(system, operator)
    stage.prepare(2)
    for story in STORIES:
        stage.recordings[story] = record(stage, story)
    if not ALL:
        stage.prepare(len(STORIES) * len(KINDS) * len(SLOTS))
    yield stage
    operator.stop()


def record(stage: Stage, story: str) -> Recording:
    """Plays a story through and notes every write that was made."""
    system, place = stage.system, stage.place()
    before, written = system.position, len(system.proxy.writes)
    play(stage, story, place)
    state = end_state(system, place)
    calls, seen = list[Point](), Counter[tuple[str, bool]]()
    for call in system.calls(before):
        named = call["method"], place in call["resource"]
        calls.append(Point(call["method"], seen[named], named[1]))
        seen[named] += 1
    statuses, phases = list[Point](), Counter[str]()
    for write in system.proxy.status_writes(place, written):
        if write.phase:
            statuses.append(Point(write.phase, phases[write.phase]))
            phases[write.phase] += 1
    broken = faults_of(system, place, system.effects(before), system.proxy.status_writes(place, written))
    assert not broken, f"the reference run itself broke promises: {broken}"
    return Recording(calls, statuses, state)


def play(stage: Stage, story: str, place: str) -> None:
    """Applies a story's release under load and waits for its end."""
    tag, page, end = STORIES[story]
    with load(stage.system, place) as answers:
        stage.system.api.apply(full_release(place, tag, page))
        stage.system.settle(place, end, version=tag)
    assert story == "v4" or all(answer.status == 200 for answer in answers), "a user's request failed"


def aim(stage: Stage, kind: str, point: Point, place: str) -> None:
    """Arranges that the operator dies at the point."""
    when, _, what = kind.partition("-")
    pid = stage.operator.pid
    if what == "status":
        stage.system.proxy.strike(is_status_write(place, point.name), when=when, skip=point.number, pid=pid)
        return
    match = place if point.own else ""
    rule: dict[str, Any] = {"method": point.name, "match": match, "when": when, "skip": point.number}
    rule |= {"writes_only": True, "kill_pid": pid}
    # Killed before the effect: the request must not have it either, as if it had never left the process.
    stage.system.fault(**rule, **({"code": "UNAVAILABLE"} if when == "before" else {}))


@pytest.mark.parametrize("slot", SLOTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("story", STORIES)
def test_killed_at_a_write_the_operator_ends_where_it_would_have(
    stage: Stage, story: str, kind: str, slot: int
) -> None:
    recording = stage.recordings[story]
    point = recording.point(kind, slot)
    if point is None:
        pytest.skip(f"the recorded run has fewer than {slot + 1} such points")
    system, place = stage.system, stage.place()
    before, written = system.position, len(system.proxy.writes)
    tag, page, end = STORIES[story]
    aim(stage, kind, point, place)
    try:
        with load(system, place) as answers:
            system.api.apply(full_release(place, tag, page))
            code = stage.operator.wait_ended()
            assert code == -9, f"the operator ended by itself at {point}"
            stage.operator.start()
            system.settle(place, end, version=tag)
    finally:
        system.clear_faults()
        system.proxy.clear()
        if stage.operator.http("/healthz")[0] == 0:
            stage.operator.start()
    writes: list[Write] = system.proxy.status_writes(place, written)
    assert faults_of(system, place, system.effects(before), writes) == [], f"killed {kind} {point}"
    assert end_state(system, place) == recording.state, f"killed {kind} {point}"
    if story == "v2":
        assert all(answer.status == 200 for answer in answers), "a user's request failed"


def test_enough_points_are_visited(stage: Stage) -> None:
    """At least twelve different points, of all kinds, and in both stories the way back is among them."""
    visited = {
        (story, kind, stage.recordings[story].point(kind, slot))
        for story in STORIES
        for kind in KINDS
        for slot in SLOTS
    }
    assert len({v for v in visited if v[2] is not None}) >= 12
    assert {p.name for p in stage.recordings["v4"].statuses} >= {"RollingBack", "RolledBack"}


def test_the_object_that_was_killed_most_is_ready(stage: Stage) -> None:
    """After all the deaths an idle operator holds the lease and every object of the stories rests."""
    wait_for(lambda: stage.operator.http("/readyz")[0] == 200, "the lease of the operator that was started last")
    listed = stage.system.api.call("GET", "/apis/agui.dev/v1alpha1/aguideployments")["items"]
    phases = {d["status"]["phase"] for d in listed if d["metadata"]["name"] == NAME}
    assert phases <= {"Healthy", "RolledBack"}
