"""Slow steps that say how long they take, and one at a time. Standard library only (used before the set-up)."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

SECONDS_BETWEEN_LINES = 15.0


class StepFailed(Exception):
    """A step ended badly; the message says what to do about it, in whole sentences."""


def clock(seconds: float) -> str:
    """Minutes and seconds: `2:05`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def say(text: str) -> None:
    """One line of progress on stderr: stdout belongs to what a command is asked to print."""
    print(text, file=sys.stderr, flush=True)


def run_step(
    what: str,
    argv: Sequence[str | Path],
    *,
    estimate_s: float,
    log: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> float:
    """Run one slow command with a line of progress every 15 s; returns its seconds.

    `log` gets the command's output. Raises StepFailed with the log's last lines when it exits with anything but 0.
    """
    say(f"  {what} (about {clock(estimate_s)})")
    started = time.monotonic()
    with log.open("wb") as output:
        child = subprocess.Popen([str(part) for part in argv], cwd=cwd, env=env, stdout=output, stderr=output)
        try:
            _watch(child, what, started, estimate_s)
        except BaseException:
            child.terminate()
            child.wait()
            raise
    elapsed = time.monotonic() - started
    if child.returncode != 0:
        lines = log.read_text(errors="replace").splitlines()[-15:]
        raise StepFailed(f"{what}: failed after {clock(elapsed)} (exit code {child.returncode}).\n" + "\n".join(lines))
    return elapsed


def _watch(child: subprocess.Popen[bytes], what: str, started: float, estimate_s: float) -> None:
    while True:
        try:
            child.wait(SECONDS_BETWEEN_LINES)
            return
        except subprocess.TimeoutExpired:
            elapsed = time.monotonic() - started
            late = " (slower than usual)" if elapsed > 1.5 * estimate_s else ""
            say(f"  {what}: {clock(elapsed)} of about {clock(estimate_s)}{late}")


@contextmanager
def only_one(lock: Path, waiting_for: str) -> Iterator[None]:
    """Hold an exclusive lock on a file or folder; says so when somebody else holds it. A crash releases it."""
    if not lock.exists():
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    descriptor = os.open(lock, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"  waiting for {waiting_for}, which another command is doing right now")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
