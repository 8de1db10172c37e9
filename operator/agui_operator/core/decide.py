"""One turn of the loop: from what is remembered and seen to what to remember next and what to do now.

Level, not edge: a turn would be right as the first one after a crash. `actions_for` is empty when the world already is
as the phase wants it, so that repeating a turn does nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from agui_operator.core import requests
from agui_operator.core.actions import (
    Action,
    AssetsPublished,
    BackupTaken,
    ExecutionStarted,
    JobDefined,
    JobTemplate,
    Pointer,
    PointerSet,
    RevisionStaged,
    TrafficSplit,
)
from agui_operator.core.blueprint import BACKEND_ENV, CANDIDATE, PROMOTED, STAGE_ENV, Blueprint
from agui_operator.core.events import (
    Seen,
    candidate_routing,
    is_routed,
    is_suspended,
    read_event,
    serves_only,
    step_waits,
    steps_left,
)
from agui_operator.core.memory import Cause, HistoryEntry, Memory, Rejected, attempt_id
from agui_operator.core.names import Names
from agui_operator.core.release import Release
from agui_operator.core.rollout import IN_FLIGHT, RESTING, Event, Phase, advance
from agui_operator.core.snapshot import JobView, RequestKind, ServiceView, Snapshot
from agui_operator.core.traffic import Target, same_split, share, split

HISTORY_LIMIT = 10
_POLL = timedelta(seconds=5)  # when nothing else will ring: lost waiters, data planes that settle later


@dataclass(frozen=True, slots=True)
class Decision:
    memory: Memory
    event: Event | None
    actions: tuple[Action, ...]
    requeue_after: timedelta | None  # None: only when something rings or on resync


def decide(
    memory: Memory,
    seen: Snapshot,
    plan: Blueprint | None,
    names: Names,
    now: datetime,
    history_limit: int = HISTORY_LIMIT,
) -> Decision:
    """At most one event is read. The caller draws a new blueprint when the candidate changed and takes another turn at
    once if an event was read; actions belong to the memory that is returned and are due after it is written."""
    memory = replace(memory, verdicts={**memory.verdicts, **seen.checks}, analysis=seen.analysis or memory.analysis)
    memory = _learn(memory, seen, plan)
    found: Seen | None = None
    if seen.request is not None:
        memory, found = _obey(memory, seen, plan, now)
    if found is None:
        found = read_event(memory, seen, plan, names, now)
    if found is None:
        return Decision(memory, None, actions_for(memory, seen, plan, names), _requeue(memory, plan, now))
    event, cause = found
    before = memory
    memory = _moved(memory, seen, event, cause, now)
    memory = _settled(before, memory, event, now, history_limit)
    return Decision(memory, event, (), timedelta(0))


def actions_for(memory: Memory, seen: Snapshot, plan: Blueprint | None, names: Names) -> tuple[Action, ...]:
    """What to do now, in order; empty when the world already is as this phase wants it."""
    if memory.phase is Phase.ROLLING_BACK:
        return _roll_back(memory, seen, names)
    if memory.phase is Phase.ROLLED_BACK and memory.stable is not None and not is_suspended(seen):
        return _roll_back(memory, seen, names)  # drift: the blueprint is of the rejected spec and is not needed
    if memory.phase is Phase.FAILED:
        return _hidden(seen)  # drift, as above: a candidate that was superseded while it was shown
    if plan is None:
        return _unshown(memory, seen) if memory.phase is Phase.HEALTHY else ()
    match memory.phase:
        case Phase.BACKING_UP if plan.backup_instance is not None and seen.backup is None:
            return (BackupTaken(plan.backup_instance, names.backup_description(plan.release.id)),)
        case Phase.MIGRATING if plan.migration is not None:
            return _job(plan.migration, seen.migration)
        case Phase.PUBLISHING if plan.bundle is not None and seen.assets_complete is False and plan.release.frontend:
            return (AssetsPublished(plan.bundle, plan.release.frontend, plan.assets_bucket, plan.runtime_url),)
        case Phase.STAGING:
            return _stage(memory, seen, plan, names)
        case Phase.SMOKING | Phase.BAKING:
            return _check_jobs(memory, seen, plan, names)
        case Phase.PROGRESSING:
            return _weight(memory, seen, plan, names)
        case Phase.PROMOTING:
            return _promote(memory, seen, plan, names)
        case Phase.HEALTHY if not plan.suspended:
            return _hold(memory, seen, plan, names)
        case _:
            return ()


def stage_of(memory: Memory) -> str | None:
    """Which stage's checks run in this phase."""
    return {Phase.SMOKING: CANDIDATE, Phase.BAKING: PROMOTED}.get(memory.phase)


