"""The browser application's bundle, built by its own tool, is one that the operator publishes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from agui_operator.gcp.bundle import BundleContents, BundleRefused, check_runtime_url, read_bundle

FRONTEND = Path(__file__).resolve().parents[2] / "frontend"
VERSION = "0.0.0-test"
ARCHIVE = FRONTEND / "build" / f"concierge-{VERSION}.tar.gz"

pytestmark = pytest.mark.skipif(
    shutil.which("npm") is None or not (FRONTEND / "node_modules").is_dir(),
    reason="the browser application's packages are not installed (npm ci in frontend/)",
)


def build() -> bytes:
    """One build, from nothing."""
    ARCHIVE.unlink(missing_ok=True)
    env = {k: v for k, v in os.environ.items() if not k.startswith("VITE_")} | {"AGUI_VERSION": VERSION}
    done = subprocess.run(
        ["npm", "run", "-s", "bundle"], cwd=FRONTEND, env=env, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    data = ARCHIVE.read_bytes()
    ARCHIVE.unlink()
    return data


@pytest.fixture(scope="module")
def bundle() -> bytes:
    return build()


@pytest.fixture(scope="module")
def contents(bundle: bytes) -> BundleContents:
    return read_bundle(bundle)


def test_same_sources_give_the_same_bytes(bundle: bytes) -> None:
    assert hashlib.sha256(build()).hexdigest() == hashlib.sha256(bundle).hexdigest()


def test_the_operator_accepts_it_for_its_environment_only(contents: BundleContents) -> None:
    check_runtime_url(contents, "/copilotkit")
    with pytest.raises(BundleRefused):
        check_runtime_url(contents, "https://other.example/copilotkit")
    assert json.loads(contents.manifest)["version"] == VERSION


def test_every_file_of_the_page_is_in_the_bundle_with_integrity(contents: BundleContents) -> None:
    files = {file.path: file.data for file in contents.files}
    html = files["index.html"].decode()
    tags = re.findall(r'<(?:script|link)[^>]*(?:src|href)="/([^"]+)"[^>]*>', html)
    assert tags
    assert set(tags) <= set(files)
    assert re.search(r'<meta name="agui-runtime-url" content="/copilotkit">', html)
    for path in tags:
        if not path.endswith(".svg"):
            assert re.search(rf'"/{re.escape(path)}"[^>]* integrity="sha384-', html), path


def test_pooled_names_carry_a_hash_so_that_releases_never_overwrite_each_other(contents: BundleContents) -> None:
    outside = [file.path for file in contents.files if not file.pooled]
    assert outside == ["index.html"]
    for file in contents.files:
        if file.pooled:
            assert re.search(r"-[A-Za-z0-9_-]{8}\.[a-z0-9]+$", file.path), file.path
