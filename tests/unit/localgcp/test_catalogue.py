"""The image catalogue: a digest changes when, and only when, what would run changes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import yaml

from localgcp.kit.catalogue import Catalogue, CatalogueError
from localgcp.kit.errors import ApiError

REPO = "us-central1-docker.pkg.dev/demo/agui/app"


def write(folder: Path, **image: object) -> Path:
    (folder / "src").mkdir(exist_ok=True)
    (folder / "src" / "a.py").write_text("print(1)")
    entry = {"command": ["python", "${ROOT}/src/a.py"], "env": {"HOME_DIR": "${ROOT}/x"}, "content": ["src"], **image}
    path = folder / "deploy" / "images.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump({"root": "..", "images": {REPO: {"v1": entry, "latest": entry}}}))
    return path


def digest(folder: Path, **image: object) -> str:
    return Catalogue.load(write(folder, **image)).resolve(f"{REPO}:v1").digest


def test_an_image_of_a_tag(tmp_path: Path) -> None:
    image = Catalogue.load(write(tmp_path)).resolve(f"{REPO}:v1")
    assert image.command == (sys.executable, f"{tmp_path}/src/a.py")
    assert image.env == {"HOME_DIR": f"{tmp_path}/x"}
    assert image.repository == REPO
    assert set(image.tags) == {"v1", "latest"}
    assert image.working_dir == tmp_path


def test_ways_to_name_an_image(tmp_path: Path) -> None:
    catalogue = Catalogue.load(write(tmp_path))
    image = catalogue.resolve(f"{REPO}:v1")
    for reference in (REPO, f"{REPO}@{image.digest}", f"{REPO}:v1@{image.digest}"):
        assert catalogue.resolve(reference) == image
    for unknown in (f"{REPO}:v9", f"{REPO}@sha256:{'0' * 64}", "other:v1"):
        with pytest.raises(ApiError, match=f"Image '{unknown}' not found."):
            catalogue.resolve(unknown)


def test_the_digest_follows_what_runs(tmp_path: Path) -> None:
    first = digest(tmp_path)
    assert digest(tmp_path) == first
    assert digest(tmp_path, env={"A": "1"}) != first
    assert digest(tmp_path, command=["python", "-c", "1"]) != first
    path = write(tmp_path)
    (tmp_path / "src" / "__pycache__").mkdir()
    (tmp_path / "src" / "__pycache__" / "a.pyc").write_text("x")
    assert Catalogue.load(path).resolve(f"{REPO}:v1").digest == first
    (tmp_path / "src" / "a.py").write_text("print(2)")
    assert Catalogue.load(path).resolve(f"{REPO}:v1").digest != first


def test_the_digest_does_not_depend_on_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_a_tag_can_move_and_the_old_digest_stays(tmp_path: Path) -> None:
    path = write(tmp_path)
    catalogue = Catalogue.load(path)
    old = catalogue.resolve(f"{REPO}:v1")
    write(tmp_path, env={"B": "2"})
    os.utime(path, ns=(1, 1))
    new = catalogue.resolve(f"{REPO}:v1")
    assert new.digest != old.digest
    assert catalogue.resolve(f"{REPO}@{old.digest}").env == old.env


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("images: [", "not YAML"),
        ("pictures: {}", "expected a mapping with the key `images`"),
        ("images: {r: {v1: x}}", "r:v1: expected a mapping"),
        ("images: {r: {v1: {command: ls}}}", "`command` must be a list"),
        ("images: {r: {v1: {command: [ls], env: 3}}}", "`env` must be a mapping"),
        ("images: {r: {v1: {command: [ls], content: [gone]}}}", "content path `gone` does not exist"),
        ("images: {}\nroots: x", "unknown key `roots`"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "images.yaml"
    path.write_text(text)
    with pytest.raises(CatalogueError, match=named):
        Catalogue.load(path)


def test_no_catalogue_means_no_images() -> None:
    with pytest.raises(ApiError, match="not found"):
        Catalogue.load(None).resolve(f"{REPO}:v1")
