"""What an object waits for, since when, until when, and what unblocks it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from agui_operator.api.conditions import Reason
from agui_operator.core.errors import Fault
from agui_operator.core.held import writes_held
from agui_operator.core.memory import HeldBy, Rejected
from agui_operator.core.phases.case import steps_of
from agui_operator.core.rollout import IN_FLIGHT, Event, Phase, allowed
from agui_operator.core.status_inputs import Inputs, stamp

_MESSAGE_MAX = 1024
NO_ACTION = "no user action is required"
DEADLINE = f"{NO_ACTION}; rolled back automatically if not done by then"
_FIX = "fix what is named above; retried automatically, or apply a corrected spec"
RETRY = "apply a corrected spec (also a check, limit, strategy or deadline) or annotate agui.dev/retry=true"
QUIET = (
    "send traffic to the candidate (analysis.syntheticConversations) or annotate agui.dev/abort=true;"
    " agui.dev/promote=true only if you accept the risk"
)
LEFT_ALONE = "the operator leaves it as it is while spec.suspend is true: set it to false, or move the users back"
_REVERT = "revert it where it comes from (Git), apply another spec, or annotate agui.dev/retry=true"
_BY_REQUEST = frozenset({Reason.UNDONE, Reason.ABORTED})
_HELD = {
    HeldBy.STEP: ("manual promotion (pause step)", "annotate agui.dev/promote=true"),
    HeldBy.REQUEST: ("a request to resume", "annotate agui.dev/resume=true"),
    HeldBy.ANALYSIS: ("enough data for a verdict", QUIET),
}
_DOING: Mapping[Phase, str] = {
    Phase.PENDING: "Waiting to start",
    Phase.RESOLVING: "Resolving image digests and secret versions",
    Phase.BACKING_UP: "Backing up the database",
    Phase.MIGRATING: "Migrating the schema",
    Phase.PUBLISHING: "Publishing the assets",
    Phase.STAGING: "Starting the revision at 0 %",
    Phase.SMOKING: "Checking the revision at 0 %",
    Phase.PROGRESSING: "Shifting traffic",
    Phase.PROMOTING: "Switching all traffic and the page",
    Phase.BAKING: "Checking the public endpoints",
    Phase.UNDOING: "Checking the earlier release at 0 %",
    Phase.ROLLING_BACK: "Restoring the stable release",
}


def doing(inputs: Inputs, weight: int | None) -> str:
    """What the operator does now with which release, in one sentence."""
    memory = inputs.memory
    release = memory.candidate
    what = f"Release {release.version} ({release.id})" if release else "The release"
    if memory.phase is Phase.PAUSED:
        at = f" at {weight} %" if weight is not None else ""
        text = f"{what} is paused{at}: {_paused(inputs)['what']}"
    else:
        text = f"{what}: {action_of(memory.phase)}"
    if memory.phase is Phase.UNDOING and memory.undo_to is not None:
        text = f"{text}: {memory.undo_to.version} ({memory.undo_to.id})"
    if memory.phase is Phase.ROLLING_BACK and memory.cause is not None:
        text = f"{text}: {memory.cause.message}"
    if (held := writes_held(memory, inputs.seen, inputs.blockers)) is not None:
        text = f"{text}; {held.text}"
    if inputs.fault is not None:
        text = f"{text}; {inputs.fault.message} (attempt {inputs.fault.attempts})"
    return text


def action_of(phase: Phase) -> str:
    """What the operator does in a phase, as the second half of a sentence."""
    text = _DOING.get(phase, str(phase))
    return text[0].lower() + text[1:] if phase in _DOING else text


def waiting_for(inputs: Inputs) -> dict[str, Any] | None:
    """`.status.waitingFor`; None while it waits for nothing."""
    memory, fault = inputs.memory, inputs.fault
    since = memory.since
    if inputs.spec_error is not None:
        return _wait("a valid spec", since, None, "correct the field named in the message and apply again")
    if inputs.blockers and memory.phase in (Phase.PENDING, Phase.SUSPENDED, Phase.PAUSED):
        first = inputs.blockers[0]
        return _wait(first.message, since, first.until, first.unblock_with)
    if (held := writes_held(memory, inputs.seen, inputs.blockers)) is not None:
        return _wait(held.text, memory.held_since or since, held.blocker.until, held.blocker.unblock_with)
    if fault is not None:
        fix = _FIX if fault.fault is Fault.USER else "retried automatically"
        return _wait(fault.message, since, stamp(fault.retry_at), fix)
    if inputs.obstacles and memory.phase is Phase.HEALTHY:
        first = inputs.obstacles[0]
        return _wait(first.message, since, first.until, first.unblock_with)
    if inputs.is_stable and inputs.astray is not None and inputs.suspended:
        return _wait(f"users to be moved back: {inputs.astray}", since, None, LEFT_ALONE)
    if memory.phase is Phase.PAUSED:
        return _paused(inputs)
    failed = next((c for c in memory.verdicts.values() if c.passed is False), None)
    if memory.phase is Phase.BAKING and failed is not None:  # spec.rollback.automatic is false
        fix = "annotate agui.dev/abort=true or apply a corrected spec"
        return _wait(f'a manual decision: check "{failed.name}" failed: {failed.message}', since, None, fix)
    if memory.phase in (Phase.ROLLED_BACK, Phase.FAILED):
        return _wait("a corrected spec, or a retry", since, None, way_out(memory.rejected))
    if memory.phase is Phase.PROGRESSING:
        return _step_wait(inputs)
    if memory.phase in (Phase.ROLLING_BACK, Phase.UNDOING):
        return _wait(_DOING[memory.phase], since, None, NO_ACTION)
    jobs = inputs.seen.left_running if inputs.seen is not None else ()
    if jobs:
        what = f"migration {jobs[0].name} of an earlier release to be cancelled"
        return _wait(what, since, stamp(deadline(inputs)), NO_ACTION)
    return _phase_wait(inputs) if memory.phase in IN_FLIGHT else None


def way_out(rejected: Rejected | None) -> str:
    """What ends RolledBack or Failed. What a user undid or aborted is still what the spec asks for, however often a
    tool syncs it."""
    if rejected is None or rejected.reason not in _BY_REQUEST:
        return RETRY
    return f"the spec still asks for {rejected.version or 'this release'}: {_REVERT}"


def _phase_wait(inputs: Inputs) -> dict[str, Any]:
    """A phase that ends by itself, or is rolled back at its deadline where it has one."""
    phase, until = inputs.memory.phase, deadline(inputs)
    what = _DOING.get(phase, f"{phase} to end")
    return _wait(what, inputs.memory.since, stamp(until), DEADLINE if until is not None else NO_ACTION)


def deadline(inputs: Inputs) -> datetime | None:
    """When this phase is rolled back; None where nothing is: the same exceptions as in core/decide.py."""
    memory, plan = inputs.memory, inputs.plan
    if plan is None or memory.since is None or not allowed(memory.phase, Event.DEADLINE_EXCEEDED):
        return None
    if memory.phase in (Phase.PROMOTING, Phase.BAKING) and memory.stable is None:
        return None
    if memory.phase is Phase.BAKING and not plan.automatic_rollback:
        return None
    steps = steps_of(memory, plan)
    step = steps[memory.step] if memory.step < len(steps) else None
    if memory.phase is Phase.PROGRESSING and step is not None and step.set_weight is None:
        return None
    return memory.since + plan.progress_deadline


def _paused(inputs: Inputs) -> dict[str, Any]:
    memory = inputs.memory
    if inputs.hold is not None:
        return _wait(inputs.hold.message, memory.since, inputs.hold.until, inputs.hold.unblock_with)
    policy = ("a hold to be lifted", "continues automatically when the freeze, the stop or spec.suspend ends")
    what, fix = _HELD.get(memory.held_by or HeldBy.POLICY, policy)
    if memory.held_by is HeldBy.ANALYSIS and memory.analysis is not None:
        what = f"{what}: {memory.analysis.message}"
    return _wait(what, memory.since, None, fix)


def _step_wait(inputs: Inputs) -> dict[str, Any] | None:
    memory, plan = inputs.memory, inputs.plan
    if plan is None or memory.step >= len(steps_of(memory, plan)):
        return None
    step = steps_of(memory, plan)[memory.step]
    if step.set_weight is not None:
        what = f"{step.set_weight} % of the traffic on the candidate"
        return _wait(what, memory.since, stamp(deadline(inputs)), DEADLINE)
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