def _learn(memory: Memory, seen: Snapshot, plan: Blueprint | None) -> Memory:
    """The schema head that the candidate reported; the alert limits of a spec edit that makes no new release."""
    if seen.schema is not None and memory.candidate is not None and memory.candidate.schema != seen.schema:
        memory = replace(memory, candidate=replace(memory.candidate, schema=seen.schema))
    same = plan is not None and memory.stable is not None and plan.release.id == memory.stable.id
    if memory.phase is Phase.HEALTHY and same and plan is not None and memory.stable is not None:
        memory = replace(memory, stable=replace(memory.stable, alerts=plan.release.alerts))
    return memory


def _obey(memory: Memory, seen: Snapshot, plan: Blueprint | None, now: datetime) -> tuple[Memory, Seen | None]:
    request = seen.request
    assert request is not None
    steps = plan is not None and steps_left(memory, plan)
    hold = next((b.message for b in seen.blockers if b.holds_running), None)
    event = requests.event_of(memory, request, waits=step_waits(memory, plan), steps=steps, hold=hold)
    memory_after = replace(memory, acknowledged=requests.answer(memory, request, event, now, hold=hold))
    if event is None:
        return memory_after, None
    cause = None
    if request.kind in (RequestKind.ABORT, RequestKind.UNDO):
        reason = "Aborted" if request.kind is RequestKind.ABORT else "Undone"
        cause = Cause(reason, f"{request.kind} was requested by annotation", memory.phase, now)
    if request.kind is RequestKind.UNDO:
        memory_after = replace(memory_after, undo_to=requests.undo_target(memory, request.value))
    return memory_after, (event, cause)


def _moved(memory: Memory, seen: Snapshot, event: Event, cause: Cause | None, now: datetime) -> Memory:
    """The memory in the next phase. What belongs to the phase that was left is forgotten here and nowhere else."""
    phase = advance(memory.phase, event)
    moved = replace(memory, phase=phase, since=now, held_by="")
    if event is Event.HELD:
        return replace(moved, held_by=_held_by(memory, seen))
    if event is Event.RESUMED and memory.held_by == "Step":
        return replace(moved, step=memory.step + 1)
    if event is Event.STEP_PASSED:
        return replace(moved, step=memory.step + 1, analysis=None)
    if event is Event.STARTED:
        return replace(moved, started=now, step=0, cause=None, undo_to=None, verdicts={}, analysis=None, candidate=None)
    if event is Event.RETRIED:
        return replace(moved, rejected=None, cause=None, candidate=None)
    if phase is Phase.BACKING_UP and memory.phase is Phase.RESOLVING and seen.resolved is not None:
        return replace(moved, candidate=attempt_id(seen.resolved, memory.history))
    if phase in (Phase.SMOKING, Phase.BAKING):
        return replace(moved, verdicts={})
    if phase is Phase.ROLLING_BACK and cause is not None:
        return replace(moved, cause=cause)
    return moved


def _held_by(memory: Memory, seen: Snapshot) -> str:
    if seen.request is not None and seen.request.kind is RequestKind.PAUSE:
        return "Request"
    if any(b.holds_running for b in seen.blockers):
        return "Policy"
    return "Analysis" if seen.analysis is not None else "Step"


