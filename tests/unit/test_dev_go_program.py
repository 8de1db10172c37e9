"""Programs built from Go modules: where the build puts them, and what it says where it can't."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path

import pytest

from agui_dev.argocd import lua, server
from agui_dev.authproxy import build as authproxy
from agui_dev.go_program import GoProgram, NoProgram

PROGRAM = authproxy.PROGRAM
ALL = [PROGRAM, lua.PROGRAM, server.PROGRAM]


@pytest.fixture
def module(tmp_path: Path) -> GoProgram:
    """A program of its own folder."""
    for path in lua.PROGRAM.module.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return dataclasses.replace(lua.PROGRAM, module=tmp_path)


@pytest.mark.parametrize("name", ["go.mod", "go.sum", "main.go"])
def test_the_folder_changes_with_what_is_built(module: GoProgram, name: str) -> None:
    before = module.cache_key()
    assert before == lua.PROGRAM.cache_key()
    (module.module / name).write_text("other")
    assert module.cache_key() != before


@pytest.mark.parametrize("program", ALL, ids=lambda program: program.name)
def test_the_version_is_pinned_with_its_sum(program: GoProgram) -> None:
    required = re.findall(r"^(?:require )?\s*(\S+/\S+) (v\S+)", (program.module / "go.mod").read_text(), re.MULTILINE)
    own = [(module, version) for module, version in required if program.package in (".", module, f"{module}/cmd")]
    sums = (program.module / "go.sum").read_text()
    assert own
    assert all(f"{module} {version} h1:" in sums for module, version in own)


def test_the_version_of_argo_cd_is_the_one_that_it_reports() -> None:
    assert f"argo-cd/v3 v{server.VERSION}\n" in (server.PROGRAM.module / "go.mod").read_text()


def test_what_is_built_is_not_built_again(tmp_path: Path) -> None:
    environ = {"AGUI_CACHE_DIR": str(tmp_path), "PATH": ""}
    program = PROGRAM.path(environ)
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    assert PROGRAM.build(environ) == program


def test_without_go_it_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(NoProgram, match=r"Install Go 1\.26"):
        PROGRAM.build({"AGUI_CACHE_DIR": str(tmp_path), "PATH": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []


def test_a_go_that_is_too_old_says_so_itself(tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho 'go.mod requires go >= 1.26.0' >&2\nexit 1\n")
    go.chmod(0o755)
    assert subprocess.run([go], check=False, capture_output=True).returncode == 1
    with pytest.raises(NoProgram, match=r"requires go >= 1\.26"):
        PROGRAM.build({"AGUI_CACHE_DIR": str(tmp_path / "cache"), "PATH": str(tmp_path)})
