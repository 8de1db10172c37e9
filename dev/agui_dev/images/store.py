"""A place for images that is ours alone: buildah's storage in the cache folder, apart from the system's images."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agui_dev.paths import cache_dir
from agui_dev.steps import StepFailed, run_step


@dataclass(frozen=True, slots=True)
class Store:
    """Storage of images and containers below `folder`; `driver` is `overlay`, or `vfs` (slow, large) without it."""

    folder: Path
    driver: str

    def argv(self, *arguments: str) -> list[str]:
        """A buildah command on this storage."""
        # State that must not survive a restart of the machine: buildah counts its mounts there.
        mark = hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]
        places = ["--root", str(self.folder / "storage"), "--runroot", f"/run/agui-images-{mark}"]
        return ["buildah", *places, "--storage-driver", self.driver, *arguments]

    def environment(self) -> dict[str, str]:
        """Environment of those commands: `RUN --mount=type=cache` keeps its folders below TMPDIR."""
        scratch = self.folder / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        return {**os.environ, "TMPDIR": str(scratch)}

    def read(self, *arguments: str, timeout_s: float = 120) -> str:
        """Output of a short command. Raises StepFailed with what it said when it fails or takes too long."""
        argv = self.argv(*arguments)
        try:
            done = subprocess.run(
                argv, env=self.environment(), capture_output=True, text=True, check=False, timeout=timeout_s
            )
        except subprocess.TimeoutExpired:
            raise StepFailed(f"buildah {arguments[0]} took more than {timeout_s:g} s and was stopped.") from None
        if done.returncode != 0:
            raise StepFailed(f"buildah {arguments[0]} failed: {done.stderr.strip()[-500:]}")
        return done.stdout.strip()

    def step(self, what: str, *arguments: str, estimate_s: float) -> float:
        """A slow command, with lines of progress; its seconds. Raises StepFailed with its last lines."""
        with tempfile.TemporaryDirectory(prefix="agui-images-") as folder:
            log = Path(folder) / "log"
            return run_step(what, self.argv(*arguments), estimate_s=estimate_s, log=log, env=self.environment())

    def has(self, image: str) -> bool:
        """True when the image is here already."""
        return self.find(image) is not None

    def find(self, image: str) -> dict[str, Any] | None:
        """What `buildah inspect` says about an image (OCI config and manifest), or None when it is not here."""
        try:
            found = json.loads(self.read("inspect", "--type", "image", image))
        except StepFailed:
            return None
        return found if isinstance(found, dict) else None


def why_unavailable(environ: Mapping[str, str] = os.environ) -> str | None:
    """A sentence that says why images cannot be built on this machine, or None when they can."""
    if shutil.which("buildah", path=environ.get("PATH")) is None:
        return "Images are built with buildah, and it is not on PATH (Debian, Ubuntu: `apt-get install buildah crun`)."
    if os.geteuid() != 0:
        return "Images are built in chroot isolation, which needs root; you are not root."
    return None


def open_store(folder: Path | None = None) -> Store:
    """The store below `folder` (default: `images` in the cache). Raises StepFailed when this machine cannot build."""
    if reason := why_unavailable():
        raise StepFailed(reason)
    home = folder or cache_dir() / "images"
    home.mkdir(parents=True, exist_ok=True)
    overlay = Store(home, "overlay")
    try:
        overlay.read("info")
    except StepFailed:  # the kernel has no overlay here, or the cache itself lies on one
        return Store(home, "vfs")
    return overlay
