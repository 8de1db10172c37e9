"""Says what happened, once per fact: a log line, a metric and a Kubernetes Event for every phase change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from agui_operator.core.memory import Memory
from agui_operator.core.rollout import STOPPED, Event, Phase
from agui_operator.core.waiting import action_of
from agui_operator.engine.cluster import metrics
from agui_operator.engine.cluster.event_queue import EventQueue, Fact
from agui_operator.engine.cluster.feed import SILENT, Feed
from agui_operator.engine.cluster.kube import Kube

logger = logging.getLogger(__name__)
_LONGEST = 1000  # characters of a message; the API server takes 1024
_PASSED = frozenset({Event.SUCCEEDED, Event.ALL_STEPS_PASSED})  # the phase before is done
_IMPORTANT = frozenset({Phase.HEALTHY, Phase.PAUSED, Phase.SUSPENDED})


class Recorder:
    """Turns phase changes into facts. A phase that ends before the loop gets to anything else had nothing to do: it is
    logged and counted, and becomes no Event."""

    def __init__(
        self, kube: Kube, clock: Callable[[], datetime] = lambda: datetime.now(UTC), feed: Feed = SILENT
    ) -> None:
        self._clock, self._feed, self._queue = clock, feed, EventQueue(kube)
        self._entered: dict[str, asyncio.Handle] = {}  # by uid: phases that may have nothing to do

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
        warns = after.phase in STOPPED or (before.phase is Phase.UNDOING and after.phase is Phase.PENDING)
        kind = "Warning" if warns and before.phase is not after.phase else "Normal"
        self._drop_unused(uid)
        important = is_important(after.phase, event) or Phase.UNDOING in (before.phase, after.phase)
        fact = Fact(namespace, name, uid, kind, str(after.phase), message[:_LONGEST], important)
        if important or event not in _PASSED:
            self._tell(fact, self._clock())
        else:
            self._entered[uid] = asyncio.get_running_loop().call_soon(self._enter, fact, self._clock())

    def _drop_unused(self, uid: str) -> None:
        entered = self._entered.pop(uid, None)
        if entered is not None:
            entered.cancel()

    def _enter(self, fact: Fact, at: datetime) -> None:
        self._entered.pop(fact.uid, None)
        self._tell(fact, at)

    def post(self, namespace: str, name: str, uid: str, kind: str, reason: str, message: str) -> None:
        """Sends one Kubernetes Event about the object."""
        self._tell(Fact(namespace, name, uid, kind, reason, message[:_LONGEST], True), self._clock())

    def _tell(self, fact: Fact, at: datetime) -> None:
        self._feed.noted(fact.uid, at, fact.kind, fact.reason, fact.message)
        self._queue.put(fact, at)


def is_important(phase: Phase, event: Event) -> bool:
    """Start, failure, roll-back, and what a rollout ends or waits in: what must not be lost."""
    return event is Event.STARTED or phase in STOPPED or phase in _IMPORTANT


def sentence(before: Memory, after: Memory, event: Event) -> str:
    """What happened, in the past tense."""
    release = after.candidate or before.candidate or (after.stable if after.phase is Phase.HEALTHY else None)
    what = f"Release {release.version} ({release.id})" if release else "A rollout"
    if event is Event.STARTED:
        return "Rollout started: resolving image digests and secret versions"
    if before.phase is Phase.UNDOING and after.phase is Phase.PENDING:
        return f"Undo ended without changes: {after.cause.message if after.cause is not None else event}"
    if after.phase is Phase.UNDOING and after.undo_to is not None:
        return f"{what} is being undone: release {after.undo_to.version} ({after.undo_to.id}) is checked at 0 %"
    if after.phase is Phase.PENDING:
        why = {Event.SPEC_CHANGED: "Spec changed", Event.RETRIED: "Retry requested"}.get(event, str(event))
        return f"{why}; starting a new rollout"
    if event is Event.ALL_STEPS_PASSED:
        return f"{what}: canary complete, promoting to 100 %"
    if event is Event.STEP_PASSED:
        return f"{what}: canary step {before.step + 1} passed"
    if after.phase in STOPPED and after.cause is not None:
        verb = {Phase.ROLLING_BACK: "is being rolled back", Phase.ROLLED_BACK: "was rolled back"}.get(
            after.phase, "failed before it received user traffic"
        )
        return f"{what} {verb}: {after.cause.message}"
    if after.phase is Phase.HEALTHY:
        return f"{what} is healthy and stable"
    if after.phase is Phase.PAUSED:
        return f"{what} is paused"
    if after.phase is Phase.SUSPENDED:
        return "Suspended: spec.suspend is true"
    return f"{what}: {action_of(after.phase)}"
