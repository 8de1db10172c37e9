"""Applying graphs with kinds that live in memory: retries, lanes, operations and what is left unknown."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from agui_operator.api.environment import AgUiEnvironmentSpec
from agui_operator.core.errors import CloudError, UserError
from agui_operator.core.provisioning.graph import Graph, Node, Site
from agui_operator.core.provisioning.plan import State
from agui_operator.core.provisioning.status import RowState, rows
from agui_operator.engine.environment import presence, provision
from agui_operator.engine.environment.provision import Provisioner
from agui_operator.gcp.kinds.contract import Kind, View
from agui_operator.gcp.transport.operations import OperationResult
from agui_operator.gcp.transport.outcome import Outcome

SITE = Site("p", "r", "me")


@dataclass(frozen=True)
class Desired:
    name: str
    size: int | None = None


@dataclass
class Memory(Kind[Desired]):
    """A kind whose resources are in a dictionary. `faults` are raised by the next writes, `broken` by every look."""

    name: str = "Memory"
    desired: type[Desired] = Desired
    there: dict[str, View] = field(default_factory=dict)
    faults: list[Exception] = field(default_factory=list)
    broken: Mapping[str, Exception] = field(default_factory=dict)
    operation: str | None = None
    one_lane: bool = False
    running: int = 0
    most: int = 0
    calls: list[str] = field(default_factory=list)

    def full_name(self, site: Site, want: Desired) -> str:
        return f"memory/{want.name}"

    def lane(self, site: Site, want: Desired) -> str:
        return "the only one" if self.one_lane else want.name

    async def observe(self, cloud: Any, site: Site, want: Desired) -> View | None:
        if want.name in self.broken:
            raise self.broken[want.name]
        return self.there.get(want.name)

    async def create(self, cloud: Any, site: Site, want: Desired) -> Outcome:
        return await self._put("create", site, want)

    async def update(self, cloud: Any, site: Site, want: Desired, have: View) -> Outcome:
        return await self._put("update", site, want)

    async def delete(self, cloud: Any, site: Site, want: Desired) -> Outcome:
        self.calls.append(f"delete {want.name}")
        del self.there[want.name]
        return Outcome(self.operation)

    async def owned(self, cloud: Any, site: Site) -> list[Desired]:
        return [Desired(name) for name in self.there]

    async def _put(self, verb: str, site: Site, want: Desired) -> Outcome:
        self.calls.append(f"{verb} {want.name}")
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.01)
        self.running -= 1
        if self.faults:
            raise self.faults.pop(0)
        self.there[want.name] = View({"size": want.size}, {"name": want.name}, site.owner)
        return Outcome(self.operation)


def node(name: str, *needs: str, size: int = 1) -> Node:
    return Node(name, "Memory", {"name": name, "size": size}, needs)


def graph(*nodes: Node) -> Graph:
    return Graph(SITE, nodes)


def provisioner(kind: Memory, **options: Any) -> Provisioner:
    return Provisioner(None, {"Memory": kind}, **options)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provision, "backoff", lambda *_: 0.0)
    monkeypatch.setattr(provision, "_PENDING_PAUSE", 0.0)


async def test_a_transient_fault_is_retried_and_what_exists_is_not_created_again() -> None:
    kind = Memory(faults=[CloudError(503, "busy"), CloudError(409, "another operation")])
    await provisioner(kind).apply(graph(node("a")))
    assert kind.calls == ["create a"] * 3


@pytest.mark.parametrize("fault", [CloudError(403, "not allowed"), UserError("no"), ValueError("a bug")])
async def test_any_other_fault_ends_the_run_when_the_other_writes_have_ended(fault: Exception) -> None:
    kind = Memory(faults=[fault])
    with pytest.raises(type(fault)):
        await provisioner(kind).apply(graph(node("a"), node("b")))
    assert sorted(kind.calls) == ["create a", "create b"]
    assert len(kind.there) == 1


async def test_the_number_of_attempts_is_bounded() -> None:
    kind = Memory(faults=[CloudError(503, "busy")] * 9)
    with pytest.raises(CloudError, match="busy"):
        await provisioner(kind, attempts=3).apply(graph(node("a")))
    assert kind.calls == ["create a"] * 3


@pytest.mark.parametrize(("one_lane", "most"), [(True, 1), (False, 3)])
async def test_writes_in_one_lane_follow_each_other(one_lane: bool, most: int) -> None:
    kind = Memory(one_lane=one_lane)
    await provisioner(kind).apply(graph(node("a"), node("b"), node("c")))
    assert kind.most == most


async def test_an_operation_is_awaited_and_its_error_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    results = [OperationResult(False), OperationResult(True), OperationResult(True, CloudError(400, "too large"))]

    async def wait(*_: Any) -> OperationResult:
        return results.pop(0)

    monkeypatch.setattr(provision.operations, "wait", wait)
    kind = Memory(operation="op-1")
    await provisioner(kind).apply(graph(node("a")))
    with pytest.raises(CloudError, match="too large"):
        await provisioner(kind).apply(graph(node("b")))
    assert results == []


async def test_a_pending_resource_is_looked_at_again_until_it_is_ready() -> None:
    kind = Memory(there={"a": View({}, {"name": "a"}, "me", State.PENDING)})
    looks = 0
    original = kind.observe

    async def observe(cloud: Any, site: Site, want: Desired) -> View | None:
        nonlocal looks
        looks += 1
        if looks == 5:
            kind.there["a"] = View({"size": 1}, {"name": "a"}, "me")
        return await original(cloud, site, want)

    kind.observe = observe  # type: ignore[method-assign]
    await provisioner(kind).apply(graph(node("a")))
    assert (looks, kind.calls) == (5, [])


async def test_a_run_has_an_end() -> None:
    kind = Memory(there={"a": View({}, {}, "me", State.PENDING)})
    with pytest.raises(TimeoutError):
        await provisioner(kind, timeout=0.05).apply(graph(node("a")))


async def test_what_cannot_be_read_because_of_its_neighbour_is_unknown() -> None:
    """A database of an instance that is not running answers 400: that says nothing about the database."""
    kind = Memory(
        there={"a": View({}, {}, "me", State.FAILED, "Suspended")}, broken={"b": CloudError(400, "not running")}
    )
    both = graph(node("a"), node("b", "a"))
    have = await provisioner(kind).look(both)
    assert "b" not in have
    assert [row.state for row in rows(both, have)] == [RowState.FAILED, RowState.BLOCKED]
    kind.there["a"] = View({"size": 1}, {}, "me")
    with pytest.raises(CloudError, match="not running"):
        await provisioner(kind).look(both)


async def test_deletion_goes_backwards() -> None:
    kind = Memory()
    both = graph(node("a"), node("b", "a"))
    await provisioner(kind).apply(both)
    kind.calls.clear()
    assert await provisioner(kind).delete(both) == {"a": None, "b": None}
    assert kind.calls == ["delete b", "delete a"]


async def test_presence_tells_the_state_in_the_words_of_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = AgUiEnvironmentSpec.model_validate(
        {
            "projectId": "acme-prod",
            "region": "us-central1",
            "database": {"instance": "main", "databases": ["app", "app"]},
            "secrets": [{"name": "a"}],
        }
    )

    class Cloud:
        async def rest(self, request: Any) -> Any:
            if request.method == "sqladmin.instances.get":
                return {"name": "main", "state": "SUSPENDED"}
            raise CloudError(400, "the instance is not running")

        async def rpc(self, method: str, request: Any, name: str) -> Any:
            raise CloudError(404, "no such secret")

    project = "projects/acme-prod"
    assert await presence.observe(Cloud(), spec) == [  # type: ignore[arg-type]
        {"kind": "SqlInstance", "name": f"{project}/instances/main", "state": "Suspended"},
        {"kind": "SqlDatabase", "name": f"{project}/instances/main/databases/app", "state": "Unknown"},
        {"kind": "Secret", "name": f"{project}/secrets/a", "state": "Missing"},
    ]
