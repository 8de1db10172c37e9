"""One instance of a revision: a process, its port, what it is doing now, and how it starts and ends."""

from __future__ import annotations

import asyncio
import enum
import json
import random
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localgcp.kit.interfaces import Output, RevisionProcess, Workload
from localgcp.services.run.runtime.probes import wait_until_started
from localgcp.services.run.runtime.tether import Child, Tether

_PORTS = range(20000, 32000)  # below Linux' ephemeral range: an outgoing connection can't take a port we just chose
_TAIL_BYTES = 16_384
SYSTEM = ".system"  # suffix of what Cloud Run itself says about an instance
OWNER = "owner.json"


class State(enum.StrEnum):
    STARTING = enum.auto()
    READY = enum.auto()
    DRAINING = enum.auto()  # gets no new requests; open ones may finish
    GONE = enum.auto()


class InstanceFailed(Exception):
    """An instance did not become ready. The message is Cloud Run's, which quotes nothing of the container."""


@dataclass(frozen=True, slots=True)
class Host:
    """The machine that instances run on."""

    tether: Tether
    logs: Path
    working_dir: Path


class Instance:
    """States only move forward. `in_flight` is counted by the pool that owns the instance."""

    def __init__(self, spec: RevisionProcess, host: Host) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.spec = spec
        self.state = State.STARTING
        self.in_flight = 0
        self.requests = 0
        self.since = time.time()
        self.idle_since = time.monotonic()
        self.port = free_port()
        self.log = log_file(host.logs, spec, self.id, is_job=False)
        self.child = launch(spec, host, self.log, container_env(spec, self.port))

    async def become_ready(self) -> None:
        """Waits for the startup probe. Raises InstanceFailed, with the process gone."""
        began = time.monotonic()
        probing = asyncio.ensure_future(wait_until_started(self.port, self.spec.startup))
        try:
            either: set[asyncio.Future[Any]] = {probing, self.child.exited}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            failure = "" if self.child.exited.done() else probing.result()
            if self.child.exited.done() or failure or self.state is not State.STARTING:
                self._tell(failure, time.monotonic() - began)
                raise InstanceFailed(self._why_not_ready())
        except BaseException:
            probing.cancel()
            await self.end(0)
            raise
        self.state = State.READY
        self.idle_since = time.monotonic()

    async def end(self, grace: float) -> int:
        """SIGTERM, SIGKILL after `grace` seconds (at once when 0); returns the exit code."""
        self.state = State.DRAINING
        if grace <= 0:
            self.child.kill()
        code = await self.child.stop(grace if grace > 0 else 10)
        self.state = State.GONE
        return code

    def _tell(self, failure: str, seconds: float) -> None:
        """What Cloud Run says about the container, which is in its system log and not in the message."""
        text = f"The startup probe failed for {seconds:.1f} s: {failure}. The instance was not started."
        if self.child.exited.done():
            text = f"Container called exit({self.child.exited.result()}) after {seconds:.1f} s."
        with self.log.with_suffix(SYSTEM).open("a", encoding="utf-8") as log:
            log.write(f"{text}\n")

    def _why_not_ready(self) -> str:
        """Cloud Run's message of a failed start, as it answers UpdateService."""
        spec = self.spec
        return (
            "The user-provided container failed to start and listen on the port defined provided by the "
            f"PORT={self.port} environment variable within the allocated timeout. This can happen when the container "
            "port is misconfigured or if the timeout is too short. The health check timeout can be extended. Logs for "
            "this revision might contain more information. Logs URL: https://console.cloud.google.com/logs/viewer?"
            f"project={spec.project}&resource=cloud_run_revision/service_name/{spec.service}/revision_name/"
            f"{spec.revision}&advancedFilter=resource.type%3D%22cloud_run_revision%22 For more troubleshooting "
            "guidance, see https://cloud.google.com/run/docs/troubleshooting#container-failed-to-start"
        )


def container_env(spec: RevisionProcess, port: int) -> dict[str, str]:
    """Environment of a service's container: the image's, the template's, then what Cloud Run sets itself.
    Source: https://cloud.google.com/run/docs/container-contract#env-vars"""
    return {
        **spec.image.env,
        **spec.env,
        "PORT": str(port),
        "K_SERVICE": spec.service,
        "K_REVISION": spec.revision,
        "K_CONFIGURATION": spec.service,
    }


def launch(spec: RevisionProcess, host: Host, log: Path, env: Mapping[str, str]) -> Child:
    """Starts the container's command; its output goes to `log` byte by byte, so JSON lines stay what they are.
    Raises InstanceFailed when there is nothing to start."""
    argv = (*(spec.command or spec.image.command), *spec.args)
    if not argv:
        raise InstanceFailed(f"The image {spec.image.repository}@{spec.image.digest} has no command to start.")
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            return host.tether.spawn(argv, env, spec.image.working_dir or host.working_dir, output)
    except (OSError, ValueError) as error:
        raise InstanceFailed(f"The container could not be started: {error}") from error


def log_folder(logs: Path, owner: Workload) -> Path:
    """Logs of a revision or an execution."""
    return logs / owner.project / owner.location / owner.name


def log_file(logs: Path, spec: RevisionProcess, name: str, *, is_job: bool) -> Path:
    """Log of one instance or task, in a folder that says whose it is."""
    folder = log_folder(logs, spec.workload)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / OWNER).write_text(json.dumps({"owner": spec.service, "is_job": is_job}))
    return folder / f"{name}.log"


def outputs(logs: Path, project: str) -> Iterator[Output]:
    """Every log of a project; a folder of an earlier version does not say whose it is and is left out."""
    for marker in sorted((logs / project).glob(f"*/*/{OWNER}")):
        owner, workload = json.loads(marker.read_text()), Workload(project, marker.parts[-3], marker.parts[-2])
        for suffix, stream in ((".log", "stdout"), (SYSTEM, "varlog/system")):
            for path in sorted(marker.parent.glob(f"*{suffix}")):
                yield Output(path, workload, owner["owner"], owner["is_job"], stream)


def tail(log: Path, lines: int) -> tuple[str, ...]:
    """The last non-empty lines of a log file; () when there is none."""
    try:
        with log.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - _TAIL_BYTES))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ()
    return tuple(line.rstrip() for line in text.splitlines() if line.strip())[-lines:]


def free_port() -> int:
    """A port that no process listens on now."""
    for _ in range(200):
        port = random.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise InstanceFailed("No free port between 20000 and 32000.")
