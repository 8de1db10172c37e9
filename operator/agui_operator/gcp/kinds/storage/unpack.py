"""Unpacks an untrusted release bundle (a tar.gz archive) into one file, and checks it against its manifest.

Manifest: {"schemaVersion": 1, "entrypoint": "index.html", "runtimeUrl": "/copilotkit",
           "files": [{"path", "sha384" (base64), "size", "contentType"}]}
Content is copied and hashed in pieces, each file once; memory is bounded by the number of files.
The standard library only: a child process with narrow limits runs this (bundle.py).
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import json
import os
import re
import resource
import signal
import sys
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

from agui_operator.gcp.kinds.storage.archive import PIECE, Entry, Refused, Unpacked, entries, shown

MANIFEST, ENTRYPOINT = "manifest.json", "index.html"
POOL = "assets/"
COLLECTION_MARK = f"{POOL}.tidying"  # exists during a garbage collection, where a publication lists
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._~@+-]*(?:/[A-Za-z0-9_.][A-Za-z0-9._~@+-]*)*")
_CONTENT_TYPE = re.compile(r"[a-z]+/[a-z0-9.+-]+(?:; ?charset=[A-Za-z0-9-]+)?")
_TYPES = {
    "html": ("text/html",),
    "js": ("text/javascript", "application/javascript"),
    "mjs": ("text/javascript", "application/javascript"),
    "css": ("text/css",),
    "json": ("application/json",),
    "map": ("application/json",),
    "svg": ("image/svg+xml",),
    "wasm": ("application/wasm",),
}
# All releases that share a bucket share the pool, and a page's origin serves it: nothing in it may run as a document.
# Script in `ATTACHMENTS` runs where a browser opens the file itself, so it is told to save it (<img> is not affected).
ATTACHMENTS = frozenset({"image/svg+xml", "application/pdf"})
_POOL_TYPES = ATTACHMENTS | {
    *("text/javascript", "application/javascript", "text/css", "text/plain"),
    *("application/json", "application/manifest+json", "application/wasm", "application/octet-stream"),
    *("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/x-icon", "image/vnd.microsoft.icon"),
    *("font/woff2", "font/woff", "font/ttf", "font/otf"),
    *("audio/mpeg", "audio/ogg", "audio/wav", "audio/webm", "video/mp4", "video/webm", "video/ogg"),
}


@dataclass(frozen=True, slots=True)
class BundleLimits:
    """Sizes in bytes. `unpacked` bounds the sum of all files; `headers` what the archive has beside them."""

    packed: int = 64 * 1024 * 1024
    unpacked: int = 256 * 1024 * 1024
    file: int = 32 * 1024 * 1024
    files: int = 5000
    folders: int = 5000
    path: int = 300
    header: int = 64 * 1024
    headers: int = 24 * 1024 * 1024
    manifest: int = 4 * 1024 * 1024
    memory: int = 160 * 1024 * 1024  # address space of the process that unpacks
    cpu: int = 30  # seconds of computing
    seconds: int = 120


@dataclass(frozen=True, slots=True)
class Member:
    """A file that was copied into the output, and the digests of its content in base64."""

    offset: int
    size: int
    sha384: str
    md5: str
    sha256: str  # in hex


def report_of(source: BinaryIO, output: BinaryIO, limits: BundleLimits) -> dict[str, Any]:
    """The contents, or why the bundle is `refused`, or why it `failed` to be unpacked. Never raises for any bytes."""
    try:
        return unpack(source, output, limits)
    except Refused as refused:
        return {"refused": str(refused)}
    except MemoryError:
        return {"refused": f"unpacking it takes more than {limits.memory} bytes of memory"}
    except OSError as error:
        return {"failed": error.strerror or type(error).__name__}


def unpack(source: BinaryIO, output: BinaryIO, limits: BundleLimits) -> dict[str, Any]:
    """Copies and checks; the report of a bundle that is exactly what its manifest says. Raises Refused; OSError when
    the output can't be written."""
    members: dict[str, Member] = {}
    stream, total, folders = Unpacked(source, limits.headers), 0, 0
    for entry in entries(stream, limits.header):
        if entry.kind == "folder":
            folders += 1
            if folders > limits.folders:
                raise Refused(f"{shown(entry.name)}: more than {limits.folders} folders")
            continue
        path = _checked_path(entry, limits)
        if total + entry.size > limits.unpacked:
            raise Refused(f"{path}: the files have more than {limits.unpacked} bytes in all")
        if len(members) >= limits.files:
            raise Refused(f"{path}: more than {limits.files} files")
        if path in members:
            raise Refused(f"{path} is in the archive twice")
        members[path] = _copy(stream, output, total, entry.size)
        total += entry.size
    output.flush()
    if MANIFEST not in members:
        raise Refused(f"it has no {MANIFEST}; build it with the release tool")
    raw = os.pread(output.fileno(), members[MANIFEST].size, members[MANIFEST].offset)
    return _report(members, _manifest(raw, limits))


