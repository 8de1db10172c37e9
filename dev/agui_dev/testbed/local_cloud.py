"""A local Google Cloud for tests: `localgcp serve` as a process of its own, on random ports and an empty state.

`local_cloud` is shared by a test module and emptied before each test that asks for it through `fresh_cloud`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_START_SECONDS = 30.0
_STOP_SECONDS = 20.0


class LocalCloud:
    """A running local cloud. `endpoint` serves every API, `edge` run URLs and the load balancer."""

    def __init__(self, state_dir: Path, *options: str) -> None:
        self.state_dir = state_dir
        self.project = "demo"
        self.location = "us-central1"
        self.parent = f"projects/{self.project}/locations/{self.location}"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = self.edge = ""

    @property
    def address(self) -> str:
        """host:port of all APIs, for gRPC channels."""
        return self.endpoint.removeprefix("http://")

    @property
    def edge_port(self) -> int:
        return int(self.edge.rpartition(":")[2])

    @property
    def pid(self) -> int:
        assert self._process is not None, "the local cloud is not running"
        return self._process.pid

    def start(self, *, port: int = 0, edge_port: int = 0) -> None:
        """Starts it, and waits until it serves. Raises RuntimeError with its log when it does not."""
        ready = self.state_dir.parent / f"{self.state_dir.name}.ready"
        ready.unlink(missing_ok=True)
        log = self.state_dir.parent / f"{self.state_dir.name}.log"
        command = [sys.executable, "-m", "localgcp", "serve", "--port", str(port), "--edge-port", str(edge_port)]
        command += ["--state-dir", str(self.state_dir), "--ready-file", str(ready), *self._options]
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr, env={**os.environ}
            )
        deadline = time.monotonic() + _START_SECONDS
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"localgcp did not start:\n{log.read_text()[-4000:]}")
            time.sleep(0.02)
        said = json.loads(ready.read_text())
        self.endpoint, self.edge = said["endpoint"], said["edge"]

    def restart(self, *, kill: bool = False) -> None:
        """Ends it (SIGKILL with `kill`) and starts it on the same state and the same ports."""
        ports = {"port": int(self.endpoint.rpartition(":")[2]), "edge_port": self.edge_port}
        self.stop(kill=kill)
        self.start(**ports)

    def stop(self, *, kill: bool = False) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None

    def admin(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """Calls the admin API below /_localgcp/. Raises AssertionError with its message on an error."""
        return self.call(f"/_localgcp/{path}", method, body)

    def call(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """Calls any path with a JSON body. Raises AssertionError with the error's body."""
        request = urllib.request.Request(
            self.endpoint + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from None

    def ledger(self, since: int = 0, **filters: str) -> list[dict[str, Any]]:
        """Entries after `since`; filters kind, method, resource, write (see Ledger.query)."""
        query = "&".join(f"{key}={value}" for key, value in {"since": str(since), **filters}.items())
        entries: list[dict[str, Any]] = self.admin(f"ledger?{query}")["entries"]
        return entries

    def effects(self, since: int = 0, **filters: str) -> list[tuple[str, str]]:
        """(effect, resource) of each effect after `since`, oldest first."""
        return [(entry["effect"], entry["resource"]) for entry in self.ledger(since, kind="effect", **filters)]

    @property
    def last(self) -> int:
        """`seq` of the newest ledger entry."""
        return int(self.admin("ledger?limit=1")["last"])

    def fault(self, **rule: Any) -> int:
        """Adds a fault rule; returns its id."""
        return int(self.admin("faults", "POST", rule)["id"])

    def reset(self) -> None:
        self.admin("reset", "POST")


def run_local_cloud(*options: str) -> Iterator[LocalCloud]:
    """Generator body for fixtures that need options of their own."""
    with tempfile.TemporaryDirectory(prefix="localgcp-test-", ignore_cleanup_errors=True) as folder:
        cloud = LocalCloud(Path(folder) / "state", *options)
        try:
            cloud.start()
            yield cloud
        finally:
            cloud.stop()
