"""A model of a cloud for graphs of resources: what each action makes true, and what a look at it shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from agui_operator.api.environment import Management
from agui_operator.core.provisioning.graph import Graph, Node, Ref, Site, observable, references
from agui_operator.core.provisioning.plan import (
    Diff,
    Have,
    Observed,
    ResourceAction,
    ResourceCreated,
    ResourceDeleted,
    ResourceUpdated,
    State,
)

SITE = Site("p", "r", "me")
WANTED, DRIFTED, MOVED = "wanted", "drifted", "moved"


@dataclass(frozen=True)
class Thing:
    """A resource. `value` is its mutable field, `place` its immutable one; `link` is the output of the node it uses."""

    value: str = WANTED
    place: str = WANTED
    link: str = ""
    owner: str | None = "me"
    state: State = State.READY


World = Mapping[str, Thing]


def node(name: str, *uses: str, depends_on: tuple[str, ...] = (), **fields: object) -> Node:
    """A node whose field `link` refers to each of the nodes that it uses."""
    desired = {"value": WANTED, "place": WANTED, "links": tuple(Ref(other, "id") for other in uses)}
    return Node(name, "Thing", desired, depends_on, **fields)  # type: ignore[arg-type]


def look(graph: Graph, world: World) -> Have:
    """What a runner sees: every node, compared as far as the outputs that its fields need are known."""
    have: dict[str, Observed | None] = {}
    for each in graph.nodes:
        want = observable(each, {name: found.outputs for name, found in have.items() if found is not None})
        thing = world.get(each.id)
        have[each.id] = None if thing is None else _observed(thing, want)
    return have


def link_of(want: Node) -> str:
    assert not list(references(want.desired)), f"{want.id} has an unresolved reference"
    return ",".join(want.desired["links"])


def applied(world: World, action: ResourceAction) -> World:
    """The world after an action. Fails where the cloud would refuse it."""
    name = action.node.id
    assert action.node.management is Management.MANAGED, f"{name} is only to be observed"
    match action:
        case ResourceCreated():
            assert name not in world, f"{name} exists"
            return {**world, name: Thing(link=link_of(action.node))}
        case ResourceUpdated(diff=diff):
            thing = world[name]
            assert thing.owner in ("me", None), f"{name} is somebody else's"
            assert thing.state is not State.PENDING, f"{name} has an operation under way"
            assert diff.changed, f"nothing of {name} can be changed"
            return {**world, name: replace(thing, value=WANTED, link=link_of(action.node))}
        case ResourceDeleted():
            assert world[name].owner in ("me", None), f"{name} is somebody else's"
            assert not action.node.retain, f"{name} is to be kept"
            return {other: thing for other, thing in world.items() if other != name}


def dag(edges: Iterable[tuple[str, str]], names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """By node the nodes that it uses."""
    pairs = list(edges)
    return {name: tuple(other for user, other in pairs if user == name) for name in names}


def _observed(thing: Thing, want: Node) -> Observed:
    is_linked = want.desired["links"] is None or link_of(want) == thing.link
    changed = [field for field, same in (("value", thing.value == WANTED), ("links", is_linked)) if not same]
    immutable = ("place",) if thing.place != WANTED else ()
    return Observed(Diff(tuple(changed), immutable), {"id": f"id-of-{want.id}"}, thing.owner, thing.state)
