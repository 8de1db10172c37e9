"""What is known of each part of a release, and beside it: the facts that the conditions tell.

A fact is about the release that the spec of this generation asks for. While that one has not been tried, its parts are
Unknown, whatever is true of an earlier release.
"""

from __future__ import annotations

from collections.abc import Mapping

from agui_operator.api.conditions import ConditionType, Reason
from agui_operator.core.memory import Cause, HeldBy, Memory
from agui_operator.core.phases.case import steps_of
from agui_operator.core.rollout import IN_FLIGHT, PHASES, Look, Phase
from agui_operator.core.status_inputs import Inputs
from agui_operator.core.undo import way_back

Fact = tuple[bool | None, Reason | Phase, str]  # status, reason, message
C = ConditionType

# the place of each phase in the rollout, and the condition that it establishes; a phase may establish none
_RANK = {phase: rank for rank, phase in enumerate(p for p in PHASES if p in IN_FLIGHT)}
_RANK |= {phase: _RANK[spec.part_of] for phase, spec in PHASES.items() if spec.part_of is not None}
_PARTS = tuple(
    (_RANK[phase], spec.condition, spec.done_text) for phase, spec in PHASES.items() if spec.condition is not None
)
_NOT_REACHED: Fact = (None, Reason.NOT_STARTED, "No rollout of this spec has reached this part")
_HELD = {
    HeldBy.STEP: (Reason.AWAITING_PROMOTION, "A pause step waits for manual promotion"),
    HeldBy.REQUEST: (Reason.PAUSE_REQUESTED, "agui.dev/pause was requested; annotate agui.dev/resume=true"),
    HeldBy.ANALYSIS: (Reason.AWAITING_DATA, "The analysis has too little data for a verdict"),
}
_HELD_PHASES = frozenset({Phase.PENDING, Phase.PROGRESSING, Phase.PAUSED})  # in which a hold stops a rollout


def part_facts(inputs: Inputs) -> dict[ConditionType, Fact]:
    """The parts of the release that the spec asks for, in the order of a rollout."""
    memory = inputs.memory
    cause = memory.cause if _is_about_the_spec(inputs) else None
    facts: dict[ConditionType, Fact] = {}
    at = _RANK.get(memory.phase, -1)
    failed_at = _RANK.get(cause.phase, len(_PARTS)) if cause is not None else -1  # undone: after all of them
    for rank, condition, text in _PARTS:
        if inputs.is_stable:
            facts[condition] = (True, Reason.SUCCEEDED, text)
        elif memory.phase in IN_FLIGHT:
            facts[condition] = _in_flight(rank, at, text)
        elif cause is not None:
            facts[condition] = _rolled_back(rank, failed_at, cause, text)
        else:
            facts[condition] = _NOT_REACHED
    if cause is not None and cause.reason is Reason.SMOKE_FAILED:
        facts[C.SMOKE_PASSED] = (False, cause.reason, cause.message)
    facts[C.ANALYSIS_PASSED] = _canary(inputs, facts[C.ANALYSIS_PASSED])
    fault = inputs.seen.failed.get(Look.ALERTS) if inputs.seen is not None else None
    if fault is not None:
        facts[C.ALERTS_CONFIGURED] = (False, fault.reason, fault.message)
    for part, why in (inputs.asked.without if inputs.asked is not None else {}).items():
        facts[part] = (True, Reason.NOT_REQUESTED, f"Not requested: {why}")
    facts[C.PROMOTED] = _promoted(inputs, facts[C.PROMOTED], cause)
    facts[C.SPEC_ACCEPTED] = _accepted(inputs)
    return facts


def _is_about_the_spec(inputs: Inputs) -> bool:
    """True if the cause of the last roll-back is about the release that the spec asks for."""
    memory, asked = inputs.memory, inputs.asked
    if memory.phase is Phase.ROLLING_BACK:
        return True
    if memory.phase not in (Phase.ROLLED_BACK, Phase.FAILED) or asked is None or inputs.spec_error is not None:
        return False
    return memory.rejected is None or memory.rejected.fingerprint == asked.fingerprint


def _in_flight(rank: int, at: int, text: str) -> Fact:
    if rank < at:
        return True, Reason.SUCCEEDED, text
    if rank == at:
        return None, Reason.IN_PROGRESS, f"In progress: {text[0].lower()}{text[1:]}"
    return None, Reason.NOT_STARTED, "The rollout has not reached this part yet"


def _rolled_back(rank: int, failed_at: int, cause: Cause, text: str) -> Fact:
    if rank < failed_at:
        return True, Reason.SUCCEEDED, text
    if rank == failed_at:
        return False, cause.reason, cause.message
    return None, Reason.NOT_REACHED, "The rollout was rolled back before this part"


def _canary(inputs: Inputs, fact: Fact) -> Fact:
    """A first release has no canary, and a promotion by request skips steps: neither has passed."""
    memory, plan, phase = inputs.memory, inputs.plan, inputs.memory.phase
    steps = steps_of(memory, plan) if plan is not None else ()
    if phase is Phase.PROGRESSING and steps:
        return None, Reason.IN_PROGRESS, f"Canary in progress ({_steps(memory, len(steps))})"
    if phase is Phase.PAUSED and plan is not None:
        return None, Reason.IN_PROGRESS, f"Canary paused ({_steps(memory, len(steps))})"
    if phase in IN_FLIGHT and memory.stable is None:
        return True, Reason.NOT_REQUESTED, "Not requested: a first release has no stable release to compare with"
    if phase in (Phase.PROMOTING, Phase.BAKING) and plan is not None and memory.step < len(steps):
        return None, Reason.SKIPPED, f"Promoted by request after {_steps(memory, len(steps))}"
    if phase is Phase.HEALTHY and fact[0]:
        return _remembered(inputs) or fact
    return fact


