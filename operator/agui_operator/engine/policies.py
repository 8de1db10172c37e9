"""AgUiPolicy: its status says whether it is valid and where it applies. Level-triggered: computed when the policy
changes, when a namespace gets its first deployment or loses its last, and on a schedule."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from agui_operator.api.parse import SpecInvalid, parse_stored
from agui_operator.api.policy import AgUiPolicySpec
from agui_operator.core.errors import Fault, backoff, classify
from agui_operator.core.merge import merge_patch
from agui_operator.core.policy_status import PolicySeen, policy_status
from agui_operator.engine.cluster.kube import GROUP_VERSION, Kube, KubeError
from agui_operator.engine.cluster.wakeups import Wakeups
from agui_operator.engine.tasks import Tasks

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Policy:
    """One object's volatile state."""

    body: Mapping[str, Any]  # as last delivered by the watch
    status: dict[str, Any] = field(default_factory=dict)  # as last written
    failures: int = 0


class PolicyEngine:
    """Keeps the status of every AgUiPolicy true; writes nothing when nothing changed. One per process."""

    def __init__(
        self,
        kube: Kube,
        namespaces: Callable[[], Iterable[str]],
        resync: float,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._kube, self._namespaces, self._resync, self._clock = kube, namespaces, resync, clock
        self._policies: dict[str, _Policy] = {}
        self._loops, self._wakeups = Tasks(), Wakeups()

    def seen(self, body: Mapping[str, Any]) -> None:
        """The watch delivered the object; a new generation wakes its loop."""
        uid = str(body["metadata"]["uid"])
        known = self._policies.get(uid)
        if known is None:
            self._policies[uid] = _Policy(body, dict(body.get("status") or {}))
        else:
            known.body = body
        self._wakeups.wake(uid, body["metadata"].get("generation"))
        self._loops.start(uid, self._keep(uid))

    def refresh(self) -> None:
        """The namespaces that have deployments changed."""
        self._wakeups.wake_each(self._policies)

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self._policies.pop(uid, None)
        self._loops.cancel(uid)
        self._wakeups.forget(uid)

    def close(self) -> None:
        self._loops.cancel()

    async def _keep(self, uid: str) -> None:
        while uid in self._policies:
            await self._wakeups.wait(uid, 0)  # what rang until now is answered by this turn
            await self._wakeups.wait(uid, await self.turn(uid))

    async def turn(self, uid: str) -> float:
        """Writes the status if it says anything new. Returns after how many seconds to look again. Never raises."""
        known = self._policies[uid]
        try:
            await self._write(known)
        except Exception as exc:
            return self._failed(known, exc)
        known.failures = 0
        return self._resync

    async def _write(self, known: _Policy) -> None:
        meta = known.body["metadata"]
        patterns, error = None, None
        ignored: tuple[str, ...] = ()
        try:
            spec, ignored = parse_stored(AgUiPolicySpec, known.body.get("spec") or {})
            patterns = spec.namespaces
        except SpecInvalid as exc:
            error = str(exc)
        generation = int(meta.get("generation", 0))
        seen = PolicySeen(patterns, error, ignored, tuple(self._namespaces()))
        status = policy_status(seen, known.status, generation, self._clock())
        patch = merge_patch(known.status, status)
        if not patch:
            return
        path = f"/apis/{GROUP_VERSION}/aguipolicies/{meta['name']}/status"
        body = {"metadata": {"uid": meta["uid"]}, "status": patch}
        try:
            await self._kube.request("PATCH", path, body, "application/merge-patch+json")
        except KubeError as exc:
            if exc.code not in (404, 409):  # deleted, or deleted and created again
                raise
        known.status = status

    def _failed(self, known: _Policy, exc: Exception) -> float:
        known.failures += 1
        fault, name = classify(exc), known.body["metadata"]["name"]
        if fault is Fault.BUG:
            logger.exception("internal error while looking at policy %s", name)
        else:
            logger.warning("the status of policy %s could not be written, retried automatically: %s", name, exc)
        return min(backoff(known.failures, fault), self._resync)
