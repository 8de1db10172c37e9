"""A cloud for deletions: things with owners, and a fault or the end of the process at any call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from agui_operator.core.deletion import Kind
from agui_operator.core.memory import Memory, to_status
from agui_operator.core.rollout import Phase
from agui_operator.engine.deployment.belongings import Belongings
from agui_operator.engine.deployment.scope import Scope
from engine_fakes import Bench, FakeDirectory, FakeKube, sample
from world_model import FIRST

Json = dict[str, Any]
OWNED = {
    Kind.URL_MAP_RULES: ("map",),
    Kind.ALERT_POLICY: ("alert",),
    Kind.SERVICE: ("service",),
    Kind.JOB: ("j1", "j2"),
    Kind.EXECUTION: ("j1",),
}
FOREIGN = frozenset((kind, f"foreign {kind}") for kind in Kind)
Thing = tuple[Kind, str]


class Killed(BaseException):
    """Stands for the end of the process."""


@dataclass
class DeletionCloud:
    """Things by (kind, name). `strike` is raised at call number `strike_at`, before or after its effect."""

    owned: set[Thing]
    foreign: set[Thing] = field(default_factory=lambda: set(FOREIGN))
    gone: list[Thing] = field(default_factory=list)
    strike: BaseException | None = None
    strike_at: int = -1
    after: bool = False
    calls: int = 0

    async def listed(self, scope: Scope, kind: Kind) -> dict[str, Any]:
        self._call(after=False)
        found = {name: None for k, name in sorted(self.owned) if k is kind}
        self._call(after=True)
        return found

    async def remove(self, scope: Scope, things: Sequence[tuple[Kind, str, Any]]) -> None:
        for kind, name, _ in things:
            self._call(after=False)
            self.foreign.discard((kind, name))
            if (kind, name) in self.owned:
                self.owned.discard((kind, name))
                self.gone.append((kind, name))
            self._call(after=True)

    def as_belongings(self) -> Belongings:
        return cast(Belongings, self)

    def _call(self, *, after: bool) -> None:
        due = self.calls == self.strike_at and self.after is after
        self.calls += after
        if due and self.strike is not None:
            strike, self.strike = self.strike, None
            raise strike


def spec_of(policy: Any, *, valid: bool) -> Json:
    """A spec with that deletionPolicy; an invalid one has a check that the API server admits and the operator does
    not."""
    spec = {key: value for key, value in sample("release-v2.yaml").items() if key in ("environmentRef", "backend")}
    smoke = {"name": "version", "http": {"path": "/version", "jsonPath": "$.x"} | ({"equals": "1"} if valid else {})}
    return spec | {"smoke": [smoke], "deletionPolicy": policy}


def bench_of(spec: Json, *, environment: bool = True) -> Bench:
    """An engine over a deployment that was released and is being deleted."""
    kube = FakeKube(spec)
    kube.object["status"] = to_status(Memory(phase=Phase.HEALTHY, stable=FIRST))
    kube.object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return Bench(kube=kube, directory=FakeDirectory() if environment else FakeDirectory(spec=None))
