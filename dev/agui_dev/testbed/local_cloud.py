"""A local Google Cloud: `localgcp serve` as a process of its own, on random ports."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from agui_dev.children import Child, ChildFailed
from agui_dev.testbed.fork_server import ForkServer

LOCALGCP_IMPORTS = "agui_dev.testbed.localgcp_imports"

_START_SECONDS = 90.0
_STOP_SECONDS = 20.0


class CloudRefused(AssertionError):
    """An API of the local cloud answered with an error; `code` is its HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class LocalCloud:
    """A running local cloud. `endpoint` serves every API, `edge` run URLs and the load balancer."""

    def __init__(self, state_dir: Path, *options: str, forks: ForkServer | None = None) -> None:
        """`options` are added to its command line; with `forks` it is started as a fork of that server."""
        self.state_dir = state_dir
        self.project = "demo"
        self.location = "us-central1"
        self.parent = f"projects/{self.project}/locations/{self.location}"
        self._options = options
        self._forks = forks
        self._running: Child | None = None
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
        assert self._running is not None, "the local cloud is not running"
        return self._running.pid

    def start(self, *, port: int = 0, edge_port: int = 0) -> None:
        """Starts it, and waits until it serves. Raises ChildFailed with its log when it does not."""
        ready = self.state_dir.parent / f"{self.state_dir.name}.ready"
        ready.unlink(missing_ok=True)
        arguments = ["serve", "--port", str(port), "--edge-port", str(edge_port)]
        arguments += ["--state-dir", str(self.state_dir), "--ready-file", str(ready), *self._options]
        log = self.state_dir.parent / f"{self.state_dir.name}.log"
        if self._forks is None:
            self._running = Child("localgcp", [sys.executable, "-m", "localgcp", *arguments], log)
        else:
            self._running = self._forks.start("localgcp", "localgcp", log, os.environ, arguments)
        try:
            self._running.until(ready.exists, _START_SECONDS)
        except ChildFailed:
            self.stop()
            raise
        addresses = json.loads(ready.read_text())
        self.endpoint, self.edge = addresses["endpoint"], addresses["edge"]

    def restart(self, *, kill: bool = False) -> None:
        """Ends it (SIGKILL with `kill`) and starts it on the same state and the same ports."""
        ports = {"port": int(self.endpoint.rpartition(":")[2]), "edge_port": self.edge_port}
        self.stop(kill=kill)
        self.start(**ports)

    def stop(self, *, kill: bool = False) -> None:
        """SIGTERM, or SIGKILL; the programs that it started end with it."""
        if self._running is not None:
            self._running.kill() if kill else self._running.stop(_STOP_SECONDS)
            self._running = None

    def admin(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """Calls the admin API below /_localgcp/, with the token of the state folder. Raises CloudRefused."""
        token = (self.state_dir / "admin-token").read_text().strip()
        return self.call(f"/_localgcp/{path}", method, body, Authorization=f"Bearer {token}")

    def call(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> Any:
        """Calls any path with a JSON body. Raises CloudRefused."""
        request = urllib.request.Request(
            self.endpoint + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **headers},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                raise CloudRefused(error.code, f"{method} {path}: {error.read().decode()}") from None
        except OSError as error:
            if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
                raise ChildFailed(f"{method} {path}: no answer\n{self._stacks()}") from error
            raise

    def _stacks(self) -> str:
        """What the process is doing, asked with SIGUSR1; the end of its log."""
        if self._running is None:
            return "the local cloud is not running"
        self._running.send(signal.SIGUSR1)
        time.sleep(1)
        return self._running.output()[-8000:]

    def items(self, path: str, field: str) -> list[dict[str, Any]]:
        """All items of a list method, page by page; `field` is the name of the list in an answer."""
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            answer = self.call(f"{path}?pageToken={quote(token, safe='')}" if token else path)
            found += answer.get(field, [])
            token = answer.get("nextPageToken", "")
            if not token:
                return found

    def upload(self, bucket: str, name: str, data: bytes) -> str:
        """Puts an object of type application/gzip; its sha256."""
        url = f"{self.endpoint}/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(name, safe='')}"
        request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/gzip"}, method="POST")
        urllib.request.urlopen(request, timeout=30).close()
        return hashlib.sha256(data).hexdigest()

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

    def clear_faults(self) -> None:
        self.admin("faults", "DELETE")

    def reset(self) -> None:
        self.admin("reset", "POST")


@contextmanager
def running_local_cloud(*options: str, forks: ForkServer | None = None) -> Iterator[LocalCloud]:
    """A local cloud with an empty state, for the duration of the block."""
    with tempfile.TemporaryDirectory(prefix="localgcp-test-", ignore_cleanup_errors=True) as folder:
        cloud = LocalCloud(Path(folder) / "state", *options, forks=forks)
        try:
            cloud.start()
            yield cloud
        finally:
            cloud.stop()
