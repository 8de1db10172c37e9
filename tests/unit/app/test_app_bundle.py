"""The demo's browser bundles: deterministic, whole, and different from version to version."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import json
import re
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def make_bundle():
    spec = importlib.util.spec_from_file_location("make_bundle", ROOT / "demo/images/make_bundle.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_bundle"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["make_bundle"]


@pytest.fixture(scope="module")
def bundles(make_bundle, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles")
    make_bundle.main([str(out)])
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def unpacked(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}


def test_the_same_sources_give_the_same_bytes(make_bundle, bundles, tmp_path, capsys):
    make_bundle.main([str(tmp_path)])
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == bundles
    assert printed == {name: hashlib.sha256(data).hexdigest() for name, data in bundles.items()}


def test_five_bundles_that_share_no_asset_but_are_all_whole(bundles):
    assert list(bundles) == [f"concierge-v{n}.tar.gz" for n in range(1, 6)]
    assert len({frozenset(unpacked(data)) for data in bundles.values()}) == 5


@pytest.mark.parametrize("version", ["v1", "v2", "v5"])
def test_manifest_and_integrity_hold(bundles, version):
    files = unpacked(bundles[f"concierge-{version}.tar.gz"])
    manifest = json.loads(files["manifest.json"])
    assert (manifest["schemaVersion"], manifest["entrypoint"]) == (1, "index.html")
    assert manifest["runtimeUrl"] == "/copilotkit"
    assert {entry["path"] for entry in manifest["files"]} == set(files) - {"manifest.json"}
    digests = {}
    for entry in manifest["files"]:
        data = files[entry["path"]]
        digests["/" + entry["path"]] = base64.b64encode(hashlib.sha384(data).digest()).decode()
        assert (entry["sha384"], entry["size"]) == (digests["/" + entry["path"]], len(data))
    html = files["index.html"].decode()
    loaded = re.findall(r'(?:src|href)="(/assets/[^"]+\.(?:js|css))" integrity="sha384-([^"]+)"', html)
    assert len(loaded) == 2
    assert all(digests[path] == digest for path, digest in loaded)
    assert re.search(r'<meta name="agui-release" content="[0-9a-f]{12}">', html)
    assert all(
        b"%" + name + b"%" not in data for data in files.values() for name in (b"VERSION", b"ACCENT", b"RUNTIME")
    )
