"""Images that are shipped stand on bases that a digest names: a tag leads to other bytes tomorrow."""

from __future__ import annotations

from pathlib import Path

import pytest

from agui_dev.images import base
from agui_dev.images.__main__ import main
from agui_dev.images.build import Bases
from agui_dev.steps import StepFailed

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "name", ["python:3.11-slim-bookworm", "python", f"python:{DIGEST}", "python@sha256:abc", f"python@{DIGEST}0"]
)
def test_a_base_without_a_digest_is_refused(name: str) -> None:
    with pytest.raises(StepFailed, match=r"has no digest.*--base"):
        Bases(python=name).pinned("app")


def test_both_bases_of_the_browser_need_one() -> None:
    named = Bases(python=f"python:3.11-slim-bookworm@{DIGEST}")
    assert named.pinned("operator").python == named.python
    with pytest.raises(StepFailed, match="node"):
        named.pinned("e2e")
    full = Bases(named.python, f"node@{DIGEST}")
    assert full.pinned("bundle") == full


def test_a_digest_in_the_dockerfile_counts(tmp_path: Path) -> None:
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(f"# ARG BASE=old\nARG BASE=python:3.11@{DIGEST}\nFROM ${{BASE}} AS x\n")
    base.check_pinned(base.official("BASE", dockerfile))


def test_the_command_builds_nothing_without_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a build began")

    monkeypatch.setattr("agui_dev.images.__main__.build", never)
    monkeypatch.setattr("agui_dev.images.__main__.open_store", lambda: None)
    monkeypatch.setattr("sys.argv", ["images", "build", "--pinned", "--base", "python:3.11"])
    assert main() == 1
    assert "python:3.11 has no digest" in capsys.readouterr().err
