"""What the process knows about one object for the moment. All of it may be lost at any time; the next turn looks again.

The cache is changed by its own methods. It holds one memory, the views of the cloud, the operations in progress and the
last written status; checks belong to the check runner, leftovers to the garbage collector.
"""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agui_operator.core import memory as memories
from agui_operator.core.memory import Memory
from agui_operator.core.merge import without_nulls
from agui_operator.core.rollout import Look
from agui_operator.core.served import Part
from agui_operator.core.snapshot import LookFault, Request
from agui_operator.core.status import FaultSeen
from agui_operator.engine.deployment.looking import Looking
from agui_operator.engine.deployment.scope import Location
from agui_operator.engine.deployment.views import Views
from agui_operator.engine.tasks import Tasks

_AWAITED = 30.0  # seconds that the end of an operation is waited for without a look at the resource


@dataclass(slots=True)
class ObjectCache:
    """One object's volatile state. `lock`: reconcile and deletion of one object never overlap."""

    uid: str
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    memory: Memory | None = None
    location: Location | None = None  # as of the last environment that was seen
    views: Views = field(default_factory=Views)
    operations: Tasks = field(default_factory=Tasks)  # by the view that they will change
    looking: Looking = field(default_factory=Looking)
    failed_looks: dict[Look, LookFault] = field(default_factory=dict)  # until one succeeds
    fault: FaultSeen | None = None
    failures: int = 0
    drift: str | None = None
    differs: dict[Part, str | None] = field(default_factory=dict)  # what users get at rest, as it was last seen
    unpublished: str | None = None  # why missing files of the stable page could not be published again
    compared: int | None = None  # generation at which the cloud was last compared with the stable release
    forbidden: Mapping[str, str] | None = None  # as of the last look; None: there was none
    drift_due: float = 0.0  # monotonic time of the next comparison with the cloud
    answered: tuple[Request, ...] = ()  # what was answered and whose annotation is still to be removed
    answered_at: int = 0  # resourceVersion without those annotations; an older body tells of past requests
    changed_status: Mapping[str, Any] | None = None  # as somebody else left it
    told: set[str] = field(default_factory=set)  # annotations that an Event said are unknown
    restoring_since: float | None = None  # monotonic time of the failure that is being rolled back
    _deferred: dict[Look, float] = field(default_factory=dict)  # monotonic time of the next try
    _version: int = 0  # resourceVersion up to which the object's status was compared with what was written
    _status: bytes | None = None  # as last written; packed, because kopf keeps a copy of its own

    def load(self, body: Mapping[str, Any]) -> Memory:
        """The memory; taken from the object's status the first time. A status that somebody else changed since is not
        believed, but replaced by the next write."""
        status, version = body.get("status") or {}, _version_of(body)
        if self.memory is None:
            self.memory = memories.from_status(status)
            self.written(status)
        elif version > self._version:
            found = without_nulls(_plain(status))
            self.changed_status = found if found != without_nulls(self.status) else None
        self._version = max(self._version, version)
        return self.memory

    def remember(self, memory: Memory) -> None:
        self.memory = memory

    @property
    def status(self) -> dict[str, Any]:
        """The status as last written."""
        if self._status is None:
            return {}
        unpacked: dict[str, Any] = json.loads(zlib.decompress(self._status))
        return unpacked

    @property
    def is_stalled(self) -> bool:
        """True if the status as last written says that a user's action is required."""
        return any(c["type"] == "Stalled" and c["status"] == "True" for c in self.status.get("conditions") or ())

    def written(self, status: Mapping[str, Any], version: str = "") -> None:
        """The object has this status, since this resourceVersion if that is known."""
        self._version = max(self._version, int(version) if version.isdecimal() else 0)
        self.changed_status = None
        self._status = zlib.compress(json.dumps(_plain(status)).encode(), 1)

    def locate(self, location: Location | None) -> None:
        self.location = location

    def is_known(self, view: str) -> bool:
        """True if the view may be used without looking: it is fresh, or the end of an operation is waited for."""
        return view in self.views.fresh or self.is_awaited(view)

    def is_awaited(self, view: str) -> bool:
        """True while an operation that changes the view is in progress. One that takes long may have ended without an
        answer to whom waits for it: then the resource itself is looked at, too."""
        return view in self.operations and self.operations.age(view) < _AWAITED

    def failed(self, fault: FaultSeen) -> None:
        self.fault = fault
        self.views.invalidate()

    def count_failure(self) -> int:
        self.failures += 1
        return self.failures

    def succeeded(self, drift: str | None) -> None:
        self.fault, self.failures, self.drift = None, 0, drift

    def served(self, seen: Mapping[Part, str | None]) -> None:
        """What was seen of what users get; what was not keeps its last value."""
        self.differs |= seen

    @property
    def astray(self) -> str | None:
        """What users get instead of the stable release; None: nothing else, or nobody knows."""
        return next((text for text in self.differs.values() if text is not None), None)

    def compare_after(self, seconds: float) -> None:
        """The object is compared with the cloud again after that time."""
        self.drift_due = time.monotonic() + seconds

    def compared_at(self, generation: int | None) -> None:
        """The cloud was seen to match what this generation asks for, or differs; None: that is not known any more."""
        self.compared = generation

    def answer(self, request: Request) -> None:
        self.answered = (*self.answered, request)

    def is_answered(self, request: Request) -> bool:
        """True until the annotation with that value is removed."""
        return any((other.kind, other.value) == (request.kind, request.value) for other in self.answered)

    def acknowledged(self, request: Request, version: str | None) -> None:
        """The annotation of an answered request is gone as of this resourceVersion of the object."""
        self.answered = tuple(other for other in self.answered if other is not request)
        self.answered_at = int(version) if version is not None and version.isdecimal() else 0

    def begin_restoring(self, since: float) -> None:
        if self.restoring_since is None:
            self.restoring_since = since

    def end_restoring(self) -> float | None:
        """How many seconds restoring took; None: nothing was being restored."""
        since, self.restoring_since = self.restoring_since, None
        return time.monotonic() - since if since is not None else None

    def look_failed(self, look: Look, fault: LookFault, again_in: float = 0.0) -> None:
        """`again_in`: seconds in which it is not tried again."""
        self.failed_looks[look] = fault
        self._deferred[look] = time.monotonic() + again_in

    def is_deferred(self, look: Look) -> bool:
        return look in self.failed_looks and time.monotonic() < self._deferred.get(look, 0.0)

    def keep_failed(self, looks: frozenset[Look]) -> None:
        """What another phase looked at counts no more."""
        self.failed_looks = {look: fault for look, fault in self.failed_looks.items() if look in looks}

    def look_succeeded(self, look: Look) -> None:
        self.failed_looks.pop(look, None)

    def close(self) -> None:
        self.operations.cancel()
        self.looking.close()


def _version_of(body: Mapping[str, Any]) -> int:
    version = str((body.get("metadata") or {}).get("resourceVersion", ""))
    return int(version) if version.isdecimal() else 0


def _plain(value: Any) -> Any:
    """Views of other mapping types (kopf's) as dicts."""
    if isinstance(value, Mapping):
        return {key: _plain(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(child) for child in value]
    return value
