"""AgUiEnvironment in its Observed form: does everything that it names exist? Level-triggered: looked at when the object
changes and on a schedule, so that a part that is created or deleted in the meantime is noticed.

A missing part is said in the environment's own conditions; deployments are held back only by an environment that is
invalid or absent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Protocol

from agui_operator.api.environment import AgUiEnvironmentSpec
from agui_operator.api.policy import AgUiPolicySpec
from agui_operator.core.errors import Fault, backoff, classify
from agui_operator.core.merge import merge_patch
from agui_operator.core.permitted import matches, refusals
from agui_operator.core.uses import of_environment
from agui_operator.engine.cluster.kube import GROUP_VERSION, Kube, KubeError
from agui_operator.engine.cluster.wakeups import Wakeups
from agui_operator.engine.environment import presence
from agui_operator.engine.environment.status import EnvironmentLook, deletion_status, status_of
from agui_operator.engine.tasks import Tasks
from agui_operator.gcp.transport.clients import Cloud

logger = logging.getLogger(__name__)
_INCOMPLETE = 60.0  # seconds between two looks while a part is missing: somebody is about to create it
_DELETING = 3.0  # seconds between two looks at who needs an environment that is being deleted
_AT_ONCE = 4  # environments that are looked at at the same time; each is a handful of reads


class Environments(Protocol):
    """Where the parsed environment is found."""

    def environment(self, namespace: str, name: str) -> tuple[AgUiEnvironmentSpec | None, str | None]: ...

    def policies(self) -> Sequence[AgUiPolicySpec]: ...

    def users_of(self, namespace: str, name: str) -> Sequence[str]:
        """Names of the deployments that need it."""
        ...


@dataclass(slots=True)
class _Environment:
    """One object's volatile state."""

    body: Mapping[str, Any]  # as last delivered by the watch
    status: dict[str, Any] = field(default_factory=dict)  # as last written
    failures: int = 0


class EnvironmentEngine:
    """Keeps the status of every AgUiEnvironment true; writes nothing when nothing changed. One per process."""

    def __init__(
        self,
        kube: Kube,
        cloud: Cloud,
        directory: Environments,
        resync: float,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._kube, self._cloud, self._directory = kube, cloud, directory
        self._resync, self._clock = resync, clock
        self._objects: dict[str, _Environment] = {}
        self._loops, self._wakeups = Tasks(), Wakeups()
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def seen(self, body: Mapping[str, Any]) -> None:
        """The watch delivered the object. A new one gets a loop, a new generation wakes it; the operator's own writes
        of the status do not."""
        uid = str(body["metadata"]["uid"])
        known = self._objects.get(uid)
        if known is None:
            self._objects[uid] = _Environment(body, dict(body.get("status") or {}))
        else:
            known.body = body
        self._wakeups.wake(uid, body["metadata"].get("generation"))
        self._loops.start(uid, self._keep(uid))

    def refresh(self, patterns: Sequence[str]) -> None:
        """A policy that speaks for these namespaces has changed."""
        found = (uid for uid, known in self._objects.items() if matches(known.body["metadata"]["namespace"], patterns))
        self._wakeups.wake_each(list(found))

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
            delay = await self.turn(uid)
            await self._wakeups.wait(uid, delay)

    async def turn(self, uid: str) -> float:
        """One look and, if it found anything new, one write. Returns after how many seconds to look again. Never
        raises: what fails is retried with back-off."""
        known = self._objects[uid]
        async with self._turns:
            try:
                return await self._turn(known)
            except Exception as exc:
                return self._failed(known, exc)

    async def _turn(self, known: _Environment) -> float:
        meta = known.body["metadata"]
        spec, error = self._directory.environment(str(meta["namespace"]), str(meta["name"]))
        if spec is None and error is None:
            return self._resync  # dropped from the directory: its end is about to be delivered
        if meta.get("deletionTimestamp"):
            users = self._directory.users_of(str(meta["namespace"]), str(meta["name"]))
            await self._store(known, deletion_status(users, known.status, self._generation(known), self._clock()))
            return _DELETING
        fault: Exception | None = None
        look = EnvironmentLook(spec_error=error)
        refused = refusals(of_environment(spec), str(meta["namespace"]), self._directory.policies()) if spec else ()
        if refused:
            look = EnvironmentLook(refused="; ".join(str(violation) for violation in refused))
        elif spec is not None:
            try:
                look = EnvironmentLook(tuple(await presence.observe(self._cloud, spec)))
            except Exception as exc:
                if classify(exc) is Fault.BUG:
                    raise
                fault, look = exc, EnvironmentLook(fault=str(exc))
        await self._write(known, look)
        if fault is not None:
            return self._failed(known, fault)
        known.failures = 0
        spread = 0.8 + 0.2 * int.from_bytes(sha256(str(meta["uid"]).encode()).digest()[:2]) / 0xFFFF
        return spread * (self._resync if look.is_complete else min(_INCOMPLETE, self._resync))

    async def _write(self, known: _Environment, look: EnvironmentLook) -> None:
        await self._store(known, status_of(look, known.status, self._generation(known), self._clock()))

    @staticmethod
    def _generation(known: _Environment) -> int:
        return int(known.body["metadata"].get("generation", 0))

    async def _store(self, known: _Environment, status: dict[str, Any]) -> None:
        meta = known.body["metadata"]
        patch = merge_patch(known.status, status)
        if not patch:
            return
        path = f"/apis/{GROUP_VERSION}/namespaces/{meta['namespace']}/aguienvironments/{meta['name']}/status"
        body = {"metadata": {"uid": meta["uid"]}, "status": patch}
        try:
            await self._kube.request("PATCH", path, body, "application/merge-patch+json")
        except KubeError as exc:
            if exc.code not in (404, 409):  # deleted, or deleted and created again
                raise
        known.status = status

    def _failed(self, known: _Environment, exc: Exception) -> float:
        known.failures += 1
        fault, meta = classify(exc), known.body["metadata"]
        if fault is Fault.BUG:
            logger.exception("internal error while looking at environment %s/%s", meta["namespace"], meta["name"])
        else:
            logger.warning("environment %s/%s could not be checked: %s", meta["namespace"], meta["name"], exc)
        delay = max(backoff(known.failures, fault), getattr(exc, "retry_after", None) or 0.0)
        return min(delay, self._resync)
