"""Bundles that a tenant makes to stop the operator: refused with the limit named, in little memory and little time.

The payloads go through the child process and the limits of the operator itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from agui_dev.testbed import bundle_bombs as bombs
from agui_dev.testbed.bundle_bombs import MB
from agui_operator.core.actions import Bundle
from agui_operator.gcp.kinds.storage.bundle import BundleRefused
from agui_operator.gcp.kinds.storage.publications import Publications
from agui_operator.gcp.kinds.storage.unpack import BundleLimits
from artifacts_bucket import Artifacts, read

OWN_MB, CHILD_MB = 16, 72  # what may be added to the operator's memory, and what its child may take
TAR, NO_JSON = "it is no tar.gz archive", "manifest.json is no JSON"


def memory_of(process: int, key: str) -> float:
    text = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith(key))


class Peak:
    """The most memory in MB that this process gained and that any of its children had while the block ran."""

    def __init__(self) -> None:
        self.own = self.child = 0.0
        self._ends = threading.Event()

    def __enter__(self) -> Peak:
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        self._before = memory_of(os.getpid(), "VmRSS")
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()
        self.own = memory_of(os.getpid(), "VmHWM") - self._before

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._ends.wait(0.01):
            for child in me.children(recursive=True):
                try:
                    if "agui_operator.gcp.kinds.storage.unpack" in " ".join(child.cmdline()):
                        self.child = max(self.child, memory_of(child.pid, "VmHWM"))
                except (psutil.Error, OSError, StopIteration):
                    continue


HOSTILE: list[Any] = [
    pytest.param(lambda: bombs.extended(tarfile.XHDTYPE, 400 * MB), "a header of the archive has 419430400", id="pax"),
    pytest.param(lambda: bombs.extended(tarfile.XGLTYPE, 400 * MB), "a header of the archive has", id="global-pax"),
    pytest.param(lambda: bombs.extended(tarfile.GNUTYPE_LONGNAME, 400 * MB), "a header of the archive", id="long-name"),
    pytest.param(lambda: bombs.extended(tarfile.GNUTYPE_LONGLINK, 400 * MB), "a header of the archive", id="long-link"),
    pytest.param(lambda: bombs.folders(1_000_000), "more than 5000 folders", id="folders"),
    pytest.param(lambda: bombs.header_chain(200_000), "headers of the archive have more than", id="header-chain"),
    pytest.param(lambda: bombs.one_file_listed(20_000, 32 * MB), "lists 20001 files, allowed are 5000", id="listed"),
    pytest.param(lambda: bombs.one_file_listed(4_000, 32 * MB), "lists assets/a-1.bin twice", id="listed-less"),
    pytest.param(lambda: bombs.legal(1, 64 * MB), "has 67108864 bytes, allowed are 33554432", id="large-file"),
    pytest.param(lambda: bombs.legal(9, 31 * MB), "files have more than 268435456 bytes in all", id="sum"),
    pytest.param(lambda: bombs.legal(5001, 1), "more than 5000 files", id="files"),
    pytest.param(lambda: bombs.with_manifest(b"0" * 5 * MB), "manifest.json has .* allowed are 4194304", id="manifest"),
    pytest.param(lambda: bombs.with_manifest(b"[" * 4_000_000), NO_JSON, id="deep-json"),
    pytest.param(
        lambda: bombs.with_manifest(b"[" + b"[]," * 1_300_000 + b"0]"), "of memory|must be an object", id="lists"
    ),
    pytest.param(lambda: bombs.with_manifest(b"9" * 5000), NO_JSON, id="digits"),
    pytest.param(lambda: bombs.with_manifest(b"\xff\xfe"), NO_JSON, id="no-text"),
    pytest.param(lambda: bombs.sparse(), "has a header that bundles can't have", id="sparse"),
    pytest.param(lambda: bombs.bad_number(slice(124, 136), b"-0000000001\0"), TAR, id="negative-size"),
    pytest.param(lambda: bombs.bad_number(slice(124, 136), b"\x80" + bytes(10) + b"\xff"), TAR, id="base-256"),
    pytest.param(lambda: bombs.bad_number(slice(124, 136), b"99999999999\0"), TAR, id="no-octal"),
    pytest.param(lambda: bombs.zipped(bombs.good(b"x" * 512)), TAR, id="checksum"),
    pytest.param(lambda: bombs.zipped([*bombs.good(), b"more"]), "after the end of the archive", id="after-the-end"),
    pytest.param(lambda: bombs.zipped([]), "ended in the middle", id="empty"),
]


@pytest.mark.parametrize(("made", "message"), HOSTILE)
async def test_a_hostile_archive_is_refused_in_little_memory(made: Callable[[], bytes], message: str) -> None:
    artifacts, publications = Artifacts(), Publications()
    bundle = artifacts.add(made())
    began = time.monotonic()
    with Peak() as peak:
        with pytest.raises(BundleRefused, match=message):
            await read(artifacts, bundle, publications)
        assert artifacts.downloads == 1
        with pytest.raises(BundleRefused, match=message):
            await read(artifacts, bundle, publications)
    assert artifacts.downloads == 1, "what can't end differently is not tried again"
    assert peak.own <= OWN_MB
    assert peak.child <= BundleLimits().memory / MB
    assert time.monotonic() - began < 60


async def test_another_digest_is_looked_at_again() -> None:
    artifacts, publications = Artifacts(), Publications()
    with pytest.raises(BundleRefused):
        await read(artifacts, artifacts.add(bombs.with_manifest(b"{")), publications)
    assert await read(artifacts, artifacts.add(bombs.zipped(bombs.good())), publications) == len(bombs.PAGE)


@pytest.mark.parametrize("made", [lambda: bombs.empty_members(500_000), lambda: bombs.long_gzip_name(60 * MB)])
async def test_a_slow_archive_ends_by_its_limit_of_computing(made: Callable[[], bytes]) -> None:
    artifacts = Artifacts()
    publications = Publications(BundleLimits(cpu=1, packed=64 * MB))
    with pytest.raises(BundleRefused, match="more than 1 s of computing"):
        await read(artifacts, artifacts.add(made()), publications)


async def test_more_packed_bytes_than_allowed_are_not_taken() -> None:
    artifacts = Artifacts()
    with pytest.raises(BundleRefused, match=r"gs://artifacts/b.tar.gz has more than 1000 bytes"):
        await read(artifacts, artifacts.add(bytes(5000)), Publications(BundleLimits(packed=1000)))


async def test_what_another_object_holds_is_not_told() -> None:
    artifacts = Artifacts()
    bundle = artifacts.add(b"the pin is 4711")
    digest = hashlib.sha256(b"the pin is 4711").hexdigest()
    with pytest.raises(BundleRefused) as refused:
        await read(artifacts, Bundle(bundle.bucket, bundle.object, "0" * 64), Publications())
    assert "spec.frontend.bundle.sha256" in str(refused.value)
    assert digest not in str(refused.value)


@pytest.fixture(scope="module")
def largest() -> bytes:
    return bombs.legal(31, 8 * MB)


async def test_a_legal_bundle_of_any_size_takes_little_memory(largest: bytes) -> None:
    artifacts = Artifacts()
    bundle = artifacts.add(largest)
    with Peak() as peak:
        assert await read(artifacts, bundle, Publications()) == 248 * MB + len(bombs.PAGE)
    assert peak.own <= OWN_MB
    assert 0 < peak.child <= CHILD_MB


async def test_legal_bundles_of_any_number_take_little_memory() -> None:
    artifacts, publications = Artifacts(), Publications()
    bundle = artifacts.add(bombs.legal(12, 8 * MB))
    with Peak() as peak:
        sizes = await asyncio.gather(*(read(artifacts, bundle, publications, f"tenant-{n}") for n in range(3)))
    assert sizes == [96 * MB + len(bombs.PAGE)] * 3
    assert peak.own <= OWN_MB
    assert 0 < peak.child <= CHILD_MB


async def test_a_cancelled_reader_leaves_no_child(largest: bytes) -> None:
    artifacts = Artifacts()
    bundle = artifacts.add(largest)
    reading = asyncio.create_task(read(artifacts, bundle, Publications()))
    child = await until_child()
    reading.cancel()
    began = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert time.monotonic() - began < 5
    assert not child.is_running()


OPERATOR = """
import asyncio, sys
from agui_operator.gcp.kinds.storage.bundle import read_bundle
from agui_operator.gcp.kinds.storage.spool import Spool
from agui_operator.gcp.kinds.storage.unpack import BundleLimits
with Spool() as spool:
    spool.write(sys.stdin.buffer.read())
    asyncio.run(read_bundle(spool, BundleLimits()))
"""


def started_operator() -> subprocess.Popen[bytes]:
    operator = subprocess.Popen([sys.executable, "-c", OPERATOR], stdin=subprocess.PIPE)
    assert operator.stdin is not None
    with operator.stdin:
        operator.stdin.write(bombs.empty_members(3_000_000))
    return operator


async def test_the_child_of_a_killed_operator_dies_with_it() -> None:
    operator = started_operator()
    child = await until_child(operator.pid)
    operator.kill()
    operator.wait(10)
    gone, alive = psutil.wait_procs([child], timeout=5)
    assert (gone, alive) == ([child], [])


async def until_child(parent: int | None = None) -> psutil.Process:
    for _ in range(1000):
        for child in psutil.Process(parent).children():
            if "storage.unpack" in " ".join(child.cmdline()):
                return child
        await asyncio.sleep(0.01)
    raise AssertionError("no child was started")
