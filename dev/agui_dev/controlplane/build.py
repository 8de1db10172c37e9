"""Builds the control plane from its Go modules into the cache: once a version, about ten minutes on two cores."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from agui_dev.controlplane import versions
from agui_dev.controlplane.binaries import NoControlPlane, built_folder
from agui_dev.steps import clock, only_one, run_step, say

# CPU seconds with an empty build cache, measured with Go 1.26; divided by the cores they give the time announced.
CPU_SECONDS: Mapping[str, float] = {"etcd": 94, "kube-apiserver": 423, "kube-controller-manager": 127, "kubectl": 48}
DOWNLOAD_SECONDS = 30.0
DISK_GIB = 4.0


def link_flags(version: str) -> str:
    """Flags that give the programs their version: without them they report v0.0.0 and kubectl warns of skew.

    The commit and the date are constant, so that equal inputs give equal bytes.
    """
    major, minor = version.removeprefix("v").split(".")[:2]
    stamped = {
        "gitVersion": version,
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "archive",
        "gitCommit": "0" * 40,
        "buildDate": "1970-01-01T00:00:00Z",
    }
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(
        ["-s", "-w", *(f"-X {package}.{key}={value}" for package in packages for key, value in stamped.items())]
    )


def build_command(name: str, target: Path, version: str) -> Sequence[str]:
    """The command that builds one program; GOFLAGS, GOTOOLCHAIN and GOPROXY of the user hold."""
    flags = ["-mod=readonly", "-trimpath", "-ldflags", link_flags(version), "-o", str(target)]
    return ["go", "build", *flags, versions.PACKAGES[name]]


def check_go(environ: Mapping[str, str] = os.environ) -> None:
    """Raises NoControlPlane, with what to install, when Go is missing or too old for the module."""
    advice = (
        "Install Go 1.26 or newer (https://go.dev/dl/), or set KUBEBUILDER_ASSETS to a folder with etcd and "
        "kube-apiserver, or AGUI_KUBECONFIG to the kubeconfig of a cluster to use."
    )
    if shutil.which("go", path=environ.get("PATH", os.defpath)) is None:
        raise NoControlPlane(f"The control plane must be built once, and Go is not on PATH. {advice}")
    # Asked inside the module, the go command itself says when it is too old (or fetches a newer one, if it may).
    answer = subprocess.run(
        ["go", "env", "GOVERSION"], cwd=versions.MODULE, env=dict(environ), capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        raise NoControlPlane(f"The control plane must be built once: {answer.stderr.strip()}. {advice}")


def build(environ: Mapping[str, str] = os.environ) -> None:
    """Afterwards `built_folder()` holds all programs. At most one build runs at a time, whoever asks.

    Raises NoControlPlane when Go is missing, StepFailed when the compiler fails.
    """
    check_go(environ)
    target = built_folder(environ).parent
    target.parent.mkdir(parents=True, exist_ok=True)
    with only_one(target.parent / "build.lock", "the build of the control plane"):
        if target.exists():
            return
        # What a killed build left behind: we hold the lock, so nobody is writing there.
        for leftover in target.parent.glob("*.building"):
            shutil.rmtree(leftover)
        scratch = target.with_suffix(".building")
        (scratch / "bin").mkdir(parents=True)
        _build_into(scratch, environ)
        scratch.rename(target)
        say(f"control plane ready in {target / 'bin'}")


def _build_into(scratch: Path, environ: Mapping[str, str]) -> None:
    version = versions.kubernetes_version()
    cores = max(1, min(os.cpu_count() or 1, 8))
    estimates = {name: seconds / cores for name, seconds in CPU_SECONDS.items()}
    say(
        f"building Kubernetes {version} from its Go modules, once for this machine: about "
        f"{clock(DOWNLOAD_SECONDS + sum(estimates.values()))} on {cores} cores, less if Go's build cache knows it"
    )
    free_gib = shutil.disk_usage(scratch).free / 2**30
    if free_gib < DISK_GIB:
        say(f"  only {free_gib:.1f} GiB are free here; Go's caches take about {DISK_GIB:.0f} GiB")
    env = {**environ, "CGO_ENABLED": "0"}
    log = scratch / "build.log"
    step = "downloading the modules"
    run_step(step, ["go", "mod", "download"], estimate_s=DOWNLOAD_SECONDS, log=log, cwd=versions.MODULE, env=env)
    for number, (name, estimate_s) in enumerate(estimates.items(), start=1):
        argv = build_command(name, scratch / "bin" / name, version)
        step = f"{name} ({number} of {len(estimates)})"
        run_step(step, argv, estimate_s=estimate_s, log=log, cwd=versions.MODULE, env=env)
