"""What people, outages and time do to a rollout: every event of `world_events` in every world, singly and in pairs.

The promises: it comes to rest or waits for a person; nothing that the operator does takes a verified release from
users; at rest users are on the release that the status names; a newer spec gets its turn.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import replace

import pytest

from agui_operator.core.memory import HeldBy
from agui_operator.core.rollout import IN_FLIGHT, Phase
from every_world import STARTS, closure, key_of
from world_events import EVENTS, is_served, served_by
from world_model import FOURTH, Api, Luck, World, after, api_of, look, normal, settle, step

MOST_TURNS = 80
PAIRS_EVERY = 1 if os.environ.get("AGUI_WORLDS") == "all" else 29
GOOD = Luck()
starts = pytest.mark.parametrize("start", STARTS)
pytestmark = (
    pytest.mark.no_cover
)  # unit tests and test_every_world reach the lines; a measured run takes three times as long


class Endings:
    """How each world ends when nothing else happens: None, or what is wrong with it. Remembered, because worlds soon
    meet on the same path."""

    def __init__(self) -> None:
        self.known: dict[Hashable, str | None] = {}

    def of(self, world: World) -> str | None:
        path: list[Hashable] = []
        wrong: str | None = "does not come to rest"
        while len(path) < MOST_TURNS:
            key = key_of(world)
            if key in self.known:
                wrong = self.known[key]
                break
            path.append(key)
            following, harm = turn_of(world)
            if harm is not None or key_of(following) == key:
                wrong = harm or wrong_at_rest(following)
                break
            world = following
        self.known.update(dict.fromkeys(path, wrong))
        return wrong


def turn_of(world: World, luck: Luck = GOOD) -> tuple[World, str | None]:
    """One turn in which everything else goes well, and what it took from users."""
    decision, _ = step(world, luck)
    world, harm = settle(world, luck), None
    for action in decision.actions:
        if api_of(action) is luck.down:
            continue
        changed = replace(world, cloud=after(world.cloud, action))
        never = (
            world.memory.phase in (Phase.ROLLING_BACK, Phase.FAILED) and not world.had_stable
        )  # nothing is behind it
        if is_served(world) and not is_served(changed) and not never:
            harm = f"{type(action).__name__} in {world.memory.phase} takes a verified release from users"
        world = changed
    return replace(world, memory=normal(decision.memory)), harm


def wrong_at_rest(world: World) -> str | None:
    phase, stable = world.memory.phase, world.memory.stable
    if phase in (Phase.HEALTHY, Phase.ROLLED_BACK):
        assert stable is not None
        if phase is Phase.ROLLED_BACK and stable.fingerprint == world.fingerprint:
            return "RolledBack although what the spec asks for serves"
        pointer = world.cloud.pointer
        pointed = pointer is not None and pointer.frontend == stable.frontend
        if stable.frontend not in world.cloud.published:
            return f"{phase} and files of the page are missing"
        return None if pointed and served_by(world.cloud, stable.id) else f"{phase} and users do not get the release"
    if phase is Phase.FAILED:
        return None if world.cloud.pointer is None else "Failed and public"
    if phase is Phase.PENDING and world.fingerprint is None:
        return None
    if phase is Phase.RESOLVING and look(world, Luck()).resolved is None:
        return None
    if phase is Phase.PAUSED and world.memory.held_by in (HeldBy.STEP, HeldBy.REQUEST):
        return None
    return f"stuck in {phase}"


def after_one_event(start: str) -> Iterator[tuple[str, World, World]]:
    """Every possible event in every world: its name, the world before and after."""
    for world in closure(start).worlds:
        for name, event in EVENTS.items():
            struck = event(world)
            if struck is not None:
                yield name, world, struck


def report(wrong: Counter[str]) -> None:
    assert not wrong, "\n".join(f"{count} worlds: {text}" for text, count in sorted(wrong.items()))


@starts
def test_after_every_event_the_rollout_comes_to_a_good_end(start: str) -> None:
    endings, wrong = Endings(), Counter[str]()
    for name, before, struck in after_one_event(start):
        if (ending := endings.of(struck)) is not None:
            wrong[f"{name} in {before.memory.phase}: {ending}"] += 1
    report(wrong)


@starts
def test_after_every_event_a_newer_spec_gets_its_turn(start: str) -> None:
    seen, wrong = set[Hashable](), Counter[str]()
    for name, before, struck in after_one_event(start):
        now = replace(struck, fingerprint=FOURTH)
        if (key := key_of(now)) in seen:
            continue
        seen.add(key)
        for _ in range(MOST_TURNS):
            if now.memory.phase is Phase.RESOLVING:
                break
            now, _ = turn_of(now)
        else:
            wrong[f"{name} in {before.memory.phase}: ends in {now.memory.phase}"] += 1
    report(wrong)


@starts
def test_after_two_events_the_rollout_comes_to_a_good_end(start: str) -> None:
    """The second event comes at once, or one turn after the first. An even share of the worlds is taken;
    AGUI_WORLDS=all takes every one."""
    endings, wrong, pairs = Endings(), Counter[str](), set[Hashable]()
    for number, (name, before, struck) in enumerate(after_one_event(start)):
        if number % PAIRS_EVERY:
            continue
        if before.memory.phase not in IN_FLIGHT | {Phase.ROLLING_BACK, Phase.HEALTHY, Phase.ROLLED_BACK}:
            continue
        for between in (struck, turn_of(struck)[0]):
            if (key := key_of(between)) in pairs:
                continue
            pairs.add(key)
            for second, event in EVENTS.items():
                twice = event(between)
                if twice is not None and (ending := endings.of(twice)) is not None:
                    wrong[f"{name}, {second} in {before.memory.phase}: {ending}"] += 1
    report(wrong)


@starts
@pytest.mark.parametrize("api", Api)
def test_an_outage_of_one_api_ends_well(start: str, api: Api) -> None:
    """It lasts for three turns, in every world."""
    endings, wrong = Endings(), Counter[str]()
    for world in closure(start).worlds:
        now, harm = world, None
        for _ in range(3):
            now, taken = turn_of(now, Luck(down=api))
            harm = harm or taken
        if (ending := harm or endings.of(now)) is not None:
            wrong[f"{api} in {world.memory.phase}: {ending}"] += 1
    report(wrong)


@pytest.mark.parametrize("api", Api)
def test_a_roll_back_needs_only_the_apis_that_it_changes(api: Api) -> None:
    """As long as the outage lasts: what can go back has gone back."""
    count = 0
    for world in closure("second-release").worlds:
        target = world.memory.serving
        if world.memory.phase is not Phase.ROLLING_BACK or target is None:
            continue
        count += 1
        now = world
        while now.memory.phase is Phase.ROLLING_BACK and (following := turn_of(now, Luck(down=api))[0]) != now:
            now = following
        if api is not Api.RUN:
            assert served_by(now.cloud, target.id), f"{api} is down: {now}"
        if api is not Api.EDGE:
            assert now.cloud.pointer is not None
            assert now.cloud.pointer.frontend == target.frontend, f"{api} is down: {now}"
        if api not in (Api.RUN, Api.EDGE):
            assert now.memory.phase is Phase.ROLLED_BACK, f"{api} is down: {now}"
    assert count > 100


@pytest.mark.parametrize("api", Api)
def test_a_failed_check_is_acted_on_whatever_else_is_down(api: Api) -> None:
    met = set[Phase]()
    for world in closure("second-release").worlds:
        if world.memory.phase in (Phase.SMOKING, Phase.BAKING) and world.fingerprint == "fp-b":
            decision, _ = step(world, Luck(checks=False, down=api))
            assert decision.memory.phase is Phase.ROLLING_BACK
            met.add(world.memory.phase)
    assert met == {Phase.SMOKING, Phase.BAKING}
