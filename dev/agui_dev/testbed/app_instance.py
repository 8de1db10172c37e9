"""Instances of the application as real processes, and a small client that reads their event streams."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from agui_dev.children import Child
from agui_dev.ports import free_port
from agui_dev.testbed.fork_server import ForkServer, shared_forks
from agui_dev.testbed.postgres import PostgresServer

Event = dict[str, Any]
# One for all requests: httpx would read the certificates of all authorities for each, 20 ms of computing.
TLS = httpx.create_ssl_context()
APP_IMPORTS = "agui_dev.testbed.app_imports"
_MIGRATION_SECONDS = 120
# Settings that are read when they are used, not when a module is imported: a fork may have other ones than its server.
# MALLOC_ARENA_MAX only changes how much memory it takes.
_READ_LATE = (
    "AGUI_",
    "DB_",
    "K_",
    "DATABASE_URL",
    "HOST",
    "PORT",
    "LOG_LEVEL",
    "PYTHONPATH",
    "GOOGLE_CLOUD_PROJECT",
    "OTEL_EXPORTER_",
    "ADK_CAPTURE_",
    "MALLOC_ARENA_MAX",
)


def app_environment(database_url: str, **more: str) -> dict[str, str]:
    """Environment of an instance: the caller's, without settings that would leak in."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AGUI_", "DB_", "K_"))}
    return env | {"DATABASE_URL": database_url, "HOST": "127.0.0.1", "AGUI_LOCAL_CLOUD": "localgcp"} | more


