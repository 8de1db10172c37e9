"""Starts programs that end with this process: the kernel kills them with their parent, however the parent ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

# PR_SET_PDEATHSIG (prctl(2)) is set by a small Python that then becomes the program: a `preexec_fn` would run Python
# between fork and exec of a process that may have threads, which can deadlock. If the parent died before the call, the
# process has a new parent already, and must go on its own.
_TETHER = """
import os, signal, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""
# The kernel's "parent" is the thread that forked. A thread of our own, alive as long as the interpreter, does all
# starting: whoever asks may live in a short-lived thread.
_starter: ThreadPoolExecutor | None = None
_starter_lock = threading.Lock()


def _in_lasting_thread(start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    global _starter
    with _starter_lock:
        if _starter is None:
            _starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="agui-starter")
    return _starter.submit(start).result()


class Process(Protocol):
    """What a child needs of `subprocess.Popen`."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int, /) -> None: ...


class ChildFailed(RuntimeError):
    """A program ended or was not ready in time; the message ends with its last output."""


class Child:
    """A running program whose output goes to the end of `log`. `env` is added to our environment, or replaces it with
    `inherit=False`."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        inherit: bool = True,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        command = [str(part) for part in argv]
        tether = [sys.executable, "-I", "-S", "-c", _TETHER, str(os.getpid()), *command]
        self._start_of_output = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            # An own session: Ctrl-C reaches us alone, and we stop the programs in their order.
            self._process: Process = _in_lasting_thread(
                lambda: subprocess.Popen(
                    tether,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    env={**(os.environ if inherit else {}), **(env or {})},
                    cwd=cwd,
                )
            )

    @property
    def pid(self) -> int:
        """The program's process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """False once the program has ended."""
        return self._process.poll() is None

    def output(self) -> str:
        """What this run of the program has written so far."""
        with self.log.open("rb") as file:
            file.seek(self._start_of_output)
            return file.read().decode(errors="replace")

    def until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Waits until `ready` holds. Raises ChildFailed when the program ends before that, or after `seconds`."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.is_alive:
                raise ChildFailed(f"{self.name} ended:\n{self.output()[-3000:]}")
            if time.monotonic() > deadline:
                raise ChildFailed(f"{self.name} was not ready after {seconds:g} s:\n{self.output()[-3000:]}")
            time.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal, unless the program has ended."""
        if self.is_alive:
            self._process.send_signal(number)

    def terminate(self) -> None:
        """Sends SIGTERM and does not wait."""
        self.send(signal.SIGTERM)

    def wait(self, seconds: float | None = None) -> int:
        """The exit code (negative: the signal). Raises subprocess.TimeoutExpired."""
        return self._process.wait(seconds)

    def stop(self, grace_s: float) -> int:
        """SIGTERM, and SIGKILL after `grace_s` seconds; the exit code once the program is gone."""
        self.terminate()
        try:
            return self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """SIGKILL; the exit code once the program is gone."""
        self.send(signal.SIGKILL)
        return self._process.wait()
