"""The browser application's bundle, built by its own tool, is one that the operator publishes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from agui_dev.bundle import Bundle, build, kept
from agui_dev.bundle.__main__ import main
from agui_dev.setup import node
from agui_dev.steps import StepFailed
from agui_operator.gcp.kinds.storage.bundle import BundleRefused, check_runtime_url
from bundle_reading import Bundle as Read
from bundle_reading import read_here

FRONTEND = Path(__file__).resolve().parents[2] / "frontend"
VERSION, REVISION = "0.0.0-test", "0123456789abcdef0123456789abcdef01234567"
LEFT_BEHIND = shutil.ignore_patterns("node_modules", "build", "dist", "tests", "e2e")

pytestmark = pytest.mark.skipif(
    shutil.which("npm") is None or not (FRONTEND / "node_modules").is_dir(),
    reason="the browser application's packages are not installed (npm ci in frontend/)",
)


def copy_of_sources(folder: Path) -> Path:
    """frontend/ in another place: one moment's state of it, outside of any repository."""
    shutil.copytree(FRONTEND, folder, ignore=LEFT_BEHIND)
    (folder / "node_modules").symlink_to(FRONTEND / "node_modules")
    return folder


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_sources(tmp_path_factory.mktemp("one") / "frontend")


@pytest.fixture(scope="module")
def bundle(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return build(VERSION, tmp_path_factory.mktemp("out"), revision=REVISION, frontend=sources)


@pytest.fixture(scope="module")
def contents(bundle: Bundle) -> Read:
    return read_here(bundle.read())


def test_same_sources_give_the_same_bytes_wherever_they_lie(sources: Path, bundle: Bundle, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(sources, tmp_path / "a" / "longer" / "way" / "to" / "it", symlinks=True)
    again = build(VERSION, tmp_path, revision=REVISION, frontend=elsewhere)
    assert again.sha256 == bundle.sha256


def test_the_operator_accepts_it_for_its_environment_only(contents: Read) -> None:
    check_runtime_url(contents.contents, "/copilotkit")
    with pytest.raises(BundleRefused):
        check_runtime_url(contents.contents, "https://other.example/copilotkit")


def test_the_manifest_says_what_it_was_made_from(contents: Read) -> None:
    manifest = json.loads(contents.manifest)
    assert (manifest["version"], manifest["revision"]) == (VERSION, REVISION)


def test_every_file_of_the_page_is_in_the_bundle_with_integrity(contents: Read) -> None:
    files = contents.files
    html = files["index.html"].decode()
    tags = re.findall(r'<(?:script|link)[^>]*(?:src|href)="/([^"]+)"[^>]*>', html)
    assert tags
    assert set(tags) <= set(files)
    assert re.search(r'<meta name="agui-runtime-url" content="/copilotkit">', html)
    for path in tags:
        if not path.endswith(".svg"):
            assert re.search(rf'"/{re.escape(path)}"[^>]* integrity="sha384-', html), path


def test_pooled_names_carry_a_hash_so_that_releases_never_overwrite_each_other(contents: Read) -> None:
    outside = [file.path for file in contents.contents.files if not file.pooled]
    assert outside == ["index.html"]
    for file in contents.contents.files:
        if file.pooled:
            assert re.search(r"-[A-Za-z0-9_-]{8}\.[a-z0-9]+$", file.path), file.path


def test_the_size_report_is_of_these_files_and_within_the_budget(bundle: Bundle, contents: Read) -> None:
    assert bundle.report["sizes"] == {path: len(data) for path, data in contents.files.items()}
    assert bundle.report["totalBytes"] == sum(bundle.report["sizes"].values())
    assert 100_000 < bundle.report["entryGzipBytes"] <= bundle.report["budgetBytes"] == 380_000


def test_another_version_is_another_release_with_scripts_of_its_own(
    sources: Path, contents: Read, tmp_path: Path
) -> None:
    """Releases that share every file could not show whether an old tab keeps its own."""
    other = read_here(build("0.0.1-test", tmp_path, revision=REVISION, frontend=sources).read())
    scripts = [
        {path for path, data in c.files.items() if path.endswith(".js") and len(data) > 10_000}
        for c in (contents, other)
    ]
    assert scripts[0]
    assert not scripts[0] & scripts[1]


def test_a_kept_bundle_is_built_once_and_again_when_a_source_changes(tmp_path: Path) -> None:
    frontend, cache = copy_of_sources(tmp_path / "frontend"), tmp_path / "cache"
    first = kept(VERSION, frontend=frontend, cache=cache)
    written = first.path.stat().st_mtime_ns
    assert kept(VERSION, frontend=frontend, cache=cache).path.stat().st_mtime_ns == written
    with (frontend / "src" / "styles.css").open("a") as styles:
        styles.write("\n.only-here { color: red; }\n")
    assert kept(VERSION, frontend=frontend, cache=cache).sha256 != first.sha256


def test_what_cannot_be_built_is_told_by_name(sources: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(sources, tmp_path / "frontend", symlinks=True)
    (broken / "src" / "App.tsx").write_text("export function App( {")
    with pytest.raises(StepFailed, match=r"App\.tsx"):
        build(VERSION, tmp_path / "out", frontend=broken)
    assert not list(tmp_path.glob("out/*.tar.gz"))


def test_missing_packages_are_told_by_name(sources: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(sources, tmp_path / "frontend", symlinks=True)
    (bare / "node_modules").unlink()
    (bare / "package-lock.json").unlink()
    with pytest.raises(StepFailed, match="npm ci"):
        build(VERSION, tmp_path, frontend=bare)


def test_a_missing_node_is_told_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(node.shutil, "which", lambda _: None)
    assert main(["--out", str(tmp_path)]) == 1
    assert "needs Node.js" in capsys.readouterr().err
