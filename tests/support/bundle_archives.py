"""Bundles taken apart and put together again, so that tests can spoil one."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
from typing import Any

Json = dict[str, Any]
Files = dict[str, bytes]


def unpacked(archive: bytes) -> tuple[Files, Json]:
    """A bundle's files and its manifest."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {entry.name: part.read() for entry in tar if (part := tar.extractfile(entry)) is not None}
    return files, json.loads(files.pop("manifest.json"))


def packed(files: Files, manifest: Json, *more: tarfile.TarInfo) -> bytes:
    """An archive of the files, the manifest and further entries, which are zeros as far as they have a size."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, data in {**files, "manifest.json": json.dumps(manifest).encode()}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        for entry in more:
            tar.addfile(entry, io.BytesIO(bytes(entry.size)))
    return gzip.compress(raw.getvalue(), mtime=0)


def sha384(data: bytes) -> str:
    """The digest as manifests and integrity attributes write it, without `sha384-`."""
    return base64.b64encode(hashlib.sha384(data).digest()).decode()


def listed(path: str, data: bytes, content_type: str) -> Json:
    """A file's entry in the manifest."""
    return {"path": path, "sha384": sha384(data), "size": len(data), "contentType": content_type}
