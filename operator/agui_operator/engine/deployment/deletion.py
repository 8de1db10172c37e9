"""Deletes what a deployment owns, level-triggered: look, take the next step (core/deletion.py), look again.

Every step is idempotent, and a crash between two of them costs nothing: the next call lists again. When a step can't be
done, the object says why and how to let it go.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from agui_operator.api.conditions import Reason
from agui_operator.core.deletion import (
    ABANDON,
    LET_GO,
    Blocked,
    Done,
    Intent,
    Kind,
    Look,
    Remove,
    next_step,
    was_released,
)
from agui_operator.core.errors import Fault, backoff, classify, told
from agui_operator.core.status import FaultSeen, Inputs, summarize
from agui_operator.engine.cluster.records import Recorder
from agui_operator.engine.deployment.belongings import Belongings
from agui_operator.engine.deployment.cache import ObjectCache
from agui_operator.engine.deployment.reconcile import Engine
from agui_operator.engine.deployment.report import Reporter
from agui_operator.engine.deployment.scope import Scope

logger = logging.getLogger(__name__)
_RETRY = 10.0  # seconds until a blocked deletion is looked at again
_LONGEST = 30.0
_STEPS = 13  # in one call; a deletion needs 9
Views = dict[Kind, dict[str, Any]]  # what was listed, by kind and name


class Deleter:
    """Deletes what one deployment owns. It and the deployment's reconcile loop never run at the same time."""

    def __init__(self, engine: Engine, belongings: Belongings, reporter: Reporter, recorder: Recorder) -> None:
        self._engine, self._belongings = engine, belongings
        self._reporter, self._recorder = reporter, recorder

    async def delete(self, body: Mapping[str, Any]) -> float | None:
        """None: everything is gone or stays on purpose, the object may go. Else seconds until the next attempt; the
        reason is in the object's conditions."""
        cache = self._engine.cache(str(body["metadata"]["uid"]))
        async with cache.lock:
            scope = self._engine.scope(cache, body, deleting=True)
            try:
                blocked = await self._steps(scope)
            except Exception as exc:
                return await self._failed(scope, cache, exc)
            if blocked is None:
                return None
            await self._say(
                scope, cache, FaultSeen(Fault.USER, Reason.DELETION_BLOCKED, blocked.message, cache.count_failure())
            )
            return _RETRY

    async def _steps(self, scope: Scope) -> Blocked | None:
        intent = intent_of(scope)
        if intent.abandoned:
            logger.warning("deployment abandoned: what it owns stays in the cloud")
        views: Views = {}
        for _ in range(_STEPS):
            step = next_step(intent, {kind: tuple(found) for kind, found in views.items()})
            match step:
                case Done():
                    return None
                case Blocked():
                    return step
                case Look(kinds):
                    for kind in kinds:
                        views[kind] = await self._belongings.listed(scope, kind)
                case Remove(things):
                    await self._belongings.remove(scope, [(kind, name, views[kind][name]) for kind, name in things])
                    for kind, _ in things:
                        views.pop(kind, None)
        raise TimeoutError(f"what was deleted is still listed: {_described(views)}")

    async def _failed(self, scope: Scope, cache: ObjectCache, exc: Exception) -> float:
        fault = classify(exc)
        attempt = cache.count_failure()
        if fault is Fault.BUG:
            text = f"internal error: {type(exc).__name__}"
            logger.exception("internal error while deleting")
        else:
            text = told(exc, scope.disclosure)
            logger.warning("deletion failed: %s", text, extra={"fault": str(fault), "attempt": attempt})
        now = "correct what the message names" if fault is Fault.USER else "retried automatically"
        await self._say(scope, cache, FaultSeen(fault, Reason.DELETION_BLOCKED, f"{text}; {now}, or {LET_GO}", attempt))
        return min(_LONGEST, backoff(attempt, fault))

    async def _say(self, scope: Scope, cache: ObjectCache, fault: FaultSeen) -> None:
        """Writes why deletion is blocked to the status, and to an Event when it is news."""
        inputs = Inputs(
            memory=scope.memory,
            generation=scope.generation,
            now=self._engine.now(),
            previous=cache.status,
            fault=fault,
            deleting=True,
        )
        status = summarize(inputs)
        if status["message"] != cache.status.get("message"):
            self._recorder.post(
                scope.namespace, scope.name, scope.uid, "Warning", Reason.DELETION_BLOCKED, fault.message
            )
        try:
            await self._reporter.write(scope, cache, status)
        except Exception as second:
            logger.warning("the reason could not be written to the status: %s", second)


def intent_of(scope: Scope) -> Intent:
    return Intent(
        policy=scope.parsed.deletion,
        policy_error=scope.parsed.deletion_error,
        environment_error=None if scope.location is not None else scope.environment_error,
        abandoned=scope.annotations.get(ABANDON, "").lower() == "true",
        released=was_released(scope.memory),
    )


def _described(views: Views) -> str:
    return ", ".join(f"{kind} {name}" for kind, found in views.items() for name in found) or "nothing"
