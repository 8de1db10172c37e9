"""Reads at most one event from a snapshot. Every phase is read here; a phase that nobody reads is a type error."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from agui_operator.core.actions import CHANGED_BY_HAND, Pointer, PointerSet
from agui_operator.core.blueprint import CANDIDATE, PROMOTED, Blueprint
from agui_operator.core.memory import Cause, Memory
from agui_operator.core.names import Names
from agui_operator.core.rollout import IN_FLIGHT, Event, Phase, allowed
from agui_operator.core.snapshot import CheckResult, Snapshot, Verdict
from agui_operator.core.traffic import Target, same_split, share, split

Seen = tuple[Event, Cause | None]  # the event, and why, when it takes the rollout back


def read_event(memory: Memory, seen: Snapshot, plan: Blueprint | None, names: Names, now: datetime) -> Seen | None:
    """What happened, by order of urgency: a newer spec or a withdrawn permission, the phase's own end, its deadline."""
    interruption = _interruption(memory, seen, now)
    if interruption is not None:
        return interruption
    event = _own_event(memory, seen, plan, names, now)
    if event is not None:
        return event
    return _deadline(memory, seen, plan, now)


def steps_left(memory: Memory, plan: Blueprint) -> bool:
    """False when the canary is over, and on a first release, which has no stable to compare with."""
    return memory.stable is not None and memory.step < len(plan.steps)


def step_waits(memory: Memory, plan: Blueprint | None) -> bool:
    """True if the current step waits for time, data or a person, so that `promote` may skip it."""
    if memory.phase not in (Phase.PROGRESSING, Phase.PAUSED) or plan is None or not steps_left(memory, plan):
        return False
    return memory.phase is Phase.PAUSED or plan.steps[memory.step].set_weight is None


def is_suspended(seen: Snapshot) -> bool:
    return any(b.reason == "Suspended" for b in seen.blockers)


def _interruption(memory: Memory, seen: Snapshot, now: datetime) -> Seen | None:
    if memory.phase not in IN_FLIGHT:
        return None
    candidate = memory.candidate
    if (
        candidate is not None
        and seen.fingerprint != candidate.fingerprint
        and allowed(memory.phase, Event.SPEC_CHANGED)
    ):
        why = "a newer spec supersedes this release" if seen.fingerprint else "the newer spec is not valid"
        return Event.SPEC_CHANGED, Cause("Superseded", why, memory.phase, now, rejects=False)
    revoked = next((b for b in seen.blockers if b.revokes), None)
    if revoked is not None and allowed(memory.phase, Event.ABORTED):
        return Event.ABORTED, Cause(revoked.reason, revoked.message, memory.phase, now, rejects=False)
    return None


def _own_event(memory: Memory, seen: Snapshot, plan: Blueprint | None, names: Names, now: datetime) -> Seen | None:
    phase = memory.phase
    match phase:
        case Phase.PENDING | Phase.SUSPENDED:
            return _before_start(memory, seen, plan)
        case Phase.RESOLVING:
            return _resolving(memory, seen, now)
        case Phase.BACKING_UP | Phase.MIGRATING | Phase.PUBLISHING | Phase.STAGING:
            return _preparing(memory, seen, plan, names, now)
        case Phase.SMOKING:
            return _checks(memory, seen, plan, CANDIDATE, now)
        case Phase.PROGRESSING:
            return _progressing(memory, seen, plan, names, now)
        case Phase.PAUSED:
            return _paused(memory, seen, now)
        case Phase.PROMOTING:
            return _promoting(memory, seen, plan, names, now)
        case Phase.BAKING:
            return _baking(memory, seen, plan, now)
        case Phase.ROLLING_BACK:
            return _restored(memory, seen, names)
        case Phase.HEALTHY | Phase.ROLLED_BACK | Phase.FAILED:
            return _resting(memory, seen)
        case _:
            assert_never(phase)


def _fail(memory: Memory, reason: str, message: str, now: datetime) -> Seen:
    return Event.CHECK_FAILED, Cause(reason, message, memory.phase, now)


def _before_start(memory: Memory, seen: Snapshot, plan: Blueprint | None) -> Seen | None:
    suspended = is_suspended(seen)
    if memory.phase is Phase.SUSPENDED:
        return None if suspended else (Event.RESUMED, None)
    if seen.fingerprint is None:
        return None
    if memory.stable is not None and seen.fingerprint == memory.stable.fingerprint:
        return Event.ALREADY_STABLE, None
    if memory.rejected is not None and seen.fingerprint == memory.rejected.fingerprint:
        return (Event.STILL_REJECTED if memory.stable else Event.NOTHING_PUBLIC), None
    if suspended:
        return Event.SUSPENDED, None
    return None if seen.blockers else (Event.STARTED, None)


