"""The whole `.status`, computed by one function from what is known, and written by one patch.

Conditions are observations, not the state machine: all are set at the first visit (Unknown is a value), each with
observedGeneration; lastTransitionTime moves only when the status moves. kstatus reads Ready, Reconciling and Stalled,
of which the latter two are never both True: a wait is Reconciling, Stalled needs a user's action.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from agui_operator.api.conditions import ConditionType, Reason
from agui_operator.api.status import AgUiDeploymentStatus
from agui_operator.core.conditions import GRACE, instant
from agui_operator.core.errors import Fault
from agui_operator.core.facts import Fact, facts_beside, held_fact, part_facts
from agui_operator.core.memory import to_status
from agui_operator.core.phases.case import steps_of
from agui_operator.core.rollout import IN_FLIGHT, Phase
from agui_operator.core.snapshot import Blocker
from agui_operator.core.status_inputs import Asked, FaultSeen, Inputs, asked_of, stamp
from agui_operator.core.traffic import share
from agui_operator.core.waiting import LEFT_ALONE, deadline, doing, waiting_for, way_out

__all__ = ["Asked", "FaultSeen", "Inputs", "asked_of", "summarize"]
C = ConditionType
_MESSAGE_MAX = 1024
_BEFORE_TRAFFIC = frozenset(
    {Phase.RESOLVING, Phase.BACKING_UP, Phase.MIGRATING, Phase.PUBLISHING, Phase.STAGING, Phase.SMOKING}
)
_KNOWN = frozenset(field.alias or name for name, field in AgUiDeploymentStatus.model_fields.items())
_NOT_RECONCILING: Fact = (False, Reason.NOT_RECONCILING, "Nothing is in progress")
_NOT_STALLED: Fact = (False, Reason.NOT_STALLED, "No user action is required")
Facts = dict[ConditionType, Fact]


def summarize(inputs: Inputs) -> dict[str, Any]:
    """The whole status. Pure: the same inputs give the same bytes, so that an idle object is never written. What a
    newer version wrote beside it stays."""
    status = to_status(inputs.memory)
    status["release"] = _release(inputs, status["release"])
    status["rollout"] |= _progress(inputs)
    status["observedGeneration"] = inputs.generation
    status["url"] = inputs.url
    status["waitingFor"] = waiting_for(inputs)
    facts = part_facts(inputs) | facts_beside(inputs)
    facts |= _summary(inputs, status["rollout"]["weight"])
    status["message"] = facts[C.READY][2]
    status["conditions"] = _conditions(inputs, facts)
    newer = {key: value for key, value in inputs.previous.items() if key not in _KNOWN}
    return {**newer, **status}


def _release(inputs: Inputs, about: dict[str, Any] | None) -> dict[str, Any] | None:
    """The release that the spec asks for, as far as it is known. While a rollout runs it is the one of that rollout,
    from which a restarted operator continues."""
    memory, asked = inputs.memory, inputs.asked
    fingerprint = asked.fingerprint if asked is not None else None
    if memory.candidate is not None or memory.phase is Phase.ROLLING_BACK:
        is_renamed = memory.phase in IN_FLIGHT and inputs.version and about and about.get("fingerprint") == fingerprint
        return {**about, "version": inputs.version} if is_renamed and about else about
    known = about if about is not None and about.get("fingerprint") == fingerprint else {}
    named = {"version": inputs.version} if inputs.version else {}
    return {**known, **named} or None


def _progress(inputs: Inputs) -> dict[str, Any]:
    memory, plan = inputs.memory, inputs.plan
    progress: dict[str, Any] = {"weight": _weight(inputs), "progress": None, "deadline": None}
    if memory.phase in IN_FLIGHT and plan is not None:
        steps = steps_of(memory, plan)
        progress["progress"] = f"{min(memory.step, len(steps))}/{len(steps)}"
        progress["deadline"] = stamp(deadline(inputs))
    return progress


def _weight(inputs: Inputs) -> int | None:
    """Percentage of the traffic on the release: as seen, else as last seen of the same release; None: not known."""
    memory, plan, seen = inputs.memory, inputs.plan, inputs.seen
    service = seen.service if seen is not None else None
    if memory.phase in (Phase.ROLLED_BACK, Phase.FAILED) or memory.phase in _BEFORE_TRAFFIC:
        return 0
    if memory.phase in IN_FLIGHT and memory.stable is None:
        return 100 if memory.phase is Phase.BAKING else 0
    if memory.phase is Phase.UNDOING:
        return 100
    if memory.phase is not Phase.HEALTHY and memory.phase not in IN_FLIGHT:
        return None
    if service is not None and plan is not None:
        return share(service.serving, plan.revision.revision)
    return 100 if memory.phase is Phase.HEALTHY else _last_weight(inputs)


def _last_weight(inputs: Inputs) -> int | None:
    release, rollout = inputs.previous.get("release"), inputs.previous.get("rollout")
    candidate = inputs.memory.candidate
    if candidate is None or not isinstance(release, Mapping) or release.get("id") != candidate.id:
        return None
    weight = rollout.get("weight") if isinstance(rollout, Mapping) else None
    return weight if isinstance(weight, int) else None


def _summary(inputs: Inputs, weight: int | None) -> Facts:
    """Ready, Reconciling, Stalled. Ready is True only for the release that the spec of this generation asks for."""
    memory, fault = inputs.memory, inputs.fault
    if inputs.deleting:
        text = fault.message if fault else "The resources that the deployment owns are being deleted"
        reason = fault.reason if fault else Reason.DELETING
        return {
            C.READY: (False, reason, text),
            C.RECONCILING: (True, Reason.DELETING, text),
            C.STALLED: _NOT_STALLED,
        }
    if inputs.spec_error is not None:
        return _stalled(Reason.INVALID_SPEC, inputs.spec_error)
    if fault is not None and fault.fault is Fault.USER:
        return _stalled(fault.reason, fault.message)
    if memory.phase in (Phase.ROLLED_BACK, Phase.FAILED):
        return _stalled(memory.rejected.reason if memory.rejected else memory.phase, _outcome(inputs))
    if inputs.obstacles and memory.phase not in IN_FLIGHT and memory.phase is not Phase.ROLLING_BACK:
        return _obstructed(inputs, inputs.obstacles[0])
    if inputs.is_stable:
        return _serving(inputs)
    held, hold, text = held_fact(inputs)
    if held and memory.phase is not Phase.PAUSED:
        return _waiting(hold, f"{text}. {_serves(inputs)}")
    told = doing(inputs, weight)
    state: Reason | Phase = fault.reason if fault is not None else memory.phase
    return {C.READY: (False, state, told), C.RECONCILING: (True, memory.phase, told), C.STALLED: _NOT_STALLED}


def _serving(inputs: Inputs) -> Facts:
    fault, stable = inputs.fault, inputs.memory.stable
    if inputs.astray is not None:
        told = _serves(inputs)
        return _stalled(Reason.DRIFTED, told) if inputs.suspended else _waiting(Reason.DRIFTED, told)
    text = f"Release {stable.version} ({stable.id}) is healthy" if stable is not None else ""
    ready: Fact = (True, Reason.HEALTHY, text) if fault is None else (None, fault.reason, fault.message)
    return {C.READY: ready, C.RECONCILING: _NOT_RECONCILING, C.STALLED: _NOT_STALLED}


def _obstructed(inputs: Inputs, blocker: Blocker) -> Facts:
    """What may arrive with the same sync is waited for; after the grace a user's action is required."""
    text = f"{blocker.message}; {blocker.unblock_with}. {_serves(inputs)}"
    since = _false_since(inputs, str(blocker.condition))
    if blocker.may_arrive and inputs.now - since < GRACE:
        return _waiting(blocker.reason, text)
    return _stalled(blocker.reason, text)


