"""Starts programs of Python from a process that has imported what they need, so that a start does not import it again.

`python -m agui_dev.testbed.fork_server SOCKET MODULE` imports the module, listens on a Unix socket and forks once
per connection. The fork becomes `python -m <module>` with an environment and a log of its own; PYTHONPATH adds
modules to it, but does not replace those that are imported already. It ends with the server,
and the server with the process that started it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agui_dev.children import Child

_PR_SET_PDEATHSIG = 1
_MEASURED = "COVERAGE_"  # coverage of a fork begins in the fork: the server is not measured
_FORKS_ARE_MEASURED = "AGUI_FORKS_MEASURED"


class ForkedProcess:
    """A fork, as far as `subprocess.Popen` is needed: the server tells its process id, and later its exit code."""

    def __init__(self, command: Sequence[str], connection: socket.socket) -> None:
        self._command = command
        self._connection = connection
        self._answers = connection.makefile("r", encoding="utf-8")
        self.pid = int(self._answers.readline() or 0)
        if not self.pid:
            raise ChildProcessError(f"the fork server did not start {' '.join(command)}")
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code (negative: the signal), None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._connection, selectors.EVENT_READ)
                if not selector.select(timeout):
                    raise subprocess.TimeoutExpired(self._command, timeout or 0)
            # Without an answer the server was killed, and the fork with it.
            self.returncode = int(self._answers.readline() or -signal.SIGKILL)
            self._answers.close()
            self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class ForkedChild(Child):
    """A program that a fork server started; `env` is its whole environment."""

    def __init__(
        self, name: str, module: str, log: Path, env: Mapping[str, str], address: Path, arguments: Sequence[str] = ()
    ) -> None:
        self.name, self.log = name, log
        log.touch()  # `output` can be asked for before the fork has opened it
        self._start_of_output = log.stat().st_size
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(address))
        request = {"module": module, "arguments": list(arguments), "log": str(log), "env": dict(env)}
        connection.sendall(json.dumps(request).encode() + b"\n")
        self._process = ForkedProcess((sys.executable, "-m", module, *arguments), connection)


class ForkServer:
    """The server as a child of this process, started with the first program."""

    def __init__(self, imports: str) -> None:
        """`imports` is a module that imports what the programs need."""
        self._imports = imports
        self._folder = tempfile.TemporaryDirectory(prefix="agui-fork-")
        self._address = Path(self._folder.name, "socket")
        self._server: Child | None = None

    def start(self, name: str, module: str, log: Path, env: Mapping[str, str], arguments: Sequence[str] = ()) -> Child:
        """Starts `python -m module` with the arguments. Raises ChildFailed when the server cannot import its module."""
        if self._server is None:
            own = {key: value for key, value in os.environ.items() if not key.startswith(_MEASURED)}
            own[_FORKS_ARE_MEASURED] = "1" if any(key.startswith(_MEASURED) for key in os.environ) else ""
            command = [sys.executable, "-m", "agui_dev.testbed.fork_server", str(self._address), self._imports]
            log_of_server = Path(self._folder.name, "server.log")
            self._server = Child("the fork server", command, log_of_server, env=own, inherit=False)
            self._server.until(self._address.exists, 90)
        return ForkedChild(name, module, log, env, self._address, arguments)

    def close(self) -> None:
        """Ends the server and what it started."""
        if self._server is not None:
            self._server.kill()
        self._folder.cleanup()


def is_measured() -> bool:
    """In a fork server: True when coverage of its forks is measured."""
    return bool(os.environ.get(_FORKS_ARE_MEASURED))


# --- the server's own process ----------------------------------------------------------------------------------------


def serve(address: str) -> dict[str, Any]:
    """Forks once per connection, for ever. Returns in each fork, with the request that it was made for."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address + ".new")
    listener.listen(64)
    os.rename(address + ".new", address)  # who sees it can connect
    selector, waiting = selectors.DefaultSelector(), dict[int, tuple[int, socket.socket]]()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is not listener:
                _report(selector, waiting, key.fd)
                continue
            connection, _ = listener.accept()
            request: dict[str, Any] = json.loads(connection.makefile("rb").readline())
            pid = os.fork()
            if pid == 0:
                selector.close()
                for opened in (listener, connection, *(asker for _, asker in waiting.values())):
                    opened.close()
                for handle in waiting:
                    os.close(handle)
                return request
            connection.sendall(b"%d\n" % pid)
            handle = os.pidfd_open(pid)
            waiting[handle] = (pid, connection)
            selector.register(handle, selectors.EVENT_READ)


def _report(selector: selectors.BaseSelector, waiting: dict[int, tuple[int, socket.socket]], handle: int) -> None:
    """Tells who asked for it how a fork ended."""
    pid, connection = waiting.pop(handle)
    selector.unregister(handle)
    os.close(handle)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(OSError), connection:
        connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def become(request: Mapping[str, Any], server: int) -> None:
    """Makes this fork what a new process with that environment and log would be."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        os._exit(1)
    os.setsid()
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    sys.argv[1:] = request["arguments"]
    sys.path[1:1] = [entry for entry in request["env"].get("PYTHONPATH", "").split(os.pathsep) if entry]
    if any(name.startswith(_MEASURED) for name in request["env"]):
        import coverage

        coverage.process_startup()


def main() -> None:
    """Serves; a fork runs its program as `__main__`, and ends as that program ends."""
    address, imports = sys.argv[1:]
    importlib.import_module(imports)
    with contextlib.suppress(ImportError):
        importlib.import_module("coverage")
    gc.collect()
    gc.freeze()
    server = os.getpid()
    request = serve(address)
    become(request, server)
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
