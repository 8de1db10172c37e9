"""A release bundle as it comes out of a build: a tar.gz with `manifest.json` and the files that it lists.

Everything is checked before anything is published: what is not exactly as the manifest says is refused by name. A child
process with limits on memory, computing time and files does that (unpack.py); it ends with its parent.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agui_operator.api.conditions import Reason
from agui_operator.core.errors import UserError
from agui_operator.gcp.kinds.storage.spool import Part, Spool
from agui_operator.gcp.kinds.storage.unpack import MANIFEST, POOL, BundleLimits

_PACKAGES = Path(__file__).parents[4]
_PROGRAM = """import sys
sys.path.insert(0, sys.argv[1])
from agui_operator.gcp.kinds.storage.unpack import main
main(sys.argv[2:])"""
_ADDRESS = re.compile(r"[-.]([0-9a-f]{32,64})\.[a-z0-9.]+$")
_LARGEST_REPORT = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BundleFile:
    """One file that is to be published; digests of its content."""

    path: str
    content: Part
    content_type: str
    md5: str  # in base64
    sha256: str  # in hex

    @property
    def pooled(self) -> bool:
        """True for files that all releases share below /assets/: their names carry a hash of their content."""
        return self.path.startswith(POOL)

    @property
    def addressed(self) -> bool:
        """True if the name carries so much of the content's SHA-256 that no other content can have it."""
        named = _ADDRESS.search(self.path)
        return named is not None and self.sha256.startswith(named[1])


@dataclass(frozen=True, slots=True)
class BundleContents:
    """A bundle whose files are all there and unchanged, for as long as its spool is open. `files` has the manifest's
    files in its order."""

    runtime_url: str | None
    files: tuple[BundleFile, ...]
    manifest: BundleFile


class BundleRefused(UserError):
    """The bundle can't be published as it is. `final`: the archive's bytes say so, and another try can't end
    differently."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(f"bundle refused: {message}", reason=Reason.BUNDLE_REFUSED)
        self.final = final


async def read_bundle(spool: Spool, limits: BundleLimits) -> BundleContents:
    """Unpacks the spool's archive and validates it. Raises BundleRefused, whose message names the file or the limit;
    OSError if there is no room for the content."""
    spool.rewind()
    code, raw = await _in_a_child(spool, limits)
    try:
        report = json.loads(raw)
    except ValueError:
        raise _ended(code, limits) from None
    return contents_of(report, spool)


def contents_of(report: Mapping[str, Any], spool: Spool) -> BundleContents:
    """What the child reported. Raises BundleRefused, OSError."""
    if "refused" in report:
        raise BundleRefused(report["refused"], final=True)
    if "failed" in report:
        raise OSError(report["failed"])
    files = tuple(_file(entry, spool) for entry in report["files"])
    return BundleContents(report["runtimeUrl"], files, _file(report["manifest"], spool))


async def _in_a_child(spool: Spool, limits: BundleLimits) -> tuple[int, bytes]:
    output = spool.content.fileno()
    arguments = (str(_PACKAGES), str(os.getpid()), str(output), json.dumps(asdict(limits)))
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", _PROGRAM, *arguments),
        stdin=spool.packed,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        pass_fds=(output,),
        env={},
    )
    try:
        async with asyncio.timeout(limits.seconds):
            raw = await _report(child)
            return await child.wait(), raw
    except TimeoutError as late:
        raise BundleRefused(f"unpacking it takes more than {limits.seconds} s") from late
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


async def _report(child: asyncio.subprocess.Process) -> bytes:
    assert child.stdout is not None
    raw = bytearray()
    while data := await child.stdout.read(64 * 1024):
        raw += data
        if len(raw) > _LARGEST_REPORT:
            raise BundleRefused("it has too many files with long names", final=True)
    return bytes(raw)


def _ended(code: int, limits: BundleLimits) -> BundleRefused:
    """Why there is no report: a limit ended the child."""
    if code == -signal.SIGXCPU:
        return BundleRefused(f"unpacking it takes more than {limits.cpu} s of computing", final=True)
    cause = f"by signal {-code}" if code < 0 else f"with code {code}"
    return BundleRefused(f"the process that unpacks it ended {cause}; its memory has {limits.memory} bytes")


def _file(entry: Mapping[str, Any], spool: Spool) -> BundleFile:
    content = spool.part(int(entry["offset"]), int(entry["size"]))
    return BundleFile(entry["path"], content, entry["contentType"], entry["md5"], entry["sha256"])


def check_runtime_url(contents: BundleContents, wanted: str | None) -> None:
    """Raises BundleRefused if the page was built for another backend than this environment's."""
    if wanted is not None and contents.runtime_url != wanted:
        raise BundleRefused(
            f"{MANIFEST} says runtimeUrl {contents.runtime_url!r}, this environment routes {wanted!r}; "
            f"build with VITE_COPILOTKIT_RUNTIME_URL={wanted}"
        )
