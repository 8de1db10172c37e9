"""AgUiEnvironment in its Observed form: does everything that it names exist? Level-triggered: looked at when the object
changes and on a schedule, so that a part that is created or deleted in the meantime is noticed.

A missing part is said in the environment's own conditions; deployments are held back only by an environment that is
invalid or absent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Protocol

from agui_operator.api.environment import AgUiEnvironmentSpec
from agui_operator.api.policy import AgUiPolicySpec
from agui_operator.core.errors import Fault, classify
from agui_operator.core.permitted import matches, refusals
from agui_operator.core.uses import of_environment
from agui_operator.engine.cluster.kube import Kube
from agui_operator.engine.environment import presence
from agui_operator.engine.environment.status import EnvironmentLook, deletion_status, status_of
from agui_operator.engine.status_keeper import Known, StatusKeeper
from agui_operator.gcp.transport.clients import Cloud

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


class EnvironmentEngine(StatusKeeper):
    """Keeps the status of every AgUiEnvironment true. One per process."""

    def __init__(
        self,
        kube: Kube,
        cloud: Cloud,
        directory: Environments,
        resync: float,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(kube, "environment", "aguienvironments", resync)
        self._cloud, self._directory, self._clock = cloud, directory, clock
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def refresh(self, patterns: Sequence[str]) -> None:
        """A policy that speaks for these namespaces has changed."""
        self.wake(uid for uid, known in self._objects.items() if matches(known.body["metadata"]["namespace"], patterns))

    async def turn(self, uid: str) -> float:
        async with self._turns:
            return await super().turn(uid)

    async def _look(self, known: Known) -> float:
        meta = known.body["metadata"]
        spec, error = self._directory.environment(str(meta["namespace"]), str(meta["name"]))
        if spec is None and error is None:
            return self._resync  # dropped from the directory: its end is about to be delivered
        if meta.get("deletionTimestamp"):
            users = self._directory.users_of(str(meta["namespace"]), str(meta["name"]))
            await self._store(known, deletion_status(users, known.status, known.generation, self._clock()))
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

    async def _write(self, known: Known, look: EnvironmentLook) -> None:
        await self._store(known, status_of(look, known.status, known.generation, self._clock()))
