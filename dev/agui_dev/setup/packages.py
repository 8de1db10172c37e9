"""Programs from the system's package archive, installed where that is permitted. Standard library only."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from agui_dev.paths import cache_dir
from agui_dev.steps import StepFailed, only_one, run_step

# Another program may be installing at this moment: apt waits for it so many seconds.
WAIT = ("-o", "DPkg::Lock::Timeout=300")


def may_install() -> bool:
    """True where this process may install Debian packages."""
    return shutil.which("apt-get") is not None and os.geteuid() == 0


def install(names: Sequence[str], advice: str, estimate_s: float) -> None:
    """Install these packages. Raises StepFailed with `advice` where that is not permitted or fails."""
    if not may_install():
        raise StepFailed(advice)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with only_one(cache_dir() / "apt.lock", "packages of the system"), tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        try:
            run_step("reading the package lists", ["apt-get", *WAIT, "update"], estimate_s=10, log=log, env=env)
            argv = ["apt-get", *WAIT, "install", "--yes", "--no-install-recommends", *names]
            run_step(f"installing {', '.join(names)}", argv, estimate_s=estimate_s, log=log, env=env)
        except StepFailed as failure:
            raise StepFailed(f"{failure}\n{advice}") from None
