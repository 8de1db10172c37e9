"""A status that another version of the operator wrote: nothing is removed and nothing is taken from users for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agui_operator.core.actions import Action, JobDeleted, PointerSet, RevisionStaged, ServiceDeleted, TrafficSplit
from agui_operator.core.decide import decide
from agui_operator.core.memory import Memory, from_status, to_status
from agui_operator.core.phases.case import Case
from agui_operator.core.rollout import Phase
from agui_operator.core.status import Inputs, summarize
from agui_operator.core.traffic import share
from world_model import FIRST, NAMES, NOW, SECOND, Luck, World, after, blueprint, look, normal, settle, start_second


@pytest.mark.parametrize("fingerprint", ["fp-a", "fp-b", "fp-c", None])
def test_an_unknown_phase_with_a_stable_release_removes_nothing(fingerprint: str | None) -> None:
    """Whatever the newer version was doing: users stay on the stable release until one of this version is verified."""
    status = to_status(replace(start_second().memory, phase=Phase.SMOKING, candidate=SECOND))
    status["phase"] = status["rollout"]["phase"] = "Rehearsing"
    status["rollout"]["rehearsal"] = {"clone": "x"}
    memory = from_status(status)
    assert (memory.phase, memory.stable) == (Phase.PENDING, FIRST)
    world = World(memory, start_second().cloud, start_second().verified, fingerprint)
    stable = NAMES.revision(FIRST.id)
    for _ in range(60):
        seen = look(world, Luck())
        turn = decide(Case(world.memory, seen, blueprint(world.memory, fingerprint), NAMES, NOW), 10)
        world = replace(settle(world, Luck()), memory=normal(turn.memory))
        for action in turn.actions:
            harmless(action)
            world = replace(world, cloud=after(world.cloud, action))
        served = share(world.cloud.traffic, stable)
        assert served == 100 or NAMES.revision(SECOND.id) in world.verified
        assert world.cloud.pointer is not None
    assert world.memory.phase in (Phase.HEALTHY, Phase.PENDING, Phase.RESOLVING, Phase.PAUSED)


def harmless(action: Action) -> None:
    assert not isinstance(action, ServiceDeleted | JobDeleted)
    if isinstance(action, PointerSet):
        assert action.pointer is not None
    if isinstance(action, RevisionStaged | TrafficSplit):
        assert sum(t.percent for t in action.traffic) == 100


def test_ignored_fields_are_told_beside_an_accepted_spec() -> None:
    inputs = Inputs(Memory(), 1, NOW, {}, ignored=("spec.backend.volumes",))
    accepted = next(c for c in summarize(inputs)["conditions"] if c["type"] == "SpecAccepted")
    assert (accepted["status"], accepted["reason"]) == ("True", "UnknownFields")
    assert "spec.backend.volumes; upgrade it" in accepted["message"]


def test_what_a_newer_version_wrote_beside_the_status_stays() -> None:
    previous = {"attestations": [{"id": "a"}], "phase": "Rehearsing", "waitingFor": {"what": "x"}, "history": []}
    status = summarize(Inputs(Memory(), 1, NOW, previous))
    assert status["attestations"] == [{"id": "a"}]
    assert (status["phase"], status["waitingFor"]) == ("Pending", None), "what this version knows is its own"