def _settled(before: Memory, memory: Memory, event: Event, now: datetime, limit: int) -> Memory:
    """Bookkeeping when a rollout ends: history, stable, rejected."""
    release = before.candidate if before.phase is not Phase.HEALTHY else before.stable
    ended = memory.phase in (Phase.HEALTHY, Phase.ROLLED_BACK, Phase.FAILED)
    superseded = event is Event.SPEC_CHANGED and memory.phase is Phase.PENDING and before.phase in IN_FLIGHT
    if before.phase is Phase.PENDING and ended:
        cleared = None if event is Event.ALREADY_STABLE else memory.rejected
        return replace(memory, candidate=None, cause=None, rejected=cleared)
    if event is Event.UNDONE:
        return replace(memory, candidate=before.stable, started=now)
    if release is None or not (ended or superseded):
        return memory if not ended else replace(memory, candidate=None)
    outcome = {Phase.HEALTHY: "Promoted", Phase.PENDING: "Superseded"}.get(memory.phase, str(memory.phase))
    cause = memory.cause
    reason = cause.reason if cause and memory.phase is not Phase.HEALTHY else outcome
    seconds = (now - before.started).total_seconds() if before.started else 0.0
    history = (HistoryEntry(release, outcome, reason, now, seconds), *memory.history)[:limit]
    memory = replace(memory, history=_with_serving(history, memory.serving, memory.history), candidate=None)
    if memory.phase is Phase.HEALTHY:
        return replace(memory, stable=release, rejected=None, cause=None, undo_to=None)
    if memory.phase is Phase.PENDING:
        return memory
    memory = replace(memory, stable=memory.serving, undo_to=None)
    if cause is not None and cause.rejects:
        rejected = Rejected(release.fingerprint, release.id, release.version, cause.reason, cause.message, now)
        return replace(memory, rejected=rejected)
    return memory


def _with_serving(
    history: tuple[HistoryEntry, ...], serving: Release | None, older: tuple[HistoryEntry, ...]
) -> tuple[HistoryEntry, ...]:
    """The stable release's own entry never falls off the end of the history, or its id could be given twice."""
    if serving is None or any(e.release.id == serving.id for e in history):
        return history
    kept = next((e for e in older if e.release.id == serving.id), None)
    return (*history[: max(1, len(history) - 1)], kept) if kept else history


def _requeue(memory: Memory, plan: Blueprint | None, now: datetime) -> timedelta | None:
    if memory.phase in RESTING:
        return None
    if plan is not None and memory.phase in (Phase.PROGRESSING, Phase.PAUSED) and steps_left(memory, plan):
        step = plan.steps[memory.step]
        if step.pause is not None and step.pause.duration is not None and memory.since is not None:
            return max(timedelta(0), memory.since + step.pause.duration - now)
        if step.analysis is not None and plan.analysis is not None:
            return timedelta(seconds=plan.analysis.interval)
        if memory.phase is Phase.PAUSED:
            return timedelta(minutes=1)
    return _POLL


# --- what each phase wants -------------------------------------------------------------------------------------------


def _target(names: Names, release: Release | None) -> Target | None:
    return Target(names.revision(release.id), 0, names.tag(release.id)) if release else None


def _job(template: JobTemplate, job: JobView | None) -> tuple[Action, ...]:
    if job is None:
        return (JobDefined(template),)
    if job.ready and job.execution is None:
        return (ExecutionStarted(job.name),)
    return ()


def _check_jobs(memory: Memory, seen: Snapshot, plan: Blueprint, names: Names) -> tuple[Action, ...]:
    stage = stage_of(memory)
    actions: list[Action] = []
    for check in plan.checks(stage) if stage else ():
        template = plan.check_jobs.get((str(stage), check.name))
        if template is not None and check.name not in memory.verdicts and check.name in seen.check_jobs:
            actions += _job(_with_backend(template, seen.service, names), seen.check_jobs[check.name])
    return tuple(actions)


def _with_backend(template: JobTemplate, service: ServiceView | None, names: Names) -> JobTemplate:
    """A job check's template with the URL at which this release's own backend answers now."""
    stage = template.container.env.get(STAGE_ENV)
    if service is None or stage is None:
        return template
    url = service.tag_uris.get(names.tag(template.release)) if stage == CANDIDATE else service.uri
    if url is None:
        return template
    env = {**template.container.env, BACKEND_ENV: url}
    return replace(template, container=replace(template.container, env=env))


