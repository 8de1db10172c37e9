"""Bundles: what is exactly as its manifest says is read, everything else is refused by name."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agui_operator.core.errors import UserError
from agui_operator.gcp.kinds.storage.bundle import BundleRefused, check_runtime_url
from agui_operator.gcp.kinds.storage.release_assets import FOREVER, NEVER, uploads
from agui_operator.gcp.kinds.storage.unpack import BundleLimits
from bundle_reading import read_here

TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "txt": "text/plain"}
FILES = {"index.html": b"<html>", "assets/a-1.js": b"let a", "assets/b-2.css": b"p{}", "robots.txt": b"User-agent: *"}
Manifest = dict[str, Any]


def manifest_of(files: dict[str, bytes]) -> Manifest:
    listed = [
        {
            "path": path,
            "sha384": base64.b64encode(hashlib.sha384(data).digest()).decode(),
            "size": len(data),
            "contentType": TYPES.get(path.rpartition(".")[2], "application/octet-stream"),
        }
        for path, data in files.items()
    ]
    return {"schemaVersion": 1, "entrypoint": "index.html", "runtimeUrl": "/copilotkit", "files": listed}


def pack(entries: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for entry, data in entries:
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return gzip.compress(raw.getvalue(), mtime=0)


def bundle(files: dict[str, bytes], manifest: Manifest | bytes | None = None) -> bytes:
    text = manifest if isinstance(manifest, bytes) else json.dumps(manifest or manifest_of(files)).encode()
    return pack([(tarfile.TarInfo(path), data) for path, data in {**files, "manifest.json": text}.items()])


def with_entry(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"") -> bytes:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, "/etc/passwd"
    rest = [
        (tarfile.TarInfo(p), d) for p, d in {**FILES, "manifest.json": json.dumps(manifest_of(FILES)).encode()}.items()
    ]
    return pack([(entry, data), *rest])


def changed(**fields: Any) -> Manifest:
    return {**manifest_of(FILES), **fields}


def changed_file(**fields: Any) -> Manifest:
    manifest = manifest_of(FILES)
    manifest["files"][1] |= fields
    return manifest


def test_a_good_bundle_is_read_whole() -> None:
    read = read_here(bundle(FILES))
    contents = read.contents
    assert read.files == FILES
    assert contents.runtime_url == "/copilotkit"
    assert [f.path for f in contents.files if f.pooled] == ["assets/a-1.js", "assets/b-2.css"]
    check_runtime_url(contents, "/copilotkit")
    check_runtime_url(contents, None)
    with pytest.raises(BundleRefused, match="VITE_COPILOTKIT_RUNTIME_URL=/api"):
        check_runtime_url(contents, "/api")


def test_the_page_is_written_last() -> None:
    files = {**FILES, "admin/index.html": b"<html>2"}
    waves = uploads(read_here(bundle(files)).contents, "abc")
    names = [[u.name for u in wave] for wave in waves]
    assert names == [
        ["assets/a-1.js", "assets/b-2.css", "releases/abc/robots.txt"],
        ["releases/abc/manifest.json"],
        ["releases/abc/admin/index.html"],
        ["releases/abc/index.html"],
    ]
    assert {u.cache_control for wave in waves for u in wave if u.name.startswith("assets/")} == {FOREVER}
    assert {u.cache_control for wave in waves for u in wave if u.name.startswith("releases/")} == {NEVER}


WITHOUT_A = {k: v for k, v in FILES.items() if k != "assets/a-1.js"}
REFUSED: list[Any] = [
    pytest.param(lambda: b"no archive", "no tar.gz archive", id="no-archive"),
    pytest.param(lambda: bundle(FILES)[:-40], "no tar.gz archive|ended", id="cut-off"),
    pytest.param(
        lambda: bundle(WITHOUT_A, manifest_of(FILES)), "assets/a-1.js is in manifest.json but not", id="missing"
    ),
    pytest.param(lambda: bundle(FILES, manifest_of(WITHOUT_A)), "assets/a-1.js is not in manifest.json", id="unlisted"),
    pytest.param(
        lambda: bundle({**FILES, "assets/a-1.js": b"let b"}, manifest_of(FILES)),
        "assets/a-1.js has another",
        id="changed",
    ),
    pytest.param(
        lambda: bundle({**FILES, "assets/a-1.js": b"x"}, manifest_of(FILES)), "assets/a-1.js has 1 bytes", id="size"
    ),
    pytest.param(lambda: with_entry("/etc/cron"), "/etc/cron leaves the bundle", id="absolute"),
    pytest.param(lambda: with_entry("assets/../../x"), "leaves the bundle", id="parent"),
    pytest.param(lambda: with_entry("..\\x"), "leaves the bundle", id="backslash"),
    pytest.param(lambda: with_entry("a b"), "no usable path", id="blank"),
    pytest.param(lambda: with_entry("assets//x"), "no usable path", id="empty-segment"),
    pytest.param(lambda: with_entry("a" * 301), "no usable path", id="long-path"),
    pytest.param(lambda: with_entry("assets/l", tarfile.SYMTYPE), "assets/l is a link or a device", id="symlink"),
    pytest.param(lambda: with_entry("assets/l", tarfile.LNKTYPE), "assets/l is a link or a device", id="hardlink"),
    pytest.param(lambda: with_entry("assets/l", tarfile.FIFOTYPE), "assets/l is a link or a device", id="fifo"),
    pytest.param(lambda: with_entry("assets/l", tarfile.CHRTYPE), "assets/l is a link or a device", id="device"),
    pytest.param(lambda: with_entry("index.html", data=b"2"), "index.html is in the archive twice", id="twice"),
    pytest.param(
        lambda: bundle(FILES, changed_file(contentType="text/html")),
        "assets/a-1.js has contentType text/html",
        id="wrong-type",
    ),
    pytest.param(
        lambda: bundle(FILES, changed_file(contentType="x\r\nSet-Cookie: a")),
        "needs a contentType",
        id="header-injection",
    ),
    pytest.param(lambda: bundle(FILES, changed_file(contentType=None)), "needs a contentType", id="no-type"),
    pytest.param(lambda: bundle(FILES, changed_file(path=None)), "a file without a path", id="no-path"),
    pytest.param(lambda: bundle(FILES, changed_file(path="manifest.json")), "can't list itself", id="itself"),
    pytest.param(
        lambda: bundle(FILES, changed(files=manifest_of(FILES)["files"] * 2)),
        "lists index.html twice",
        id="listed-twice",
    ),
    pytest.param(lambda: bundle(FILES, changed(files=[])), "lists no files", id="no-files"),
    pytest.param(lambda: bundle(FILES, changed(schemaVersion=2)), "schemaVersion 1", id="version"),
    pytest.param(lambda: bundle(FILES, changed(entrypoint="start.html")), "entrypoint", id="entrypoint"),
    pytest.param(lambda: bundle(FILES, changed(runtimeUrl=1)), "runtimeUrl must be text", id="runtime-url"),
    pytest.param(lambda: bundle(FILES, b"{"), "is no JSON", id="no-json"),
    pytest.param(lambda: bundle(FILES, b"[" * 100_000), "is no JSON", id="deep-json"),
    pytest.param(lambda: pack([(tarfile.TarInfo("index.html"), b"x")]), "it has no manifest.json", id="no-manifest"),
    pytest.param(lambda: bundle({"assets/a-1.js": b"x"}), "index.html is not in manifest.json", id="no-page"),
]


@pytest.mark.parametrize(("made", "message"), REFUSED)
def test_refused(made: Callable[[], bytes], message: str) -> None:
    with pytest.raises(BundleRefused, match=message) as caught:
        read_here(made())
    assert isinstance(caught.value, UserError)
    assert caught.value.reason == "BundleRefused"


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (BundleLimits(file=4), "has 6 bytes, allowed are 4"),
        (BundleLimits(unpacked=8), "more than 8 bytes in all"),
        (BundleLimits(files=2), "more than 2 files"),
    ],
)
def test_sizes_are_bounded(limits: BundleLimits, message: str) -> None:
    with pytest.raises(BundleRefused, match=message):
        read_here(bundle(FILES), limits)


def test_an_archive_that_unpacks_to_much_more_is_refused_before_it_is_unpacked() -> None:
    with pytest.raises(BundleRefused, match="allowed are"):
        read_here(bundle({**FILES, "assets/zero.txt": bytes(40 * 1024 * 1024)}))


GOOD = gzip.decompress(bundle(FILES))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_changed_archive_is_refused_or_the_same(changes: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD)
    for at, value in changes:
        data[at] = value
    try:
        read = read_here(gzip.compress(bytes(data), mtime=0))
    except BundleRefused:
        return
    for path, content in read.files.items():
        assert FILES.get(path) == content or path not in FILES


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=2000))
def test_any_bytes_are_refused(data: bytes) -> None:
    for raw in (data, gzip.compress(data)):
        with pytest.raises(BundleRefused):
            read_here(raw)


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["schemaVersion", "entrypoint", "runtimeUrl", "files", "path", "size"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_manifest_is_refused_without_another_error(manifest: Any) -> None:
    with pytest.raises(BundleRefused):
        read_here(bundle(FILES, json.dumps(manifest).encode()))
