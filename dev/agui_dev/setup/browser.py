"""Chromium for the browser tests: the system's own, or the one in the system's package archive."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from agui_dev.steps import StepFailed, run_step, say

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find(environ: Mapping[str, str] = os.environ) -> Path | None:
    """`CHROMIUM` if set, else the first known name on PATH. Raises StepFailed when `CHROMIUM` names no program."""
    if named := environ.get("CHROMIUM"):
        if not os.access(named, os.X_OK):
            raise StepFailed(f"CHROMIUM is set to {named}, which is not a program. Correct it or unset it.")
        return Path(named)
    path = environ.get("PATH")
    return next((Path(found) for name in NAMES if (found := shutil.which(name, path=path))), None)


def ensure() -> None:
    """Chromium is there afterwards. Raises StepFailed with the command to run where we may not install it."""
    if find() is not None:
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise StepFailed(
            "The browser tests need Chromium, and none is on PATH. Install it "
            "(Debian, Ubuntu: `sudo apt-get install chromium`), or set CHROMIUM to a Chromium or Chrome program."
        )
    say("installing Chromium from the system's package archive")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        run_step("reading the package lists", ["apt-get", "update"], estimate_s=10, log=log, env=env)
        argv = ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"]
        run_step("installing chromium", argv, estimate_s=60, log=log, env=env)
    if find() is None:
        raise StepFailed(
            "The package `chromium` was installed, yet no Chromium is on PATH. Set CHROMIUM to its program."
        )