def _copy(stream: Unpacked, output: BinaryIO, offset: int, size: int) -> Member:
    sha384, sha256, md5 = hashlib.sha384(), hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    for data in stream.content(size):
        for digest in (sha384, sha256, md5):
            digest.update(data)
        output.write(data)
    return Member(offset, size, _base64(sha384.digest()), _base64(md5.digest()), sha256.hexdigest())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _checked_path(entry: Entry, limits: BundleLimits) -> str:
    name = entry.name.removeprefix("./")
    short = shown(name)
    if entry.kind != "file":
        raise Refused(f"{short} is a link or a device; bundles hold plain files only")
    if name.startswith("/") or "\\" in name or ".." in name.split("/"):
        raise Refused(f"{short} leaves the bundle; paths must be relative, without `..`")
    if name == COLLECTION_MARK:
        raise Refused(f"{short} is a name that the operator keeps for itself; rename the file")
    if len(name) > limits.path or not _PATH.fullmatch(name):
        raise Refused(f"{short} is no usable path; allowed are letters, digits and . _ ~ @ + - between slashes")
    most = limits.manifest if name == MANIFEST else limits.file
    if entry.size > most:
        raise Refused(f"{short} has {entry.size} bytes, allowed are {most}")
    return name


def _manifest(raw: bytes, limits: BundleLimits) -> dict[str, Any]:
    try:
        manifest = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{MANIFEST} is no JSON") from error
    if not isinstance(manifest, dict) or manifest.get("schemaVersion") != 1:
        raise Refused(f"{MANIFEST} must be an object with schemaVersion 1")
    if manifest.get("entrypoint") != ENTRYPOINT:
        raise Refused(f"{MANIFEST} must name {ENTRYPOINT} as its entrypoint")
    if not isinstance(manifest.get("runtimeUrl"), (str, type(None))):
        raise Refused(f"{MANIFEST}: runtimeUrl must be text")
    if len(manifest.get("runtimeUrl") or "") > limits.path:
        raise Refused(f"{MANIFEST}: runtimeUrl has more than {limits.path} characters")
    if not isinstance(manifest.get("files"), list) or not manifest["files"]:
        raise Refused(f"{MANIFEST} lists no files")
    if len(manifest["files"]) > 2 * limits.files:
        raise Refused(f"{MANIFEST} lists {len(manifest['files'])} files, allowed are {limits.files}")
    return manifest


def _report(members: dict[str, Member], manifest: dict[str, Any]) -> dict[str, Any]:
    listed: dict[str, Any] = {}
    for entry in manifest["files"]:
        if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
            raise Refused(f"{MANIFEST} has a file without a path")
        path = entry["path"]
        if path in listed:
            raise Refused(f"{MANIFEST} lists {shown(path)} twice")
        if path not in members:
            raise Refused(f"{shown(path)} is in {MANIFEST} but not in the archive")
        listed[path] = _file(path, entry, members[path])
    for path in members:
        if path != MANIFEST and path not in listed:
            raise Refused(f"{path} is not in {MANIFEST}; rebuild the bundle")
    if ENTRYPOINT not in listed:
        raise Refused(f"{ENTRYPOINT} is not in {MANIFEST}")
    page = members[MANIFEST]
    last = {"path": MANIFEST, "contentType": "application/json", **asdict(page)}
    return {"runtimeUrl": manifest.get("runtimeUrl"), "files": list(listed.values()), "manifest": last}


def _file(path: str, entry: dict[str, Any], member: Member) -> dict[str, Any]:
    if path == MANIFEST:
        raise Refused(f"{MANIFEST} can't list itself")
    if entry.get("size") != member.size:
        said = str(entry.get("size"))[:20]
        raise Refused(f"{path} has {member.size} bytes, {MANIFEST} says {said}; it was changed")
    if entry.get("sha384") != member.sha384:
        raise Refused(f"{path} has another content than {MANIFEST} says; it was changed after the build")
    content_type = entry.get("contentType")
    if not isinstance(content_type, str) or len(content_type) > 100 or not _CONTENT_TYPE.fullmatch(content_type):
        raise Refused(f"{path} needs a contentType in {MANIFEST}")
    allowed = _TYPES.get(path.rpartition(".")[2])
    if allowed is not None and content_type.partition(";")[0] not in allowed:
        raise Refused(f"{path} has contentType {content_type}, expected {allowed[0]}")
    if path.startswith(POOL) and content_type.partition(";")[0] not in _POOL_TYPES:
        raise Refused(
            f"{path} has contentType {content_type}, which {POOL} can't have because all releases share it; "
            f"move the file out of {POOL} or use application/octet-stream"
        )
    return {"path": path, "contentType": content_type, **asdict(member)}


def main(arguments: list[str]) -> None:
    """The program of the child: parent's process id, descriptor of the output, limits as JSON. Always prints a report,
    unless a limit ends it."""
    parent, output, limits = int(arguments[0]), int(arguments[1]), BundleLimits(**json.loads(arguments[2]))
    _die_with(parent)
    with os.fdopen(output, "wb", buffering=PIECE) as file:
        _confine(limits)
        print(json.dumps(report_of(sys.stdin.buffer, file, limits)), flush=True)


def _die_with(parent: int) -> None:
    """No child is left where the operator was killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it died before the call
        sys.exit(1)


def _confine(limits: BundleLimits) -> None:
    """Nothing can be opened, started or written beyond the limits from here on."""
    os.nice(5)
    for what, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_FSIZE, limits.unpacked + PIECE),
        (resource.RLIMIT_AS, limits.memory),
    ):
        resource.setrlimit(what, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu, limits.cpu + 1))  # SIGXCPU tells the parent which limit it was
