"""Identity of a release and of a request: what makes a new release, what tries one again, and what an upgrade keeps."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from pydantic import Field

from agui_operator.api import backend as backend_api
from agui_operator.api import strategy as strategy_api
from agui_operator.api.conditions import Reason
from agui_operator.api.deployment import AgUiDeploymentSpec
from agui_operator.api.parse import parse_deployment
from agui_operator.core.decide import decide
from agui_operator.core.fingerprint import (
    canonical_cpu,
    canonical_memory,
    fingerprint_of,
    legacy_fingerprint_of,
    procedure_of,
)
from agui_operator.core.memory import Cause, HistoryEntry, Memory, Rejected, from_status, to_status
from agui_operator.core.past import Promotion
from agui_operator.core.phases.case import Case
from agui_operator.core.recognise import recognised
from agui_operator.core.rollout import Event, Phase
from world_model import FIRST, NAMES, NOW, SECOND, Luck, World, blueprint, look, start_second, step

FULL: dict[str, Any] = {
    "environmentRef": {"name": "prod"},
    "version": "1",
    "backend": {
        "image": "a.example/b/c:1",
        "serviceAccount": "concierge",
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "secrets": [{"env": "S", "secret": "s"}, {"env": "T", "secret": "t", "version": 3}],
        "resources": {"cpu": "1", "memory": "1Gi"},
        "scaling": {"maxInstances": 4},
        "probes": {"startup": {"path": "/up"}, "liveness": {"path": "/ok", "periodSeconds": 20}},
    },
    "migrations": {"command": ["python", "-m", "m"], "seeds": True, "verify": ["a"]},
    "frontend": {"bundle": {"object": "bundles/x.tar.gz", "sha256": "ab" * 32}, "skewWindow": "48h"},
    "smoke": [{"name": "ready", "http": {"path": "/readyz"}}],
}
LEAN: dict[str, Any] = {
    "environmentRef": {"name": "e"},
    "backend": {"image": "a.example/b/c:1", "serviceAccount": "concierge"},
}


def spec(raw: dict[str, Any] = FULL, **changes: Any) -> AgUiDeploymentSpec:
    """`FULL` with values at paths: `backend__port=80`."""
    raw = deepcopy(raw)
    for path, value in changes.items():
        *parents, last = path.split("__")
        node = raw
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = value
    return parse_deployment(raw)


SAME = {
    "memory in Mi": {"backend__resources__memory": "1024Mi"},
    "cpu in milli": {"backend__resources__cpu": "1000m"},
    "cpu as a number": {"backend__resources__cpu": 1},
    "order of env": {"backend__env": FULL["backend"]["env"][::-1]},
    "order of secrets": {"backend__secrets": FULL["backend"]["secrets"][::-1]},
    "a default written out": {"backend__port": 8080, "backend__scaling__minInstances": 0},
    "the version": {"version": "2"},
    "how long assets stay": {"frontend__skewWindow": "1h"},
    "the name of the bundle": {"frontend__bundle__object": "bundles/y.tar.gz"},
    "backup": {"migrations__backup": "Never"},
    "time-outs of the migration": {"migrations__lockTimeoutSeconds": 9, "migrations__statementTimeoutSeconds": 9},
    "checks": {"smoke": []},
    "strategy": {"strategy": {"progressDeadline": "5m"}},
    "alerts": {"alerts": {"errorRate": 0.1}},
}
OTHER = {
    "the image": {"backend__image": "a.example/b/c:2"},
    "the environment": {"environmentRef__name": "test"},
    "memory": {"backend__resources__memory": "1025Mi"},
    "cpu": {"backend__resources__cpu": "2"},
    "a variable": {"backend__env": [{"name": "A", "value": "9"}, {"name": "B", "value": "2"}]},
    "a secret's version": {"backend__secrets": [{"env": "S", "secret": "s", "version": 2}]},
    "order of arguments": {"backend__args": ["a", "b"]},
    "a probe": {"backend__probes__liveness": {"path": "/ok"}},
    "no probe": {"backend__probes__liveness": None},
    "the bundle": {"frontend__bundle__sha256": "cd" * 32},
    "the migration's target": {"migrations__target": "0002"},
    "seeds": {"migrations__seeds": False},
}


@pytest.mark.parametrize("changes", SAME.values(), ids=SAME)
def test_what_means_the_same_or_is_no_part_of_what_runs_makes_no_release(changes: dict[str, Any]) -> None:
    assert fingerprint_of(spec(**changes)) == fingerprint_of(spec())


@pytest.mark.parametrize("changes", OTHER.values(), ids=OTHER)
def test_what_runs_differently_is_another_release(changes: dict[str, Any]) -> None:
    assert fingerprint_of(spec(**changes)) != fingerprint_of(spec())


def test_a_part_with_defaults_alone_is_not_an_absent_part() -> None:
    assert fingerprint_of(spec(LEAN, migrations={})) != fingerprint_of(spec(LEAN))


@pytest.mark.parametrize(
    "changes",
    [
        {"smoke": [{"name": "ready", "http": {"path": "/ready"}}]},
        {"strategy": {"progressDeadline": "5m"}},
        {"strategy": {"canary": {"steps": [{"setWeight": 10}]}}},
        {"rollback": {"automatic": False}},
        {"migrations__statementTimeoutSeconds": 120},
        {"migrations__backup": "Never"},
        {"frontend__bundle__object": "bundles/y.tar.gz"},
    ],
)
def test_how_a_release_is_tried_is_another_request(changes: dict[str, Any]) -> None:
    assert procedure_of(spec(**changes)) != procedure_of(spec())


@pytest.mark.parametrize("changes", [{"version": "2"}, {"alerts": {"errorRate": 0.1}}, {"historyLimit": 3}])
def test_what_does_not_decide_about_a_release_is_no_other_request(changes: dict[str, Any]) -> None:
    assert procedure_of(spec(**changes)) == procedure_of(spec())


@pytest.mark.parametrize(("text", "short"), [("1000m", "1"), ("500m", "500m"), ("2", "2"), ("0.5", "500m")])
def test_cpus_have_one_notation(text: str, short: str) -> None:
    assert canonical_cpu(text) == short


@pytest.mark.parametrize(("text", "short"), [("1024Mi", "1Gi"), ("512Mi", "512Mi"), ("2Gi", "2Gi")])
def test_memory_has_one_notation(text: str, short: str) -> None:
    assert canonical_memory(text) == short


# --- upgrades --------------------------------------------------------------------------------------------------------


def test_the_formula_of_the_last_version_is_kept() -> None:
    """Recorded with version 0.1.0."""
    assert legacy_fingerprint_of(spec()) == "1b8b6515076eae6a"
    assert legacy_fingerprint_of(spec(LEAN)) == "d6ab562de7b47339"


def test_a_field_that_a_later_version_adds_changes_no_fingerprint() -> None:
    class Resources(backend_api.Resources):
        gpu: int = Field(0, description="A field of a later version.")

    class Backend(backend_api.Backend):
        resources: Resources = Field(default_factory=Resources, description="r")
        volumes: tuple[str, ...] = Field((), description="A field of a later version.")

    class Strategy(strategy_api.Strategy):
        background: bool = Field(True, description="A field of a later version.")

    class Later(AgUiDeploymentSpec):
        backend: Backend = Field(description="b")
        strategy: Strategy = Field(default_factory=Strategy, description="s")

    for raw in (FULL, LEAN):
        now, later = parse_deployment(raw), Later.model_validate(raw)
        assert fingerprint_of(later) == fingerprint_of(now)
        assert procedure_of(later) == procedure_of(now)
        assert legacy_fingerprint_of(later) == legacy_fingerprint_of(now)
    used = deepcopy(LEAN)
    used["backend"]["volumes"] = ["a"]
    assert fingerprint_of(Later.model_validate(used)) != fingerprint_of(parse_deployment(LEAN))


def test_what_an_earlier_version_remembered_is_recognised() -> None:
    old, new = "0e2c7d32acab79f7", "v2-1111"
    release = replace(SECOND, fingerprint=old)
    rejected = Rejected(old, "bbbb", "2", Reason.SMOKE_FAILED, "m", NOW)
    history = (HistoryEntry(release, "Promoted", "", NOW, 1), HistoryEntry(FIRST, "Promoted", "", NOW, 1))
    promoted = (Promotion(release, NOW, FIRST.id), Promotion(FIRST, NOW))
    memory = Memory(
        candidate=release, stable=release, undo_to=FIRST, rejected=rejected, history=history, promoted=promoted
    )
    found = recognised(memory, old, new)
    assert found.candidate is not None
    assert {found.candidate.fingerprint, found.stable and found.stable.fingerprint} == {new}
    assert found.rejected is not None
    assert found.rejected.fingerprint == new
    assert [e.release.fingerprint for e in found.history] == [new, FIRST.fingerprint]
    assert [p.release.fingerprint for p in found.promoted] == [new, FIRST.fingerprint], "an undo goes back to them"
    assert found.undo_to == FIRST
    assert recognised(memory, None, None) == memory
    assert recognised(Memory(), old, new) == Memory()


# --- a corrected request ---------------------------------------------------------------------------------------------

REJECTED = Rejected("fp-b", "bbbb", "2", Reason.SMOKE_FAILED, "m", NOW, procedure="old")


def _turn(memory: Memory, procedure: str) -> Event | None:
    seen = replace(look(World(memory, start_second().cloud), Luck()), procedure=procedure)
    return decide(Case(memory, seen, blueprint(memory, "fp-b"), NAMES, NOW), 10).event


@pytest.mark.parametrize("phase", [Phase.ROLLED_BACK, Phase.FAILED])
def test_a_rejected_release_is_tried_again_when_its_checks_or_limits_changed(phase: Phase) -> None:
    memory = Memory(phase=phase, since=NOW, stable=FIRST, rejected=REJECTED)
    assert _turn(memory, "old") is None
    assert _turn(memory, "new") is Event.SPEC_CHANGED
    pending = replace(memory, phase=Phase.PENDING)
    assert _turn(pending, "old") is Event.STILL_REJECTED
    assert _turn(pending, "new") is Event.STARTED
    resolving = replace(memory, phase=Phase.RESOLVING)
    assert _turn(resolving, "old") is Event.SPEC_CHANGED
    assert _turn(resolving, "new") is Event.SUCCEEDED


def test_a_rejection_of_an_earlier_version_is_about_the_release_alone() -> None:
    memory = Memory(phase=Phase.ROLLED_BACK, since=NOW, stable=FIRST, rejected=replace(REJECTED, procedure=""))
    assert _turn(memory, "new") is None


def test_a_failure_remembers_how_the_release_was_tried_and_an_undo_does_not() -> None:
    smoking = Memory(phase=Phase.SMOKING, since=NOW, started=NOW, candidate=SECOND, stable=FIRST)
    world = World(smoking, start_second().cloud)
    failed, _ = step(world, Luck(checks=False))
    assert failed.memory.cause is not None
    cause = replace(failed.memory.cause, procedure="p")
    memory = replace(failed.memory, cause=cause)
    assert from_status(to_status(memory)).cause == cause
    ended, _ = step(replace(world, memory=memory), Luck())
    assert ended.memory.rejected is not None
    assert ended.memory.rejected.procedure == "p"
    assert from_status(to_status(ended.memory)) == ended.memory
    undone = replace(memory, cause=Cause(Reason.UNDONE, "m", Phase.HEALTHY, NOW, procedure="p"))
    ended, _ = step(replace(world, memory=undone), Luck())
    assert ended.memory.rejected is not None
    assert ended.memory.rejected.procedure == ""