def _steps(memory: Memory, total: int) -> str:
    return f"step {min(memory.step + 1, total)} of {total}"


def _remembered(inputs: Inputs) -> Fact | None:
    """How the canary of the stable release ended is known while it is promoted; after that the status says it."""
    release = inputs.previous.get("release")
    stable = inputs.memory.stable
    if stable is None or not isinstance(release, Mapping) or release.get("id") != stable.id:
        return None
    for condition in inputs.previous.get("conditions") or ():
        if isinstance(condition, Mapping) and condition.get("type") == C.ANALYSIS_PASSED:
            status, message = condition.get("status") == "True" or None, str(condition.get("message"))
            for reason in (Reason.NOT_REQUESTED, Reason.SKIPPED):
                if condition.get("reason") == reason:
                    return status, reason, message
    return None


def _promoted(inputs: Inputs, fact: Fact, cause: Cause | None) -> Fact:
    """True when the release of this spec is the stable one, not before the checks after promotion."""
    if inputs.spec_error is not None:
        return False, Reason.INVALID_SPEC, f"The spec is invalid: {inputs.spec_error}"
    if inputs.memory.phase is Phase.BAKING:
        return None, Reason.IN_PROGRESS, "In progress: all traffic is on the release, the checks run again"
    if cause is not None:
        return False, cause.reason, f"The release was rolled back: {cause.message}"
    rejected = inputs.memory.rejected
    if rejected is not None and not inputs.is_stable and _is_about_the_spec(inputs):
        return False, rejected.reason, f"The release was rolled back: {rejected.message}"
    if inputs.obstacles and inputs.memory.phase not in IN_FLIGHT:
        first = inputs.obstacles[0]
        return False, first.reason, first.message
    if inputs.is_stable and inputs.astray is not None:
        return False, Reason.DRIFTED, f"The release is the stable one, but {inputs.astray}"
    if inputs.is_stable:
        return True, Reason.SUCCEEDED, "The release is the stable one: it receives all traffic and its checks passed"
    return fact


def _accepted(inputs: Inputs) -> Fact:
    if inputs.spec_error is not None:
        return False, Reason.INVALID_SPEC, inputs.spec_error
    for blocker in inputs.obstacles:
        if blocker.condition == C.SPEC_ACCEPTED:
            return False, blocker.reason, blocker.message
    if inputs.ignored:
        return True, Reason.UNKNOWN_FIELDS, unknown_fields(inputs.ignored)
    if inputs.memory.phase is Phase.RESOLVING:
        return None, Reason.IN_PROGRESS, "Image digests and secret versions are being resolved"
    return True, Reason.ACCEPTED, "The spec is valid and permitted"


def unknown_fields(ignored: tuple[str, ...]) -> str:
    """What is said of fields that a newer CRD has."""
    return f"Ignored, because this version of the operator does not know them: {', '.join(ignored[:5])}; upgrade it"


def facts_beside(inputs: Inputs) -> dict[ConditionType, Fact]:
    """Conditions that hold beside a rollout: environment, hold, way back, drift."""
    return {
        C.ENVIRONMENT_READY: _environment(inputs),
        C.PAUSED: held_fact(inputs),
        C.ROLLBACK_READY: way_back(inputs),
        C.DRIFT_FREE: _drift(inputs),
    }


def _environment(inputs: Inputs) -> Fact:
    for blocker in inputs.obstacles:
        if blocker.condition == C.ENVIRONMENT_READY:
            return False, blocker.reason, blocker.message
    if inputs.spec_error is not None:
        return None, Reason.NOT_EVALUATED, "Not evaluated while the spec is invalid"
    return True, Reason.READY, "Environment found, with the parts that the spec needs"


def held_fact(inputs: Inputs) -> Fact:
    """Paused: whether a rollout is held, and by what."""
    memory, hold = inputs.memory, inputs.hold
    if hold is not None and memory.phase in _HELD_PHASES and inputs.spec_error is None:
        return True, hold.reason, hold.message
    if memory.phase is Phase.SUSPENDED:
        return True, Reason.SUSPENDED, "spec.suspend is true"
    if memory.phase is Phase.PAUSED:
        policy = (Reason.FROZEN, "A freeze ended; the rollout continues")
        reason, text = _HELD.get(memory.held_by or HeldBy.POLICY, policy)
        return True, reason, text
    return False, Reason.NOT_PAUSED, "No rollout is held"


def _drift(inputs: Inputs) -> Fact:
    differs = "; ".join(text for text in (inputs.astray, inputs.drift) if text)
    if differs:
        return False, Reason.DRIFTED, differs
    stable = inputs.memory.stable
    if stable is None:
        return None, Reason.NO_STABLE_RELEASE, "No release has been promoted yet"
    why = inputs.forbidden.get(stable.id)
    if why is not None:
        text = f"Release {stable.version} ({stable.id}) is not permitted any more and is not corrected: {why}"
        return None, Reason.NOT_PERMITTED, text
    if inputs.suspended:
        return None, Reason.NOT_COMPARED, "Not compared with the cloud while spec.suspend is true"
    if not inputs.compared or inputs.memory.phase not in (Phase.HEALTHY, Phase.ROLLED_BACK):
        return None, Reason.NOT_COMPARED, "Not compared with the cloud since the last change"
    return True, Reason.IN_SYNC, "Cloud resources match the stable release"
