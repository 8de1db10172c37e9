"""An undo, before users meet the release that it goes back to: what it needs is there, and its checks pass at 0 %."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from agui_operator.api.conditions import Reason
from agui_operator.core.actions import TrafficSplit
from agui_operator.core.floor import too_old
from agui_operator.core.memory import Cause
from agui_operator.core.phases.case import Actions, Case, Happened, Logic
from agui_operator.core.release import Release
from agui_operator.core.rollout import Event, Phase
from agui_operator.core.traffic import same_split, split
from agui_operator.core.undo import checks_of

DEADLINE = timedelta(minutes=10)


def _undone(case: Case) -> Happened | None:
    memory, seen, target = case.memory, case.seen, case.memory.undo_to
    decided = {r.fingerprint for r in (memory.stable, memory.rejected) if r is not None}
    if seen.fingerprint is not None and seen.fingerprint not in decided:
        return Event.SPEC_CHANGED, Cause(Reason.SUPERSEDED, "a newer spec arrived", memory.phase, case.now)
    if target is None or memory.stable is None:
        return case.fail(Reason.UNKNOWN, "the release to go back to is not known any more")
    return _stopped(case, target) or _passed(case, target)


def _stopped(case: Case, target: Release) -> Happened | None:
    """What makes users stay where they are."""
    memory, service = case.memory, case.seen.service
    problem = case.seen.target.problem if case.seen.target is not None else None
    if problem is not None and not _is_remade(case, target):
        return case.fail(*problem)
    if target.id in case.seen.forbidden:
        return case.fail(Reason.NOT_PERMITTED, case.seen.forbidden[target.id])
    if service is not None and service.ready is False and service.latest_created == case.names.revision(target.id):
        return case.fail(
            Reason.REVISION_FAILED, f"its revision did not become ready: {service.why(case.seen.disclosure)}"
        )
    if case.service_gone and memory.stable is not None and case.remade(memory.stable) is None:
        return case.fail(Reason.RESOURCE_GONE, f"Cloud Run service {case.names.service} was deleted by somebody else")
    if (old := too_old(memory, target)) is not None:
        return case.fail(Reason.SCHEMA_CONTRACTED, old)
    failed = next((r for r in memory.verdicts.values() if r.passed is False), None)
    if failed is not None:
        return case.fail(Reason.SMOKE_FAILED, f'check "{failed.name}" failed at 0 %: {failed.message}')
    if case.elapsed <= DEADLINE.total_seconds():
        return None
    message = f"its checks did not end within {DEADLINE.total_seconds() / 60:g} minutes"
    return Event.DEADLINE_EXCEEDED, Cause(Reason.DEADLINE_EXCEEDED, message, memory.phase, case.now)


def _passed(case: Case, target: Release) -> Happened | None:
    seen, verdicts = case.seen, case.memory.verdicts
    if seen.target is None or seen.target.release != target.id or seen.target.problem is not None:
        return None
    if not all((r := verdicts.get(check.name)) is not None and r.passed for check in checks_of(case.memory)):
        return None
    return Event.SUCCEEDED, Cause(Reason.UNDONE, "undo was requested by annotation", Phase.HEALTHY, case.now)


def _show(case: Case) -> Actions:
    """The revision exists and has a tag, by which its checks reach it."""
    service, target = case.seen.service, case.memory.undo_to
    if case.service_gone and case.memory.stable is not None:
        stable = case.remade(case.memory.stable)  # users come first
        return (stable,) if stable is not None else ()
    if service is None or target is None or case.seen.target is None:
        return ()
    traffic = split(case.target(target), case.stable_target(), 0, service.traffic)
    if _is_remade(case, target):
        staged = case.remade(target)
        is_asked_for = service.template_revision == case.names.revision(target.id)
        return (replace(staged, traffic=traffic),) if staged is not None and not is_asked_for else ()
    if not checks_of(case.memory) or same_split(traffic, service.traffic):
        return ()
    return (TrafficSplit(traffic),)


def _is_remade(case: Case, target: Release) -> bool:
    """True if nothing but the revision lacks, and the record of the release says how to make it again."""
    seen = case.seen.target
    return seen is not None and not seen.revision and seen.assets and case.remade(target) is not None


UNDOING = Logic(_undone, _show, planned=False)
