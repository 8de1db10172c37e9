"""Each condition against the modelled cloud, in every world that a rollout can get into: True and False are facts.

What a condition says is held against the world, not against the phase: the predicate of a part looks at what the cloud
has of the release that the spec asks for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from agui_operator.api.conditions import ConditionType as C
from agui_operator.api.conditions import Reason
from agui_operator.core.release import Release
from agui_operator.core.rollout import IN_FLIGHT, Phase
from agui_operator.core.served import astray
from agui_operator.core.snapshot import Blocker
from agui_operator.core.status import Asked, Inputs, summarize
from agui_operator.core.traffic import share
from agui_operator.core.undo import target_of
from every_world import STARTS, closure
from world_events import pointer_changed, pointer_removed, service_deleted, traffic_halved, traffic_to_newest
from world_model import FIRST, NAMES, NOW, STEPS, Api, Luck, World, blueprint, lucks, settle, step

ALERTS_ARE_MODELLED_ELSEWHERE = {C.ALERTS_CONFIGURED}
PARTS = {C.DATABASE_READY, C.MIGRATED, C.ASSETS_PUBLISHED, C.REVISION_READY, C.SMOKE_PASSED, C.ANALYSIS_PASSED}
BY_HAND = (traffic_halved, traffic_to_newest, service_deleted, pointer_changed, pointer_removed)
FIRST_HAS_NONE = {C.DATABASE_READY: "none", C.MIGRATED: "none"}  # the first release of the model has no migration
pytestmark = (
    pytest.mark.no_cover
)  # unit tests and test_every_world reach the lines; a measured run takes three times as long


@dataclass(frozen=True)
class Told:
    """A world, what was decided in it, and the conditions that the status then has. `quiet`: nothing is left to do.
    `cause_known`: the model forgets why a rollout is rolled back, and with that how far it came."""

    world: World
    luck: Luck
    quiet: bool
    cause_known: bool
    conditions: dict[str, dict[str, Any]]
    weight: int | None
    about: Release | None

    def revision(self) -> str:
        return NAMES.revision(self.about.id) if self.about else ""

    @property
    def served(self) -> int:
        """Percent of the traffic on the release that the conditions are about."""
        return share(self.world.cloud.traffic, self.revision())


@cache
def _told_of(status: str, reason: str) -> dict[str, str]:
    """Shared by all worlds, of which there are many."""
    return {"status": status, "reason": reason}


@cache
def told(start: str) -> tuple[Told, ...]:
    return tuple(_told(start))


def _told(start: str) -> Iterator[Told]:
    for world in _worlds(start):
        for luck in lucks(world):
            turn, seen = step(world, luck)
            memory = turn.memory
            fingerprint = world.fingerprint
            plan = blueprint(memory, fingerprint)
            without = FIRST_HAS_NONE if fingerprint == FIRST.fingerprint else {}
            inputs = Inputs(
                memory=memory,
                generation=1,
                now=NOW,
                previous={},
                asked=Asked(fingerprint, without) if fingerprint else None,
                version=fingerprint,
                plan=plan,
                seen=seen,
                blockers=luck.blockers if fingerprint else (),
                spec_error=None if fingerprint else "spec.x: bad",
                compared=True,
                astray=next((text for text in astray(memory, seen, NAMES).values() if text is not None), None),
            )
            status = summarize(inputs)
            yield Told(
                world=World(memory, settle(world, luck).cloud, settle(world, luck).verified, fingerprint),
                luck=luck,
                quiet=turn.event is None and not turn.actions,
                cause_known=world.memory.phase is not Phase.ROLLING_BACK,
                conditions={c["type"]: _told_of(c["status"], c["reason"]) for c in status["conditions"]},
                weight=status["rollout"]["weight"],
                about=_about(memory, fingerprint),
            )


def _worlds(start: str) -> Iterator[World]:
    """Worlds of the closure; those at rest also after somebody changed by hand what users get."""
    for world in closure(start).worlds[:: 1 if os.environ.get("AGUI_WORLDS") == "all" else 7]:
        yield world
        if world.memory.phase in (Phase.HEALTHY, Phase.ROLLED_BACK):
            yield from (changed for event in BY_HAND if (changed := event(world)) is not None)


def _about(memory: Any, fingerprint: str | None) -> Release | None:
    """The release that the parts are about: the one of the rollout, else the one that the spec asks for."""
    if memory.phase in IN_FLIGHT or memory.phase is Phase.ROLLING_BACK:
        return memory.candidate
    known = [memory.stable, *(e.release for e in memory.history)]
    tried = [r for r in known if r is not None and r.fingerprint == fingerprint]
    if memory.rejected is not None:
        return next((r for r in tried if r.id == memory.rejected.release), None)
    return tried[0] if tried else None


def stable_is_asked_for(t: Told) -> bool:
    stable = t.world.memory.stable
    at_rest = t.world.memory.phase is Phase.HEALTHY
    if stable is None or not at_rest or stable.fingerprint != t.world.fingerprint:
        return False
    return is_served(t, stable)


def is_served(t: Told, stable: Release) -> bool:
    """Users get the release and its page, as far as the APIs that tell it answer."""
    cloud, revision = t.world.cloud, NAMES.revision(stable.id)
    traffic = share(cloud.traffic, revision) == share(cloud.serving, revision) == 100
    page = cloud.pointer is not None and cloud.pointer.frontend == stable.frontend
    return (traffic or t.luck.down is Api.RUN) and (page or t.luck.down is Api.EDGE)


def exposed(t: Told) -> bool:
    """The conditions are about a release of which the model still knows its backup and jobs."""
    memory = t.world.memory
    return t.about is not None and t.about == memory.candidate and t.about != memory.stable


def is_migrated(t: Told) -> bool:
    return t.about is not None and (not exposed(t) or NAMES.migration_job(t.about.id) in t.world.cloud.migrated)


def is_backed_up(t: Told) -> bool:
    return t.about is not None and (not exposed(t) or t.about.id in t.world.cloud.backed_up)


def is_published(t: Told) -> bool:
    return t.about is not None and t.about.frontend in t.world.cloud.published


def has_revision(t: Told) -> bool:
    named = {target.revision for target in t.world.cloud.traffic} | {t.world.cloud.template}
    return t.revision() in named or not exposed(t)


def is_verified(t: Told) -> bool:
    return t.revision() in t.world.verified or not exposed(t)


def canary_is_over(t: Told) -> bool:
    memory = t.world.memory
    return memory.phase not in (Phase.PROGRESSING, Phase.PAUSED) or memory.step >= len(STEPS)


def is_held(t: Told) -> bool:
    hold = any(b.holds_running for b in t.luck.blockers)
    return t.world.memory.phase in (Phase.PAUSED, Phase.SUSPENDED) or hold


def can_go_back(t: Told) -> bool:
    memory = t.world.memory
    if memory.phase in IN_FLIGHT:
        return memory.stable is not None
    return memory.stable is not None and target_of(memory) is not None


def is_left(t: Told) -> bool:
    """What somebody changed stays as long as spec.suspend is set."""
    return not stable_is_asked_for(t) and any(blocker.reason is Reason.SUSPENDED for blocker in t.luck.blockers)


def matches_stable(t: Told) -> bool:
    stable = t.world.memory.stable
    return stable is not None and is_served(t, stable)


def _of(t: Told, kind: str) -> tuple[Blocker, ...]:
    return tuple(b for b in t.luck.blockers if b.condition == kind and not b.holds_running)


def is_accepted(t: Told) -> bool:
    return t.world.fingerprint is not None and not _of(t, C.SPEC_ACCEPTED)


WHEN_TRUE: dict[C, Callable[[Told], bool]] = {
    C.READY: stable_is_asked_for,
    C.PROMOTED: stable_is_asked_for,
    C.RECONCILING: lambda t: t.world.memory.phase is not Phase.HEALTHY or not stable_is_asked_for(t),
    C.STALLED: lambda t: not is_accepted(t) or t.world.memory.phase in (Phase.ROLLED_BACK, Phase.FAILED) or is_left(t),
    C.PAUSED: is_held,
    C.SPEC_ACCEPTED: is_accepted,
    C.ENVIRONMENT_READY: lambda t: t.world.fingerprint is not None and not _of(t, C.ENVIRONMENT_READY),
    C.DATABASE_READY: is_backed_up,
    C.MIGRATED: is_migrated,
    C.ASSETS_PUBLISHED: is_published,
    C.REVISION_READY: has_revision,
    C.SMOKE_PASSED: is_verified,
    C.ANALYSIS_PASSED: canary_is_over,
    C.ROLLBACK_READY: can_go_back,
    C.DRIFT_FREE: matches_stable,
}
WHEN_FALSE: dict[C, Callable[[Told], bool]] = {
    C.READY: lambda t: not (stable_is_asked_for(t) and is_accepted(t)),
    C.PROMOTED: lambda t: not (stable_is_asked_for(t) and is_accepted(t)),
    C.RECONCILING: lambda t: t.world.memory.phase not in IN_FLIGHT or not is_accepted(t),
    C.STALLED: lambda t: t.world.fingerprint is not None,
    C.PAUSED: lambda t: t.world.memory.phase not in (Phase.PAUSED, Phase.SUSPENDED),
    C.SPEC_ACCEPTED: lambda t: not is_accepted(t),
    C.ROLLBACK_READY: lambda t: not can_go_back(t),
    C.SMOKE_PASSED: lambda t: t.world.memory.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.FAILED),
}


@pytest.mark.parametrize("start", STARTS)
def test_what_a_condition_says_is_so_in_every_world(start: str) -> None:
    lies: dict[str, Told] = {}
    for t in told(start):
        for kind, condition in t.conditions.items():
            if condition["reason"] == "NotRequested" or kind in ALERTS_ARE_MODELLED_ELSEWHERE:
                continue
            if kind in PARTS and not t.cause_known:
                continue
            when = {"True": WHEN_TRUE, "False": WHEN_FALSE}.get(condition["status"], {}).get(C(kind))
            if when is not None and not when(t):
                lies.setdefault(f"{kind}={condition['status']} ({condition['reason']})", t)
    assert not lies, f"{sorted(lies)}: {next(iter(lies.values()))}"


@pytest.mark.parametrize("start", STARTS)
def test_a_wait_for_promoted_or_ready_ends_only_with_the_stable_release_of_this_spec(start: str) -> None:
    """kubectl wait and kstatus: not for a spec that is invalid, forbidden, pending, in flight or rejected."""
    for t in told(start):
        done = is_accepted(t) and stable_is_asked_for(t)
        for kind in (C.READY, C.PROMOTED):
            assert (t.conditions[kind]["status"] == "True") <= done, f"{kind} in {t.world}"
        current = t.conditions[C.RECONCILING]["status"] == t.conditions[C.STALLED]["status"] == "False"
        assert current <= done, f"kstatus says Current in {t.world}"


@pytest.mark.parametrize("start", STARTS)
def test_the_weight_is_what_the_cloud_has(start: str) -> None:
    for t in told(start):
        if t.weight is None or t.world.memory.phase not in IN_FLIGHT or t.about is None:
            continue
        if t.world.memory.stable is None:
            continue  # Cloud Run has no service without traffic; nothing public leads there before the pointer does
        assert t.weight == t.served, f"{t.weight} % told, {t.served} % served in {t.world}"