def _resolving(memory: Memory, seen: Snapshot, now: datetime) -> Seen | None:
    """The spec may have gone back, since the start, to what is stable or rejected: Pending sorts that out."""
    decided = {r.fingerprint for r in (memory.stable, memory.rejected) if r is not None}
    if seen.fingerprint is None or seen.fingerprint in decided:
        return Event.SPEC_CHANGED, Cause("Superseded", "the spec went back", memory.phase, now, rejects=False)
    if seen.resolved is None:
        return None
    return Event.SUCCEEDED, None


def _preparing(memory: Memory, seen: Snapshot, plan: Blueprint | None, names: Names, now: datetime) -> Seen | None:
    if plan is None:
        return None
    done: Seen = (Event.SUCCEEDED, None)
    match memory.phase:
        case Phase.BACKING_UP:
            if plan.backup_instance is None or (seen.backup and seen.backup.succeeded):
                return done
            if seen.backup and seen.backup.succeeded is False:
                return _fail(memory, "BackupFailed", f"Backup {seen.backup.name} failed: {seen.backup.message}", now)
        case Phase.MIGRATING:
            execution = seen.migration.execution if seen.migration else None
            if plan.migration is None or (execution and execution.succeeded):
                return done
            if execution and execution.succeeded is False:
                message = f'Job "{plan.migration.job}" failed: {execution.message}'
                return _fail(memory, "MigrationFailed", message, now)
        case Phase.PUBLISHING:
            if plan.bundle is None or seen.assets_complete:
                return done
        case _:
            return _staging(memory, seen, plan, now)
    return None


def _staging(memory: Memory, seen: Snapshot, plan: Blueprint, now: datetime) -> Seen | None:
    service, revision = seen.service, plan.revision.revision
    if service is None or service.reconciling or service.latest_created != revision:
        return None
    tagged = any(t.revision == revision and t.tag for t in service.traffic)
    if service.latest_ready == revision and tagged:
        wanted = candidate_routing(memory, seen, plan)
        visible = wanted is None or (seen.pointer_known and seen.candidate_pointer == wanted.candidate)
        return (Event.SUCCEEDED, None) if visible else None
    if service.ready is False:
        return _fail(memory, "RevisionFailed", f'Revision "{revision}" did not become ready: {service.message}', now)
    return None


def _first_failure(results: dict[str, CheckResult]) -> CheckResult | None:
    return next((r for r in results.values() if r.passed is False), None)


def _checks(memory: Memory, seen: Snapshot, plan: Blueprint | None, stage: str, now: datetime) -> Seen | None:
    if plan is None:
        return None
    results = {**memory.verdicts, **seen.checks}
    failed = _first_failure(results)
    if failed is not None:
        where = "at 0 %" if stage == CANDIDATE else "after promotion"
        return _fail(memory, "SmokeFailed", f'Check "{failed.name}" failed {where}: {failed.message}', now)
    wanted = {c.name for c in plan.checks(stage)}
    if all((r := results.get(name)) is not None and r.passed for name in wanted):
        return Event.SUCCEEDED, None
    return None


def _progressing(memory: Memory, seen: Snapshot, plan: Blueprint | None, names: Names, now: datetime) -> Seen | None:
    if plan is None:
        return None
    if any(b.holds_running for b in seen.blockers):
        return Event.HELD, None
    if not steps_left(memory, plan):
        return Event.ALL_STEPS_PASSED, None
    step = plan.steps[memory.step]
    elapsed = (now - memory.since).total_seconds() if memory.since else 0.0
    if step.set_weight is not None:
        at_weight = seen.service is not None and share(seen.service.serving, plan.revision.revision) == step.set_weight
        return (Event.STEP_PASSED, None) if at_weight else None
    if step.pause is not None:
        if step.pause.duration is None:
            return Event.HELD, None
        return (Event.STEP_PASSED, None) if elapsed >= step.pause.duration.total_seconds() else None
    return _analysed(memory, seen, plan, elapsed, now)


def _analysed(memory: Memory, seen: Snapshot, plan: Blueprint, elapsed: float, now: datetime) -> Seen | None:
    if plan.analysis is None:
        return Event.STEP_PASSED, None
    finding = seen.analysis
    if finding is None:
        return None
    if finding.verdict is Verdict.PASSED:
        return Event.STEP_PASSED, None
    if finding.verdict is Verdict.FAILED:
        return _fail(memory, "AnalysisFailed", f"Canary analysis failed: {finding.message}", now)
    if elapsed < plan.analysis.deadline:
        return None
    match plan.analysis.inconclusive:
        case "RollBack":
            return _fail(memory, "AnalysisInconclusive", f"Canary analysis had no verdict: {finding.message}", now)
        case "PromoteAfter":
            return Event.STEP_PASSED, None
        case _:
            return Event.HELD, None


