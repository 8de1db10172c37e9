"""One decision of the loop: from what is remembered and seen to what to remember next and what to do now.

Level, not edge: a decision would be right as the first one after a crash. Actions are empty when the resources already
match what the phase requires, so that repeating a decision does nothing. `core/phases/` has what each
phase waits for and does; this module has what holds for all: interruptions, deadlines, requests and bookkeeping.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from agui_operator.api.conditions import Reason
from agui_operator.core import past, requests, steps, undo
from agui_operator.core.actions import REMOVALS, Action
from agui_operator.core.blueprint import CANDIDATE
from agui_operator.core.memory import Cause, HeldBy, HistoryEntry, Memory, Rejected, begin_attempt
from agui_operator.core.phases import actions_of, event_of
from agui_operator.core.phases.case import Case, Happened, judged_since
from agui_operator.core.phases.restoring import with_fallback
from agui_operator.core.phases.vanished import vanished
from agui_operator.core.recovery import recovered
from agui_operator.core.release import Release
from agui_operator.core.rollout import CANARY, IN_FLIGHT, RESTING, Event, Phase, advance, allowed
from agui_operator.core.snapshot import RequestKind

_WATCH = timedelta(minutes=1)  # at most, between two looks at the traffic of a canary that waits
_POLL = timedelta(seconds=5)  # when nothing else wakes the object: lost waiters, data planes that settle later


@dataclass(frozen=True, slots=True)
class Decision:
    memory: Memory
    event: Event | None
    actions: tuple[Action, ...]
    requeue_after: timedelta | None  # None: only when something wakes the object, or on resync


def decide(case: Case, history_limit: int | None) -> Decision:
    """At most one event is read. The caller builds a new blueprint when the candidate changed, and decides again at
    once if an event was read; actions belong to the memory that is returned and are due after it is written.
    `history_limit` None: not known, the history is not shortened."""
    case = replace(case, memory=_learn(case))
    found: Happened | None = None
    if case.seen.request is not None:
        memory, found = _obey(case)
        case = replace(case, memory=memory)
    found = found or read_event(case)
    if found is None:
        return Decision(case.memory, None, _effects(case), _requeue(case))
    event, cause = found
    moved = _moved(case, event, cause)
    settled = _settled(case, moved, event, history_limit)
    if case.memory.phase is Phase.UNDOING and settled.phase is Phase.PENDING and cause is not None:
        settled = _not_undone(case, settled, cause, history_limit)
    return Decision(settled, event, (), timedelta(0))


def _effects(case: Case) -> tuple[Action, ...]:
    """What is done now. Nothing is written without a permission that holds now, but roll-back and removal."""
    if case.writes_held:
        return ()
    found = actions_of(case)
    return found if case.is_permitted else tuple(action for action in found if isinstance(action, REMOVALS))


def read_event(case: Case) -> Happened | None:
    """By order of urgency: a newer spec or a withdrawn permission, a deleted revision, the phase's own end, its
    deadline."""
    return _interruption(case) or vanished(case) or event_of(case) or _deadline(case)


def _interruption(case: Case) -> Happened | None:
    memory, seen = case.memory, case.seen
    if memory.phase not in IN_FLIGHT:
        return None
    candidate = memory.candidate
    if (
        candidate is not None
        and seen.fingerprint != candidate.fingerprint
        and allowed(memory.phase, Event.SPEC_CHANGED)
    ):
        why = "a newer spec supersedes this release" if seen.fingerprint else "the newer spec is not valid"
        return Event.SPEC_CHANGED, Cause(Reason.SUPERSEDED, why, memory.phase, case.now, rejects=False)
    revoked = next((b for b in seen.blockers if b.revokes), None)
    if revoked is not None and allowed(memory.phase, Event.ABORTED):
        return Event.ABORTED, Cause(revoked.reason, revoked.message, memory.phase, case.now, rejects=False)
    return None


def _deadline(case: Case) -> Happened | None:
    """The progress deadline counts from the last progress, without the time of a hold. Pauses wait as long as they are
    told to, an analysis that measures something until its own deadline; a promotion without a stable release has
    nowhere to go back to and keeps trying; after it the spec may ask for a manual decision."""
    memory, plan = case.memory, case.blueprint
    if plan is None or memory.since is None or not allowed(memory.phase, Event.DEADLINE_EXCEEDED):
        return None
    if case.writes_held or (memory.phase is Phase.PROGRESSING and case.step_waits and not _measures_nothing(case)):
        return None
    if memory.phase in (Phase.PROMOTING, Phase.BAKING) and memory.stable is None:
        return None
    if memory.phase is Phase.BAKING and not plan.automatic_rollback:
        return None
    if case.now - memory.since <= plan.progress_deadline:
        return None
    minutes = plan.progress_deadline.total_seconds() / 60
    message = f"{memory.phase} made no progress for {minutes:g} minutes (spec.strategy.progressDeadline)"
    return Event.DEADLINE_EXCEEDED, Cause(Reason.DEADLINE_EXCEEDED, message, memory.phase, case.now)


def _measures_nothing(case: Case) -> bool:
    """True in an analysis step as long as not one request of the candidate was measured."""
    finding = case.memory.analysis
    is_analysis = case.step is not None and case.step.analysis is not None
    return is_analysis and (finding is None or not finding.values.get("requests"))


def _learn(case: Case) -> Memory:
    """The newest verdicts; the schema head that the candidate reported; alert limits and version of a spec edit that
    makes no new release; what serves where the status was lost; the steps that a canary starts with; the time that a
    hold takes."""
    case = replace(case, memory=recovered(case.memory, case.seen, case.names, case.now))
    memory, seen, plan = _clocked(case), case.seen, case.blueprint
    if memory.phase in CANARY and memory.walk is None and plan is not None:
        memory = replace(memory, walk=steps.begin(plan.steps))
    memory = replace(memory, verdicts={**memory.verdicts, **seen.checks}, analysis=seen.analysis or memory.analysis)
    if seen.schema is not None and memory.candidate is not None:
        said = seen.schema
        told = replace(memory.candidate, schema=said.head, requires=said.requires)
        memory = replace(memory, candidate=told, schema_floor=said.floor or memory.schema_floor)
    stable = memory.stable
    if (
        memory.phase is Phase.HEALTHY
        and case.is_spec_permitted
        and plan is not None
        and stable is not None
        and plan.release.id == stable.id
    ):
        release = plan.release
        kept = replace(stable, alerts=release.alerts, version=release.version)
        kept = replace(kept, template=release.template, bundle=release.bundle)
        memory = replace(memory, stable=kept, promoted=past.with_bundle(memory.promoted, kept))
    if plan is not None and memory.candidate is not None and plan.release.id == memory.candidate.id:
        told = replace(memory.candidate, template=plan.release.template, bundle=plan.release.bundle)
        memory = replace(memory, candidate=told)
    return with_fallback(replace(case, memory=memory))


def _clocked(case: Case) -> Memory:
    """A hold before the canary stops the clock of the progress deadline: the phase began later by as much."""
    memory, now = case.memory, case.now
    if case.writes_held:
        return replace(memory, held_since=memory.held_since or now)
    if memory.held_since is None or memory.since is None:
        return memory
    return replace(memory, since=memory.since + max(timedelta(0), now - memory.held_since), held_since=None)


def _obey(case: Case) -> tuple[Memory, Happened | None]:
    request, memory = case.seen.request, case.memory
    assert request is not None
    situation = requests.Situation(
        case.step_waits,
        case.steps_left,
        _may_not_continue(case),
        case.seen.fingerprint,
        _stop(case),
        case.seen.forbidden,
    )
    outcome = requests.decide(memory, request, situation)
    answered = replace(memory, acknowledged=requests.answer(memory, request, outcome, case.now))
    answered = replace(answered, obeyed=requests.remember(memory, request, outcome, situation, case.now))
    if isinstance(outcome, requests.Refusal):
        return answered, None
    cause = None
    if request.kind in (RequestKind.ABORT, RequestKind.UNDO):
        reason = Reason.ABORTED if request.kind is RequestKind.ABORT else Reason.UNDONE
        cause = Cause(reason, f"{request.kind} was requested by annotation", memory.phase, case.now)
    if request.kind is RequestKind.UNDO:
        answered = replace(answered, undo_to=requests.undo_target(memory, request.value), cause=None)
    return answered, (outcome, cause)


def _may_not_continue(case: Case) -> str | None:
    """Why no request takes the rollout further: nobody who may annotate lifts a hold, or replaces a permission."""
    if case.failing is not None:
        return f"the canary analysis failed: {case.failing.message}"
    return case.seen.blockers[0].message if case.seen.blockers else None


def _stop(case: Case) -> str | None:
    """Why an administrator lets nothing begin. A freeze window stops no undo, which goes back to what was there."""
    return next((b.message for b in case.seen.blockers if b.reason is Reason.FROZEN and b.until is None), None)


def _moved(case: Case, event: Event, cause: Cause | None) -> Memory:
    """The memory in the next phase. What belongs to the phase that was left is forgotten here and nowhere else."""
    memory, seen, now = case.memory, case.seen, case.now
    phase = advance(memory.phase, event)
    moved = replace(memory, phase=phase, since=now, held_by=None, held_since=None)
    if phase not in CANARY:
        moved = replace(moved, weight_since=None, walk=memory.walk if phase in IN_FLIGHT else None)
    if event is Event.HELD:
        return replace(moved, held_by=_held_by(case))
    if event is Event.RESUMED and memory.held_by is HeldBy.STEP:
        return replace(moved, step=memory.step + 1)
    if event is Event.STEP_PASSED:
        return replace(moved, step=memory.step + 1, analysis=None, weight_since=_weight_since(case))
    if event is Event.STEPS_EDITED:
        return _edited(case, moved)
    if event is Event.STARTED:
        return _begun(case, moved)
    if event is Event.RETRIED:
        return replace(moved, rejected=None, cause=None, candidate=None)
    if phase is Phase.BACKING_UP and memory.phase is Phase.RESOLVING and seen.resolved is not None:
        return begin_attempt(moved, seen.resolved, seen.tried)
    if phase in (Phase.SMOKING, Phase.BAKING, Phase.UNDOING):
        return replace(moved, verdicts={})
    if memory.phase is Phase.UNDOING:
        moved = replace(moved, verdicts={})
    if phase is Phase.ROLLING_BACK and cause is not None:
        cause = replace(cause, procedure=seen.procedure)
        return replace(moved, cause=cause, rejected=_rejected_early(case, cause) or memory.rejected)
    return moved


def _begun(case: Case, moved: Memory) -> Memory:
    """A new rollout. What was obeyed for the same spec stays known: a manifest may ask for it again."""
    obeyed = tuple(o for o in moved.obeyed if o.fingerprint == case.seen.fingerprint)
    fresh = replace(moved, started=case.now, step=0, cause=None, undo_to=None, verdicts={}, analysis=None)
    return replace(fresh, candidate=None, walk=None, obeyed=obeyed)


def _weight_since(case: Case) -> datetime | None:
    """When the present weight began to serve: now, if the step that ends has set it."""
    weight = case.step.set_weight if case.step is not None else None
    return case.now if weight and case.serves(weight) else case.memory.weight_since


def _edited(case: Case, moved: Memory) -> Memory:
    """The canary goes on in the edited list of steps. A step that was not touched keeps its start."""
    memory = case.memory
    assert memory.walk is not None
    walk, step = steps.edited(memory.walk, memory.step, case.plan.steps)
    same = step == memory.step and walk.steps[: step + 1] == memory.walk.steps[: step + 1]
    return replace(moved, walk=walk, step=step, since=memory.since if same else case.now)


def _rejected_early(case: Case, cause: Cause) -> Rejected | None:
    """An abort before the release has an id rejects its spec all the same, or the rollout would start again at once."""
    fingerprint = case.seen.fingerprint
    if case.memory.phase is not Phase.RESOLVING or not cause.rejects or fingerprint is None:
        return None
    return Rejected(fingerprint, "", "", cause.reason, cause.message, case.now)


def _held_by(case: Case) -> HeldBy:
    request, answered = case.seen.request, case.memory.acknowledged
    if request is not None and request.kind is RequestKind.PAUSE and answered is not None and answered.accepted:
        return HeldBy.REQUEST
    if case.hold is not None:
        return HeldBy.POLICY
    return HeldBy.ANALYSIS if case.step is not None and case.step.analysis is not None else HeldBy.STEP


def _settled(case: Case, memory: Memory, event: Event, limit: int | None) -> Memory:
    """Bookkeeping when a rollout ends: history, stable, rejected."""
    before, now = case.memory, case.now
    release = before.candidate if before.phase is not Phase.HEALTHY else before.stable
    ended = memory.phase in (Phase.HEALTHY, Phase.ROLLED_BACK, Phase.FAILED)
    under_way = before.phase in IN_FLIGHT or before.phase is Phase.ROLLING_BACK
    superseded = event is Event.SPEC_CHANGED and memory.phase is Phase.PENDING and under_way
    if before.phase is Phase.PENDING and ended:
        cleared = None if event is Event.ALREADY_STABLE else memory.rejected
        return replace(memory, candidate=None, cause=None, rejected=cleared, undo_to=None)
    if event is Event.UNDONE:
        return replace(memory, candidate=before.stable, started=now)
    if release is None or not (ended or superseded):
        return memory if not ended else replace(memory, candidate=None, stable=memory.serving, undo_to=None)
    memory = replace(memory, history=_history(case, memory, release, limit), candidate=None)
    if memory.phase is Phase.HEALTHY:
        ring = past.promoted(past.with_stable(memory.promoted, memory.stable, now), _promotion(case, release))
        return replace(memory, stable=release, promoted=ring, rejected=None, cause=None, undo_to=None)
    if memory.phase is Phase.PENDING:
        return memory
    if memory.undo_to is not None:
        memory = replace(memory, promoted=past.without(memory.promoted, release.id))
    memory, cause = replace(memory, stable=memory.serving, undo_to=None), memory.cause
    if cause is not None and cause.rejects and not (cause.reason is Reason.UNDONE and memory.rejected is not None):
        tried = "" if cause.reason is Reason.UNDONE else cause.procedure  # an undo is about the release itself
        what = release.fingerprint, release.id, release.version
        return replace(memory, rejected=Rejected(*what, cause.reason, cause.message, now, tried))
    return memory


def _promotion(case: Case, release: Release) -> past.Promotion:
    checks = undo.recorded(case.plan.checks(CANDIDATE))
    return past.Promotion(release, case.now, case.memory.stable.id if case.memory.stable else None, checks)


def _not_undone(case: Case, memory: Memory, cause: Cause, limit: int | None) -> Memory:
    """Users stay where they are, and the answer to the request says why."""
    target, stable, request = case.memory.undo_to, case.memory.stable, memory.acknowledged
    if target is not None:
        seconds = (case.now - case.memory.started).total_seconds() if case.memory.started else 0.0
        entry = HistoryEntry(target, "NotRestored", str(cause.reason), case.now, seconds)
        memory = replace(memory, history=(entry, *memory.history)[:limit])
    if request is not None and request.kind == RequestKind.UNDO and target is not None and stable is not None:
        stays = f"release {stable.version} ({stable.id}) keeps all traffic"
        text = f"undo to release {target.version} ({target.id}) was not possible: {cause.message}; {stays}"
        memory = replace(memory, acknowledged=replace(request, message=text))
    return replace(memory, candidate=None, undo_to=None, cause=cause)


def _history(case: Case, memory: Memory, release: Release, limit: int | None) -> tuple[HistoryEntry, ...]:
    """The history with the entry of the rollout that ended just now, newest first."""
    started = case.memory.started
    outcome = {Phase.HEALTHY: "Promoted", Phase.PENDING: "Superseded"}.get(memory.phase, str(memory.phase))
    reason = str(memory.cause.reason) if memory.cause and memory.phase is not Phase.HEALTHY else outcome
    seconds = (case.now - started).total_seconds() if started else 0.0
    return (HistoryEntry(release, outcome, reason, case.now, seconds), *memory.history)[:limit]


def _requeue(case: Case) -> timedelta | None:
    phase = case.memory.phase
    if phase in RESTING:
        return None
    return min(_canary_waits(case)) if phase in CANARY and case.blueprint is not None else _POLL


def _canary_waits(case: Case) -> list[timedelta]:
    """The next look at the traffic, the end of a timed pause, and the longest time without a look."""
    memory, plan, step = case.memory, case.plan, case.step
    waits: list[timedelta] = []
    if plan.analysis is not None and judged_since(memory, plan) is not None:
        waits.append(timedelta(seconds=plan.analysis.interval))
    if memory.phase is Phase.PAUSED:
        return [*waits, _WATCH]
    if step is not None and step.pause is not None and step.pause.duration is not None and memory.since is not None:
        return [*waits, _WATCH, max(timedelta(0), memory.since + step.pause.duration - case.now)]
    return waits if step is not None and step.analysis is not None and waits else [*waits, _POLL]
