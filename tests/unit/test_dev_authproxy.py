"""The Auth Proxy's build: where it puts the program, and what it says where it can't."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from agui_dev.authproxy import build as authproxy


def test_the_folder_changes_with_what_is_pinned(tmp_path: Path) -> None:
    for name in ("go.mod", "go.sum"):
        (tmp_path / name).write_bytes((authproxy.MODULE / name).read_bytes())
    before = authproxy.cache_key(tmp_path)
    assert before == authproxy.cache_key()
    (tmp_path / "go.sum").write_text("other")
    assert authproxy.cache_key(tmp_path) != before


def test_the_version_is_pinned_with_its_sum() -> None:
    module = (authproxy.MODULE / "go.mod").read_text()
    required = re.search(rf"^(?:require )?\s*{authproxy.PACKAGE} (v\S+)", module, re.MULTILINE)
    assert required is not None
    assert f"{authproxy.PACKAGE} {required[1]} h1:" in (authproxy.MODULE / "go.sum").read_text()


def test_what_is_built_is_not_built_again(tmp_path: Path) -> None:
    environ = {"AGUI_CACHE_DIR": str(tmp_path), "PATH": ""}
    program = authproxy.built_program(environ)
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    assert authproxy.build(environ) == program


def test_without_go_it_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(authproxy.NoAuthProxy, match=r"Install Go 1\.26"):
        authproxy.build({"AGUI_CACHE_DIR": str(tmp_path), "PATH": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []


def test_a_go_that_is_too_old_says_so_itself(tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho 'go.mod requires go >= 1.26.0' >&2\nexit 1\n")
    go.chmod(0o755)
    assert subprocess.run([go], check=False, capture_output=True).returncode == 1
    with pytest.raises(authproxy.NoAuthProxy, match=r"requires go >= 1\.26"):
        authproxy.build({"AGUI_CACHE_DIR": str(tmp_path / "cache"), "PATH": str(tmp_path)})