def _stage(memory: Memory, seen: Snapshot, plan: Blueprint, names: Names) -> tuple[Action, ...]:
    if not seen.service_known:
        return ()
    have = seen.service
    traffic = split(_target(names, plan.release), _target(names, memory.stable), 0, have.traffic if have else ())
    staged = have is not None and have.template_revision == plan.revision.revision
    actions: list[Action] = []
    if not (staged and have is not None and same_split(traffic, have.traffic)):
        actions.append(RevisionStaged(plan.revision, traffic))
    wanted = candidate_routing(memory, seen, plan)
    if wanted is not None and seen.pointer_known and seen.candidate_pointer != wanted.candidate:
        actions.append(wanted)  # in time for the checks, which go where users will go
    return tuple(actions)


def _weight(memory: Memory, seen: Snapshot, plan: Blueprint, names: Names) -> tuple[Action, ...]:
    if seen.service is None or not steps_left(memory, plan):
        return ()
    weight = plan.steps[memory.step].set_weight
    return () if weight is None else _split_to(memory, seen, plan, names, weight)


def _split_to(memory: Memory, seen: Snapshot, plan: Blueprint, names: Names, weight: int) -> tuple[Action, ...]:
    assert seen.service is not None
    want = split(_target(names, plan.release), _target(names, memory.stable), weight, seen.service.traffic)
    return () if same_split(want, seen.service.traffic) else (TrafficSplit(want),)


def _promote(memory: Memory, seen: Snapshot, plan: Blueprint, names: Names) -> tuple[Action, ...]:
    if seen.service is None:
        return ()
    shift = _split_to(memory, seen, plan, names, 100)
    if shift or share(seen.service.serving, plan.revision.revision) != 100:
        return shift  # the pointer follows when the backend that its page talks to serves everybody
    if plan.pointer is not None and seen.pointer_known and not serves_only(seen, plan.pointer.frontend):
        return (PointerSet(plan.pointer),)
    return ()


def _roll_back(memory: Memory, seen: Snapshot, names: Names) -> tuple[Action, ...]:
    """Traffic and pointer go back together; the candidate keeps no tag, so nothing can reach it any more."""
    target = memory.serving
    actions: list[Action] = []
    if target is None:
        return _hidden(seen)
    if seen.service is not None:
        want = split(None, _target(names, target), 0, seen.service.traffic)
        if not same_split(want, seen.service.traffic):
            actions.append(TrafficSplit(want))
    if seen.has_edge and seen.pointer_known and not serves_only(seen, target.frontend):
        actions.append(PointerSet(Pointer(target.frontend, target.id)))
    return tuple(actions)


def _hidden(seen: Snapshot) -> tuple[Action, ...]:
    return (PointerSet(None),) if seen.pointer_known and is_routed(seen) else ()


def _unshown(memory: Memory, seen: Snapshot) -> tuple[Action, ...]:
    """A spec that can't be read says nothing about drift, but what it superseded is not shown any more."""
    stable = memory.stable
    return (PointerSet(Pointer(stable.frontend, stable.id)),) if stable and seen.candidate_pointer is not None else ()


def _hold(memory: Memory, seen: Snapshot, plan: Blueprint, names: Names) -> tuple[Action, ...]:
    """Drift: what somebody else changed of the things that are ours goes back to the stable release."""
    stable = memory.stable
    if stable is None or plan.release.id != stable.id:
        return ()
    actions: list[Action] = []
    target = _target(names, stable)
    if seen.service_known and seen.service is None:
        actions.append(RevisionStaged(plan.revision, split(target, None, 100)))
    elif seen.service is not None and share(seen.service.traffic, names.revision(stable.id)) != 100:
        actions.append(TrafficSplit(split(None, target, 0, seen.service.traffic)))
    if plan.pointer is not None and seen.pointer_known and not serves_only(seen, stable.frontend):
        actions.append(PointerSet(plan.pointer))
    return tuple(actions)
