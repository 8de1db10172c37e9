"""The next step of a deletion: what goes, in which order, what blocks it, and when it is done."""

from __future__ import annotations

import pytest

from agui_operator.api.deployment import DeletionPolicy
from agui_operator.core.deletion import (
    ABANDON,
    Blocked,
    Done,
    Intent,
    Kind,
    Look,
    Remove,
    Step,
    next_step,
    was_released,
)
from agui_operator.core.memory import HistoryEntry, Memory
from agui_operator.core.rollout import Phase
from world_model import FIRST, NOW

ALL = {Kind.URL_MAP_RULES: ("map",), Kind.ALERT_POLICY: ("a",), Kind.SERVICE: ("s",), Kind.JOB: ("j1", "j2")}
NOTHING: dict[Kind, tuple[str, ...]] = dict.fromkeys(Kind, ())
DEFAULT = DeletionPolicy()
REST = (Kind.ALERT_POLICY, Kind.SERVICE, Kind.JOB)


def intent(
    policy: DeletionPolicy | None = DEFAULT,
    *,
    environment_error: str | None = None,
    abandoned: bool = False,
    released: bool = True,
) -> Intent:
    error = "spec.deletionPolicy.backend: must be Retain or Delete" if policy is None else None
    return Intent(policy, error, environment_error, abandoned, released)


def test_the_pointer_goes_first_then_the_rest_at_once_then_it_is_done() -> None:
    assert next_step(intent(), {}) == Look((Kind.URL_MAP_RULES,))
    assert next_step(intent(), {Kind.URL_MAP_RULES: ("map",)}) == Remove(((Kind.URL_MAP_RULES, "map"),))
    pointless = {Kind.URL_MAP_RULES: (), Kind.EXECUTION: ()}
    assert next_step(intent(), {Kind.URL_MAP_RULES: ()}) == Look((Kind.EXECUTION,))
    running = {Kind.URL_MAP_RULES: (), Kind.EXECUTION: ("j1",)}
    assert next_step(intent(), running) == Remove(((Kind.EXECUTION, "j1"),)), "before its job goes"
    assert next_step(intent(), pointless) == Look(REST)
    rest = (Kind.ALERT_POLICY, "a"), (Kind.SERVICE, "s"), (Kind.JOB, "j1"), (Kind.JOB, "j2")
    assert next_step(intent(), {**ALL, **pointless}) == Remove(rest)
    assert next_step(intent(), NOTHING) == Done()


@pytest.mark.parametrize(
    ("policy", "first"),
    [
        (DeletionPolicy(pointer="Retain"), Look((Kind.EXECUTION,))),
        (DeletionPolicy(pointer="Retain", alerts="Retain"), Look((Kind.EXECUTION,))),
        (DeletionPolicy(pointer="Retain", backend="Retain"), Look((Kind.ALERT_POLICY,))),
        (DeletionPolicy(pointer="Retain", backend="Retain", alerts="Retain"), Done()),
    ],
)
def test_what_is_to_be_retained_is_not_even_listed(policy: DeletionPolicy, first: Step) -> None:
    assert next_step(intent(policy), {}) == first


@pytest.mark.parametrize(
    ("known", "words"),
    [
        pytest.param(intent(None), ("spec.deletionPolicy", "correct the spec"), id="unreadable policy"),
        pytest.param(
            intent(environment_error="AgUiEnvironment demo/prod does not exist"),
            ("AgUiEnvironment demo/prod does not exist", "create or correct the environment"),
            id="no environment",
        ),
    ],
)
def test_what_can_not_be_known_blocks_and_the_message_names_the_way_out(known: Intent, words: tuple[str, ...]) -> None:
    step = next_step(known, ALL)
    assert isinstance(step, Blocked)
    assert [word for word in (*words, f"{ABANDON}=true") if word not in step.message] == []


@pytest.mark.parametrize(
    "known",
    [
        pytest.param(intent(None, abandoned=True), id="abandoned"),
        pytest.param(intent(environment_error="gone", released=False), id="no release, no environment"),
        pytest.param(intent(None, released=False), id="no release, unreadable policy"),
        pytest.param(
            intent(DeletionPolicy(pointer="Retain", backend="Retain", alerts="Retain"), environment_error="gone"),
            id="everything stays",
        ),
    ],
)
def test_it_is_done_without_a_look_when_nothing_is_to_be_deleted(known: Intent) -> None:
    assert next_step(known, ALL) == Done()


def test_without_a_release_in_the_status_what_carries_the_label_goes_all_the_same() -> None:
    """The status may have been lost."""
    assert next_step(intent(released=False), {}) == Look((Kind.URL_MAP_RULES,))


@pytest.mark.parametrize(
    ("memory", "released"),
    [
        (Memory(), False),
        (Memory(phase=Phase.RESOLVING), False),
        (Memory(phase=Phase.BACKING_UP, candidate=FIRST), True),
        (Memory(phase=Phase.HEALTHY, stable=FIRST), True),
        (Memory(phase=Phase.FAILED, history=(HistoryEntry(FIRST, "Failed", "x", NOW, 1.0),)), True),
    ],
)
def test_a_deployment_was_released_once_its_status_names_a_release(memory: Memory, released: bool) -> None:
    assert was_released(memory) is released
