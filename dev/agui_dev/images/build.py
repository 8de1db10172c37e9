"""Builds one target of the Dockerfile; the same commit gives the same image, to the byte.

Every file in an image carries the same fixed time, and only a label says when the commit was made: so a layer of
dependencies has the same digest from release to release, and is neither uploaded nor pulled again.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from agui_dev.images import base, network
from agui_dev.images.store import Store
from agui_dev.paths import ROOT
from agui_dev.steps import StepFailed

# Target -> seconds of a first build and of one after a change of our code, on two cores.
TARGETS: Mapping[str, tuple[float, float]] = {
    "app": (110, 35),
    "migrations": (115, 15),
    "operator": (85, 35),
    "bundle": (120, 40),
    "e2e": (230, 20),
}
FILE_TIME = 315532800  # 1980-01-01, the first time that a zip file can hold
BROWSER = frozenset({"bundle", "e2e"})


@dataclass(frozen=True, slots=True)
class Sources:
    """What the image says about where it comes from; `epoch` is the commit's time in seconds since 1970."""

    version: str
    revision: str
    address: str
    epoch: int

    def arguments(self) -> list[str]:
        """As options of a build."""
        return ["--timestamp", str(FILE_TIME), *_as_arguments(self._values())]

    def written_into(self, dockerfile: str) -> str:
        """The Dockerfile with these values in the place of its variables. buildah's cache goes by the words of an
        instruction: it would take the labels of an earlier commit for those of this one."""
        return _with_values(dockerfile, self._values())

    def _values(self) -> dict[str, str]:
        created = datetime.fromtimestamp(self.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"VERSION": self.version, "REVISION": self.revision, "SOURCE": self.address, "CREATED": created}


@dataclass(frozen=True, slots=True)
class Bases:
    """Images to build on; None: the official one, else a stand-in."""

    python: str | None = None
    node: str | None = None

    def pinned(self, target: str) -> Bases:
        """The same, named in full, so that no stand-in takes the place of one. Raises StepFailed for an image that
        `target` stands on and that is named without a digest."""
        named = Bases(self.python or base.official("BASE"), self.node or base.official("NODE_BASE"))
        assert named.python is not None
        assert named.node is not None
        base.check_pinned(named.python, *([named.node] if target in BROWSER else []))
        return named


@dataclass(frozen=True, slots=True)
class Image:
    """A built image. `layers` are digests of the layers' contents (diff ids), the base's first; `size` in bytes."""

    name: str
    target: str
    layers: tuple[str, ...]
    size: int
    seconds: float


def read_sources(root: Path = ROOT, environ: Mapping[str, str] = os.environ) -> Sources:
    """Version, commit, address and time of the sources. Outside of a repository: `unknown`, and FILE_TIME.

    Raises StepFailed when SOURCE_DATE_EPOCH is set to anything but seconds
    (https://reproducible-builds.org/specs/source-date-epoch/).
    """
    revision = _git(root, "rev-parse", "HEAD") or "unknown"
    if revision != "unknown" and _git(root, "status", "--porcelain", "--untracked-files=no"):
        revision += "-dirty"
    epoch = environ.get("SOURCE_DATE_EPOCH") or _git(root, "log", "-1", "--format=%ct") or str(FILE_TIME)
    if not re.fullmatch(r"\d{1,11}", epoch):
        raise StepFailed(f"SOURCE_DATE_EPOCH must be whole seconds since 1970, not {epoch!r}.")
    address = public_address(_git(root, "remote", "get-url", "origin"))
    return Sources(version("agui-operator"), revision, address, int(epoch))


def public_address(remote: str) -> str:
    """A remote's web address without user and password; `unknown` for a folder or nothing."""
    found = re.fullmatch(r"(?:https?|ssh|git)://(?:[^@/]*@)?([^/:]+)(?::\d+)?/(.+?)(?:\.git)?/?", remote)
    found = found or re.fullmatch(r"[\w.-]+@([\w.-]+):(.+?)(?:\.git)?/?", remote)
    return f"https://{found[1]}/{found[2]}" if found else "unknown"


def build(
    store: Store,
    target: str,
    *,
    context: Path = ROOT,
    sources: Sources | None = None,
    bases: Bases | None = None,
    tag: str | None = None,
    cached: bool = True,
) -> Image:
    """Build `target` from the files in `context` as `tag` (default: `localhost/agui-<target>:<version>`).

    With `cached=False` every step runs again. Raises StepFailed with the builder's last lines when a step fails, tests
    included; then there is no image of that name, not even an older one.
    """
    known = sources or read_sources()
    name = tag or f"localhost/agui-{target}:{known.version}"
    below = _below(store, target, bases or Bases())
    if store.has(name):
        store.read("rmi", "--force", name)
    again = cached and store.has(_marker(target))
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="agui-images-") as scratch:
        options = [
            "--isolation",
            "chroot",
            "--network",
            "host",
            "--layers",
            "--force-rm",
            *([] if cached else ["--no-cache"]),
        ]
        options += [*known.arguments(), *_as_arguments(below), *network.build_options(Path(scratch))]
        written = Path(scratch) / "Dockerfile"
        written.write_text(_with_values(known.written_into((context / "Dockerfile").read_text()), below))
        options += ["--target", target, "--tag", name, "--file", str(written)]
        estimate = TARGETS[target][1 if again else 0]
        store.step(f"building {name}", "build", *options, str(context), estimate_s=estimate)
    store.read("tag", name, _marker(target))
    return look(store, name, target, time.monotonic() - started)


def look(store: Store, name: str, target: str, seconds: float) -> Image:
    """The image called `name` as it is in the store. Raises StepFailed when it is not there."""
    found = store.find(name)
    if found is None:
        raise StepFailed(f"There is no image {name}; build it first: python -m agui_dev.images build --target {target}")
    size = sum(layer["size"] for layer in json.loads(found["Manifest"])["layers"])
    return Image(name, target, tuple(found["OCIv1"]["rootfs"]["diff_ids"]), size, seconds)


def _below(store: Store, target: str, bases: Bases) -> dict[str, str]:
    """Build arguments that name the images below, and what the labels say of them. Pulls or makes what is not here."""
    named = {"BASE": bases.python or base.python_base(store)}
    if target in BROWSER:
        named["NODE_BASE"] = bases.node or base.node_base(store)
    for name in named.values():
        if not store.has(name):
            store.read("pull", "--quiet", name, timeout_s=600)
    return {**named, **{f"{argument}_DIGEST": base.digest_of(store, name) for argument, name in named.items()}}


def _as_arguments(values: Mapping[str, str]) -> list[str]:
    return [part for name, value in values.items() for part in ("--build-arg", f"{name}={value}")]


def _with_values(dockerfile: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        dockerfile = dockerfile.replace(f"${{{name}}}", value)
    return dockerfile


def _marker(target: str) -> str:
    """A second name of the last good build: keeps its layers, which the next build takes over."""
    return f"localhost/agui-last/{target}"


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
