"""Deletes what a deployment owns, level-triggered: look, take the next step (core/deletion.py), look again.

Every step is idempotent, and a crash between two of them costs nothing: the next call lists again. When a step can't be
done, the object says why and how to let it go.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from agui_operator.api.conditions import Reason
from agui_operator.core.actions import AlertDeleted, JobDeleted, ServiceDeleted
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
from agui_operator.core.errors import CloudError, Fault, NotOwned, backoff, classify
from agui_operator.core.status import FaultSeen, Inputs, summarize
from agui_operator.engine.cluster.records import Recorder
from agui_operator.engine.deployment.cache import ObjectCache
from agui_operator.engine.deployment.reconcile import Engine
from agui_operator.engine.deployment.report import Reporter
from agui_operator.engine.deployment.scope import Scope
from agui_operator.gcp.kinds.edge import url_map
from agui_operator.gcp.kinds.monitoring import alert_policy
from agui_operator.gcp.kinds.run import job as run_job
from agui_operator.gcp.kinds.run import service as run_service
from agui_operator.gcp.transport import operations
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.outcome import Outcome

logger = logging.getLogger(__name__)
_WAIT = 20.0  # seconds for one operation to end
_RETRY = 10.0  # seconds until a blocked deletion is looked at again
_LONGEST = 30.0
_STEPS = 12  # in one call; a deletion needs 6
Views = dict[Kind, dict[str, Any]]  # what was listed, by kind and name


class Deleter:
    """Deletes what one deployment owns. It and the deployment's reconcile loop never run at the same time."""

    def __init__(self, engine: Engine, cloud: Cloud, reporter: Reporter, recorder: Recorder) -> None:
        self._engine, self._cloud, self._reporter, self._recorder = engine, cloud, reporter, recorder

    async def delete(self, body: Mapping[str, Any]) -> float | None:
        """None: everything is gone or stays on purpose, the object may go. Else seconds until the next attempt; the
        reason is in the object's conditions."""
        cache = self._engine.cache(str(body["metadata"]["uid"]))
        async with cache.lock:
            scope = self._engine.scope(cache, body)
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
                        views[kind] = await self._list(scope, kind)
                case Remove(things):
                    await self._remove(scope, views, things)
                    for kind, _ in things:
                        views.pop(kind, None)
        raise TimeoutError(f"what was deleted is still listed: {_described(views)}")

    async def _list(self, scope: Scope, kind: Kind) -> dict[str, Any]:
        """What carries the deployment's owner label, by name."""
        cloud, names = self._cloud, scope.names
        match kind:
            case Kind.URL_MAP_RULES:
                return dict.fromkeys(await self._url_maps(scope))
            case Kind.ALERT_POLICY:
                return {view.name: view for view in await alert_policy.observe(cloud, names)}
            case Kind.SERVICE:
                return {view.name: view for view in await run_service.owned(cloud, names)}
            case Kind.JOB:
                return {view.name: view for view in await run_job.owned(cloud, names)}

    async def _url_maps(self, scope: Scope) -> list[str]:
        """An environment without an edge may be in a project without Compute Engine, which answers 403."""
        try:
            return await url_map.owned(self._cloud, scope.names)
        except CloudError as error:
            if scope.place.edge is None and error.code in (403, 404):
                return []
            raise

    async def _remove(self, scope: Scope, views: Views, things: tuple[tuple[Kind, str], ...]) -> None:
        """Starts all deletions, then waits for those that take longer."""
        outcomes = [await self._removed(scope, kind, name, views[kind][name]) for kind, name in things]
        for outcome in outcomes:
            if outcome.operation is None:
                continue
            result = await operations.wait(self._cloud, outcome.operation, _WAIT)
            if result.error is not None and result.error.code != 404:
                raise result.error
            if not result.done:
                raise TimeoutError(f"{outcome.operation} did not end within {_WAIT:g} s")

    async def _removed(self, scope: Scope, kind: Kind, name: str, view: Any) -> Outcome:
        """Deletes one thing; what is gone, or another's by now, needs no deletion."""
        cloud, names = self._cloud, scope.names
        try:
            match kind:
                case Kind.URL_MAP_RULES:
                    outcome = await url_map.remove(cloud, names, name)
                case Kind.ALERT_POLICY:
                    outcome = await alert_policy.apply(cloud, names, AlertDeleted(name))
                case Kind.SERVICE:
                    outcome = await run_service.apply(cloud, names, ServiceDeleted(name), view)
                case Kind.JOB:
                    outcome = await run_job.apply(cloud, names, JobDeleted(name), view)
        except NotOwned as exc:
            logger.info("left alone: %s", exc)
            return Outcome()
        except CloudError as exc:
            if exc.code != 404:
                raise
            return Outcome()
        logger.info("deleted %s %s", kind, name)
        return outcome

    async def _failed(self, scope: Scope, cache: ObjectCache, exc: Exception) -> float:
        fault = classify(exc)
        attempt = cache.count_failure()
        if fault is Fault.BUG:
            logger.exception("internal error while deleting")
        else:
            logger.warning("deletion failed: %s", exc, extra={"fault": str(fault), "attempt": attempt})
        text = f"internal error: {type(exc).__name__}" if fault is Fault.BUG else str(exc)
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
        environment_error=None if scope.environment is not None else scope.environment_error,
        abandoned=scope.annotations.get(ABANDON, "").lower() == "true",
        released=was_released(scope.memory),
    )


def _described(views: Views) -> str:
    return ", ".join(f"{kind} {name}" for kind, found in views.items() for name in found) or "nothing"
