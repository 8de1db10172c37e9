"""Migrations of earlier releases end before the next one begins; a withdrawn permission acts after a grace."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from agui_operator.core.actions import BackupTaken, ExecutionCancelled, describe
from agui_operator.core.blockers import with_grace
from agui_operator.core.decide import decide
from agui_operator.core.memory import Memory
from agui_operator.core.migrating import cancelled, left_running
from agui_operator.core.phases.case import Case
from agui_operator.core.rollout import Phase
from agui_operator.core.snapshot import ExecutionView, JobView, Snapshot
from agui_operator.core.status import Inputs, summarize
from world_model import FREEZE, NAMES, NOW, REVOKED, SECOND, blueprint

OWN, OTHER = NAMES.migration_job("bbbb"), NAMES.migration_job("aaaa")
RUNNING = ExecutionView("x-1", None)
MEMORY = Memory(phase=Phase.BACKING_UP, since=NOW, candidate=SECOND)
PLAN = blueprint(MEMORY, "fp-b")


def job(name: str, execution: ExecutionView | None = RUNNING) -> JobView:
    return JobView(name, "img", True, execution)


def test_only_running_migrations_of_other_releases_are_left() -> None:
    ended = replace(RUNNING, succeeded=False)
    jobs = [job(OWN), job(OTHER), job(NAMES.migration_job("c"), ended), job(NAMES.migration_job("d"), None)]
    jobs.append(job(NAMES.check_job("aaaa", "browser")))
    assert left_running(NAMES, jobs, "bbbb") == (job(OTHER),)
    assert cancelled([job(OTHER), job(OTHER, None)]) == (ExecutionCancelled(OTHER, "x-1"),)
    assert describe(ExecutionCancelled(OTHER, "x-1")) == f"Execution x-1 of job {OTHER} cancelled"


def test_nothing_is_backed_up_or_migrated_before_they_have_ended() -> None:
    seen = Snapshot(fingerprint="fp-b", left_running=(job(OTHER),))
    found = decide(Case(MEMORY, seen, PLAN, NAMES, NOW), 10)
    assert (found.event, found.actions) == (None, (ExecutionCancelled(OTHER, "x-1"),))
    status = summarize(Inputs(memory=MEMORY, generation=1, now=NOW, previous={}, plan=PLAN, seen=seen))
    assert OTHER in status["waitingFor"]["what"]
    after = decide(Case(MEMORY, replace(seen, left_running=()), PLAN, NAMES, NOW), 10)
    assert [type(a) for a in after.actions] == [BackupTaken]


def test_a_withdrawn_permission_holds_and_acts_when_the_grace_is_over() -> None:
    grace = timedelta(seconds=60)
    held, freeze = with_grace((REVOKED, FREEZE), NOW, NOW + timedelta(seconds=59), grace)
    assert (held.revokes, held.holds_running, held.until) == (False, True, "2026-01-01T00:01:00Z")
    assert "rolled back at 2026-01-01T00:01:00Z" in held.message
    assert freeze == FREEZE
    assert with_grace((REVOKED,), NOW, NOW + grace, grace) == (REVOKED,)
    assert with_grace((REVOKED,), None, NOW, grace) == (REVOKED,), "what was never permitted does not run on"
