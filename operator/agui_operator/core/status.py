"""The whole `.status`, computed by one function from what is known, and written by one patch.

Conditions are observations, not the state machine: all are set at the first visit (Unknown is a value), each with
observedGeneration; lastTransitionTime moves only when the status moves. kstatus reads Ready, Reconciling and Stalled,
of which the latter two are never both True.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from agui_operator.api.conditions import ConditionType
from agui_operator.core.blueprint import Blueprint
from agui_operator.core.errors import Fault
from agui_operator.core.memory import Memory, to_status
from agui_operator.core.rollout import IN_FLIGHT, Phase
from agui_operator.core.snapshot import Blocker, Snapshot
from agui_operator.core.traffic import share

C = ConditionType
_MESSAGE_MAX = 1024


@dataclass(frozen=True, slots=True)
class FaultSeen:
    """What went wrong in the last turn, and how often in a row."""

    fault: Fault
    reason: str
    message: str
    attempts: int
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that the status is computed from."""

    memory: Memory
    generation: int
    now: datetime
    previous: Mapping[str, Any]
    plan: Blueprint | None = None
    seen: Snapshot | None = None
    blockers: tuple[Blocker, ...] = ()
    spec_error: str | None = None
    fault: FaultSeen | None = None
    url: str | None = None
    drift: str | None = None
    deleting: bool = False


# the condition that each phase of a rollout establishes, in order
_PARTS: tuple[tuple[Phase, ConditionType, str], ...] = (
    (Phase.RESOLVING, C.SPEC_ACCEPTED, "Images and secret versions are resolved"),
    (Phase.BACKING_UP, C.DATABASE_READY, "The database is reachable and backed up as the spec asks"),
    (Phase.MIGRATING, C.MIGRATED, "The schema is at the release's target"),
    (Phase.PUBLISHING, C.ASSETS_PUBLISHED, "Every asset of the bundle is published"),
    (Phase.STAGING, C.REVISION_READY, "The revision is ready"),
    (Phase.SMOKING, C.SMOKE_PASSED, "All checks passed"),
    (Phase.PROGRESSING, C.ANALYSIS_PASSED, "The canary passed all steps"),
    (Phase.PROMOTING, C.PROMOTED, "All traffic and the release pointer are on the release"),
    (Phase.BAKING, C.ALERTS_CONFIGURED, "Alert policies are as the spec asks"),
)
_RANK = {phase: rank for rank, (phase, _, _) in enumerate(_PARTS)}
_RANK[Phase.PAUSED] = _RANK[Phase.PROGRESSING]


def summarize(inputs: Inputs) -> dict[str, Any]:
    """The whole status. Pure: the same inputs give the same bytes, so that an idle object is never written."""
    memory = inputs.memory
    status = to_status(memory)
    status["rollout"] |= _progress(inputs)
    status["observedGeneration"] = inputs.generation
    status["url"] = inputs.url
    status["waitingFor"] = waiting_for(inputs)
    facts = _parts(inputs) | _standing(inputs)
    facts |= _summary(inputs, facts)
    status["message"] = facts[C.READY][2]
    status["conditions"] = _conditions(inputs, facts)
    return status


Fact = tuple[bool | None, str, str]  # status, reason, message


def _progress(inputs: Inputs) -> dict[str, Any]:
    memory, plan, seen = inputs.memory, inputs.plan, inputs.seen
    progress: dict[str, Any] = {"weight": None, "progress": None, "deadline": None}
    previous = inputs.previous.get("rollout")
    before = previous.get("weight") if isinstance(previous, Mapping) else None
    if memory.phase in IN_FLIGHT and plan is not None:
        progress["progress"] = f"{min(memory.step, len(plan.steps))}/{len(plan.steps)}"
        if memory.since is not None and memory.phase is not Phase.PAUSED:
            progress["deadline"] = (memory.since + plan.progress_deadline).strftime("%Y-%m-%dT%H:%M:%SZ")
        if memory.stable is None:
            progress["weight"] = 100 if memory.phase is Phase.BAKING else 0
        elif seen is not None and seen.service is not None:
            progress["weight"] = share(seen.service.serving, plan.revision.revision)
        else:
            progress["weight"] = before
    elif memory.phase is Phase.HEALTHY:
        progress["weight"] = 100
    elif memory.phase in (Phase.ROLLED_BACK, Phase.FAILED):
        progress["weight"] = 0
    return progress


