"""What keeps the status of every object of a kind true: a loop per object, which wakes when the object changes, when it
is told to and on a schedule, and writes nothing when nothing changed."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agui_operator.core.errors import Fault, backoff, classify
from agui_operator.core.merge import merge_patch
from agui_operator.engine.cluster.kube import GROUP_VERSION, Kube, KubeError
from agui_operator.engine.cluster.wakeups import Wakeups
from agui_operator.engine.tasks import Tasks

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Known:
    """One object's volatile state."""

    body: Mapping[str, Any]  # as last delivered by the watch
    status: dict[str, Any] = field(default_factory=dict)  # as last written
    failures: int = 0

    @property
    def generation(self) -> int:
        return int(self.body["metadata"].get("generation", 0))

    @property
    def name(self) -> str:
        """`namespace/name`, or the name of an object without a namespace."""
        meta = self.body["metadata"]
        return f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])


class StatusKeeper(ABC):
    """Base of the engines whose only effect is a status. One per kind and process."""

    def __init__(self, kube: Kube, kind: str, plural: str, resync: float) -> None:
        """`kind` is how messages call an object."""
        self._kube, self._kind, self._plural, self._resync = kube, kind, plural, resync
        self._objects: dict[str, Known] = {}
        self._loops, self._wakeups = Tasks(), Wakeups()

    def seen(self, body: Mapping[str, Any]) -> None:
        """The watch delivered the object. A new one gets a loop, a new generation wakes it; the operator's own writes
        of the status do not."""
        uid = str(body["metadata"]["uid"])
        known = self._objects.get(uid)
        if known is None:
            self._objects[uid] = Known(body, dict(body.get("status") or {}))
        else:
            known.body = body
        self._wakeups.wake(uid, body["metadata"].get("generation"))
        self._loops.start(uid, self._keep(uid))

    def wake(self, uids: Iterable[str]) -> None:
        """What these objects depend on has changed."""
        self._wakeups.wake_each(list(uids))

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self._objects.pop(uid, None)
        self._loops.cancel(uid)
        self._wakeups.forget(uid)

    def close(self) -> None:
        self._loops.cancel()

    async def _keep(self, uid: str) -> None:
        while uid in self._objects:
            await self._wakeups.wait(uid, 0)  # what rang until now is answered by this turn
            await self._wakeups.wait(uid, await self.turn(uid))

    async def turn(self, uid: str) -> float:
        """One look and, if it found anything new, one write. Returns after how many seconds to look again. Never
        raises: what fails is retried with back-off."""
        known = self._objects[uid]
        try:
            return await self._look(known)
        except Exception as exc:
            return self._failed(known, exc)

    @abstractmethod
    async def _look(self, known: Known) -> float:
        """Looks, and stores the status. Returns after how many seconds to look again."""

    async def _store(self, known: Known, status: dict[str, Any]) -> None:
        """Writes what differs from the status that was written last."""
        patch = merge_patch(known.status, status)
        if not patch:
            return
        meta = known.body["metadata"]
        space = f"/namespaces/{meta['namespace']}" if meta.get("namespace") else ""
        path = f"/apis/{GROUP_VERSION}{space}/{self._plural}/{meta['name']}/status"
        body = {"metadata": {"uid": meta["uid"]}, "status": patch}
        try:
            await self._kube.request("PATCH", path, body, "application/merge-patch+json")
        except KubeError as exc:
            if exc.code not in (404, 409):  # deleted, or deleted and created again
                raise
        known.status = status

    def _failed(self, known: Known, exc: Exception) -> float:
        """Counts and logs a failure. Returns after how many seconds to try again."""
        known.failures += 1
        fault = classify(exc)
        if fault is Fault.BUG:
            logger.exception("internal error while looking at %s %s", self._kind, known.name)
        else:
            logger.warning("%s %s could not be checked, retried automatically: %s", self._kind, known.name, exc)
        delay = max(backoff(known.failures, fault), getattr(exc, "retry_after", None) or 0.0)
        return min(delay, self._resync)
