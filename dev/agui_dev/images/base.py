"""The images below ours: pulled where a registry answers, else made here from the distribution's package archive.

The stand-ins hold what the official images hold as far as ours use it: Debian, its Python 3.11, certificates; and for
the browser application this machine's own Node.js. They are made once and kept; what is shipped should be built on the
official ones.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from agui_dev.images.store import Store
from agui_dev.paths import ROOT
from agui_dev.setup.node import check_node
from agui_dev.steps import StepFailed, only_one, run_step, say

SUITE = "bookworm"
PACKAGES = "python3,python3-venv,ca-certificates"
PYTHON_STAND_IN = f"localhost/agui-base-python:{SUITE}"
NODE_STAND_IN = f"localhost/agui-base-node:{SUITE}"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Written while the archive was unpacked; no image needs them.
LEFTOVERS = ("var/cache/apt/*.bin", "var/cache/apt/archives/*.deb", "var/lib/apt/lists/*", "var/log/*.log", "dev/*")


def official(argument: str, dockerfile: Path = ROOT / "Dockerfile") -> str:
    """The default of a build argument (`BASE`, `NODE_BASE`) in the Dockerfile. Raises StepFailed without one."""
    for line in dockerfile.read_text().splitlines():
        if line.startswith(f"ARG {argument}="):
            return line.partition("=")[2].strip()
    raise StepFailed(f"{dockerfile.name} has no `ARG {argument}=...`.")


def check_pinned(*names: str) -> None:
    """Raises StepFailed for an image that is named without a digest: its tag leads to other bytes tomorrow."""
    for name in names:
        if not re.fullmatch(r".+@sha256:[0-9a-f]{64}", name):
            raise StepFailed(
                f"{name} has no digest, and --pinned builds on images with one only. Name it as `NAME@sha256:...` with "
                "--base or --node-base, or in the ARG of the Dockerfile; `docker buildx imagetools inspect NAME` and "
                "`skopeo inspect` print the digest of a tag."
            )


def digest_of(store: Store, name: str) -> str:
    """The digest of an image that is here: what a label says about the base of another one."""
    found = store.find(name) or {}
    return str(found.get("FromImageDigest") or "unknown")


def find_python_base(store: Store) -> str | None:
    """The Python image that is here already: the official one, the stand-in, or None."""
    return next((name for name in (official("BASE"), PYTHON_STAND_IN) if store.has(name)), None)


def python_base(store: Store) -> str:
    """Name of a Python image to build on, pulled or made if there is none. Raises StepFailed when neither works."""
    with only_one(store.folder / "base.lock", "the base image"):
        if (found := find_python_base(store)) or (found := _pulled(store, official("BASE"))):
            return found
        _make_python(store)
        return PYTHON_STAND_IN


def node_base(store: Store) -> str:
    """Name of a Node.js image to build on, pulled or made if there is none. Raises StepFailed when neither works."""
    name = official("NODE_BASE")
    found = next((image for image in (name, NODE_STAND_IN) if store.has(image)), None) or _pulled(store, name)
    if found:
        return found
    below = python_base(store)
    with only_one(store.folder / "base.lock", "the base image"):
        if not store.has(NODE_STAND_IN):
            _make_node(store, below)
    return NODE_STAND_IN


def _pulled(store: Store, name: str) -> str | None:
    try:
        store.read("pull", "--quiet", name, timeout_s=300)
    except StepFailed:
        say(f"  {name} cannot be pulled here; a stand-in serves")
        return None
    return name


def _make_python(store: Store) -> None:
    if shutil.which("debootstrap") is None:
        raise StepFailed(
            f"{official('BASE')} cannot be pulled, and the stand-in is made with debootstrap, which is not on PATH "
            "(Debian, Ubuntu: `apt-get install debootstrap`). Or name an image: `--base NAME`."
        )
    with tempfile.TemporaryDirectory(prefix="base-", dir=store.folder) as folder:
        root, log = Path(folder) / "root", Path(folder) / "log"
        argv: list[str | Path] = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, root]
        run_step(f"making a stand-in with Debian {SUITE} and Python", argv, estimate_s=60, log=log)
        for pattern in LEFTOVERS:
            for path in root.glob(pattern):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        container = store.read("from", "scratch")
        try:
            store.step("importing it", "add", "--quiet", container, str(root), "/", estimate_s=10)
            store.read("config", "--env", f"PATH={PATH}", "--cmd", "python3", container)
            store.step("storing it", "commit", "--quiet", container, PYTHON_STAND_IN, estimate_s=10)
        finally:
            store.read("rm", container)


def _make_node(store: Store, below: str) -> None:
    """Node.js of this machine and its npm on top of `below`."""
    check_node()
    node = _first_line("node", "-p", "process.execPath")
    npm = Path(_first_line("npm", "root", "--global")) / "npm"
    container = store.read("from", below)
    try:
        store.read("copy", "--quiet", container, node, "/usr/local/bin/node")
        store.read("copy", "--quiet", container, str(npm), "/usr/local/lib/node_modules/npm")
        for name in ("npm", "npx"):
            link = f"import os; os.symlink('../lib/node_modules/npm/bin/{name}-cli.js', '/usr/local/bin/{name}')"
            store.read("run", "--isolation", "chroot", container, "--", "python3", "-c", link)
        store.step("storing a stand-in with Node.js", "commit", "--quiet", container, NODE_STAND_IN, estimate_s=15)
    finally:
        store.read("rm", container)


def _first_line(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not done.stdout.strip():
        raise StepFailed(f"`{' '.join(argv)}` failed: {done.stderr.strip()[-300:]}")
    return done.stdout.strip().splitlines()[0]
