"""Durable state: collections of named records in one SQLite file, read from memory.

A local cloud that is killed must come back with what it had acknowledged: every `put` is committed before it returns
(SQLite in WAL mode; a power cut may lose the last commits, a crash of localgcp may not). Values are copied in and out,
so that a caller cannot change a stored record by accident.
"""

from __future__ import annotations

import base64
import bisect
import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

M = TypeVar("M")


class Store:
    """Raw bytes by (collection, key), with a version that grows by one with every write of the record."""

    def __init__(self, path: Path | str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS records (collection TEXT, key TEXT, version INTEGER, value BLOB,"
            " PRIMARY KEY (collection, key)) WITHOUT ROWID"
        )
        self._records: dict[str, dict[str, tuple[int, bytes]]] = {}
        self._keys: dict[str, list[str]] = {}  # sorted: a scan of a prefix costs what it finds
        self._undo: list[tuple[str, str, tuple[int, bytes] | None]] | None = None  # None: no transaction is open
        rows = self._db.execute("SELECT collection, key, version, value FROM records ORDER BY collection, key")
        for collection, key, version, value in rows:
            self._records.setdefault(collection, {})[key] = (version, value)
            self._keys.setdefault(collection, []).append(key)

    def get(self, collection: str, key: str) -> bytes | None:
        record = self._records.get(collection, {}).get(key)
        return None if record is None else record[1]

    def version(self, collection: str, key: str) -> int:
        """How often this record was written; 0 if it does not exist."""
        record = self._records.get(collection, {}).get(key)
        return 0 if record is None else record[0]

    def put(self, collection: str, key: str, value: bytes) -> int:
        version = self.version(collection, key) + 1
        self._db.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)", (collection, key, version, value))
        self._remember(collection, key, (version, value))
        return version

    def delete(self, collection: str, key: str) -> bool:
        self._db.execute("DELETE FROM records WHERE collection = ? AND key = ?", (collection, key))
        return self._remember(collection, key, None)

    def scan(self, collection: str, prefix: str = "") -> list[tuple[str, bytes]]:
        """Records whose key starts with `prefix`, by key."""
        records, keys = self._records.get(collection, {}), self._keys.get(collection, [])
        found = []
        for index in range(bisect.bisect_left(keys, prefix), len(keys)):
            if not keys[index].startswith(prefix):
                break
            found.append((keys[index], records[keys[index]][1]))
        return found

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commits all writes of the block at once, or none of them when it raises or the process dies. Do not await
        in the block: writes of others would belong to it."""
        if self._undo is not None:
            yield
            return
        self._undo = []
        self._db.execute("BEGIN")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            undo, self._undo = self._undo, None
            for collection, key, record in reversed(undo):
                self._remember(collection, key, record)
            raise
        finally:
            self._undo = None

    def clear(self) -> None:
        self._db.execute("DELETE FROM records")
        self._records.clear()
        self._keys.clear()

    def close(self) -> None:
        self._db.close()

    def _remember(self, collection: str, key: str, record: tuple[int, bytes] | None) -> bool:
        """Keeps (None: drops) a record in memory; returns whether there was one."""
        records, keys = self._records.setdefault(collection, {}), self._keys.setdefault(collection, [])
        before = records.get(key)
        if self._undo is not None:
            self._undo.append((collection, key, before))
        if record is None:
            if records.pop(key, None) is not None:
                del keys[bisect.bisect_left(keys, key)]
        else:
            records[key] = record
            if before is None:
                bisect.insort(keys, key)
        return before is not None

    def protos(self, collection: str, cls: type[M]) -> ProtoTable[M]:
        return ProtoTable(self, collection, cls)

    def json(self, collection: str) -> JsonTable:
        return JsonTable(self, collection)


class ProtoTable(Generic[M]):
    """Protobuf messages of one class (the pb class, not the proto-plus one) by resource name."""

    def __init__(self, store: Store, collection: str, cls: type[M]) -> None:
        self._store, self._collection, self._cls = store, collection, cls

    def get(self, key: str) -> M | None:
        value = self._store.get(self._collection, key)
        return None if value is None else self._parse(value)

    def put(self, key: str, message: M) -> int:
        raw: Any = message
        return self._store.put(self._collection, key, raw.SerializeToString(deterministic=True))

    def delete(self, key: str) -> bool:
        return self._store.delete(self._collection, key)

    def items(self, prefix: str = "") -> Iterator[tuple[str, M]]:
        for key, value in self._store.scan(self._collection, prefix):
            yield key, self._parse(value)

    def values(self, prefix: str = "") -> list[M]:
        return [message for _, message in self.items(prefix)]

    def version(self, key: str) -> int:
        return self._store.version(self._collection, key)

    def _parse(self, value: bytes) -> M:
        cls: Any = self._cls
        parsed: M = cls.FromString(value)
        return parsed


class JsonTable:
    """JSON objects by key, for the APIs that have no protobuf messages here."""

    def __init__(self, store: Store, collection: str) -> None:
        self._store, self._collection = store, collection

    def get(self, key: str) -> dict[str, Any] | None:
        value = self._store.get(self._collection, key)
        return None if value is None else dict(json.loads(value))

    def put(self, key: str, value: dict[str, Any]) -> int:
        return self._store.put(self._collection, key, json.dumps(value, separators=(",", ":")).encode())

    def delete(self, key: str) -> bool:
        return self._store.delete(self._collection, key)

    def items(self, prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
        for key, value in self._store.scan(self._collection, prefix):
            yield key, json.loads(value)

    def values(self, prefix: str = "") -> list[dict[str, Any]]:
        return [value for _, value in self.items(prefix)]

    def version(self, key: str) -> int:
        return self._store.version(self._collection, key)


def etag_of(*parts: object) -> str:
    """An opaque fingerprint of what identifies one version of a resource (its uid and version, or its content)."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return base64.b64encode(digest[:12]).decode()
