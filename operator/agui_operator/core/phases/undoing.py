"""An undo, before users meet the release that it goes back to: what it needs is there, and its checks pass at 0 %."""

from __future__ import annotations

from datetime import timedelta

from agui_operator.api.conditions import Reason
from agui_operator.core.actions import TrafficSplit
from agui_operator.core.memory import Cause
from agui_operator.core.phases.case import Actions, Case, Happened, Logic
from agui_operator.core.release import Release
from agui_operator.core.rollout import Event, Phase
from agui_operator.core.traffic import Target, same_split, split
from agui_operator.core.undo import checks_of

DEADLINE = timedelta(minutes=10)


def _undone(case: Case) -> Happened | None:
    memory, seen, target = case.memory, case.seen, case.memory.undo_to
    decided = {r.fingerprint for r in (memory.stable, memory.rejected) if r is not None}
    if seen.fingerprint is not None and seen.fingerprint not in decided:
        return Event.SPEC_CHANGED, Cause(Reason.SUPERSEDED, "a newer spec arrived", memory.phase, case.now)
    if target is None or memory.stable is None:
        return case.fail(Reason.UNKNOWN, "the release to go back to is not known any more")
    return _stopped(case) or _passed(case, target)


def _stopped(case: Case) -> Happened | None:
    """What makes users stay where they are."""
    memory, problem = case.memory, case.seen.target.problem if case.seen.target is not None else None
    if problem is not None:
        return case.fail(*problem)
    failed = next((r for r in memory.verdicts.values() if r.passed is False), None)
    if failed is not None:
        return case.fail(Reason.SMOKE_FAILED, f'check "{failed.name}" failed at 0 %: {failed.message}')
    if case.elapsed <= DEADLINE.total_seconds():
        return None
    message = f"its checks did not end within {DEADLINE.total_seconds() / 60:g} minutes"
    return Event.DEADLINE_EXCEEDED, Cause(Reason.DEADLINE_EXCEEDED, message, memory.phase, case.now)


def _passed(case: Case, target: Release) -> Happened | None:
    seen, verdicts = case.seen, case.memory.verdicts
    if seen.target is None or seen.target.release != target.id:
        return None
    if not all((r := verdicts.get(check.name)) is not None and r.passed for check in checks_of(case.memory)):
        return None
    return Event.SUCCEEDED, Cause(Reason.UNDONE, "undo was requested by annotation", Phase.HEALTHY, case.now)


def _show(case: Case) -> Actions:
    """The revision gets a tag, by which its checks reach it."""
    traffic = _with_target(case) if case.seen.service is not None and case.seen.target is not None else None
    return (TrafficSplit(traffic),) if traffic is not None and checks_of(case.memory) else ()


def _with_target(case: Case) -> tuple[Target, ...] | None:
    """The traffic with the release to go back to at 0 %; None if the service has it already."""
    assert case.seen.service is not None
    have, release = case.seen.service.traffic, case.memory.undo_to
    want = split(case.target(release) if release is not None else None, case.stable_target(), 0, have)
    return None if same_split(want, have) else want


UNDOING = Logic(_undone, _show, planned=False)
