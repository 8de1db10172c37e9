"""`.venv`: every dependency, checked by hash, and the three projects of this repository, editable."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from agui_dev.paths import ROOT, VENV, cache_dir
from agui_dev.setup.stamp import Stamp, stamp
from agui_dev.steps import StepFailed, only_one, run_step, say

REQUIREMENTS = ROOT / "requirements" / "dev.txt"
UV_REQUIREMENTS = ROOT / "dev" / "uv.txt"
Argv = list[str | Path]
PROJECTS = (ROOT, ROOT / "app", ROOT / "localgcp")
STAMP_FILE = VENV / ".agui-stamp"


def venv_stamp() -> Stamp:
    """What `.venv` is made of: the hash-checked list, the projects' own files, this Python and this folder."""
    inputs = [REQUIREMENTS, *(project / "pyproject.toml" for project in PROJECTS), Path(__file__)]
    return stamp(STAMP_FILE, inputs, sys.version, str(ROOT))


def ensure() -> None:
    """Make `.venv` agree with the requirement files. Raises StepFailed when that is not possible."""
    wanted = venv_stamp()
    if wanted.is_current():
        return
    with only_one(ROOT, "the virtual environment"):
        if not wanted.is_current():
            _make(wanted)


def _make(wanted: Stamp) -> None:
    uv = find_uv()
    say(f"setting up {VENV.name} with {uv}")
    env = {**os.environ, "VIRTUAL_ENV": str(VENV)}
    argv: Argv
    with tempfile.TemporaryDirectory(prefix="agui-setup-") as folder:
        log = Path(folder) / "log"
        if not _is_usable():
            argv = [uv, "venv", "--clear", "--python", sys.executable, VENV]
            run_step("making the virtual environment", argv, estimate_s=2, log=log)
        # sync, not install: what has left the list leaves the environment
        argv = [uv, "pip", "sync", "--compile-bytecode", "--require-hashes", REQUIREMENTS]
        run_step("installing the dependencies", argv, estimate_s=90, log=log, env=env)
        install: Argv = [uv, "pip", "install", "--compile-bytecode"]
        argv = [*install, "--no-deps", "--no-build-isolation", *(f"--editable={project}" for project in PROJECTS)]
        run_step("installing the three projects, editable", argv, estimate_s=5, log=log, env=env, cwd=ROOT)
    _write_path_file()
    wanted.write()


def _is_usable() -> bool:
    """False when there is no environment, or one whose Python is gone or of another version than ours."""
    try:
        answer = subprocess.run(
            [VENV / "bin" / "python", "-c", "import sys; print(sys.version)"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return False
    return answer.returncode == 0 and answer.stdout.strip() == sys.version


def _write_path_file() -> None:
    """`agui_dev` is no project of its own: a path file makes `python -m agui_dev...` work from anywhere."""
    for packages in VENV.glob("lib/python3*/site-packages"):
        (packages / "agui_dev.pth").write_text(f"{ROOT / 'dev'}\n")


def find_uv() -> Path:
    """uv from PATH, else from a private environment in the cache, made on first use. Raises StepFailed."""
    if found := shutil.which("uv"):
        return Path(found)
    home = cache_dir() / "uv"
    uv = home / "bin" / "uv"
    wanted = stamp(home / ".agui-stamp", [UV_REQUIREMENTS], sys.version)
    if wanted.is_current() and os.access(uv, os.X_OK):
        return uv
    with only_one(home.with_suffix(".lock"), "the installation of uv"), tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        try:
            argv: Argv = [sys.executable, "-m", "venv", "--clear", home]
            run_step("making a place for uv", argv, estimate_s=5, log=log)
        except StepFailed as failure:
            raise StepFailed(
                f"{failure}\nThis Python cannot make virtual environments. Install its venv module "
                "(Debian, Ubuntu: `apt install python3-venv`), or put uv on PATH: https://docs.astral.sh/uv/."
            ) from None
        argv = [home / "bin" / "pip", "install", "--quiet", "--require-hashes", "-r", UV_REQUIREMENTS]
        run_step("installing uv", argv, estimate_s=10, log=log)
        wanted.write()
    return uv


def ensure_control_plane() -> None:
    """The control plane's binaries, found or made by `agui_dev.controlplane`, which needs the environment."""
    ensure()
    if subprocess.run([VENV / "bin" / "python", "-m", "agui_dev.controlplane", "build"], check=False).returncode != 0:
        raise StepFailed("The Kubernetes control plane is not ready; the reason stands above.")
