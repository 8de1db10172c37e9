"""What the dashboard knows: one entry per AgUiDeployment, kept up to date by the feed of the engine.

Every change gives the entry the next revision of the whole board, so that a page can ask for what changed since the one
it has. Listeners are bells, not queues: a reader that is slow finds the newest state, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from agui_operator.core.analysis import Window
from agui_operator.dashboard.measurements import Measurement, measurement

MEASUREMENTS, LINES = 240, 40  # kept per object; older ones are forgotten
_EMPTY: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Line:
    """Something that happened; `kind` is Normal or Warning."""

    at: datetime
    kind: str
    reason: str
    message: str


@dataclass(slots=True)
class Entry:
    """One object. `number` is its short key in pages; `own` is true once this process has written the status, from when
    on the status of a watch event may be an older one."""

    number: int
    uid: str
    namespace: str
    name: str
    revision: int = 0
    own: bool = False
    generation: int = 0
    created: str = ""
    deleting: bool = False
    spec: Mapping[str, Any] = field(default_factory=dict)
    status: Mapping[str, Any] = field(default_factory=dict)
    lines: deque[Line] = field(default_factory=lambda: deque(maxlen=LINES))
    measurements: deque[Measurement] = field(default_factory=lambda: deque(maxlen=MEASUREMENTS))


class Board:
    """Implements engine.feed.Feed. All of it is read and written in one event loop; nothing waits."""

    def __init__(self) -> None:
        self.epoch = secrets.token_hex(4)  # revisions of another process mean nothing here
        self.revision = 0
        self._entries: dict[str, Entry] = {}
        self._by_name: dict[tuple[str, str], str] = {}
        self._numbers = 0
        self._bells: set[asyncio.Event] = set()

    # --- the feed ------------------------------------------------------------------------------------------------

    def seen(self, body: Mapping[str, Any]) -> None:
        metadata = body["metadata"]
        entry = self._entry(str(metadata["uid"]), str(metadata["namespace"]), str(metadata["name"]))
        wish = int(metadata.get("generation") or 0), bool(metadata.get("deletionTimestamp"))
        if entry.own and wish == (entry.generation, entry.deleting):
            return  # the watch brings back what this process has written itself
        entry.generation, entry.deleting = wish
        entry.created = str(metadata.get("creationTimestamp") or "")
        entry.spec = dict(body.get("spec") or _EMPTY)
        if not entry.own:
            entry.status = dict(body.get("status") or _EMPTY)
        self._changed(entry)

    def gone(self, uid: str) -> None:
        entry = self._entries.pop(uid, None)
        if entry is None:
            return
        if self._by_name.get((entry.namespace, entry.name)) == uid:
            del self._by_name[entry.namespace, entry.name]
        self.revision += 1
        self.ring()

    def status_written(self, namespace: str, name: str, uid: str, status: Mapping[str, Any]) -> None:
        entry = self._entry(uid, namespace, name)
        entry.status, entry.own = status, True
        self._changed(entry)

    def measured(self, uid: str, release: str, at: datetime, window: Window) -> None:
        entry = self._entries.get(uid)
        if entry is None:
            return
        if entry.measurements and entry.measurements[-1].release != release:
            entry.measurements.clear()
        entry.measurements.append(measurement(release, at, window))
        self._changed(entry)

    def noted(self, uid: str, at: datetime, kind: str, reason: str, message: str) -> None:
        entry = self._entries.get(uid)
        if entry is not None:
            entry.lines.appendleft(Line(at, kind, reason, message))
            self._changed(entry)

    # --- readers -------------------------------------------------------------------------------------------------

    @property
    def entries(self) -> tuple[Entry, ...]:
        return tuple(self._entries.values())

    def find(self, namespace: str, name: str) -> Entry | None:
        uid = self._by_name.get((namespace, name))
        return self._entries.get(uid) if uid is not None else None

    def ring(self) -> None:
        """Wakes every listener."""
        for bell in self._bells:
            bell.set()

    @contextmanager
    def listen(self) -> Iterator[asyncio.Event]:
        """A bell that is set at each change; the listener clears it."""
        bell = asyncio.Event()
        self._bells.add(bell)
        try:
            yield bell
        finally:
            self._bells.discard(bell)

    @property
    def listeners(self) -> int:
        return len(self._bells)

    def _entry(self, uid: str, namespace: str, name: str) -> Entry:
        entry = self._entries.get(uid)
        if entry is None:
            self._numbers += 1
            entry = self._entries[uid] = Entry(self._numbers, uid, namespace, name)
            self._by_name[namespace, name] = uid
        return entry

    def _changed(self, entry: Entry) -> None:
        self.revision += 1
        entry.revision = self.revision
        self.ring()
