"""Says what happened, once per fact: a log line, a metric and a Kubernetes Event for every phase change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from agui_operator.core.errors import LeaseLost
from agui_operator.core.memory import Memory
from agui_operator.core.rollout import STOPPED, Event, Phase
from agui_operator.engine.cluster import metrics
from agui_operator.engine.cluster.feed import SILENT, Feed
from agui_operator.engine.cluster.kube import GROUP_VERSION, Kube, KubeError

logger = logging.getLogger(__name__)


class Recorder:
    """Events are sent beside the loop; a lost one costs nothing but the Event."""

    def __init__(
        self, kube: Kube, clock: Callable[[], datetime] = lambda: datetime.now(UTC), feed: Feed = SILENT
    ) -> None:
        self._kube, self._clock, self._feed = kube, clock, feed
        self._due: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue(maxsize=1000)
        self._sender: asyncio.Task[None] | None = None

    def moved(self, namespace: str, name: str, uid: str, before: Memory, after: Memory, event: Event) -> None:
        metrics.TRANSITIONS.labels(str(after.phase), str(event)).inc()
        metrics.PHASES.moved(uid, namespace, name, str(after.phase))
        if after.history and after.history[:1] != before.history[:1]:
            newest = after.history[0]
            metrics.ROLLOUT_SECONDS.labels(newest.outcome).observe(newest.seconds)
        message = sentence(before, after, event)
        release = after.candidate or before.candidate
        extra = {"object": f"{namespace}/{name}", "phase": str(after.phase), "event": str(event)}
        logger.info(message, extra=extra | ({"release": release.id} if release else {}))
        kind = "Warning" if after.phase in STOPPED and before.phase is not after.phase else "Normal"
        self.post(namespace, name, uid, kind, str(after.phase), message)

    def post(self, namespace: str, name: str, uid: str, kind: str, reason: str, message: str) -> None:
        """Sends one Kubernetes Event about the object."""
        now = self._clock()
        self._feed.noted(uid, now, kind, reason, message[:1000])
        stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        event: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{name[:40]}-", "namespace": namespace},
            "involvedObject": {
                "apiVersion": GROUP_VERSION,
                "kind": "AgUiDeployment",
                "namespace": namespace,
                "name": name,
                "uid": uid,
            },
            "type": kind,
            "reason": reason,
            "message": message[:1000],
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
            "source": {"component": "agui-operator"},
            "reportingComponent": "agui-operator",
        }
        if self._due.full():
            logger.warning("an Event was dropped, too many are waiting: %s", message)
            return
        self._due.put_nowait((namespace, event))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send())

    async def _send(self) -> None:
        """One after the other, so that they stand in the order in which things happened."""
        while not self._due.empty():
            namespace, event = self._due.get_nowait()
            try:
                await self._kube.post_event(namespace, event)
            except (KubeError, ConnectionError, LeaseLost) as exc:
                logger.warning("an Event was not recorded: %s", exc)


def sentence(before: Memory, after: Memory, event: Event) -> str:
    """What happened, in the past tense."""
    release = after.candidate or before.candidate or after.stable
    what = f"Release {release.version} ({release.id})" if release else "A rollout"
    if event is Event.STARTED:
        return "A rollout has started: images and secret versions are being resolved"
    if after.phase is Phase.PENDING:
        return f"A new rollout is due ({event}) after {before.phase}"
    if event is Event.STEP_PASSED:
        return f"{what}: canary step {before.step + 1} passed"
    if after.phase in STOPPED and after.cause is not None:
        verb = {Phase.ROLLING_BACK: "is being rolled back", Phase.ROLLED_BACK: "was rolled back"}.get(
            after.phase, "failed before it received user traffic"
        )
        return f"{what} {verb}: {after.cause.message}"
    if after.phase is Phase.HEALTHY:
        return f"{what} is healthy and stable"
    return f"{what}: {before.phase} -> {after.phase} ({event})"
