"""An append-only record of every call and of every effect, for tests and for debugging.

An *effect* is a real change (a service created, an object written, a task started); a *call* is one request with its
outcome. Effects stand before the call that caused them, with the same request id. A line of the file is a JSON object.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from localgcp.kit.call import Call


class Ledger:
    """`keep` bounds what is held in memory; the file holds everything and `seq` continues after a restart."""

    def __init__(self, path: Path, keep: int = 200_000) -> None:
        self._entries: deque[dict[str, Any]] = deque(_read(path), maxlen=keep)
        self._seq = self._entries[-1]["seq"] if self._entries else 0
        torn = path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")
        self._file = path.open("a", encoding="utf-8", buffering=1)
        if torn:  # a killed process left half a line: the next entry starts a new one
            self._file.write("\n")

    @property
    def last(self) -> int:
        """`seq` of the newest entry; 0 if there is none."""
        return int(self._seq)

    def call(self, call: Call, *, resource: str, code: str, began: float, seconds: float, write: bool) -> None:
        """`began` is Unix time in seconds, `code` a google.rpc.Code name, `write` whether the method may write."""
        self._append(
            {
                "ts": round(began, 6),
                "kind": "call",
                "api": call.api,
                "method": call.method,
                "resource": resource,
                "caller": call.caller,
                "request_id": call.request_id,
                "code": code,
                "ms": round(seconds * 1000, 3),
                "write": write,
            }
        )

    def effect(self, call: Call, kind: str, resource: str, detail: str = "") -> None:
        self._append(
            {
                "ts": round(time.time(), 6),
                "kind": "effect",
                "effect": kind,
                "api": call.api,
                "method": call.method,
                "resource": resource,
                "caller": call.caller,
                "request_id": call.request_id,
                "detail": detail,
            }
        )

    def query(
        self,
        since: int = 0,
        *,
        kind: str = "",
        method: str = "",
        resource: str = "",
        write: bool | None = None,
        limit: int = 0,
    ) -> list[dict[str, Any]]:
        """Entries after `since`, oldest first: `method` is a glob over "api.method", `resource` a substring. With a
        limit, the newest ones."""
        found = [
            entry
            for entry in self._entries
            if entry["seq"] > since
            and (not kind or entry["kind"] == kind)
            and (not method or matches(method, entry["api"], entry["method"]))
            and (resource in entry["resource"])
            and (write is None or entry.get("write") is write)
        ]
        return found[-limit:] if limit else found

    def close(self) -> None:
        self._file.close()

    def _append(self, entry: dict[str, Any]) -> None:
        self._seq += 1
        entry = {"seq": self._seq, **entry}
        self._entries.append(entry)
        if not self._file.closed:  # a call may be cut off by the end of the server
            self._file.write(json.dumps(entry, separators=(",", ":")) + "\n")


def matches(glob: str, api: str, method: str) -> bool:
    """Whether a glob names a method: by itself ("UpdateService"), with its service ("Services.UpdateService") or in
    full ("google.cloud.run.v2.Services.UpdateService"); REST-only methods by their name ("storage.objects.insert")."""
    full = method if method.startswith(api + ".") else f"{api}.{method}"
    short = f"{api.rpartition('.')[2]}.{method}"
    return any(fnmatchcase(name, glob) for name in (method, short, full))


def _read(path: Path) -> Iterable[dict[str, Any]]:
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except ValueError:  # the last line of a killed process
                continue
