"""The build into the cache, with a stand-in for the Go compiler: whole or not at all, once, and clear what lacks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agui_dev.controlplane.binaries import NoControlPlane, built_folder
from agui_dev.controlplane.build import build, build_command, link_flags
from agui_dev.steps import StepFailed

GO = """#!/bin/sh
echo "$CGO_ENABLED $GOFLAGS $*" >> "$CALLS"
case "$1" in
env)
    if [ -n "$TOO_OLD" ]; then echo "go: go.mod requires go >= 1.26.0 (running go 1.22.1)" >&2; exit 1; fi
    echo go1.26.8 ;;
build)
    while [ $# -gt 1 ]; do if [ "$1" = -o ]; then target="$2"; fi; shift; done
    if [ "$(basename "$target")" = "$FAIL_AT" ]; then echo "cannot find module $1"; exit 1; fi
    sleep "${SLOW:-0}"
    echo built > "$target" && chmod +x "$target" ;;
esac
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A machine with our `go` first on PATH and an empty cache."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "go").write_text(GO)
    (tools / "go").chmod(0o755)
    return {
        "AGUI_CACHE_DIR": str(tmp_path / "cache"),
        "PATH": f"{tools}:{os.environ['PATH']}",
        "CALLS": str(tmp_path / "calls"),
        "GOFLAGS": "-mod=mod",
    }


@pytest.fixture(autouse=True)
def our_go(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    # Popen looks for the program on the PATH of this process.
    monkeypatch.setenv("PATH", env["PATH"])


def calls(env: dict[str, str]) -> list[str]:
    return Path(env["CALLS"]).read_text().splitlines()


def test_all_programs_are_there_after_the_build_and_are_built_once(env: dict[str, str]) -> None:
    build(env)
    programs = {"etcd", "kube-apiserver", "kube-controller-manager", "kubectl"}
    assert {file.name for file in built_folder(env).iterdir()} == programs
    builds = [call for call in calls(env) if " build " in call]
    assert len(builds) == 4
    assert all(call.startswith("0 -mod=mod ") for call in builds), "static programs; the user's GOFLAGS hold"
    build(env)
    assert [call for call in calls(env) if " build " in call] == builds


def test_a_failed_build_leaves_nothing_that_could_be_taken_for_one(env: dict[str, str]) -> None:
    with pytest.raises(StepFailed, match=r"(?s)kube-controller-manager \(3 of 4\): failed .*cannot find module"):
        build({**env, "FAIL_AT": "kube-controller-manager"})
    assert not built_folder(env).parent.exists()
    build(env)
    assert (built_folder(env) / "kubectl").exists()
    leftovers = [folder.name for folder in built_folder(env).parent.parent.glob("*.building")]
    assert leftovers == []


def test_two_builds_at_once_are_one(env: dict[str, str]) -> None:
    script = "from agui_dev.controlplane.build import build; build()"
    argv, slow = [sys.executable, "-c", script], {**env, "SLOW": "0.3"}
    both = [subprocess.Popen(argv, env=slow, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert len([call for call in calls(env) if " build " in call]) == 4
    assert sum("waiting for the build of the control plane" in text for text in said) == 1


def test_without_go_it_says_what_to_install(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoControlPlane, match=r"Go is not on PATH. Install Go 1.26 or newer .* KUBEBUILDER_ASSETS"):
        build({**env, "PATH": str(tmp_path / "empty")})


def test_an_old_go_speaks_for_itself(env: dict[str, str]) -> None:
    with pytest.raises(NoControlPlane, match=r"requires go >= 1.26.0 \(running go 1.22.1\)\. Install Go 1.26"):
        build({**env, "TOO_OLD": "yes"})


def test_the_programs_report_the_version_of_the_module() -> None:
    flags = link_flags("v1.36.3").split()
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
        assert f"{package}.gitVersion=v1.36.3" in flags
        assert f"{package}.gitMinor=36" in flags
    command = build_command("etcd", Path("/cache/etcd"), "v1.36.3")
    assert command[:2] == ["go", "build"]
    assert command[-3:] == ["-o", "/cache/etcd", "go.etcd.io/etcd/server/v3"]
