"""Deleting a deployment: what it owns goes or stays, part by part; data stays unless the spec says otherwise.

The pointer goes first, so that nobody is served by something that is about to vanish. Each step is idempotent and a
missing object is a deleted one. When a step can't be done the object says why and how to let go of it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping
from typing import Any

from agui_operator.api.conditions import Reason
from agui_operator.api.deployment import DeletionPolicy
from agui_operator.api.parse import SpecInvalid, parse_deployment
from agui_operator.core import memory as memories
from agui_operator.core.actions import AlertDeleted, JobDeleted, PointerSet, ServiceDeleted
from agui_operator.core.blockers import place_of
from agui_operator.core.blueprint import CANDIDATE, PROMOTED
from agui_operator.core.environment import Place
from agui_operator.core.errors import CloudError, Fault, NotOwned, backoff, classify
from agui_operator.core.memory import Memory
from agui_operator.core.names import Names
from agui_operator.core.status import FaultSeen, Inputs, summarize
from agui_operator.engine.deployment.cache import ObjectCache
from agui_operator.engine.deployment.reconcile import Directory, Engine
from agui_operator.gcp.kinds.edge import url_map
from agui_operator.gcp.kinds.monitoring import alert_policy
from agui_operator.gcp.kinds.run import job as run_job
from agui_operator.gcp.kinds.run import service as run_service
from agui_operator.gcp.transport import operations
from agui_operator.gcp.transport.clients import Cloud

logger = logging.getLogger(__name__)
ABANDON = "agui.dev/abandon"
_WAIT = 20.0


class Deleter:
    """Takes down what one deployment owns."""

    def __init__(self, engine: Engine, cloud: Cloud, directory: Directory) -> None:
        self._engine, self._cloud, self._directory = engine, cloud, directory

    async def delete(self, body: Mapping[str, Any]) -> float | None:
        """None: everything is gone or stays on purpose, the object may go. Else seconds until the next try; the reason
        is in the object's conditions."""
        meta = body["metadata"]
        cache = self._engine.cache(str(meta["uid"]))
        if str((meta.get("annotations") or {}).get(ABANDON, "")).lower() == "true":
            logger.warning("deployment abandoned: what it owns stays in the cloud")
            return None
        memory = memories.from_status(cache.status or body.get("status"))
        try:
            await self._take_down(body, memory)
        except Exception as exc:
            return await self._blocked(cache, body, memory, exc)
        return None

    async def _take_down(self, body: Mapping[str, Any], memory: Memory) -> None:
        policy, names, place, checks = self._where(body, memory)
        if names is None or place is None:
            return
        if policy.pointer == "Delete" and place.edge is not None:
            routing, _ = await url_map.observe(self._cloud, names, place)
            if routing != url_map.Routing(None):
                await self._finish(url_map.apply(self._cloud, names, place, PointerSet(None)))
        if policy.alerts == "Delete":
            for view in await alert_policy.observe(self._cloud, names):
                await alert_policy.apply(self._cloud, names, AlertDeleted(view.name))
        if policy.backend == "Delete":
            await self._backend(names, memory, checks)

    async def _backend(self, names: Names, memory: Memory, checks: tuple[str, ...]) -> None:
        service = await run_service.observe(self._cloud, names)
        if service is not None and service.owner == names.uid:
            await self._finish(run_service.apply(self._cloud, names, ServiceDeleted(names.service), service))
        releases = {entry.release.id for entry in memory.history}
        releases |= {r.id for r in (memory.candidate, memory.stable) if r is not None}
        for release in sorted(releases):
            jobs = [names.migration_job(release)]
            jobs += [names.check_job(release, f"{stage}/{c}") for c in checks for stage in (CANDIDATE, PROMOTED)]
            for job in jobs:
                await self._finish(run_job.apply(self._cloud, names, JobDeleted(job), None))

    async def _finish(self, work: Awaitable[Any]) -> None:
        """Waits for the end of a deletion; what is not there, or not ours, needs none."""
        try:
            outcome = await work
        except NotOwned as exc:
            logger.info("left alone: %s", exc)
            return
        except CloudError as exc:
            if exc.code == 404:
                return
            raise
        if outcome.operation is not None:
            result = await operations.wait(self._cloud, outcome.operation, _WAIT)
            if result.error is not None and result.error.code != 404:
                raise result.error
            if not result.done:
                raise TimeoutError(f"{outcome.operation} did not end within {_WAIT:g} s")

    def _where(
        self, body: Mapping[str, Any], memory: Memory
    ) -> tuple[DeletionPolicy, Names | None, Place | None, tuple[str, ...]]:
        meta = body["metadata"]
        raw = body.get("spec") or {}
        checks: tuple[str, ...] = ()
        policy = DeletionPolicy()
        spec = None
        reference = str((raw.get("environmentRef") or {}).get("name", ""))
        try:
            spec = parse_deployment(raw)
            policy, reference = spec.deletion_policy, spec.environment_ref.name
            checks = tuple(c.name for c in spec.smoke if c.sql is not None or c.job is not None)
        except SpecInvalid:
            logger.warning("the spec is invalid; the default deletion policy is used")
        environment, why = self._directory.environment(str(meta["namespace"]), reference)
        if environment is None:
            if memory.stable is None and memory.candidate is None and not memory.history:
                return policy, None, None, checks  # nothing was ever made
            text = why or f"AgUiEnvironment {reference!r} does not exist, so what this deployment owns can't be found"
            raise CloudError(404, text)
        names = Names(
            str(meta["namespace"]), str(meta["name"]), str(meta["uid"]), environment.project_id, environment.region
        )
        return policy, names, place_of(environment, spec), checks

    async def _blocked(self, cache: ObjectCache, body: Mapping[str, Any], memory: Memory, exc: Exception) -> float:
        cache.failures += 1
        fault = classify(exc)
        delay = min(30.0, backoff(cache.failures, fault))
        if fault is Fault.BUG:
            logger.exception("internal error while deleting")
        message = f"{exc}; annotate {ABANDON}=true to leave what remains and let the object go"
        meta = body["metadata"]
        inputs = Inputs(
            memory=memory,
            generation=int(meta.get("generation", 0)),
            now=self._engine.now(),
            previous=cache.status or body.get("status") or {},
            fault=FaultSeen(fault, Reason.DELETION_BLOCKED, message, cache.failures),
            deleting=True,
        )
        if cache.status is None:
            cache.status = dict(body.get("status") or {})
        try:
            await self._engine.write_status(cache, str(meta["namespace"]), str(meta["name"]), summarize(inputs))
        except Exception as second:
            logger.warning("the reason could not be written to the status: %s", second)
        return delay