def _parts(inputs: Inputs) -> dict[ConditionType, Fact]:
    """What is known of each part of the release that this status is about."""
    memory = inputs.memory
    cause = memory.cause
    facts: dict[ConditionType, Fact] = {}
    at = _RANK.get(memory.phase, -1)
    failed_at = _RANK.get(cause.phase, -1) if cause is not None else -1
    for rank, (_, condition, text) in enumerate(_PARTS):
        if memory.phase is Phase.HEALTHY:
            facts[condition] = (True, "Succeeded", text)
        elif memory.phase in IN_FLIGHT:
            facts[condition] = _in_flight(rank, at, text)
        elif cause is not None:
            facts[condition] = _taken_back(rank, failed_at, cause.reason, cause.message, text)
        else:
            facts[condition] = (None, "NotStarted", "No rollout has reached this part yet")
    if cause is not None and memory.phase not in IN_FLIGHT and memory.phase is not Phase.HEALTHY:
        facts[C.PROMOTED] = (False, cause.reason, f"The release was taken back: {cause.message}")
        if cause.reason == "SmokeFailed":
            facts[C.SMOKE_PASSED] = (False, cause.reason, cause.message)
    if inputs.spec_error is not None:
        facts[C.SPEC_ACCEPTED] = (False, "InvalidSpec", inputs.spec_error)
    elif memory.phase not in (Phase.RESOLVING,) and facts[C.SPEC_ACCEPTED][0] is None:
        facts[C.SPEC_ACCEPTED] = (True, "Accepted", "The spec is valid")
    for blocker in inputs.blockers:
        facts[ConditionType(blocker.condition)] = (False, blocker.reason, blocker.message)
    return facts


def _in_flight(rank: int, at: int, text: str) -> Fact:
    if rank < at:
        return True, "Succeeded", text
    if rank == at:
        return None, "InProgress", f"In progress: {text[0].lower()}{text[1:]}"
    return None, "NotStarted", "The rollout has not reached this part yet"


def _taken_back(rank: int, failed_at: int, reason: str, message: str, text: str) -> Fact:
    if rank < failed_at:
        return True, "Succeeded", text
    if rank == failed_at:
        return False, reason, message
    return None, "NotReached", "The rollout was taken back before this part"


def _standing(inputs: Inputs) -> dict[ConditionType, Fact]:
    """Conditions that hold beside a rollout: environment, way back, drift."""
    memory = inputs.memory
    facts: dict[ConditionType, Fact] = {}
    if not any(b.condition == C.ENVIRONMENT_READY for b in inputs.blockers):
        facts[C.ENVIRONMENT_READY] = (True, "Ready", "The environment is there and permitted")
    if memory.stable is None:
        facts[C.ROLLBACK_READY] = (None, "NoStableRelease", "No release has been promoted yet")
    else:
        stable = memory.stable
        facts[C.ROLLBACK_READY] = (True, "StableKnown", f"Release {stable.version} ({stable.id}) can be restored")
    if inputs.drift:
        facts[C.DRIFT_FREE] = (False, "Drifted", inputs.drift)
    else:
        facts[C.DRIFT_FREE] = (True, "InSync", "The cloud is as the stable release wants it")
    return facts


def _summary(inputs: Inputs, facts: Mapping[ConditionType, Fact]) -> dict[ConditionType, Fact]:
    """Ready, Reconciling, Stalled: False beats Unknown beats True; a fault that only a person can end is Stalled."""
    memory, fault = inputs.memory, inputs.fault
    no: Fact = (False, "NotReconciling", "Nothing is in progress")
    fine: Fact = (False, "NotStalled", "Nothing needs a person")
    if inputs.deleting:
        text = fault.message if fault else "What the deployment owns is being removed"
        reason = fault.reason if fault else "Deleting"
        return {C.READY: (False, reason, text), C.RECONCILING: (True, "Deleting", text), C.STALLED: fine}
    if inputs.spec_error is not None:
        return _stalled("InvalidSpec", inputs.spec_error, no)
    if fault is not None and fault.fault is Fault.USER:
        return _stalled(fault.reason, fault.message, no)
    if memory.phase in (Phase.ROLLED_BACK, Phase.FAILED):
        message = _outcome(inputs)
        return _stalled(memory.rejected.reason if memory.rejected else str(memory.phase), message, no)
    if memory.phase is Phase.PENDING and inputs.blockers:
        first = inputs.blockers[0]
        return _stalled(first.reason, first.message, no)
    if memory.phase is Phase.SUSPENDED:
        return {C.READY: (None, "Suspended", "spec.suspend is set"), C.RECONCILING: no, C.STALLED: fine}
    if memory.phase is Phase.HEALTHY:
        if fault is not None:
            return {C.READY: (None, fault.reason, fault.message), C.RECONCILING: no, C.STALLED: fine}
        stable = memory.stable
        text = f"Release {stable.version} ({stable.id}) is healthy" if stable else "Healthy"
        return {C.READY: (True, "Healthy", text), C.RECONCILING: no, C.STALLED: fine}
    text = _doing(inputs)
    reason = fault.reason if fault is not None else str(memory.phase)
    return {C.READY: (False, reason, text), C.RECONCILING: (True, str(memory.phase), text), C.STALLED: fine}


def _stalled(reason: str, message: str, no: Fact) -> dict[ConditionType, Fact]:
    return {C.READY: (False, reason, message), C.RECONCILING: no, C.STALLED: (True, reason, message)}


def _outcome(inputs: Inputs) -> str:
    memory = inputs.memory
    rejected = memory.rejected
    what = (
        f"Release {rejected.version} ({rejected.release}) was rejected: {rejected.message}"
        if rejected
        else (memory.cause.message if memory.cause else str(memory.phase))
    )
    if memory.stable is None:
        return f"{what}. Nothing of it was public; apply a new spec or annotate agui.dev/retry=true"
    back = f"{memory.stable.version} ({memory.stable.id}) serves all traffic"
    return f"{what}. {back}; apply a new spec or annotate agui.dev/retry=true"


