"""A release bundle as it comes out of a build: a tar.gz with `manifest.json` and the files that it lists. Pure.

Everything is checked before anything is published: what is not exactly as the manifest says is refused by name.
Manifest: {"schemaVersion": 1, "entrypoint": "index.html", "runtimeUrl": "/copilotkit",
           "files": [{"path", "sha384" (base64), "size", "contentType"}]}
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agui_operator.api.conditions import Reason
from agui_operator.core.errors import UserError

MANIFEST, ENTRYPOINT = "manifest.json", "index.html"
POOL = "assets/"
COLLECTION_MARK = f"{POOL}.tidying"  # exists during a garbage collection, where a publication lists
_TYPES: Mapping[str, tuple[str, ...]] = {
    "html": ("text/html",),
    "js": ("text/javascript", "application/javascript"),
    "mjs": ("text/javascript", "application/javascript"),
    "css": ("text/css",),
    "json": ("application/json",),
    "map": ("application/json",),
    "svg": ("image/svg+xml",),
    "wasm": ("application/wasm",),
}
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._~@+-]*(?:/[A-Za-z0-9_.][A-Za-z0-9._~@+-]*)*")
_CONTENT_TYPE = re.compile(r"[a-z]+/[a-z0-9.+-]+(?:; ?charset=[A-Za-z0-9-]+)?")


@dataclass(frozen=True, slots=True)
class BundleLimits:
    """Sizes in bytes. `unpacked` bounds the sum of all files, so that a small archive can't fill the memory."""

    packed: int = 64 * 1024 * 1024
    unpacked: int = 256 * 1024 * 1024
    file: int = 32 * 1024 * 1024
    files: int = 5000
    path: int = 300


@dataclass(frozen=True, slots=True)
class BundleFile:
    """One file that is to be published."""

    path: str
    data: bytes
    content_type: str

    @property
    def pooled(self) -> bool:
        """True for files that all releases share below /assets/: their names carry a hash of their content."""
        return self.path.startswith(POOL)


@dataclass(frozen=True, slots=True)
class BundleContents:
    """A bundle whose files are all there and unchanged. `files` has the manifest's files in its order."""

    runtime_url: str | None
    files: tuple[BundleFile, ...]
    manifest: bytes


class BundleRefused(UserError):
    """The bundle can't be published as it is."""

    def __init__(self, message: str) -> None:
        super().__init__(f"bundle refused: {message}", reason=Reason.BUNDLE_REFUSED)


def read_bundle(data: bytes, limits: BundleLimits | None = None) -> BundleContents:
    """Unpacks and validates. Raises BundleRefused, whose message names the file and what to do."""
    limits = limits or BundleLimits()
    if len(data) > limits.packed:
        raise BundleRefused(f"it has {len(data)} bytes, allowed are {limits.packed}")
    members = _unpack(data, limits)
    if MANIFEST not in members:
        raise BundleRefused(f"it has no {MANIFEST}; build it with the release tool")
    manifest = _manifest(members[MANIFEST])
    files = tuple(_file(entry, members, limits) for entry in manifest["files"])
    listed = [file.path for file in files]
    if len(set(listed)) != len(listed):
        twice = next(path for path in listed if listed.count(path) > 1)
        raise BundleRefused(f"{MANIFEST} lists {twice} twice")
    for path in members:
        if path != MANIFEST and path not in set(listed):
            raise BundleRefused(f"{path} is not in {MANIFEST}; rebuild the bundle")
    if ENTRYPOINT not in listed:
        raise BundleRefused(f"{ENTRYPOINT} is not in {MANIFEST}")
    return BundleContents(manifest.get("runtimeUrl"), files, members[MANIFEST])


def check_runtime_url(contents: BundleContents, wanted: str | None) -> None:
    """Raises BundleRefused if the page was built for another backend than this environment's."""
    if wanted is not None and contents.runtime_url != wanted:
        raise BundleRefused(
            f"{MANIFEST} says runtimeUrl {contents.runtime_url!r}, this environment routes {wanted!r}; "
            f"build with VITE_COPILOTKIT_RUNTIME_URL={wanted}"
        )


