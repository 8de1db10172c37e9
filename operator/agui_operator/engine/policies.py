"""AgUiPolicy: its status says whether it is valid and where it applies. Level-triggered: computed when the policy
changes, when a namespace gets its first deployment or loses its last, and on a schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from agui_operator.api.parse import SpecInvalid, parse_stored
from agui_operator.api.policy import AgUiPolicySpec
from agui_operator.core.policy_status import PolicySeen, policy_status
from agui_operator.engine.cluster.kube import Kube
from agui_operator.engine.status_keeper import Known, StatusKeeper


class PolicyEngine(StatusKeeper):
    """Keeps the status of every AgUiPolicy true. One per process."""

    def __init__(
        self,
        kube: Kube,
        namespaces: Callable[[], Iterable[str]],
        resync: float,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(kube, "policy", "aguipolicies", resync)
        self._namespaces, self._clock = namespaces, clock

    def refresh(self) -> None:
        """The namespaces that have deployments changed."""
        self.wake(self._objects)

    async def _look(self, known: Known) -> float:
        patterns, error = None, None
        ignored: tuple[str, ...] = ()
        try:
            spec, ignored = parse_stored(AgUiPolicySpec, known.body.get("spec") or {})
            patterns = spec.namespaces
        except SpecInvalid as exc:
            error = str(exc)
        seen = PolicySeen(patterns, error, ignored, tuple(self._namespaces()))
        await self._store(known, policy_status(seen, known.status, known.generation, self._clock()))
        known.failures = 0
        return self._resync
