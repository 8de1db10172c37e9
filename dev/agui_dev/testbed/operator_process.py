"""The operator as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from agui_dev.paths import ROOT
from agui_dev.ports import free_port

_READY_SECONDS = 40.0
_STOP_SECONDS = 15.0


class OperatorProcess:
    """`agui-operator run` with settings of its own; log and identity outlive a restart."""

    def __init__(self, folder: Path, kubeconfig: Path, endpoint: str, **settings: str) -> None:
        self.identity = settings.get("AGUI_IDENTITY") or f"operator-{uuid.uuid4().hex[:6]}"
        self.log_path = folder / f"{self.identity}.log"
        self.port = free_port()
        self._environment = {
            "KUBECONFIG": str(kubeconfig),
            "AGUI_GCP_ENDPOINT": endpoint,
            "AGUI_HTTP_PORT": str(self.port),
            "AGUI_LEASE_SECONDS": "3",
            "AGUI_RESYNC_SECONDS": "300",
            "AGUI_IDENTITY": self.identity,
        } | settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "the operator was not started"
        return self._process.pid

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def start(self, *, wait: bool = True) -> OperatorProcess:
        command = [sys.executable, "-m", "agui_operator", "run", "--log-level", "debug"]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | self._environment, cwd=ROOT
            )
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, seconds: float = _READY_SECONDS) -> None:
        assert self._process is not None
        deadline = time.monotonic() + seconds
        while self.http("/readyz")[0] != 200:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the operator did not become ready:\n{self.log[-3000:]}")
            time.sleep(0.03)

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
        os.kill(self.pid, number)

    def wait_ended(self, seconds: float) -> int:
        """The exit code (negative: the signal). Raises AssertionError when it still runs after `seconds`."""
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the operator still runs after {seconds:g} s") from None

    def kill(self) -> None:
        """SIGKILL: it has no time for anything."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(number)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