def _doing(inputs: Inputs) -> str:
    memory = inputs.memory
    release = memory.candidate
    what = f"Release {release.version} ({release.id})" if release else "The release"
    text = f"{what}: {memory.phase}"
    if memory.phase is Phase.ROLLING_BACK and memory.cause is not None:
        text = f"{text}: {memory.cause.message}"
    if inputs.fault is not None:
        text = f"{text}; {inputs.fault.message} (try {inputs.fault.attempts})"
    return text


def waiting_for(inputs: Inputs) -> dict[str, Any] | None:
    """What the object waits for, since when, until when and what unblocks it."""
    memory, fault = inputs.memory, inputs.fault
    since = memory.since
    if inputs.spec_error is not None:
        return _wait("a valid spec", since, None, "correct the field that the message names")
    if inputs.blockers and memory.phase in (Phase.PENDING, Phase.SUSPENDED, Phase.PAUSED):
        first = inputs.blockers[0]
        return _wait(first.message, since, first.until, first.unblock_with)
    if fault is not None:
        fix = "change what the message names" if fault.fault is Fault.USER else "it is tried again"
        return _wait(fault.message, since, _stamp(fault.retry_at), fix)
    if memory.phase is Phase.PAUSED:
        return _paused(memory, since)
    failed = next((c for c in memory.verdicts.values() if c.passed is False), None)
    if memory.phase is Phase.BAKING and failed is not None:  # spec.rollback.automatic is false
        fix = "annotate agui.dev/abort=true or apply a corrected spec"
        return _wait(f'a person to decide: check "{failed.name}" failed: {failed.message}', since, None, fix)
    if memory.phase in (Phase.ROLLED_BACK, Phase.FAILED):
        return _wait("a new spec", since, None, "apply a corrected spec or annotate agui.dev/retry=true")
    if memory.phase is Phase.PROGRESSING:
        return _step_wait(inputs)
    if memory.phase in IN_FLIGHT or memory.phase is Phase.ROLLING_BACK:
        until = None
        if inputs.plan is not None and since is not None and memory.phase is not Phase.ROLLING_BACK:
            until = _stamp(since + inputs.plan.progress_deadline)
        return _wait(f"{memory.phase} to end", since, until, "nothing to do")
    return None


def _paused(memory: Memory, since: datetime | None) -> dict[str, Any]:
    what = {
        "Step": ("a person to promote (pause step)", "annotate agui.dev/promote=true"),
        "Request": ("a person to resume", "annotate agui.dev/resume=true"),
        "Analysis": ("enough data for a verdict", "annotate agui.dev/promote=true or agui.dev/abort=true"),
    }.get(memory.held_by, ("a hold to be lifted", "annotate agui.dev/resume=true"))
    return _wait(what[0], since, None, what[1])


def _step_wait(inputs: Inputs) -> dict[str, Any] | None:
    memory, plan = inputs.memory, inputs.plan
    if plan is None or memory.step >= len(plan.steps):
        return None
    step = plan.steps[memory.step]
    if step.set_weight is not None:
        return _wait(f"{step.set_weight} % of the traffic on the candidate", memory.since, None, "nothing to do")
    if step.pause is not None and step.pause.duration is not None and memory.since is not None:
        until = _stamp(memory.since + step.pause.duration)
        return _wait("the pause to end", memory.since, until, "annotate agui.dev/promote=true to skip it")
    found = f": {memory.analysis.message}" if memory.analysis else ""
    until = None
    if plan.analysis is not None and memory.since is not None:
        until = _stamp(memory.since + timedelta(seconds=plan.analysis.deadline))
    return _wait(f"a verdict of the canary analysis{found}", memory.since, until, "annotate agui.dev/promote=true")


def _wait(what: str, since: datetime | None, until: str | None, unblock_with: str) -> dict[str, Any]:
    raw = {"what": what[:_MESSAGE_MAX], "since": _stamp(since), "until": until, "unblockWith": unblock_with}
    return {k: v for k, v in raw.items() if v is not None}


def _stamp(at: datetime | None) -> str | None:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ") if at else None


def _conditions(inputs: Inputs, facts: Mapping[ConditionType, Fact]) -> list[dict[str, Any]]:
    previous = {c.get("type"): c for c in inputs.previous.get("conditions") or () if isinstance(c, Mapping)}
    listed = []
    for condition in ConditionType:
        value, reason, message = facts.get(condition, (None, "NotStarted", "Not looked at yet"))
        text = {True: "True", False: "False", None: "Unknown"}[value]
        old = previous.get(str(condition), {})
        moved = old.get("status") != text or not old.get("lastTransitionTime")
        listed.append(
            {
                "type": str(condition),
                "status": text,
                "reason": reason,
                "message": message[:_MESSAGE_MAX],
                "observedGeneration": inputs.generation,
                "lastTransitionTime": _stamp(inputs.now) if moved else old["lastTransitionTime"],
            }
        )
    return listed
