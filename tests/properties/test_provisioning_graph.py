"""Graphs of resources: plans converge from every state and after every crash, in order, and touch only what is ours."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agui_operator.api.environment import Management
from agui_operator.core.provisioning.graph import Graph, Node
from agui_operator.core.provisioning.plan import (
    ResourceAction,
    ResourceCreated,
    State,
    is_reliable,
    kept,
    plan,
    plan_deletion,
)
from agui_operator.core.provisioning.status import RowState, rows, summarize
from graph_model import DRIFTED, MOVED, SITE, Thing, World, applied, dag, look, node

# Unit tests cover these modules; under measurement the search takes three times as long.
pytestmark = pytest.mark.no_cover
NAMES = ("a", "b", "c", "d", "e")
STATES: tuple[Thing | None, ...] = (
    None,
    Thing(),
    Thing(value=DRIFTED),
    Thing(place=MOVED),
    Thing(owner="stranger"),
    Thing(owner="stranger", value=DRIFTED),
    Thing(owner=""),
    Thing(owner=None, value=DRIFTED),
    Thing(state=State.PENDING, value=DRIFTED),
    Thing(state=State.FAILED),
)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    names = NAMES[: draw(st.integers(1, len(NAMES)))]
    nodes: list[Node] = []
    for n, name in enumerate(names):
        earlier = draw(st.lists(st.sampled_from(names[:n]), unique=True)) if n else []
        uses = tuple(other for other in earlier if draw(st.booleans()))
        named = tuple(other for other in earlier if other not in uses)
        management = draw(st.sampled_from([Management.MANAGED] * 3 + [Management.OBSERVED]))
        nodes.append(node(name, *uses, depends_on=named, management=management, retain=draw(st.booleans())))
    return Graph(SITE, tuple(draw(st.permutations(nodes))))


@st.composite
def worlds(draw: st.DrawFn, graph: Graph) -> World:
    things = {each.id: draw(st.sampled_from(STATES)) for each in graph.nodes}
    return {name: thing for name, thing in things.items() if thing is not None}


def run(graph: Graph, world: World, *, backwards: bool, survive: Iterator[int] | None = None) -> World:
    """Applies plans until they are empty. With `survive` only so many actions of each of the first plans
    happen before a crash."""
    for _ in range(len(graph.nodes) + 13):
        have = look(graph, world)
        actions: tuple[ResourceAction, ...] = plan_deletion(graph, have) if backwards else plan(graph, have)
        if not actions:
            return world
        for action in actions[: next(survive, None) if survive is not None else None]:
            check_order(graph, world, action)
            world = applied(world, action)
    raise AssertionError(f"it never ends: {actions}")


def check_order(graph: Graph, world: World, action: ResourceAction) -> None:
    if isinstance(action, ResourceCreated):
        for name in action.node.dependencies:
            assert name in world, f"{action.node.id} comes before {name}, which it depends on"


def written(before: World, now: World) -> set[str]:
    return {name for name in {*before, *now} if before.get(name) != now.get(name)}


def check_applied(graph: Graph, before: World, now: World) -> None:
    have = look(graph, now)
    assert plan(graph, have) == ()
    for each in graph.nodes:
        if each.management is Management.OBSERVED:
            assert before.get(each.id) == now.get(each.id), f"{each.id} is only to be observed"
        old = before.get(each.id)
        if old is not None and (old.owner in ("stranger", "") or old.state is State.PENDING or old.place != "wanted"):
            assert now.get(each.id) is not None
            assert now[each.id].place == old.place, "an immutable field is reported, not changed"
        if old is not None and old.owner in ("stranger", ""):
            assert now[each.id] == old, f"{each.id} is somebody else's"
    usable = {each.id for each in graph.nodes if is_reliable(graph, each, have)}
    for each in graph.nodes:
        if each.management is Management.MANAGED and set(each.dependencies) <= usable:
            assert each.id in now, f"{each.id} could have been created"
    verdict = summarize(rows(graph, have))
    assert (verdict.ready is True) == all(row.state is RowState.PRESENT for row in rows(graph, have))


def check_deleted(graph: Graph, before: World, now: World) -> None:
    assert plan_deletion(graph, look(graph, now)) == ()
    staying = {each.id for each in kept(graph, look(graph, before))}
    for each in graph.nodes:
        if each.id in before and before[each.id].state is State.PENDING:
            return  # what waits for an operation is deleted later
    assert set(now) == staying & set(before)
    for each in graph.nodes:
        if each.retain or each.management is Management.OBSERVED:
            assert before.get(each.id) == now.get(each.id)
        if each.id in now:
            assert all(name in now for name in each.dependencies if name in before), "it lost what it stands on"


@given(st.data())
def test_plans_converge_from_any_state(data: st.DataObject) -> None:
    graph = data.draw(graphs())
    world = data.draw(worlds(graph))
    check_applied(graph, world, run(graph, world, backwards=False))


@given(st.data())
def test_deleting_leaves_only_what_must_stay(data: st.DataObject) -> None:
    graph = data.draw(graphs())
    world = data.draw(worlds(graph))
    check_deleted(graph, world, run(graph, world, backwards=True))


@given(st.data(), st.lists(st.integers(0, 3), max_size=12))
def test_a_crash_between_any_two_writes_changes_nothing(data: st.DataObject, survive: list[int]) -> None:
    graph = data.draw(graphs())
    world = data.draw(worlds(graph))
    for backwards in (False, True):
        interrupted = run(graph, world, backwards=backwards, survive=iter(survive))
        assert interrupted == run(graph, world, backwards=backwards)


MANAGED: dict[str, Any] = {}
RETAINED, OBSERVED = {"retain": True}, {"management": Management.OBSERVED}
OURS, DRIFT, MOVE, STRANGE = Thing(), Thing(value=DRIFTED), Thing(place=MOVED), Thing(owner="stranger")


def small_worlds(modes: Sequence[Any], states: Sequence[Thing | None]) -> Iterator[tuple[Graph, World]]:
    """Every graph of three nodes (each set of edges, each mode of each node) in every state."""
    names = NAMES[:3]
    possible = [("b", "a"), ("c", "a"), ("c", "b")]
    for edges in itertools.chain.from_iterable(itertools.combinations(possible, n) for n in range(4)):
        uses = dag(edges, names)
        for chosen in itertools.product(modes, repeat=3):
            nodes = (node(name, *uses[name], **mode) for name, mode in zip(names, chosen, strict=True))
            graph = Graph(SITE, tuple(nodes))
            for things in itertools.product(states, repeat=3):
                yield graph, {name: thing for name, thing in zip(names, things, strict=True) if thing is not None}


def test_every_world_of_three_nodes_converges() -> None:
    visited = 0
    for graph, world in small_worlds((MANAGED, OBSERVED), (None, OURS, DRIFT, MOVE, STRANGE)):
        check_applied(graph, world, run(graph, world, backwards=False))
        visited += 1
    assert visited == 8 * 2**3 * 5**3


def test_every_world_of_three_nodes_is_deleted() -> None:
    visited = 0
    for graph, world in small_worlds((MANAGED, RETAINED, OBSERVED), (None, OURS, STRANGE)):
        check_deleted(graph, world, run(graph, world, backwards=True))
        visited += 1
    assert visited == 8 * 3**3 * 3**3
