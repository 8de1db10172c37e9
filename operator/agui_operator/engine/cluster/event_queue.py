"""Kubernetes Events on their way: bounded, coalesced, in order for each object, and lost ones are counted.

Events are sent beside the loop by a few senders; a lost Event costs nothing but the Event.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agui_operator.core.errors import LeaseLost
from agui_operator.engine.cluster.kube import GROUP_VERSION, Kube, KubeError

logger = logging.getLogger(__name__)
_SENDERS = 4
_LIMIT = 5000  # Events that wait for one sender
_REPORT = 60.0  # seconds between two warnings about lost Events
_TRIES = 5  # while the API server is away or the lease is not held


@dataclass(frozen=True, slots=True)
class Fact:
    """What an Event says. Facts that are equal and wait together become one Event with a count."""

    namespace: str
    name: str
    uid: str
    kind: str  # Normal, Warning
    reason: str
    message: str
    important: bool  # kept when there are too many


@dataclass(slots=True)
class _Times:
    first: datetime
    last: datetime
    count: int = 1


class _Lane:
    """One sender and what waits for it."""

    def __init__(self) -> None:
        self.waiting: dict[Fact, _Times] = {}  # in order
        self.sender: asyncio.Task[None] | None = None


class EventQueue:
    """All Events of one object pass one sender, so that they stand in the order in which things happened."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._lanes = [_Lane() for _ in range(_SENDERS)]
        self.lost = 0
        self._unreported, self._reported, self._why = 0, float("-inf"), ""

    def put(self, fact: Fact, at: datetime) -> None:
        lane = self._lanes[zlib.crc32(fact.uid.encode()) % _SENDERS]
        known = lane.waiting.get(fact)
        if known is not None:
            known.last, known.count = at, known.count + 1
            return
        if len(lane.waiting) >= _LIMIT and not self._make_room(lane, fact):
            return
        lane.waiting[fact] = _Times(at, at)
        if lane.sender is None or lane.sender.done():
            lane.sender = asyncio.create_task(self._send(lane), name="events")

    def _make_room(self, lane: _Lane, fact: Fact) -> bool:
        """Loses the oldest of the less important ones, or else the new one."""
        victim = next((one for one in lane.waiting if not one.important), None) if fact.important else None
        if victim is not None:
            del lane.waiting[victim]
        self._lose("too many were waiting")
        return victim is not None

    async def _send(self, lane: _Lane) -> None:
        while lane.waiting:
            fact = next(iter(lane.waiting))
            times = lane.waiting.pop(fact)
            for attempt in range(1, _TRIES + 1):
                try:
                    await self._kube.post_event(fact.namespace, _document(fact, times))
                    break
                except (ConnectionError, LeaseLost) as exc:
                    if attempt == _TRIES:
                        self._lose(str(exc))
                    else:
                        await asyncio.sleep(2.0 ** (attempt - 1))
                except KubeError as exc:
                    self._lose(str(exc))
                    break

    def _lose(self, why: str) -> None:
        """Counts it; a warning a minute tells how many there were."""
        self.lost += 1
        self._unreported += 1
        self._why = why
        now = time.monotonic()
        if now - self._reported >= _REPORT:
            self._report(now)
        elif self._unreported == 1:
            asyncio.get_running_loop().call_later(self._reported + _REPORT - now, self._report_rest)

    def _report_rest(self) -> None:
        if self._unreported:
            self._report(time.monotonic())

    def _report(self, now: float) -> None:
        logger.warning("%d Kubernetes Events were not recorded, the last one because: %s", self._unreported, self._why)
        self._unreported, self._reported = 0, now


def _document(fact: Fact, times: _Times) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{fact.name[:40]}-", "namespace": fact.namespace},
        "involvedObject": {
            "apiVersion": GROUP_VERSION,
            "kind": "AgUiDeployment",
            "namespace": fact.namespace,
            "name": fact.name,
            "uid": fact.uid,
        },
        "type": fact.kind,
        "reason": fact.reason,
        "message": fact.message,
        "firstTimestamp": _stamp(times.first),
        "lastTimestamp": _stamp(times.last),
        "count": times.count,
        "source": {"component": "agui-operator"},
        "reportingComponent": "agui-operator",
    }


def _stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
