"""Runs what an image holds, as the image says: its user, environment, folder and command. For tests and the SBOM.

`buildah run` in chroot isolation shares the network and the process ids of this machine. What is written stays in the
container and goes with it.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from agui_dev.images.store import Store


@dataclass(frozen=True, slots=True)
class Container:
    """A container made from an image; `command` is entry point and arguments as the image names them."""

    store: Store
    name: str
    command: tuple[str, ...]
    user: str

    def argv(self, command: Sequence[str] | None = None, env: Mapping[str, str] | None = None) -> list[str]:
        """The command line that runs `command` (default: the image's own) in it."""
        settings = [part for name, value in (env or {}).items() for part in ("--env", f"{name}={value}")]
        return self.store.argv("run", "--isolation", "chroot", *settings, self.name, "--", *(command or self.command))

    def run(
        self, command: Sequence[str] | None = None, env: Mapping[str, str] | None = None, timeout_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; the exit code is the command's, and nothing is raised for it."""
        return subprocess.run(
            self.argv(command, env),
            env=self.store.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )

    @contextmanager
    def running(self, log: Path, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
        """Keep its own command running; ends it by SIGTERM as Cloud Run does, and by SIGKILL 20 s later."""
        with log.open("wb") as output:
            child = subprocess.Popen(
                self.argv(None, env), env=self.store.environment(), stdout=output, stderr=subprocess.STDOUT
            )
            try:
                yield child
            finally:
                stop(child)

    def read(self, path: str) -> bytes:
        """A file of the image. Raises FileNotFoundError."""
        top = Path(self.store.read("mount", self.name))
        try:
            return (top / path.lstrip("/")).read_bytes()
        finally:
            self.store.read("umount", self.name)


@contextmanager
def container(store: Store, image: str) -> Iterator[Container]:
    """A container of `image`, removed at the end. Raises StepFailed when the image is not in the store."""
    name = store.read("from", "--pull-never", image)
    try:
        config = json.loads(store.read("inspect", name))["OCIv1"]["config"]
        command = (*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ()))
        yield Container(store, name, command, config.get("User", ""))
    finally:
        store.read("rm", name)


def stop(child: subprocess.Popen[bytes], grace_s: float = 20) -> int:
    """SIGTERM to the innermost process, which is the container's: buildah itself passes no signal on. The exit code."""
    if child.poll() is None:
        inside = innermost(child.pid)
        if inside is not None:
            inside.terminate()
        try:
            child.wait(grace_s)
        except subprocess.TimeoutExpired:
            for process in [*psutil.Process(child.pid).children(recursive=True), psutil.Process(child.pid)]:
                process.kill()
    return child.wait()


def innermost(pid: int) -> psutil.Process | None:
    """The container's first process below buildah's own, or None while buildah is still preparing."""
    try:
        below = psutil.Process(pid).children(recursive=True)
        return next((found for found in below if "buildah" not in found.name()), None)
    except psutil.NoSuchProcess:
        return None