def _unpack(data: bytes, limits: BundleLimits) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            for member in archive:
                path = _checked_path(member, limits)
                if path is None:
                    continue
                total += member.size
                if total > limits.unpacked:
                    raise BundleRefused(f"{path}: the files have more than {limits.unpacked} bytes in all")
                if len(members) >= limits.files:
                    raise BundleRefused(f"{path}: more than {limits.files} files")
                if path in members:
                    raise BundleRefused(f"{path} is in the archive twice")
                source = archive.extractfile(member)
                members[path] = source.read() if source is not None else b""
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise BundleRefused(f"it is no tar.gz archive ({type(error).__name__}); publish what the build made") from error
    return members


def _checked_path(member: tarfile.TarInfo, limits: BundleLimits) -> str | None:
    """The path of a file; None for a folder."""
    name = member.name.removeprefix("./")
    shown = name[:100]
    if member.isdir():
        return None
    if not member.isreg():
        raise BundleRefused(f"{shown} is a link or a device; bundles hold plain files only")
    if name.startswith("/") or "\\" in name or ".." in name.split("/"):
        raise BundleRefused(f"{shown} leaves the bundle; paths must be relative, without `..`")
    if name == COLLECTION_MARK:
        raise BundleRefused(f"{shown} is a name that the operator keeps for itself; rename the file")
    if len(name) > limits.path or not _PATH.fullmatch(name):
        raise BundleRefused(f"{shown} is no usable path; allowed are letters, digits and . _ ~ @ + - between slashes")
    if member.size > limits.file:
        raise BundleRefused(f"{shown} has {member.size} bytes, allowed are {limits.file}")
    return name


def _manifest(raw: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BundleRefused(f"{MANIFEST} is no JSON") from error
    if not isinstance(manifest, dict) or manifest.get("schemaVersion") != 1:
        raise BundleRefused(f"{MANIFEST} must be an object with schemaVersion 1")
    if manifest.get("entrypoint") != ENTRYPOINT:
        raise BundleRefused(f"{MANIFEST} must name {ENTRYPOINT} as its entrypoint")
    if not isinstance(manifest.get("runtimeUrl"), (str, type(None))):
        raise BundleRefused(f"{MANIFEST}: runtimeUrl must be text")
    if not isinstance(manifest.get("files"), list) or not manifest["files"]:
        raise BundleRefused(f"{MANIFEST} lists no files")
    return manifest


def _file(entry: Any, members: Mapping[str, bytes], limits: BundleLimits) -> BundleFile:
    if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
        raise BundleRefused(f"{MANIFEST} has a file without a path")
    path = entry["path"]
    if path not in members:
        raise BundleRefused(f"{path[:100]} is in {MANIFEST} but not in the archive")
    if path == MANIFEST:
        raise BundleRefused(f"{MANIFEST} can't list itself")
    data = members[path]
    if entry.get("size") != len(data):
        raise BundleRefused(f"{path} has {len(data)} bytes, {MANIFEST} says {entry.get('size')}; it was changed")
    if entry.get("sha384") != base64.b64encode(hashlib.sha384(data).digest()).decode():
        raise BundleRefused(f"{path} has another content than {MANIFEST} says; it was changed after the build")
    content_type = entry.get("contentType")
    if not isinstance(content_type, str) or not _CONTENT_TYPE.fullmatch(content_type):
        raise BundleRefused(f"{path} needs a contentType in {MANIFEST}")
    allowed = _TYPES.get(path.rpartition(".")[2])
    if allowed is not None and content_type.partition(";")[0] not in allowed:
        raise BundleRefused(f"{path} has contentType {content_type}, expected {allowed[0]}")
    return BundleFile(path, data, content_type)
