"""The logic of each phase: its own event and its actions, side by side. A phase without logic is a type error."""

from __future__ import annotations

from typing import assert_never

from agui_operator.core.actions import RevisionStaged, TrafficSplit
from agui_operator.core.phases import canary, checking, preparing, promoting, resting, restoring, staging, undoing
from agui_operator.core.phases.case import Actions, Case, Happened, Logic
from agui_operator.core.phases.leftovers import untagged
from agui_operator.core.rollout import Phase


def logic_of(phase: Phase) -> Logic:
    match phase:
        case Phase.PENDING:
            return resting.PENDING
        case Phase.RESOLVING:
            return preparing.RESOLVING
        case Phase.BACKING_UP:
            return preparing.BACKING_UP
        case Phase.MIGRATING:
            return preparing.MIGRATING
        case Phase.PUBLISHING:
            return preparing.PUBLISHING
        case Phase.STAGING:
            return staging.STAGING
        case Phase.SMOKING:
            return checking.SMOKING
        case Phase.PROGRESSING:
            return canary.PROGRESSING
        case Phase.PAUSED:
            return canary.PAUSED
        case Phase.PROMOTING:
            return promoting.PROMOTING
        case Phase.BAKING:
            return checking.BAKING
        case Phase.HEALTHY:
            return resting.HEALTHY
        case Phase.UNDOING:
            return undoing.UNDOING
        case Phase.ROLLING_BACK:
            return restoring.ROLLING_BACK
        case Phase.ROLLED_BACK:
            return resting.ROLLED_BACK
        case Phase.FAILED:
            return resting.FAILED
        case Phase.SUSPENDED:
            return resting.SUSPENDED
        case _:
            assert_never(phase)


def event_of(case: Case) -> Happened | None:
    """The phase's own event, without interruptions and deadlines."""
    logic = logic_of(case.memory.phase)
    return None if logic.planned and case.blueprint is None else logic.event(case)


def actions_of(case: Case) -> Actions:
    """What to do now, in order; empty when the resources already match what this phase requires."""
    logic = logic_of(case.memory.phase)
    own = () if logic.planned and case.blueprint is None else logic.actions(case)
    moves = any(isinstance(action, RevisionStaged | TrafficSplit) for action in own)
    return own if moves else own + untagged(case)
