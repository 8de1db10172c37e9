"""Runs jobs side by side: one log per job, progress with an estimate, and no process left when it is stopped."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from agui_dev.steps import clock
from agui_dev.suite.schedule import Command, Job, estimate, in_order, may_start
from agui_dev.suite.tally import Tally, read_report, skip_reasons

PROGRESS_SECONDS = 30.0
POLL_SECONDS = 0.1
# From SIGINT to SIGTERM, and from SIGTERM to SIGKILL. pytest tears its fixtures down after a SIGINT.
GRACE_SECONDS = (20.0, 5.0)
LOWER_PRIORITY = 10
_PR_SET_PDEATHSIG = 1


@dataclass(slots=True)
class Outcome:
    """How a job ended. `cpu` are the seconds of computing of its processes, as far as somebody waited for them."""

    job: Job
    log: Path | None
    passed: bool = True
    tests: Tally = field(default_factory=Tally)
    reasons: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    cpu: float = 0.0

    def line(self) -> str:
        """`integration: 92 passed, 0 failed in 5:10 (3:40 of computing)`."""
        word = str(self.tests) if self.tests != Tally() else ("passed" if self.passed else "failed")
        return f"{self.job.name}: {word} in {clock(self.seconds)} ({clock(self.cpu)} of computing)"


class Running:
    """A job that was started: at most one process at a time."""

    def __init__(self, job: Job, log: Path | None) -> None:
        self.job, self.outcome = job, Outcome(job, log)
        self._left = list(job.commands)
        self._began = time.monotonic()
        self._output: IO[bytes] | None = None if log is None else log.open("wb")
        self._command: Command | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._group = 0  # of the newest process and its children

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def is_over(self) -> bool:
        """Looks after the process; starts the next command when one has ended."""
        if self._child is not None:
            pid, status, usage = os.wait4(self._child.pid, os.WNOHANG)
            if not pid:
                return False
            self._ended(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime)
        while self._left and self._child is None:
            self._start(self._left.pop(0))
        if self._child is None:
            self._close()
        return self._child is None

    def _start(self, command: Command) -> None:
        if reason := command.skip():
            self._write(f"skipped: {reason}\n")
            self.outcome.tests += Tally(skipped=1)
            self.outcome.reasons[reason] += 1
            return
        if command.report is not None:
            command.report.parent.mkdir(parents=True, exist_ok=True)
            command.report.unlink(missing_ok=True)
        own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        lowered, parent = self.job.background, os.getpid()
        try:
            self._child = subprocess.Popen(
                command.argv,
                cwd=command.folder,
                env=own | dict(command.environment()),
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=None if self._output is None else subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C of the terminal reaches it through `stop` alone
                preexec_fn=lambda: _before_exec(parent, lowered),
            )
        except OSError as missing:
            self._write(f"{command.argv[0]}: {missing}\n")
            self._failed(command)
            return
        self._command, self._group = command, self._child.pid

    def _ended(self, code: int, cpu: float) -> None:
        assert self._child is not None
        assert self._command is not None
        self._child.returncode = code  # it was waited for already
        command, self._child, self._command = self._command, None, None
        self.outcome.cpu += cpu
        if command.report is not None:
            self.outcome.tests += read_report(command.report, code)
            self.outcome.reasons += skip_reasons(command.report)
            self.outcome.passed = self.outcome.tests.failed == 0
        elif code != 0:
            self._failed(command)

    def _failed(self, command: Command) -> None:
        if self.job.preparation:
            return
        self.outcome.passed = False
        if command.report is not None:
            self.outcome.tests += Tally(failed=1)

    def _write(self, text: str) -> None:
        if self._output is None:
            print(text, end="", flush=True)
        else:
            self._output.write(text.encode())
            self._output.flush()

    def _close(self) -> None:
        self.outcome.seconds = self.seconds
        if self._output is not None:
            self._output.close()

    # --- the end of a run that was stopped ---------------------------------------------------------------------------

    def interrupt(self) -> None:
        """SIGINT to the process that was started, which ends its own children in good order."""
        self._left.clear()
        self.outcome.passed = False
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child.pid, signal.SIGINT)

    def end(self, number: signal.Signals) -> None:
        """A signal to every process of the job that is left, also to children of one that has ended."""
        if self._group:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._group, number)

    def wait(self, deadline: float) -> bool:
        """True when it is over by then."""
        while not self.is_over():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


def _before_exec(parent: int, lowered: bool) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # A shell starts what it runs in the background with SIGINT ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if os.getppid() != parent:
        os._exit(1)
    if lowered:
        os.nice(LOWER_PRIORITY)


class Runner:
    """Runs jobs; `say` gets each line of progress."""

    def __init__(
        self, logs: Path | None, cores: int, recorded: Mapping[str, float], say: Callable[[str], None] = print
    ) -> None:
        """`logs` is the folder for logs, one per job; without it all output is shown as it comes."""
        self._logs, self._cores, self._recorded, self._say = logs, cores, recorded, say
        self._running: list[Running] = []
        self._outcomes: list[Outcome] = []
        self._began = self._said = time.monotonic()
        self._expected = 0.0

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """The outcomes in the order in which the jobs ended. Raises KeyboardInterrupt after everything was ended."""
        pending = in_order(jobs, self._recorded)
        self._expected = estimate(jobs, self._recorded, self._cores)
        if len(jobs) > 1:
            self._say(f"{len(jobs)} jobs on {self._cores} cores, about {clock(self._expected)}")
        try:
            while pending or self._running:
                self._start_some(pending)
                self._look()
                self._progress(len(pending))
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            self._stop()
            raise
        return self._outcomes

    @property
    def outcomes(self) -> list[Outcome]:
        """Those of the jobs that have ended so far."""
        return self._outcomes

    def _start_some(self, pending: list[Job]) -> None:
        for job in list(pending):
            unfinished = [other.name for other in pending] + [other.job.name for other in self._running]
            if may_start(job, [other.job for other in self._running], unfinished, self._cores):
                pending.remove(job)
                self._running.append(Running(job, self._log_of(job)))

    def _log_of(self, job: Job) -> Path | None:
        if self._logs is None or job.live:
            return None
        self._logs.mkdir(parents=True, exist_ok=True)
        return self._logs / f"{job.name.replace(' ', '-')}.log"

    def _look(self) -> None:
        for running in list(self._running):
            if running.is_over():
                self._running.remove(running)
                self._outcomes.append(running.outcome)
                self._said = time.monotonic()
                self._say(f"[{self._clock()}] {running.outcome.line()}")

    def _progress(self, pending: int) -> None:
        if time.monotonic() - self._said < PROGRESS_SECONDS or self._logs is None:
            return
        self._said = time.monotonic()
        names = ", ".join(f"{running.job.name} {clock(running.seconds)}" for running in self._running)
        late = " (slower than usual)" if self._elapsed > 1.5 * self._expected else ""
        self._say(f"[{self._clock()} of about {clock(self._expected)}] running: {names}; {pending} to come{late}")

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _clock(self) -> str:
        return clock(self._elapsed)

    def _stop(self) -> None:
        """Ends all jobs in good order; at once when it is interrupted itself."""
        try:
            self._say(f"stopping {len(self._running)} jobs (again: kill them)")
            self._stop_gently()
        except KeyboardInterrupt:
            self._say("killing them")
        for running in self._running:
            running.end(signal.SIGKILL)
            running.wait(time.monotonic() + 5)
            self._outcomes.append(running.outcome)
        self._running.clear()

    def _stop_gently(self) -> None:
        for running in self._running:
            running.interrupt()
        for number, seconds in zip((signal.SIGTERM, signal.SIGKILL), GRACE_SECONDS, strict=True):
            deadline = time.monotonic() + seconds
            for running in [running for running in self._running if not running.wait(deadline)]:
                running.end(number)
