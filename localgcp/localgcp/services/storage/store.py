"""What Cloud Storage keeps: buckets and objects, their bytes in files, every change atomic.

An object's bytes are written to a file of their own, named by generation, before the record that points to it is
committed; a reader sees the old object or the new one, never a mixture. Preconditions are checked in the same step that
commits. The old file is removed a little later, because a reader may just have got its path.
Source: https://cloud.google.com/storage/docs/json_api/v1/objects and .../request-preconditions
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google_crc32c

from localgcp.kit.errors import from_http
from localgcp.kit.interfaces import StoredObject
from localgcp.kit.service import Slot
from localgcp.kit.store import etag_of
from localgcp.services.storage.preconditions import Preconditions

if TYPE_CHECKING:
    from localgcp.kit.call import Call
    from localgcp.kit.cloud import Cloud

Json = dict[str, Any]

_KEEP_OLD_FILES_SECONDS = 30.0
_CHUNK = 1024 * 1024
_OWN_FIELDS = (  # of an object, that a request may set
    "cacheControl",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "contentType",
    "customTime",
    "eventBasedHold",
    "metadata",
    "storageClass",
    "temporaryHold",
)


def now_rfc3339() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


@dataclass(slots=True)
class Incoming:
    """Bytes on their way to becoming an object: a temporary file with its checksums so far."""

    path: Path
    size: int = 0
    crc32c: int = 0
    md5: Any = field(default_factory=lambda: hashlib.md5(usedforsecurity=False))

    def append(self, data: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(data)
        self.size += len(data)
        self.crc32c = google_crc32c.extend(self.crc32c, data)
        self.md5.update(data)

    def append_file(self, source: Path) -> None:
        with source.open("rb") as file:
            while chunk := file.read(_CHUNK):
                self.append(chunk)

    @property
    def crc32c_base64(self) -> str:
        return base64.b64encode(self.crc32c.to_bytes(4, "big")).decode()

    @property
    def md5_base64(self) -> str:
        return base64.b64encode(self.md5.digest()).decode()


class StoredBuckets:
    """Implements `interfaces.Buckets`; the storage service does everything through it."""

    def __init__(self, cloud: Cloud) -> None:
        self.buckets = cloud.store.json("storage.buckets")
        self.objects = cloud.store.json("storage.objects")
        self._root = cloud.settings.state_dir / "storage"
        self._files = self._root / "objects"
        self._incoming = self._root / "incoming"
        self._last_generation = 0
        for directory in (self._files, self._incoming):
            directory.mkdir(parents=True, exist_ok=True)

    def open(self) -> None:
        """Removes files that no record points to: what a killed localgcp was writing or about to delete."""
        wanted = {record["_file"] for record in self.objects.values()}
        for path in self._files.iterdir():
            if path.name not in wanted:
                path.unlink(missing_ok=True)

    def reset(self) -> None:
        """Removes all bytes; the records go with the store."""
        for path in (*self._files.iterdir(), *self._incoming.iterdir()):
            path.unlink(missing_ok=True)

    def read(self, bucket: str, name: str) -> StoredObject | None:
        record = self.objects.get(f"{bucket}/{name}")
        if record is None:
            return None
        return StoredObject(
            bucket=bucket,
            name=name,
            path=self._files / record["_file"],
            size=int(record["size"]),
            generation=int(record["generation"]),
            metageneration=int(record["metageneration"]),
            content_type=record.get("contentType", "application/octet-stream"),
            cache_control=record.get("cacheControl", ""),
            content_encoding=record.get("contentEncoding", ""),
            md5_base64=record.get("md5Hash", ""),
            crc32c_base64=record["crc32c"],
            metadata=record.get("metadata", {}),
        )

    def bucket(self, name: str) -> Json:
        """Raises ApiError 404."""
        record = self.buckets.get(name)
        if record is None:
            raise from_http(404, "The specified bucket does not exist.", "notFound")
        return record

    def object(self, bucket: str, name: str, generation: str = "") -> Json:
        """The record, with its private `_file`. Raises ApiError 404, also for a generation that is not the live one."""
        self.bucket(bucket)
        record = self.objects.get(f"{bucket}/{name}")
        if record is None or generation not in ("", record["generation"]):
            raise from_http(404, f"No such object: {bucket}/{name}", "notFound")
        return record

    def path(self, record: Mapping[str, Any]) -> Path:
        return self._files / str(record["_file"])

    def names(self, bucket: str, prefix: str = "") -> Iterator[tuple[str, Json]]:
        for key, record in self.objects.items(f"{bucket}/{prefix}"):
            yield key[len(bucket) + 1 :], record

    def incoming(self) -> Incoming:
        path = self._incoming / uuid.uuid4().hex
        path.touch()
        return Incoming(path)

    def resumed(self, name: str) -> Incoming:
        """An upload session's file as it was left, checksums computed again."""
        incoming = Incoming(self._incoming / f"{name}.resumed")
        source = self._incoming / name
        incoming.path.write_bytes(b"")
        incoming.append_file(source)
        os.replace(incoming.path, source)
        incoming.path = source
        return incoming

    def commit(
        self,
        bucket: str,
        name: str,
        incoming: Incoming,
        fields: Mapping[str, Any],
        conditions: Preconditions,
        call: Call,
    ) -> Json:
        """Makes the bytes the object's live generation. No await: checks and commit are one step."""
        owner = self.bucket(bucket)
        _check_name(name)
        _check_hashes(incoming, fields)
        key = f"{bucket}/{name}"
        old = self.objects.get(key)
        conditions.check(old)
        generation = self.next_generation()
        now = now_rfc3339()
        record: Json = {
            "kind": "storage#object",
            "id": f"{bucket}/{name}/{generation}",
            "name": name,
            "bucket": bucket,
            "generation": str(generation),
            "metageneration": "1",
            "contentType": "application/octet-stream",
            "storageClass": owner.get("storageClass", "STANDARD"),
            "size": str(incoming.size),
            "crc32c": incoming.crc32c_base64,
            "md5Hash": incoming.md5_base64,
            "timeCreated": now,
            "updated": now,
            "timeStorageClassUpdated": now,
            "timeFinalized": now,
            **{k: fields[k] for k in _OWN_FIELDS if fields.get(k) is not None},
            "_file": str(generation),
        }
        if "componentCount" in fields:  # composed objects have no MD5
            record["componentCount"] = fields["componentCount"]
            del record["md5Hash"]
        record["etag"] = etag_of(key, generation, 1)
        os.replace(incoming.path, self._files / record["_file"])
        self.objects.put(key, record)
        call.effect("write", f"b/{bucket}/o/{name}", f"generation {generation}, {incoming.size} bytes")
        if old is not None:
            self._discard(old)
        return record

    def change(self, record: Json, fields: Mapping[str, Any], call: Call) -> Json:
        """Replaces an object's own fields; the metageneration grows, the generation stays."""
        kept = {key: value for key, value in record.items() if key not in _OWN_FIELDS}
        changed = kept | {k: fields[k] for k in _OWN_FIELDS if fields.get(k) is not None}
        changed["metageneration"] = str(int(record["metageneration"]) + 1)
        changed["updated"] = now_rfc3339()
        key = f"{record['bucket']}/{record['name']}"
        changed["etag"] = etag_of(key, record["generation"], changed["metageneration"])
        self.objects.put(key, changed)
        call.effect("update", f"b/{record['bucket']}/o/{record['name']}", f"metageneration {changed['metageneration']}")
        return changed

    def delete(self, record: Json, call: Call) -> None:
        self.objects.delete(f"{record['bucket']}/{record['name']}")
        self._discard(record)
        call.effect("delete", f"b/{record['bucket']}/o/{record['name']}", f"generation {record['generation']}")

    def _discard(self, record: Mapping[str, Any]) -> None:
        path = self._files / str(record["_file"])
        try:
            asyncio.get_running_loop().call_later(_KEEP_OLD_FILES_SECONDS, path.unlink, True)
        except RuntimeError:
            path.unlink(missing_ok=True)

    def next_generation(self) -> int:
        self._last_generation = max(self._last_generation + 1, time.time_ns() // 1000)
        return self._last_generation


def _check_name(name: str) -> None:
    if not name or len(name.encode()) > 1024 or "\r" in name or "\n" in name or name in (".", ".."):
        raise from_http(400, f"Invalid object name: {name[:80]!r}", "invalid", location="name")


def _check_hashes(incoming: Incoming, fields: Mapping[str, Any]) -> None:
    """A client may send the checksum it expects; the object is rejected when it differs."""
    for name, computed in (("md5Hash", incoming.md5_base64), ("crc32c", incoming.crc32c_base64)):
        if (expected := fields.get(name)) is not None and expected != computed:
            label = "MD5 hash" if name == "md5Hash" else "CRC32C"
            message = f'Provided {label} "{expected}" doesn\'t match calculated {label} "{computed}".'
            raise from_http(400, message, "invalid")


STORE: Slot[StoredBuckets] = Slot("storage.store")
