"""Chromium for the browser tests: the system's own, or the one in the system's package archive."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from agui_dev.setup import packages
from agui_dev.steps import StepFailed

ADVICE = (
    "The browser tests need Chromium, and none is on PATH. Install it "
    "(Debian, Ubuntu: `sudo apt-get install chromium`), or set CHROMIUM to a Chromium or Chrome program."
)
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
    packages.install(["chromium"], ADVICE, estimate_s=60)
    if find() is None:
        raise StepFailed(
            "The package `chromium` was installed, yet no Chromium is on PATH. Set CHROMIUM to its program."
        )