def _paused(memory: Memory, seen: Snapshot, now: datetime) -> Seen | None:
    """A hold by policy or suspend ends by itself; an inconclusive analysis is looked at again; people end the rest."""
    held = any(b.holds_running for b in seen.blockers)
    if memory.held_by == "Policy" and not held:
        return Event.RESUMED, None
    if memory.held_by == "Analysis" and seen.analysis is not None:
        if seen.analysis.verdict is Verdict.PASSED and not held:
            return Event.STEP_PASSED, None
        if seen.analysis.verdict is Verdict.FAILED:
            return _fail(memory, "AnalysisFailed", f"Canary analysis failed: {seen.analysis.message}", now)
    return None


def _promoting(memory: Memory, seen: Snapshot, plan: Blueprint | None, names: Names, now: datetime) -> Seen | None:
    if plan is None or seen.service is None:
        return None
    revision = plan.revision.revision
    unhealthy = seen.service.ready is False and seen.service.latest_ready != revision and memory.stable is not None
    if unhealthy:
        return _fail(memory, "RevisionFailed", f'Revision "{revision}" is not ready: {seen.service.message}', now)
    promoted = share(seen.service.serving, revision) == 100
    pointed = plan.pointer is None or (seen.pointer_known and serves_only(seen, plan.pointer.frontend))
    return (Event.SUCCEEDED, None) if promoted and pointed else None


def _baking(memory: Memory, seen: Snapshot, plan: Blueprint | None, now: datetime) -> Seen | None:
    event = _checks(memory, seen, plan, PROMOTED, now)
    if event is not None and event[0] is Event.SUCCEEDED:
        return event if seen.alerts_converged else None
    if event is not None and plan is not None and not plan.automatic_rollback:
        return None
    return event


def _restored(memory: Memory, seen: Snapshot, names: Names) -> Seen | None:
    target = memory.serving
    if target is None:
        hidden = not seen.has_edge or (seen.pointer_known and not is_routed(seen))
        return (Event.NOTHING_PUBLIC, None) if hidden else None
    if seen.service is None:
        return None
    revision = names.revision(target.id)
    alone = same_split(
        split(None, Target(revision, 0, names.tag(target.id)), 0, seen.service.traffic), seen.service.traffic
    )
    served = alone and share(seen.service.serving, revision) == 100
    pointed = not seen.has_edge or (seen.pointer_known and serves_only(seen, target.frontend))
    return (Event.RESTORED, None) if served and pointed and seen.alerts_converged is not False else None


def points_at(seen: Snapshot, frontend: str | None) -> bool:
    """True if the URL map serves this release folder (or, without a frontend, this deployment's API)."""
    return seen.pointer is not None and seen.pointer.frontend == frontend


def serves_only(seen: Snapshot, frontend: str | None) -> bool:
    """True if it serves this release folder, and no candidate beside it."""
    return points_at(seen, frontend) and seen.candidate_pointer is None


def is_routed(seen: Snapshot) -> bool:
    """True if the URL map has anything of this deployment."""
    return seen.pointer is not None or seen.candidate_pointer is not None


def candidate_routing(memory: Memory, seen: Snapshot, plan: Blueprint) -> PointerSet | None:
    """What the URL map has to say while the candidate is checked: users meet what they met before, requests that name
    the candidate meet its page. None: there is no page, or users meet the same one already."""
    candidate, stable = plan.pointer, memory.stable
    if candidate is None or candidate.frontend is None:
        return None
    public = Pointer(stable.frontend, stable.id) if stable is not None else seen.pointer
    if public is not None and public.frontend == CHANGED_BY_HAND:
        public = None
    if public is not None and public.frontend == candidate.frontend:
        return None
    return PointerSet(public, candidate)


def _resting(memory: Memory, seen: Snapshot) -> Seen | None:
    current = memory.stable if memory.phase is Phase.HEALTHY else None
    known = {current.fingerprint} if current else set()
    if memory.rejected is not None:
        known.add(memory.rejected.fingerprint)
    if seen.fingerprint is None or seen.fingerprint in known:
        return None
    return Event.SPEC_CHANGED, None


def _deadline(memory: Memory, seen: Snapshot, plan: Blueprint | None, now: datetime) -> Seen | None:
    """The progress deadline counts from the last progress. Pauses wait as long as they are told to; a promotion whose
    stable side is gone has nowhere to go back to and keeps trying; after it a person may want to decide."""
    if plan is None or memory.since is None or not allowed(memory.phase, Event.DEADLINE_EXCEEDED):
        return None
    if memory.phase is Phase.PROGRESSING and step_waits(memory, plan):
        return None
    if memory.phase in (Phase.PROMOTING, Phase.BAKING) and memory.stable is None:
        return None
    if memory.phase is Phase.BAKING and not plan.automatic_rollback:
        return None
    if now - memory.since <= plan.progress_deadline:
        return None
    minutes = plan.progress_deadline.total_seconds() / 60
    message = f"{memory.phase} made no progress for {minutes:g} minutes (spec.strategy.progressDeadline)"
    return Event.DEADLINE_EXCEEDED, Cause("DeadlineExceeded", message, memory.phase, now)
