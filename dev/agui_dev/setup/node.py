"""`frontend/node_modules`: the browser application's dependencies, exactly as its lock file names them."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from agui_dev.paths import ROOT
from agui_dev.setup.stamp import stamp
from agui_dev.steps import StepFailed, only_one, run_step

FRONTEND = ROOT / "frontend"
OLDEST_NODE = 20


def ensure(frontend: Path = FRONTEND) -> None:
    """Install the locked packages; nothing to do where there is no lock file. Raises StepFailed."""
    lock = frontend / "package-lock.json"
    if not lock.exists():
        return
    version = check_node()
    settings = [file for file in (frontend / ".npmrc",) if file.exists()]
    wanted = stamp(frontend / "node_modules" / ".agui-stamp", [lock, frontend / "package.json", *settings], version)
    if wanted.is_current():
        return
    with only_one(frontend, "the browser application's packages"), tempfile.TemporaryDirectory() as folder:
        if wanted.is_current():
            return
        argv = ["npm", "ci", "--no-audit", "--no-fund"]
        step = "installing the browser application's packages"
        run_step(step, argv, estimate_s=110, log=Path(folder) / "log", cwd=frontend)
        wanted.write()


def check_node() -> str:
    """Node's version (`v22.1.0`). Raises StepFailed when it is missing or too old."""
    advice = f"Install Node.js {OLDEST_NODE} or newer with npm (https://nodejs.org)."
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise StepFailed(f"The browser application needs Node.js and npm, and they are not on PATH. {advice}")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    major = version.removeprefix("v").split(".")[0]
    if not major.isdigit() or int(major) < OLDEST_NODE:
        raise StepFailed(
            f"The browser application needs Node.js {OLDEST_NODE} or newer; this is {version or 'broken'}. {advice}"
        )
    return version
