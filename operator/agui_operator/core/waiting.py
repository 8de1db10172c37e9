"""What an object waits for, since when, until when, and what unblocks it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from agui_operator.core.errors import Fault
from agui_operator.core.held import writes_held
from agui_operator.core.memory import HeldBy, Memory
from agui_operator.core.phases.case import steps_of
from agui_operator.core.rollout import IN_FLIGHT, Phase
from agui_operator.core.status_inputs import Inputs, stamp

_MESSAGE_MAX = 1024
NO_ACTION = "no user action is required"
QUIET = (
    "send traffic to the candidate (analysis.syntheticConversations) or annotate agui.dev/abort=true;"
    " agui.dev/promote=true only if you accept the risk"
)
_HELD = {
    HeldBy.STEP: ("manual promotion (pause step)", "annotate agui.dev/promote=true"),
    HeldBy.REQUEST: ("a request to resume", "annotate agui.dev/resume=true"),
    HeldBy.ANALYSIS: ("enough data for a verdict", QUIET),
}


def waiting_for(inputs: Inputs) -> dict[str, Any] | None:
    """`.status.waitingFor`; None while it waits for nothing."""
    memory, fault = inputs.memory, inputs.fault
    since = memory.since
    if inputs.spec_error is not None:
        return _wait("a valid spec", since, None, "correct the field that the message names")
    if inputs.blockers and memory.phase in (Phase.PENDING, Phase.SUSPENDED, Phase.PAUSED):
        first = inputs.blockers[0]
        return _wait(first.message, since, first.until, first.unblock_with)
    if (held := writes_held(memory, inputs.seen, inputs.blockers)) is not None:
        return _wait(held.text, memory.held_since or since, held.blocker.until, held.blocker.unblock_with)
    if fault is not None:
        fix = "change what the message names" if fault.fault is Fault.USER else "retried automatically"
        return _wait(fault.message, since, stamp(fault.retry_at), fix)
    if memory.phase is Phase.PAUSED:
        return _paused(memory, since)
    failed = next((c for c in memory.verdicts.values() if c.passed is False), None)
    if memory.phase is Phase.BAKING and failed is not None:  # spec.rollback.automatic is false
        fix = "annotate agui.dev/abort=true or apply a corrected spec"
        return _wait(f'a manual decision: check "{failed.name}" failed: {failed.message}', since, None, fix)
    if memory.phase in (Phase.ROLLED_BACK, Phase.FAILED):
        return _wait("a new spec", since, None, "apply a corrected spec or annotate agui.dev/retry=true")
    if memory.phase is Phase.PROGRESSING:
        return _step_wait(inputs)
    if memory.phase in IN_FLIGHT or memory.phase is Phase.ROLLING_BACK:
        until = None
        if inputs.plan is not None and since is not None and memory.phase is not Phase.ROLLING_BACK:
            until = stamp(since + inputs.plan.progress_deadline)
        return _wait(f"{memory.phase} to end", since, until, NO_ACTION)
    return None


def _paused(memory: Memory, since: datetime | None) -> dict[str, Any]:
    what = _HELD.get(memory.held_by or HeldBy.POLICY, ("a hold to be lifted", "annotate agui.dev/resume=true"))
    return _wait(what[0], since, None, what[1])


def _step_wait(inputs: Inputs) -> dict[str, Any] | None:
    memory, plan = inputs.memory, inputs.plan
    if plan is None or memory.step >= len(steps_of(memory, plan)):
        return None
    step = steps_of(memory, plan)[memory.step]
    if step.set_weight is not None:
        return _wait(f"{step.set_weight} % of the traffic on the candidate", memory.since, None, NO_ACTION)
    if step.pause is not None and step.pause.duration is not None and memory.since is not None:
        until = stamp(memory.since + step.pause.duration)
        return _wait("the pause to end", memory.since, until, "annotate agui.dev/promote=true to skip it")
    found = f": {memory.analysis.message}" if memory.analysis else ""
    until = None
    if plan.analysis is not None and memory.since is not None:
        until = stamp(memory.since + timedelta(seconds=plan.analysis.deadline))
    return _wait(f"a verdict of the canary analysis{found}", memory.since, until, QUIET)


def _wait(what: str, since: datetime | None, until: str | None, unblock_with: str) -> dict[str, Any]:
    raw = {"what": what[:_MESSAGE_MAX], "since": stamp(since), "until": until, "unblockWith": unblock_with}
    return {k: v for k, v in raw.items() if v is not None}
