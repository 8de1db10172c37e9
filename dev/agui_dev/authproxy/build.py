"""Builds the Cloud SQL Auth Proxy from its Go module into the cache: once a version, about a minute of work.

The version and every sum are pinned by `dev/authproxy/go.mod` and `go.sum`.
Source: https://github.com/GoogleCloudPlatform/cloud-sql-proxy
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from agui_dev.paths import ROOT, cache_dir
from agui_dev.steps import clock, only_one, run_step, say

MODULE = ROOT / "dev" / "authproxy"
PACKAGE = "github.com/GoogleCloudPlatform/cloud-sql-proxy/v2"
NAME = "cloud-sql-proxy"
CPU_SECONDS = 80.0  # with an empty build cache, Go 1.26; divided by the cores it is the time announced
DOWNLOAD_SECONDS = 30.0


class NoAuthProxy(Exception):
    """The Auth Proxy can't be built here; the message says what to install."""


def cache_key(module: Path = MODULE) -> str:
    """SHA-256 over go.mod and go.sum: a program built from other inputs never meets this name."""
    return hashlib.sha256((module / "go.mod").read_bytes() + (module / "go.sum").read_bytes()).hexdigest()


def built_program(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the build puts the program; its folder's name changes with go.mod and go.sum."""
    return cache_dir(environ) / "authproxy" / cache_key() / NAME


def check_go(environ: Mapping[str, str] = os.environ) -> None:
    """Raises NoAuthProxy, with what to install, when Go is missing or too old for the module."""
    advice = "Install Go 1.26 or newer: https://go.dev/dl/"
    if shutil.which("go", path=environ.get("PATH", os.defpath)) is None:
        raise NoAuthProxy(f"The Cloud SQL Auth Proxy must be built once, and Go is not on PATH. {advice}")
    # Asked inside the module, the go command itself says when it is too old (or fetches a newer one, if it may).
    answer = subprocess.run(
        ["go", "env", "GOVERSION"], cwd=MODULE, env=dict(environ), capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        raise NoAuthProxy(f"The Cloud SQL Auth Proxy must be built once: {answer.stderr.strip()}. {advice}")


def build(environ: Mapping[str, str] = os.environ) -> Path:
    """The program, built if need be. At most one build runs at a time, whoever asks.

    Raises NoAuthProxy when there is no Go, StepFailed when the download or the compiler fails.
    """
    program = built_program(environ)
    if os.access(program, os.X_OK):
        return program
    check_go(environ)
    target = program.parent
    with only_one(target.parent / "build.lock", "the build of the Cloud SQL Auth Proxy"):
        if target.exists():
            return program
        # What a killed build left behind: we hold the lock, so nobody is writing there.
        for leftover in target.parent.glob("*.building"):
            shutil.rmtree(leftover)
        scratch = target.with_suffix(".building")
        scratch.mkdir()
        _build_into(scratch, environ)
        scratch.rename(target)
        say(f"Cloud SQL Auth Proxy ready: {program}")
    return program


def _build_into(scratch: Path, environ: Mapping[str, str]) -> None:
    cores = max(1, min(os.cpu_count() or 1, 8))
    estimate_s = CPU_SECONDS / cores
    say(
        "building the Cloud SQL Auth Proxy from its Go module, once for this machine: about "
        f"{clock(DOWNLOAD_SECONDS + estimate_s)} on {cores} cores"
    )
    env, log = {**environ, "CGO_ENABLED": "0"}, scratch / "build.log"
    run_step(
        "downloading the modules", ["go", "mod", "download"], estimate_s=DOWNLOAD_SECONDS, log=log, cwd=MODULE, env=env
    )
    argv: list[str | Path] = [
        "go",
        "build",
        "-mod=readonly",
        "-trimpath",
        "-ldflags",
        "-s -w",
        "-o",
        scratch / NAME,
        PACKAGE,
    ]
    run_step(NAME, argv, estimate_s=estimate_s, log=log, cwd=MODULE, env=env)
