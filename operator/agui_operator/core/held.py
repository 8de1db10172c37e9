"""What a hold before the canary stops, and what was begun before it and goes on, in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agui_operator.core.memory import Memory
from agui_operator.core.phases.case import hold_among
from agui_operator.core.rollout import HELD_BEFORE_WRITES, Phase
from agui_operator.core.snapshot import Blocker, JobView, Snapshot


@dataclass(frozen=True, slots=True)
class Held:
    blocker: Blocker
    text: str


def writes_held(memory: Memory, seen: Snapshot | None, blockers: Sequence[Blocker]) -> Held | None:
    """The hold that keeps this phase from its next write; None: there is none. `seen` None: it is not known what was
    begun."""
    blocker = hold_among(blockers)
    if blocker is None or memory.phase not in HELD_BEFORE_WRITES:
        return None
    begun = _BEGUN[memory.phase](seen) if seen is not None else None
    what = f"{begun} and runs to its end, nothing further is started" if begun else f"held before {_NEXT[memory.phase]}"
    return Held(blocker, f"{blocker.message}: {what}")


def _backup(seen: Snapshot) -> str | None:
    return "the backup was started" if seen.backup is not None and seen.backup.succeeded is None else None


def _migration(seen: Snapshot) -> str | None:
    return "the migration job was started" if _runs(seen.migration) else None


def _nothing(_: Snapshot) -> str | None:
    return None


def _revision(seen: Snapshot) -> str | None:
    return "the revision was created" if seen.service is not None and seen.service.reconciling else None


def _checks(seen: Snapshot) -> str | None:
    running = sorted(name for name, job in seen.check_jobs.items() if _runs(job))
    return f"the job of check {', '.join(running)} was started" if running else None


def _runs(job: JobView | None) -> bool:
    return job is not None and job.execution is not None and job.execution.succeeded is None


_BEGUN: Mapping[Phase, Callable[[Snapshot], str | None]] = {
    Phase.BACKING_UP: _backup,
    Phase.MIGRATING: _migration,
    Phase.PUBLISHING: _nothing,
    Phase.STAGING: _revision,
    Phase.SMOKING: _checks,
}
_NEXT: Mapping[Phase, str] = {
    Phase.BACKING_UP: "the backup",
    Phase.MIGRATING: "the migration",
    Phase.PUBLISHING: "the upload of the assets",
    Phase.STAGING: "the creation of the revision",
    Phase.SMOKING: "the next check",
}
