"""The operator as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from agui_dev.children import Child
from agui_dev.paths import ROOT
from agui_dev.ports import free_port
from agui_dev.testbed.fork_server import ForkServer

OPERATOR_IMPORTS = "agui_dev.testbed.operator_imports"

_READY_SECONDS = 90.0
_STOP_SECONDS = 30.0


class OperatorProcess:
    """`agui-operator run` with settings of its own; log and identity outlive a restart."""

    def __init__(
        self,
        folder: Path,
        kubeconfig: Path,
        endpoint: str,
        *,
        log_level: str = "info",
        forks: ForkServer | None = None,
        **settings: str,
    ) -> None:
        """With `forks` it is started as a fork of that server."""
        self.identity = settings.get("AGUI_LEASE_HOLDER") or f"operator-{uuid.uuid4().hex[:6]}"
        self.log_path = folder / f"{self.identity}.log"
        self.port = free_port()
        self._arguments = ("run", "--log-level", log_level)
        self._forks = forks
        self._environment = {
            "KUBECONFIG": str(kubeconfig),
            "AGUI_GCP_ENDPOINT": endpoint,
            "AGUI_HTTP_PORT": str(self.port),
            "AGUI_LEASE_HOLDER": self.identity,
        } | settings
        self._running: Child | None = None

    @property
    def pid(self) -> int:
        return self._child().pid

    @property
    def is_alive(self) -> bool:
        """False once it has ended."""
        return self._child().is_alive

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def start(self, *, wait: bool = True) -> OperatorProcess:
        if self._forks is None:
            command = [sys.executable, "-m", "agui_operator", *self._arguments]
            self._running = Child("the operator", command, self.log_path, env=self._environment, cwd=ROOT)
        else:
            environment = {**os.environ, **self._environment}
            self._running = self._forks.start(
                "the operator", "agui_operator", self.log_path, environment, self._arguments
            )
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, seconds: float = _READY_SECONDS) -> None:
        """Raises ChildFailed."""
        self._child().until(lambda: self.http("/readyz")[0] == 200, seconds)

    def http(self, path: str) -> tuple[int, str]:
        """Status and body of its own HTTP server; status 0 when it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=6) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()
        except OSError:
            return 0, ""

    def send(self, number: signal.Signals) -> None:
        self._child().send(number)

    def wait_ended(self, seconds: float = _READY_SECONDS) -> int:
        """The exit code (negative: the signal). Raises AssertionError when it still runs after `seconds`."""
        try:
            return self._child().wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the operator still runs after {seconds:g} s") from None

    def kill(self) -> None:
        """SIGKILL; returns when it has ended."""
        if self._running is not None:
            self._running.kill()

    def stop(self, *, wait: bool = True) -> None:
        """SIGTERM, also to an operator that is suspended; returns when it has ended. Without `wait` it returns at once:
        the lease is free soon, while the process takes some seconds."""
        if self._running is None:
            return
        self._running.send(signal.SIGCONT)
        self._running.stop(_STOP_SECONDS) if wait else self._running.terminate()

    def _child(self) -> Child:
        assert self._running is not None, "the operator was not started"
        return self._running
