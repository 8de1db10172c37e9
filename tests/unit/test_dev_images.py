"""What a build is told, without building: where the sources come from, how to reach the indexes, what is in the way."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from agui_dev.images import base, build, network, store
from agui_dev.steps import StepFailed


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://example.com/team/agui.git", "https://example.com/team/agui"),
        ("https://user:secret@example.com/team/agui.git", "https://example.com/team/agui"),
        ("ssh://git@example.com:2222/team/agui", "https://example.com/team/agui"),
        ("git@example.com:team/agui.git", "https://example.com/team/agui"),
        ("/srv/git/agui.git", "unknown"),
        ("file:///srv/git/agui.git", "unknown"),
        ("", "unknown"),
    ],
)
def test_the_address_of_the_sources_holds_no_password(remote: str, address: str) -> None:
    assert build.public_address(remote) == address


def repository(folder: Path) -> str:
    """A repository with one commit; its id."""
    commands = (
        ("init", "--quiet"),
        ("add", "."),
        ("-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "--quiet", "-m", "first"),
    )
    (folder / "file").write_text("1")
    for command in commands:
        subprocess.run(["git", "-C", folder, *command], check=True)
    return subprocess.run(
        ["git", "-C", folder, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_sources_are_the_commit_and_say_when_they_differ_from_it(tmp_path: Path) -> None:
    commit = repository(tmp_path)
    clean = build.read_sources(tmp_path, {"SOURCE_DATE_EPOCH": "1700000000"})
    assert (clean.revision, clean.epoch, clean.address) == (commit, 1_700_000_000, "unknown")
    assert "CREATED=2023-11-14T22:13:20Z" in clean.arguments()
    (tmp_path / "file").write_text("2")
    assert build.read_sources(tmp_path, {}).revision == f"{commit}-dirty"


def test_files_have_the_same_time_whatever_the_commit(tmp_path: Path) -> None:
    repository(tmp_path)
    given = [
        build.read_sources(tmp_path, {"SOURCE_DATE_EPOCH": epoch}).arguments()[:2] for epoch in ("1", "2000000000")
    ]
    assert given == [["--timestamp", str(build.FILE_TIME)]] * 2


def test_a_cached_label_can_not_be_that_of_another_commit() -> None:
    """The words of the instructions differ wherever the values do, and a builder's cache goes by the words."""
    first = build.Sources("1.0", "a" * 40, "https://example.com/agui", 1)
    given = "ARG BASE=slim\nFROM ${BASE}\nARG REVISION\nARG CREATED\nLABEL r=${REVISION} c=${CREATED}\n"
    written = first.written_into(given)
    assert written == given.replace("${REVISION}", "a" * 40).replace("${CREATED}", "1970-01-01T00:00:01Z")
    assert replace(first, revision="b" * 40).written_into(given) != written


@pytest.mark.parametrize("epoch", ["yesterday", "-1", "1.5", "1" * 12])
def test_a_wrong_time_is_refused(tmp_path: Path, epoch: str) -> None:
    with pytest.raises(StepFailed, match="SOURCE_DATE_EPOCH"):
        build.read_sources(tmp_path, {"SOURCE_DATE_EPOCH": epoch})


def test_a_private_index_is_mounted_and_never_an_argument(tmp_path: Path) -> None:
    address = "https://user:secret@packages.example.com/simple"
    options = network.build_options(tmp_path, {"PIP_INDEX_URL": address, "HTTPS_PROXY": "http://u:p@proxy:3128"})
    assert not [word for word in options if "secret" in word or "u:p@" in word]
    assert options[:2] == ["--build-arg", "HTTPS_PROXY"]
    assert address in (tmp_path / "pip.conf").read_text()
    assert address in (tmp_path / "uv.toml").read_text()
    targets = [word.split(":")[1] for word in options if word.endswith(":ro")]
    assert {"/etc/pip.conf", "/etc/uv/uv.toml", "/root/.npmrc"} <= set(targets)


def test_pips_own_settings_name_the_index(tmp_path: Path) -> None:
    settings = tmp_path / "pip.conf"
    settings.write_text("[global]\nindex-url = https://packages.example.com/simple%20x\n")
    assert network.index_address({"PIP_CONFIG_FILE": str(settings)}) == "https://packages.example.com/simple%20x"
    settings.write_text("this is not an ini file")
    assert network.index_address({"PIP_CONFIG_FILE": str(settings)}) is None


def test_npm_keeps_its_own_certificates(tmp_path: Path) -> None:
    own = tmp_path / "npmrc"
    own.write_text("fund=false\ncafile=/own.pem\n")
    assert network.npm_settings({"NPM_CONFIG_USERCONFIG": str(own)}) == own.read_text()
    own.write_text("fund=false\n")
    assert network.npm_settings({"NPM_CONFIG_USERCONFIG": str(own)}).startswith("fund=false\n")


def test_the_base_is_what_the_dockerfile_names(tmp_path: Path) -> None:
    assert base.official("BASE").startswith("python:3.11")
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    with pytest.raises(StepFailed, match="ARG BASE"):
        base.official("BASE", tmp_path / "Dockerfile")


def test_a_machine_without_buildah_says_so(tmp_path: Path) -> None:
    reason = store.why_unavailable({"PATH": str(tmp_path)})
    assert reason is not None
    assert "buildah" in reason


def test_storages_do_not_share_their_state(tmp_path: Path) -> None:
    one, other = store.Store(tmp_path / "a", "overlay"), store.Store(tmp_path / "b", "overlay")
    assert one.argv("info")[4] != other.argv("info")[4]
    assert one.argv("info")[4] == store.Store(tmp_path / "a", "vfs").argv("info")[4]