def _false_since(inputs: Inputs, condition: str) -> datetime:
    """Since when the condition is False, by the status as last written."""
    for old in inputs.previous.get("conditions") or ():
        if isinstance(old, Mapping) and old.get("type") == condition and old.get("status") == "False":
            return instant(old.get("lastTransitionTime")) or inputs.now
    return inputs.now


def _waiting(reason: Reason | Phase, message: str) -> Facts:
    text = message.strip()
    return {C.READY: (False, reason, text), C.RECONCILING: (True, reason, text), C.STALLED: _NOT_STALLED}


def _stalled(reason: Reason | Phase, message: str) -> Facts:
    text = message.strip()
    return {C.READY: (False, reason, text), C.RECONCILING: _NOT_RECONCILING, C.STALLED: (True, reason, text)}


def _serves(inputs: Inputs) -> str:
    """What users meet meanwhile."""
    stable = inputs.memory.stable
    if stable is not None and inputs.astray is not None:
        what = f"{stable.version} ({stable.id}) is the stable release, but {inputs.astray}"
        return f"{what}; {LEFT_ALONE if inputs.suspended else 'it is being restored'}"
    return f"{stable.version} ({stable.id}) serves all traffic" if stable is not None else ""


def _outcome(inputs: Inputs) -> str:
    memory = inputs.memory
    rejected = memory.rejected
    what = (
        f"{rejected.title} was rejected: {rejected.message}"
        if rejected
        else (memory.cause.message if memory.cause else str(memory.phase))
    )
    return f"{what}. {_serves(inputs) or 'It never received user traffic'}; {way_out(rejected)}"


def _conditions(inputs: Inputs, facts: Mapping[ConditionType, Fact]) -> list[dict[str, Any]]:
    previous = {c.get("type"): c for c in inputs.previous.get("conditions") or () if isinstance(c, Mapping)}
    listed = []
    for condition in ConditionType:
        value, reason, message = facts[condition]
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
