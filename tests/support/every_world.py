"""Every world that the model can get into, found once per session by breadth-first search."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache

from agui_operator.core.rollout import Event, Phase
from world_model import World, next_worlds, start_first, start_second

_MOST = 20_000


@dataclass(frozen=True)
class Closure:
    """All worlds that can follow a start, and the rows of the table that were used on the way."""

    worlds: tuple[World, ...]
    rows: frozenset[tuple[Phase, Event]]


STARTS = {"first-release": start_first, "second-release": start_second}


@cache
def closure(start: str) -> Closure:
    """Complete for the model: every answer, request, deadline, edit and crash in every world."""
    first = STARTS[start]()
    worlds: dict[Hashable, World] = {key_of(first): first}
    rows: set[tuple[Phase, Event]] = set()
    queue = deque([first])
    while queue:
        world = queue.popleft()
        for following, event in next_worlds(world):
            if event is not None:
                rows.add((world.memory.phase, event))
            key = key_of(following)
            if key not in worlds:
                worlds[key] = following
                queue.append(following)
        assert len(worlds) < _MOST, "the model is not bounded any more"
    return Closure(tuple(worlds.values()), frozenset(rows))


def key_of(world: World) -> Hashable:
    """What makes two worlds the same: times and texts do not."""
    memory = world.memory
    parts = (
        memory.phase,
        memory.step,
        memory.held_by,
        memory.candidate and memory.candidate.id,
        memory.stable and memory.stable.id,
        memory.undo_to and memory.undo_to.id,
        memory.cause and (memory.cause.reason, memory.cause.phase, memory.cause.rejects),
        memory.rejected and (memory.rejected.release, memory.rejected.fingerprint),
        memory.walk,
        tuple(sorted((n, c.passed) for n, c in memory.verdicts.items())),
        tuple((e.release.id, e.outcome) for e in memory.history),
        tuple((p.release.id, p.before) for p in memory.promoted),
        tuple(sorted(memory.attempts.items())),
    )
    return parts, world.cloud, world.verified, world.fingerprint, world.had_stable
