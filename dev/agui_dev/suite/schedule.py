"""Which jobs run side by side, and how long all of them take. Pure: the runner and the estimate use the same rules."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# Jobs that mostly wait may together be planned for this much more than the cores.
OVERCOMMIT = 1.3


def no_reason() -> str:
    """The default of `Command.skip`: the command runs."""
    return ""


@dataclass(frozen=True, slots=True)
class Command:
    """One process of a job. `report` is the JUnit file that it writes; `skip` gives a reason not to start it, decided
    when its turn comes; so is `environment`, which is added to the runner's own."""

    argv: tuple[str, ...]
    folder: Path
    report: Path | None = None
    skip: Callable[[], str] = no_reason
    environment: Callable[[], Mapping[str, str]] = dict


@dataclass(frozen=True, slots=True)
class Job:
    """Commands that run one after the other.

    `seconds` and `cores` are what it takes on an idle machine with two cores. A `background` job only computes: it
    gets a lower priority, so that tests which wait for processes are not slowed down by it. `live` output is shown at
    once instead of after a failure. A `preparation` whose command fails is no failure of the run.
    """

    name: str
    commands: tuple[Command, ...]
    seconds: float = 10.0
    cores: float = 1.0
    background: bool = False
    needs: frozenset[str] = field(default_factory=frozenset)
    live: bool = False
    preparation: bool = False


def may_start(job: Job, running: Sequence[Job], unfinished: Collection[str], cores: int) -> bool:
    """True when the job's needs have ended and the cores have room for it."""
    if job.needs & set(unfinished):
        return False
    beside = [other for other in running if other.background == job.background]
    everything = sum(other.cores for other in running) + job.cores
    if job.background:
        return not beside or everything <= cores
    return not beside or sum(other.cores for other in beside) + job.cores <= cores * OVERCOMMIT


def in_order(jobs: Sequence[Job], seconds: Mapping[str, float]) -> list[Job]:
    """The order in which jobs are offered a start: preparations, then the longest first."""
    return sorted(jobs, key=lambda job: (not job.preparation, -seconds.get(job.name, job.seconds)))


def estimate(jobs: Sequence[Job], seconds: Mapping[str, float], cores: int) -> float:
    """Seconds until all jobs have ended, by playing the schedule through."""
    pending, running, now = in_order(jobs, seconds), dict[str, tuple[Job, float]](), 0.0
    while pending or running:
        for job in list(pending):
            unfinished = [other.name for other in pending] + list(running)
            if may_start(job, [other for other, _ in running.values()], unfinished, cores):
                pending.remove(job)
                running[job.name] = (job, now + seconds.get(job.name, job.seconds))
        if not running:
            raise ValueError(f"these jobs wait for each other: {', '.join(job.name for job in pending)}")
        now = min(end for _, end in running.values())
        running = {name: (job, end) for name, (job, end) in running.items() if end > now}
    # Background jobs are planned beside the others, but no core does two things at once.
    work = sum(seconds.get(job.name, job.seconds) * job.cores for job in jobs)
    return max(now, work / cores)
