"""Programs that are built once from their pinned Go modules into the cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agui_dev.paths import cache_dir
from agui_dev.steps import clock, only_one, run_step, say

ADVICE = "Install Go 1.26 or newer: https://go.dev/dl/"
DOWNLOAD_SECONDS = 30.0


class NoProgram(Exception):
    """The program can't be built here; the message says what to install."""


@dataclass(frozen=True, slots=True)
class GoProgram:
    """One program. `module` holds go.mod and go.sum, and the sources where `package` is `.`; `cpu_seconds` are those of
    a build with an empty cache: divided by the cores they are the time announced."""

    name: str
    title: str
    cache: str  # the folder in the cache
    module: Path
    package: str
    cpu_seconds: float
    link_flags: str = "-s -w"

    def cache_key(self, module: Path | None = None) -> str:
        """SHA-256 over what is built: a program built from other inputs never meets this name."""
        folder = module or self.module
        files = [folder / "go.mod", folder / "go.sum", *sorted(folder.glob("*.go"))]
        return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()

    def path(self, environ: Mapping[str, str] = os.environ) -> Path:
        """Where the build puts the program."""
        return cache_dir(environ) / self.cache / self.cache_key() / self.name

    def build(self, environ: Mapping[str, str] = os.environ) -> Path:
        """The program, built if need be. At most one build runs at a time, whoever asks.

        Raises NoProgram when there is no Go, StepFailed when the download or the compiler fails.
        """
        program = self.path(environ)
        if os.access(program, os.X_OK):
            return program
        self._check_go(environ)
        target = program.parent
        with only_one(target.parent / "build.lock", f"the build of {self.title}"):
            if target.exists():
                return program
            # What a killed build left behind: we hold the lock, so nobody is writing there.
            for leftover in target.parent.glob("*.building"):
                shutil.rmtree(leftover)
            scratch = target.with_suffix(".building")
            scratch.mkdir()
            self._build_into(scratch, environ)
            scratch.rename(target)
            say(f"{self.title} ready: {program}")
        return program

    def _check_go(self, environ: Mapping[str, str]) -> None:
        if shutil.which("go", path=environ.get("PATH", os.defpath)) is None:
            raise NoProgram(f"{self.title} must be built once, and Go is not on PATH. {ADVICE}")
        # Asked inside the module, the go command itself says when it is too old (or fetches a newer one, if it may).
        answer = subprocess.run(
            ["go", "env", "GOVERSION"], cwd=self.module, env=dict(environ), capture_output=True, text=True, check=False
        )
        if answer.returncode != 0:
            raise NoProgram(f"{self.title} must be built once: {answer.stderr.strip()}. {ADVICE}")

    def _build_into(self, scratch: Path, environ: Mapping[str, str]) -> None:
        cores = max(1, min(os.cpu_count() or 1, 8))
        estimate_s = self.cpu_seconds / cores
        say(
            f"building {self.title} from its Go module, once for this machine: about "
            f"{clock(DOWNLOAD_SECONDS + estimate_s)} on {cores} cores"
        )
        env, log = {**environ, "CGO_ENABLED": "0"}, scratch / "build.log"
        download = ["go", "mod", "download"]
        run_step("downloading the modules", download, estimate_s=DOWNLOAD_SECONDS, log=log, cwd=self.module, env=env)
        argv: list[str | Path] = ["go", "build", "-mod=readonly", "-trimpath", "-ldflags", self.link_flags]
        argv += ["-o", scratch / self.name, self.package]
        run_step(self.name, argv, estimate_s=estimate_s, log=log, cwd=self.module, env=env)
