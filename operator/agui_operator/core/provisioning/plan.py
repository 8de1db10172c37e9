"""What has to be done next for a graph: the ready nodes that differ from what was observed.

Applying a plan and looking again leads to the next one, until it is empty. A plan is right from any state, so that a
crash between two writes needs no memory. What differs in a field that can't be changed is reported, never recreated;
what belongs to somebody else, or is only observed, is never written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import assert_never

from agui_operator.api.environment import Management
from agui_operator.core.provisioning.graph import Graph, Node, resolved


class State(StrEnum):
    """How a resource that exists is doing."""

    READY = "Ready"  # other resources may rely on it
    PENDING = "Pending"  # an operation is under way: nothing can be written until it is done
    FAILED = "Failed"  # it can't be used


@dataclass(frozen=True, slots=True)
class Diff:
    """Names of the fields in which a resource differs from what is desired. `immutable` can't be changed in place."""

    changed: tuple[str, ...] = ()
    immutable: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changed or self.immutable)


@dataclass(frozen=True, slots=True)
class Observed:
    """A resource as it was last looked at. `outputs` are what references give. `owner` is the owner's id that it
    carries ("" if it carries none); None: its kind can't carry one, so it is taken for the graph's own. `detail` is the
    state in the words of its API."""

    diff: Diff = Diff()
    outputs: Mapping[str, str] = field(default_factory=dict)
    owner: str | None = None
    state: State = State.READY
    detail: str = ""


# By node id. None: it was looked at and does not exist. A missing id: it was not looked at, so nothing is known.
Have = Mapping[str, Observed | None]


@dataclass(frozen=True, slots=True)
class ResourceCreated:
    """The resource exists as desired; every reference of its node is resolved."""

    node: Node


@dataclass(frozen=True, slots=True)
class ResourceUpdated:
    """The resource has the desired value in each of the changed fields."""

    node: Node
    diff: Diff


@dataclass(frozen=True, slots=True)
class ResourceDeleted:
    """The resource does not exist."""

    node: Node


ResourceAction = ResourceCreated | ResourceUpdated | ResourceDeleted


def plan(graph: Graph, have: Have) -> tuple[ResourceCreated | ResourceUpdated, ...]:
    """The next actions, in the order of dependencies; none of them depends on another one of the same plan. Raises
    GraphInvalid when a field refers to an output that a ready node does not have."""
    actions: list[ResourceCreated | ResourceUpdated] = []
    for node in graph.nodes:
        if node.management is not Management.MANAGED or node.id not in have or blockers(graph, node, have):
            continue
        seen = have[node.id]
        if seen is None:
            actions.append(ResourceCreated(resolve(node, have)))
        elif seen.diff.changed and seen.state is not State.PENDING and is_ours(graph, seen):
            actions.append(ResourceUpdated(resolve(node, have), seen.diff))
    return tuple(actions)


def plan_deletion(graph: Graph, have: Have) -> tuple[ResourceDeleted, ...]:
    """The next deletions, dependents first: what is ours to delete and is needed by nothing that still exists."""
    actions: list[ResourceDeleted] = []
    for node in reversed(graph.nodes):
        seen = have.get(node.id)
        is_free = all(_is_gone(other, have) for other in graph.dependents(node.id))
        if seen is not None and seen.state is not State.PENDING and is_free and _may_delete(graph, node, seen):
            actions.append(ResourceDeleted(node))
    return tuple(actions)


def kept(graph: Graph, have: Have) -> tuple[Node, ...]:
    """What deleting the graph leaves: what must stay, is not known, or is needed by such a node."""
    staying: set[str] = set()
    for node in reversed(graph.nodes):
        seen = have.get(node.id)
        needed = any(other.id in staying for other in graph.dependents(node.id))
        if not _is_gone(node, have) and (seen is None or needed or not _may_delete(graph, node, seen)):
            staying.add(node.id)
    return tuple(node for node in graph.nodes if node.id in staying)


def is_reliable(graph: Graph, node: Node, have: Have) -> bool:
    """True if other resources may rely on the node: it exists, is ready, is ours or was only to be observed, and has
    nothing left to change."""
    seen = have.get(node.id)
    if seen is None or seen.state is not State.READY:
        return False
    return node.management is Management.OBSERVED or (is_ours(graph, seen) and not seen.diff.changed)


def blockers(graph: Graph, node: Node, have: Have) -> tuple[str, ...]:
    """Ids of the nodes that the node depends on and that can't be relied on yet."""
    return tuple(name for name in node.dependencies if not is_reliable(graph, graph.node(name), have))


def is_ours(graph: Graph, seen: Observed) -> bool:
    """True if the resource carries the graph's owner, or can't carry any."""
    return seen.owner is None or seen.owner == graph.site.owner


def resolve(node: Node, have: Have) -> Node:
    """The node with the outputs of what it refers to. Raises GraphInvalid for an unknown output."""
    return resolved(node, {name: seen.outputs for name, seen in have.items() if seen is not None})


def describe(action: ResourceAction) -> str:
    """One line for `plan` and logs: what will be true, without any value that could be secret."""
    what = f"{action.node.kind} {action.node.id}"
    match action:
        case ResourceCreated():
            return f"{what} created"
        case ResourceUpdated(diff=diff):
            return f"{what} updated: {', '.join(diff.changed)}"
        case ResourceDeleted():
            return f"{what} deleted"
        case _:
            assert_never(action)


def _is_gone(node: Node, have: Have) -> bool:
    return node.id in have and have[node.id] is None


def _may_delete(graph: Graph, node: Node, seen: Observed) -> bool:
    return node.management is Management.MANAGED and not node.retain and is_ours(graph, seen)
