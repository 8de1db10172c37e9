"""The weight of a canary between two steps: what somebody moved by hand goes back to the weight of the last step."""

from __future__ import annotations

from agui_operator.core.actions import TrafficSplit
from agui_operator.core.phases.case import Actions, Case
from agui_operator.core.rollout import Phase


def is_between_weights(case: Case) -> bool:
    """True while no weight is being set, so that traffic moves by other hands only."""
    memory = case.memory
    if memory.phase not in (Phase.PROGRESSING, Phase.PAUSED) or case.blueprint is None or memory.stable is None:
        return False
    return memory.step >= len(case.plan.steps) or case.plan.steps[memory.step].set_weight is None


def kept_weight(case: Case) -> Actions:
    """Sets the weight of the last step again."""
    if not is_between_weights(case) or case.seen.service is None or case.hold is not None:
        return ()
    set_so_far = [step.set_weight for step in case.plan.steps[: case.memory.step] if step.set_weight is not None]
    traffic = case.split_to(set_so_far[-1] if set_so_far else 0)
    return (TrafficSplit(traffic),) if traffic is not None else ()
