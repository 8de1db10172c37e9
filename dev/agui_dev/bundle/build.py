"""Runs the frontend's own build and keeps what comes of it.

A build depends on the sources, their commit, the version that the page shows and Node; a bundle that was built from
the same ones before is taken from the cache. So the demo and the browser tests build each page once, and never publish
one that is older than its sources.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agui_dev.paths import cache_dir
from agui_dev.setup import node
from agui_dev.setup.node import FRONTEND
from agui_dev.steps import StepFailed, only_one

RUNTIME_URL = "/copilotkit"
BUILD_SECONDS = 120
KEPT = 30  # bundles in the cache, of about 350 kB each
# What a build reads; tests, flows and notes are not part of it.
_FILES = ("index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts")
_FOLDERS = ("src", "public", "release")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A built archive. `report` holds bytes: entryGzipBytes, budgetBytes, totalBytes, and `sizes` by path."""

    version: str
    path: Path
    sha256: str
    report: dict[str, Any]

    def read(self) -> bytes:
        return self.path.read_bytes()


def build(
    version: str, out: Path, *, runtime_url: str = RUNTIME_URL, revision: str = "", frontend: Path = FRONTEND
) -> Bundle:
    """Builds `concierge-<version>.tar.gz` and its size report into `out`.

    `runtime_url` is where the page will look for its backend: an absolute URL, or a path on its own origin. `revision`
    replaces the commit that git would name. Raises StepFailed when Node.js or the packages are missing and cannot be
    installed, when the build fails, and when the first load exceeds its budget.
    """
    node.ensure(frontend)
    for needed in (frontend / "node_modules" / "vite", frontend / "release" / "bundle.mjs"):
        if not needed.exists():
            raise StepFailed(f"{needed} is missing. Run `npm ci` in {frontend}, or remove its node_modules and repeat.")
    # VITE_* variables of the caller would become part of the page
    env = {name: value for name, value in os.environ.items() if not name.startswith(("VITE_", "AGUI_", "npm_"))}
    env |= {"AGUI_VERSION": version, "AGUI_BUNDLE_DIR": str(out.resolve()), "VITE_COPILOTKIT_RUNTIME_URL": runtime_url}
    env["NO_COLOR"] = "1"  # what it says may end up in a log
    env |= {"AGUI_REVISION": revision} if revision else {}
    argv = ["node", "release/bundle.mjs"]
    try:
        done = subprocess.run(
            argv, cwd=frontend, env=env, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise StepFailed(f"The browser application was not built within {BUILD_SECONDS} s.") from None
    if done.returncode != 0:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("    at ")]
        said = "\n".join(lines[-25:])
        raise StepFailed(f"The browser application could not be built (exit code {done.returncode}).\n{said}")
    return _bundle(version, out / f"concierge-{version}.tar.gz", out / "size.json")


def kept(
    version: str, *, runtime_url: str = RUNTIME_URL, frontend: Path = FRONTEND, cache: Path | None = None
) -> Bundle:
    """The bundle of these sources: from the cache if it was built before, else built now. Raises StepFailed."""
    home = cache or cache_dir() / "bundles"
    folder = home / _key(frontend, version, runtime_url)
    archive, report = folder / f"concierge-{version}.tar.gz", folder / "size.json"
    if archive.exists():
        os.utime(folder)
        return _bundle(version, archive, report)
    with only_one(home / "lock", "a build of the browser application"):
        if not archive.exists():
            with tempfile.TemporaryDirectory(dir=home) as scratch:
                made = Path(scratch, "made")
                made.mkdir()
                build(version, made, runtime_url=runtime_url, frontend=frontend)
                made.rename(folder)
            _forget_oldest(home)
    return _bundle(version, archive, report)


def _bundle(version: str, archive: Path, report: Path) -> Bundle:
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    return Bundle(version, archive, digest, json.loads(report.read_text()))


def _key(frontend: Path, version: str, runtime_url: str) -> str:
    """Names everything that a build's bytes depend on."""
    digest = hashlib.sha256("\0".join([version, runtime_url, node.check_node(), *_commit(frontend)]).encode())
    for path in _sources(frontend):
        digest.update(f"\0{path.relative_to(frontend).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:24]


def _sources(frontend: Path) -> Iterator[Path]:
    yield from (frontend / name for name in _FILES if (frontend / name).is_file())
    yield from sorted(frontend.glob(".env*"))
    for folder in _FOLDERS:
        yield from sorted(path for path in (frontend / folder).rglob("*") if path.is_file())


def _commit(frontend: Path) -> tuple[str, ...]:
    """What the manifest will say about the revision, in git's own words; () without git."""
    if shutil.which("git") is None:
        return ()
    asked = (["log", "-1", "--format=%H", "--", "."], ["status", "--porcelain", "--", "."])
    answers = (
        subprocess.run(["git", *words], cwd=frontend, capture_output=True, text=True, check=False) for words in asked
    )
    return tuple(answer.stdout if number == 0 else str(bool(answer.stdout)) for number, answer in enumerate(answers))


def _forget_oldest(home: Path) -> None:
    folders = sorted((p for p in home.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime, reverse=True)
    for folder in folders[KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)