def migrate(database_url: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs the migration command to its end, as a fork where it can be one."""
    environment = app_environment(database_url, **env)
    command = [sys.executable, "-m", "agui_app.migrate", *arguments]
    if not may_fork(environment):
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_MIGRATION_SECONDS)
    with tempfile.TemporaryDirectory(prefix="agui-migrate-") as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        err.touch()
        forks = shared_forks(APP_IMPORTS)
        fork = forks.start("the migration", "agui_app.migrate", out, environment, arguments, err)
        try:
            code = fork.wait(_MIGRATION_SECONDS)
        finally:
            fork.kill()
        return subprocess.CompletedProcess(command, code, out.read_text(), err.read_text())


def seeded_database(server: PostgresServer) -> str:
    """URL of a new database that is migrated and seeded: a copy of one that was made by the migration command.
    Raises RuntimeError with the output of the migration."""
    if not server.seeded:
        url = server.create_database()
        done = migrate(url, "upgrade", "head", "--seeds")
        if done.returncode != 0:
            raise RuntimeError(f"the migration ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        server.seeded = url.rpartition("/")[2]
    return server.create_database(server.seeded)


def json_lines(text: str) -> list[dict[str, Any]]:
    """The JSON lines of a process's output."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@dataclass
class AppInstance:
    """One process. `log` grows while it runs; `began` is the `time.perf_counter()` of its start."""

    port: int
    log_path: Path
    child: Child
    began: float
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def log(self) -> list[dict[str, Any]]:
        """Structured log lines so far."""
        return json_lines(self.log_path.read_text())

    def wait(self, path: str = "/readyz", status: int = 200, seconds: float = 60) -> httpx.Response:
        """Waits for an answer with that status."""
        deadline = time.monotonic() + seconds
        last = "nothing"
        while time.monotonic() < deadline:
            assert self.child.is_alive, f"the instance ended: {self.log_path.read_text()[-2000:]}"
            try:
                response = httpx.get(self.url + path, timeout=5, verify=TLS)
                if response.status_code == status:
                    return response
                last = f"{response.status_code} {response.text}"
            except httpx.HTTPError as exc:
                last = repr(exc)
            time.sleep(0.01)
        raise AssertionError(f"{path} did not answer {status} in {seconds} s; last: {last}")

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.ask("GET", path, **{"timeout": 20} | more)

    def post(self, path: str, body: Any, **more: Any) -> httpx.Response:
        return self.ask("POST", path, json=body, **more)

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One request on a connection of its own."""
        typed = {"Content-Type": "application/json"} if "content" in more else {}
        headers = typed | self.headers | more.pop("headers", {})
        return httpx.request(method, self.url + path, headers=headers, verify=TLS, **{"timeout": 60} | more)

    def stream(self, method: str, path: str, **more: Any) -> AbstractContextManager[httpx.Response]:
        """A request whose answer is read while it comes."""
        return httpx.stream(method, self.url + path, verify=TLS, **{"timeout": 30} | more)

    def run(self, body: Mapping[str, Any], path: str = "/agent", **more: Any) -> list[Event]:
        """Runs to the end and gives all events."""
        response = self.post(path, body, **more)
        assert response.status_code == 200, response.text
        return frames(response.text)

    def say(self, thread: str, words: str, **more: Any) -> list[Event]:
        """One user message."""
        return self.run(said(thread, words), **more)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self.child.stop(20)

    def kill(self) -> None:
        """SIGKILL, as when the machine is lost."""
        self.child.kill()


def said(thread: str, words: str, **more: Any) -> dict[str, Any]:
    """A RunAgentInput with one user message."""
    message = {"id": uuid.uuid4().hex, "role": "user", "content": words}
    return {"threadId": thread, "runId": uuid.uuid4().hex, "messages": [message], **more}


def resumed(thread: str, interrupt: str, confirmed: bool) -> dict[str, Any]:
    """A RunAgentInput that answers an interrupt."""
    answer = {"interruptId": interrupt, "status": "resolved", "payload": {"confirmed": confirmed}}
    return {"threadId": thread, "runId": uuid.uuid4().hex, "messages": [], "resume": [answer]}


def frames(text: str) -> list[Event]:
    """Events of an SSE body."""
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


def types_of(events: list[Event]) -> list[str]:
    return [event["type"] for event in events]


def text_of(events: list[Event]) -> str:
    """What the agent said."""
    return "".join(event["delta"] for event in events if event["type"] == "TEXT_MESSAGE_CONTENT")


def tools_of(events: list[Event]) -> list[str]:
    """Names of the tools that were called, without transfers."""
    names = [event["toolCallName"] for event in events if event["type"] == "TOOL_CALL_START"]
    return [name for name in names if name != "transfer_to_agent"]


def interrupt_of(events: list[Event]) -> str:
    """Id of the one open interrupt."""
    (interrupt,) = events[-1]["outcome"]["interrupts"]
    return str(interrupt["id"])


def may_fork(environment: Mapping[str, str]) -> bool:
    """True when nothing in the environment changes how Python starts or what modules read when they are imported."""
    changed = {name for name in environment | os.environ if environment.get(name) != os.environ.get(name)}
    return all(name.startswith(_READ_LATE) for name in changed)


class AppStarter:
    """Starts instances and stops all of them at the end; with `forks` as forks of that server where they can be."""

    def __init__(self, folder: Path, forks: ForkServer | None = None) -> None:
        self._folder = folder
        self._forks = forks
        self._instances: list[AppInstance] = []

    def __call__(self, database_url: str, ready: bool = True, module: str = "agui_app", **env: str) -> AppInstance:
        """Starts `python -m module` on `PORT` or a free port, and waits for /readyz if `ready`."""
        port = int(env.pop("PORT", "0")) or free_port()
        log_path = self._folder / f"app-{port}.log"
        log_path.unlink(missing_ok=True)
        environment = app_environment(database_url, PORT=str(port), **env)
        began = time.perf_counter()
        child = self._start(module, log_path, environment)
        instance = AppInstance(port, log_path, child, began)
        self._instances.append(instance)
        if ready:
            instance.wait()
        return instance

    def _start(self, module: str, log: Path, environment: Mapping[str, str]) -> Child:
        if self._forks is not None and may_fork(environment):
            return self._forks.start(module, module, log, environment)
        return Child(module, [sys.executable, "-m", module], log, env=environment, inherit=False)

    def stop_all(self) -> None:
        for instance in self._instances:
            instance.stop()
