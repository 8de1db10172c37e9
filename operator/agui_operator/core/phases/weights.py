"""The weight of a canary between two steps: what somebody moved by hand goes back to the weight of the last step."""

from __future__ import annotations

from agui_operator.core.actions import TrafficSplit
from agui_operator.core.phases.case import Actions, Case, steps_of, weight_of
from agui_operator.core.rollout import Phase


def is_between_weights(case: Case) -> bool:
    """True while no weight is being set, so that traffic moves by other hands only."""
    memory = case.memory
    if memory.phase not in (Phase.PROGRESSING, Phase.PAUSED) or case.blueprint is None or memory.stable is None:
        return False
    steps = steps_of(memory, case.plan)
    return memory.step >= len(steps) or steps[memory.step].set_weight is None


def kept_weight(case: Case) -> Actions:
    """Sets the weight of the last step again."""
    if not is_between_weights(case) or case.seen.service is None or case.hold is not None:
        return ()
    return weight_set(case, weight_of(case.memory, case.plan) or 0)


def weight_set(case: Case, weight: int) -> Actions:
    """The traffic with `weight` percent on the candidate; stable is made again where somebody deleted it."""
    stable = case.memory.stable
    if stable is not None and case.is_missing(stable) and (remade := case.remade(stable, weight)) is not None:
        return (remade,)
    traffic = case.split_to(weight)
    return (TrafficSplit(traffic),) if traffic is not None else ()
