"""Visits every world that the rollout can get into, and holds its promises against each.

The closure is complete for the model in tests/support/world_model.py: the operator dies before, between and after its
actions and before the status is written; every verdict, deadline, request and spec change happens in every phase.
"""

from __future__ import annotations

from collections import deque

import pytest

from agui_operator.core.rollout import TRANSITIONS, Event, Phase
from agui_operator.core.traffic import share
from world_model import NAMES, World, next_worlds, start_first, start_second


def all_worlds(start: World) -> tuple[set[World], set[tuple[Phase, Event]]]:
    """Breadth-first closure, and the rows of the table that were used on the way."""
    seen, used, queue = {_frozen(start)}, set(), deque([start])
    worlds = {_frozen(start): start}
    while queue:
        world = queue.popleft()
        for following, event in next_worlds(world):
            if event is not None:
                used.add((world.memory.phase, event))
            key = _frozen(following)
            if key not in seen:
                seen.add(key)
                worlds[key] = following
                queue.append(following)
                check(following)
        assert len(seen) < 200_000, "the model is not bounded any more"
    return seen, used


def _frozen(world: World) -> object:
    memory = world.memory
    parts = (
        memory.phase,
        memory.step,
        memory.held_by,
        memory.candidate and memory.candidate.id,
        memory.stable and memory.stable.id,
        memory.undo_to and memory.undo_to.id,
        memory.cause and (memory.cause.reason, memory.cause.phase, memory.cause.rejects),
        memory.rejected and memory.rejected.release,
        tuple(sorted((n, c.passed) for n, c in memory.verdicts.items())),
        tuple((e.release.id, e.outcome) for e in memory.history),
    )
    return parts, world.cloud, world.verified, world.fingerprint


def check(world: World) -> None:
    """The promises, in every single world."""
    memory, cloud = world.memory, world.cloud
    if cloud.traffic:
        assert sum(t.percent for t in cloud.traffic) == 100, f"traffic does not sum to 100: {cloud.traffic}"
    public = {t.revision for t in cloud.traffic if t.percent > 0} if cloud.pointer is not None else set()
    assert public <= world.verified, f"an unverified revision met users: {public - world.verified}"
    if cloud.pointer is not None:
        assert cloud.pointer.frontend in cloud.published, "the release pointer names an incomplete release"
    for target in cloud.traffic:
        release = target.revision.removeprefix(f"{NAMES.service}-")
        old = release == "aaaa"
        assert old or NAMES.migration_job(release) in cloud.migrated, "code runs on a schema older than it needs"
    stable = memory.stable
    if memory.phase is Phase.ROLLED_BACK:
        assert stable is not None, "rolled back to nothing"
    if memory.phase is Phase.FAILED:
        assert cloud.pointer is None, "a failed release is public"


@pytest.mark.parametrize("start", [start_first(), start_second()], ids=["first-release", "second-release"])
def test_promises_hold_in_every_world(start: World) -> None:
    worlds, _ = all_worlds(start)
    assert len(worlds) > 100


def test_every_row_of_the_table_is_used_by_some_world() -> None:
    used = all_worlds(start_first())[1] | all_worlds(start_second())[1]
    rows = {(phase, event) for phase, row in TRANSITIONS.items() for event in row}
    assert rows - used == set(), "rows that no world ever uses"


@pytest.mark.parametrize("start", [start_first(), start_second()], ids=["first-release", "second-release"])
def test_a_rested_world_is_what_its_phase_says(start: World) -> None:
    """Where the rollout comes to rest and nothing is left to do, users meet the stable release and only that."""
    from collections import deque as queue_of

    from world_model import Luck, step

    seen, queue = {_frozen(start)}, queue_of([start])
    while queue:
        world = queue.popleft()
        if world.memory.phase in (Phase.HEALTHY, Phase.ROLLED_BACK) and not step(world, Luck())[0].actions:
            stable = world.memory.stable
            assert stable is not None
            resting = step(world, Luck())[0].event is None
            if resting:
                assert share(world.cloud.traffic, NAMES.revision(stable.id)) == 100
                assert world.cloud.pointer is not None
                assert world.cloud.pointer.frontend == stable.frontend
        for following, _ in next_worlds(world):
            key = _frozen(following)
            if key not in seen:
                seen.add(key)
                queue.append(following)
