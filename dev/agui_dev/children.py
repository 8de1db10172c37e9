"""Starts programs that can't outlive us: the kernel kills them with their parent, however the parent ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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


class Child:
    """A running program whose output goes to the end of `log`. `env` is added to ours."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        command = [str(part) for part in argv]
        tether = [sys.executable, "-I", "-S", "-c", _TETHER, str(os.getpid()), *command]
        self._start_of_output = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            # An own session: Ctrl-C reaches us alone, and we stop the programs in their order.
            self._process = _in_lasting_thread(
                lambda: subprocess.Popen(
                    tether,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    env={**os.environ, **(env or {})},
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

    def stop(self, grace_s: float) -> None:
        """SIGTERM, and SIGKILL after `grace_s` seconds; returns when the program is gone."""
        if self.is_alive:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL; returns when the program is gone."""
        if self.is_alive:
            self._process.kill()
        self._process.wait()
