"""The whole `.status`, computed by one function from what is known, and written by one patch.

Conditions are observations, not the state machine: all are set at the first visit (Unknown is a value), each with
observedGeneration; lastTransitionTime moves only when the status moves. kstatus reads Ready, Reconciling and Stalled,
of which the latter two are never both True.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agui_operator.api.conditions import ConditionType, Reason
from agui_operator.core.errors import Fault
from agui_operator.core.held import writes_held
from agui_operator.core.memory import Cause, to_status
from agui_operator.core.phases.case import steps_of
from agui_operator.core.rollout import IN_FLIGHT, PHASES, Look, Phase
from agui_operator.core.status_inputs import FaultSeen, Inputs, stamp
from agui_operator.core.traffic import share
from agui_operator.core.waiting import waiting_for

__all__ = ["FaultSeen", "Inputs", "summarize"]
C = ConditionType
_MESSAGE_MAX = 1024

# the place of each phase in the rollout, and the condition that it establishes; a phase may establish none
_RANK = {phase: rank for rank, phase in enumerate(p for p in PHASES if p in IN_FLIGHT)}
_RANK |= {phase: _RANK[spec.part_of] for phase, spec in PHASES.items() if spec.part_of is not None}
_PARTS = tuple(
    (_RANK[phase], spec.condition, spec.done_text) for phase, spec in PHASES.items() if spec.condition is not None
)


def summarize(inputs: Inputs) -> dict[str, Any]:
    """The whole status. Pure: the same inputs give the same bytes, so that an idle object is never written."""
    memory = inputs.memory
    status = to_status(memory)
    status["rollout"] |= _progress(inputs)
    status["observedGeneration"] = inputs.generation
    status["url"] = inputs.url
    status["waitingFor"] = waiting_for(inputs)
    facts = _parts(inputs) | _beside(inputs)
    facts |= _summary(inputs, facts)
    status["message"] = facts[C.READY][2]
    status["conditions"] = _conditions(inputs, facts)
    return status


Fact = tuple[bool | None, Reason | Phase, str]  # status, reason, message


def _progress(inputs: Inputs) -> dict[str, Any]:
    memory, plan, seen = inputs.memory, inputs.plan, inputs.seen
    progress: dict[str, Any] = {"weight": None, "progress": None, "deadline": None}
    previous = inputs.previous.get("rollout")
    before = previous.get("weight") if isinstance(previous, Mapping) else None
    if memory.phase in IN_FLIGHT and plan is not None:
        steps = steps_of(memory, plan)
        progress["progress"] = f"{min(memory.step, len(steps))}/{len(steps)}"
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
    for rank, condition, text in _PARTS:
        if memory.phase is Phase.HEALTHY:
            facts[condition] = (True, Reason.SUCCEEDED, text)
        elif memory.phase in IN_FLIGHT:
            facts[condition] = _in_flight(rank, at, text)
        elif cause is not None:
            facts[condition] = _taken_back(rank, failed_at, cause, text)
        else:
            facts[condition] = (None, Reason.NOT_STARTED, "No rollout has reached this part yet")
    if cause is not None and memory.phase not in IN_FLIGHT and memory.phase is not Phase.HEALTHY:
        facts[C.PROMOTED] = (False, cause.reason, f"The release was rolled back: {cause.message}")
        if cause.reason is Reason.SMOKE_FAILED:
            facts[C.SMOKE_PASSED] = (False, cause.reason, cause.message)
    fault = inputs.seen.failed.get(Look.ALERTS) if inputs.seen is not None else None
    if fault is not None:
        facts[C.ALERTS_CONFIGURED] = (False, fault.reason, fault.message)
    if inputs.spec_error is not None:
        facts[C.SPEC_ACCEPTED] = (False, Reason.INVALID_SPEC, inputs.spec_error)
    elif memory.phase is not Phase.RESOLVING and facts[C.SPEC_ACCEPTED][0] is None:
        facts[C.SPEC_ACCEPTED] = (True, Reason.ACCEPTED, "The spec is valid")
    for blocker in inputs.blockers:
        facts[ConditionType(blocker.condition)] = (False, blocker.reason, blocker.message)
    return facts


def _in_flight(rank: int, at: int, text: str) -> Fact:
    if rank < at:
        return True, Reason.SUCCEEDED, text
    if rank == at:
        return None, Reason.IN_PROGRESS, f"In progress: {text[0].lower()}{text[1:]}"
    return None, Reason.NOT_STARTED, "The rollout has not reached this part yet"


def _taken_back(rank: int, failed_at: int, cause: Cause, text: str) -> Fact:
    if rank < failed_at:
        return True, Reason.SUCCEEDED, text
    if rank == failed_at:
        return False, cause.reason, cause.message
    return None, Reason.NOT_REACHED, "The rollout was rolled back before this part"


def _beside(inputs: Inputs) -> dict[ConditionType, Fact]:
    """Conditions that hold beside a rollout: environment, way back, drift."""
    memory = inputs.memory
    facts: dict[ConditionType, Fact] = {}
    if not any(b.condition == C.ENVIRONMENT_READY for b in inputs.blockers):
        facts[C.ENVIRONMENT_READY] = (True, Reason.READY, "The environment exists and is permitted")
    if memory.stable is None:
        facts[C.ROLLBACK_READY] = (None, Reason.NO_STABLE_RELEASE, "No release has been promoted yet")
    else:
        stable = memory.stable
        facts[C.ROLLBACK_READY] = (True, Reason.STABLE_KNOWN, f"Release {stable.version} ({stable.id}) can be restored")
    if inputs.drift:
        facts[C.DRIFT_FREE] = (False, Reason.DRIFTED, inputs.drift)
    else:
        facts[C.DRIFT_FREE] = (True, Reason.IN_SYNC, "Cloud resources match the stable release")
    return facts


def _summary(inputs: Inputs, facts: Mapping[ConditionType, Fact]) -> dict[ConditionType, Fact]:
    """Ready, Reconciling, Stalled: False beats Unknown beats True; a fault that needs user action is Stalled."""
    memory, fault = inputs.memory, inputs.fault
    no: Fact = (False, Reason.NOT_RECONCILING, "Nothing is in progress")
    fine: Fact = (False, Reason.NOT_STALLED, "No user action is required")
    if inputs.deleting:
        text = fault.message if fault else "The resources that the deployment owns are being deleted"
        reason = fault.reason if fault else Reason.DELETING
        return {C.READY: (False, reason, text), C.RECONCILING: (True, Reason.DELETING, text), C.STALLED: fine}
    if inputs.spec_error is not None:
        return _stalled(Reason.INVALID_SPEC, inputs.spec_error, no)
    if fault is not None and fault.fault is Fault.USER:
        return _stalled(fault.reason, fault.message, no)
    if memory.phase in (Phase.ROLLED_BACK, Phase.FAILED):
        message = _outcome(inputs)
        return _stalled(memory.rejected.reason if memory.rejected else memory.phase, message, no)
    if memory.phase is Phase.PENDING and inputs.blockers:
        first = inputs.blockers[0]
        return _stalled(first.reason, first.message, no)
    if memory.phase is Phase.SUSPENDED:
        return {C.READY: (None, Reason.SUSPENDED, "spec.suspend is set"), C.RECONCILING: no, C.STALLED: fine}
    if memory.phase is Phase.HEALTHY:
        if fault is not None:
            return {C.READY: (None, fault.reason, fault.message), C.RECONCILING: no, C.STALLED: fine}
        stable = memory.stable
        text = f"Release {stable.version} ({stable.id}) is healthy" if stable else Reason.HEALTHY
        return {C.READY: (True, Reason.HEALTHY, text), C.RECONCILING: no, C.STALLED: fine}
    text = _doing(inputs)
    state: Reason | Phase = fault.reason if fault is not None else memory.phase
    return {C.READY: (False, state, text), C.RECONCILING: (True, memory.phase, text), C.STALLED: fine}


def _stalled(reason: Reason | Phase, message: str, no: Fact) -> dict[ConditionType, Fact]:
    return {C.READY: (False, reason, message), C.RECONCILING: no, C.STALLED: (True, reason, message)}


def _outcome(inputs: Inputs) -> str:
    memory = inputs.memory
    rejected = memory.rejected
    what = (
        f"{rejected.title} was rejected: {rejected.message}"
        if rejected
        else (memory.cause.message if memory.cause else str(memory.phase))
    )
    if memory.stable is None:
        return f"{what}. It never received user traffic; apply a new spec or annotate agui.dev/retry=true"
    back = f"{memory.stable.version} ({memory.stable.id}) serves all traffic"
    return f"{what}. {back}; apply a new spec or annotate agui.dev/retry=true"


def _doing(inputs: Inputs) -> str:
    memory = inputs.memory
    release = memory.candidate
    what = f"Release {release.version} ({release.id})" if release else "The release"
    text = f"{what}: {memory.phase}"
    if memory.phase is Phase.ROLLING_BACK and memory.cause is not None:
        text = f"{text}: {memory.cause.message}"
    if (held := writes_held(memory, inputs.seen, inputs.blockers)) is not None:
        text = f"{text}; {held.text}"
    if inputs.fault is not None:
        text = f"{text}; {inputs.fault.message} (attempt {inputs.fault.attempts})"
    return text


def _conditions(inputs: Inputs, facts: Mapping[ConditionType, Fact]) -> list[dict[str, Any]]:
    previous = {c.get("type"): c for c in inputs.previous.get("conditions") or () if isinstance(c, Mapping)}
    listed = []
    for condition in ConditionType:
        value, reason, message = facts.get(condition, (None, Reason.NOT_STARTED, "Not looked at yet"))
        text = {True: "True", False: "False", None: "Unknown"}[value]
        old = previous.get(str(condition), {})
        moved = old.get("status") != text or not old.get("lastTransitionTime")
        listed.append(
            {
                "type": str(condition),
                "status": text,
                "reason": str(reason),
                "message": message[:_MESSAGE_MAX],
                "observedGeneration": inputs.generation,
                "lastTransitionTime": stamp(inputs.now) if moved else old["lastTransitionTime"],
            }
        )
    return listed
