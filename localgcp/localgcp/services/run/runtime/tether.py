"""Starts child processes that cannot outlive this one, and removes those that did.

Everything that localgcp runs (revisions, job tasks) is a real process. Left behind after a crash it would hold ports,
database connections and memory, and would answer requests with old code. Two nets: the kernel kills the child when its
parent dies (PR_SET_PDEATHSIG, Linux), and each child's process group is recorded on disk, so that the next start kills
what is left of it (grandchildren, other systems).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

# Runs as the child before the real command: the death signal survives exec, and a parent that died in between is
# noticed by its changed pid. A preexec_fn could do the same but forces a full fork, which breaks gRPC's threads.
_STUB = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() != int(sys.argv[1]): os._exit(1)
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.stderr.write(f"{sys.argv[2]}: {error.strerror}\\n")
    os._exit(127)
"""
_START_TIME_TOLERANCE = 0.05  # psutil derives start times from clock ticks of 10 ms
# What a container gets from its host; everything else comes from the image and the template.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SYSTEMROOT")


class Child:
    """A running process and its group; `exited` ends with the exit code (128 + N after signal N, as shells say)."""

    def __init__(self, popen: subprocess.Popen[bytes], record: Path) -> None:
        self.pid = popen.pid
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._popen = popen
        self._record = record
        self._watch()

    def signal(self, number: signal.Signals) -> None:
        """Signals the main process only, as a container's stop does. No error when it is gone."""
        if not self.exited.done():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL to the whole process group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    async def stop(self, grace: float) -> int:
        """SIGTERM, SIGKILL after `grace` seconds; returns the exit code."""
        self.signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(asyncio.shield(self.exited), grace)
        except TimeoutError:
            self.kill()
            return await asyncio.shield(self.exited)

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        if hasattr(os, "pidfd_open"):
            descriptor = os.pidfd_open(self.pid)
            loop.add_reader(descriptor, self._pidfd_ready, descriptor)
        else:
            waiting = loop.run_in_executor(None, self._popen.wait)
            waiting.add_done_callback(lambda _: self._reap())

    def _pidfd_ready(self, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
        self._reap()

    def _reap(self) -> None:
        code = self._popen.wait()
        self.kill()  # grandchildren must not outlive the container's main process
        self._record.unlink(missing_ok=True)
        if not self.exited.done():
            self.exited.set_result(128 - code if code < 0 else code)


class Tether:
    """Spawns children and keeps their records in `directory`. Creating it kills what an earlier run left there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.leftovers = tuple(_kill_leftovers(directory))

    def spawn(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path, output: IO[bytes]) -> Child:
        """Starts `argv` with exactly `env` plus what a container's host gives; stdout and stderr go to `output`.
        Raises OSError when the process cannot be made; an unknown command ends with exit code 127."""
        command = [sys.executable if argv[0] in ("python", "python3") else argv[0], *argv[1:]]
        full_env = {name: os.environ[name] for name in _INHERITED if name in os.environ} | dict(env)
        popen = subprocess.Popen(
            [*_stub_argv(), *command],
            env=full_env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o022,  # ours is stricter, for the state folder
        )
        record = self._directory / f"{popen.pid}.json"
        with suppress(psutil.Error):
            record.write_text(json.dumps({"pid": popen.pid, "started": psutil.Process(popen.pid).create_time()}))
        return Child(popen, record)


def _stub_argv() -> list[str]:
    if sys.platform != "linux":
        return []
    return [sys.executable, "-I", "-S", "-c", _STUB, str(os.getpid())]


def _kill_leftovers(directory: Path) -> list[int]:
    groups: dict[int, float] = {}
    for record in directory.glob("*.json"):
        with suppress(ValueError, KeyError, TypeError):
            entry = json.loads(record.read_text())
            groups[int(entry["pid"])] = float(entry["started"])
        record.unlink(missing_ok=True)
    return [pid for pid in (psutil.pids() if groups else ()) if _kill_if_left(pid, groups)]


def _kill_if_left(pid: int, groups: Mapping[int, float]) -> bool:
    """A pid is only a leftover when its group was ours and it is not older than the group's leader: pids come again."""
    try:
        group = os.getpgid(pid)
        if group not in groups or pid == os.getpid():
            return False
        born = psutil.Process(pid).create_time()
        leader_is_other = pid == group and abs(born - groups[group]) > _START_TIME_TOLERANCE
        if leader_is_other or born < groups[group] - _START_TIME_TOLERANCE:
            return False
        os.kill(pid, signal.SIGKILL)
    except (OSError, psutil.Error):
        return False
    return True
