"""What the image tests need is installed where that is permitted, and asked for with a command where it is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agui_dev.images.store import Store
from agui_dev.setup import browser, images, packages
from agui_dev.steps import StepFailed

DPKG = """#!/bin/sh
echo "$@" >> {folder}/asked
case "$*" in
*buildah*) printf '#!/bin/sh\\nexit 0\\n' > {folder}/buildah; chmod +x {folder}/buildah ;;
*debootstrap*) printf '#!/bin/sh\\nexit 0\\n' > {folder}/debootstrap; chmod +x {folder}/debootstrap ;;
*fails*) echo "no such package" >&2; exit 100 ;;
esac
"""


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root user's machine with nothing but apt-get; the words that it was called with are in the file."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "apt-get").write_text(DPKG.format(folder=folder))
    (folder / "apt-get").chmod(0o755)
    (folder / "chmod").symlink_to("/bin/chmod")
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("AGUI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return folder / "asked"


def test_buildah_and_debootstrap_are_installed_only_when_they_are_missing(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Store] = []
    monkeypatch.setattr(images, "python_base", made.append)
    monkeypatch.setattr(images, "find_python_base", lambda _: None)
    assert images.missing() == ["buildah", "debootstrap"]
    images.ensure()
    assert images.missing() == []
    asked = archive.read_text()
    assert "install --yes --no-install-recommends buildah crun" in asked
    assert "install --yes --no-install-recommends debootstrap" in asked
    images.ensure()
    assert archive.read_text() == asked, "nothing is installed twice"
    assert [store.driver for store in made] == ["overlay"] * 2


def test_a_base_image_that_is_there_needs_no_debootstrap(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "find_python_base", lambda _: "python:3.11")
    images.ensure()
    assert images.missing() == ["debootstrap"]


def test_who_may_not_install_gets_the_command(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (archive.parent / "apt-get").unlink()
    with pytest.raises(StepFailed, match="`sudo apt-get install buildah crun`"):
        images.ensure()
    monkeypatch.delenv("CHROMIUM", raising=False)
    with pytest.raises(StepFailed, match="`sudo apt-get install chromium`"):
        browser.ensure()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(StepFailed, match="you are not root"):
        images.ensure()
    assert not packages.may_install()


def test_an_installation_that_fails_says_why_and_what_to_do(archive: Path) -> None:
    with pytest.raises(StepFailed, match=r"(?s)no such package.*\nInstall it yourself\.$"):
        packages.install(["fails"], "Install it yourself.", 1)
