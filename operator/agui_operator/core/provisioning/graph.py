"""A graph of cloud resources: which there are, what each is to be, and which has to be there before which.

A field of a resource may refer to an output of another one, which is then known only when that one is ready. The order
is that of the standard library's graphlib; nothing here looks at a cloud.
"""

from __future__ import annotations

import graphlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agui_operator.api.conditions import Reason
from agui_operator.api.environment import Management
from agui_operator.core.errors import UserError


@dataclass(frozen=True, slots=True)
class Ref:
    """Stands in a desired field for an output of another node, for example `Ref("database", "connectionName")`."""

    node: str
    output: str


@dataclass(frozen=True, slots=True)
class Node:
    """One resource. `desired` has the fields that its kind knows, by name; a field that is absent or None is not
    compared. `retain`: deleting the graph leaves it, and everything that it depends on."""

    id: str
    kind: str
    desired: Mapping[str, Any]
    depends_on: tuple[str, ...] = ()
    management: Management = Management.MANAGED
    retain: bool = False

    @property
    def dependencies(self) -> tuple[str, ...]:
        """Ids of all nodes that have to be ready first, each once: the named ones and those that fields refer to."""
        return tuple(dict.fromkeys((*self.depends_on, *(ref.node for ref in references(self.desired)))))


class GraphInvalid(UserError):
    """The nodes do not make a graph; the message names those at fault."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason=Reason.INVALID_SPEC)


@dataclass(frozen=True, slots=True)
class Site:
    """Where a graph's resources are, and the owner's id that is written on each of them."""

    project: str
    region: str
    owner: str


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in the order of their dependencies. Raises GraphInvalid for ids given twice, unknown nodes and cycles."""

    site: Site
    nodes: tuple[Node, ...]
    _by_id: Mapping[str, Node] = field(init=False, repr=False, compare=False)
    _dependents: Mapping[str, tuple[Node, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_id = {node.id: node for node in self.nodes}
        twice = sorted(name for name, count in Counter(node.id for node in self.nodes).items() if count > 1)
        if twice:
            raise GraphInvalid(f"more than one node is called {', '.join(twice)}")
        for node in self.nodes:
            unknown = [other for other in node.dependencies if other not in by_id]
            if unknown:
                raise GraphInvalid(f"node {node.id} depends on {', '.join(unknown)}, which the graph does not have")
        ordered = tuple(by_id[name] for name in _ordered(self.nodes))
        dependents = {name: tuple(node for node in ordered if name in node.dependencies) for name in by_id}
        for name, value in (("nodes", ordered), ("_by_id", by_id), ("_dependents", dependents)):
            object.__setattr__(self, name, value)

    def node(self, name: str) -> Node:
        """The node with this id."""
        return self._by_id[name]

    def dependents(self, name: str) -> tuple[Node, ...]:
        """The nodes that depend on this one directly."""
        return self._dependents[name]


def references(value: Any) -> Iterator[Ref]:
    """All references in a value, also inside mappings and sequences."""
    if isinstance(value, Ref):
        yield value
    for part in _parts(value):
        yield from references(part)


def resolved(node: Node, outputs: Mapping[str, Mapping[str, str]]) -> Node:
    """The node with each reference replaced by the output that it names. `outputs` by node has at least those of the
    nodes referred to. Raises GraphInvalid for an output that the other node does not have."""

    def output(ref: Ref) -> str:
        known = outputs[ref.node]
        if ref.output not in known:
            has = ", ".join(sorted(known)) or "none"
            raise GraphInvalid(f"node {node.id} refers to output {ref.output} of {ref.node}, which has: {has}")
        return known[ref.output]

    return replace(node, desired=_replaced(node.desired, output))


def observable(node: Node, outputs: Mapping[str, Mapping[str, str]]) -> Node:
    """The node as far as it is known: a field with a reference that can't be resolved yet is None, so that it is not
    compared. What identifies a resource is therefore never given by a reference."""
    known = {
        name: None if any(ref.output not in outputs.get(ref.node, {}) for ref in references(value)) else value
        for name, value in node.desired.items()
    }
    return replace(node, desired=_replaced(known, lambda ref: outputs[ref.node][ref.output]))


def _ordered(nodes: Sequence[Node]) -> tuple[str, ...]:
    try:
        return tuple(graphlib.TopologicalSorter({node.id: node.dependencies for node in nodes}).static_order())
    except graphlib.CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise GraphInvalid(f"nodes depend on each other: {circle}") from error


def _replaced(value: Any, output: Callable[[Ref], str]) -> Any:
    if isinstance(value, Ref):
        return output(value)
    if isinstance(value, Mapping):
        return {key: _replaced(part, output) for key, part in value.items()}
    return tuple(_replaced(part, output) for part in value) if _is_sequence(value) else value


def _parts(value: Any) -> Sequence[Any]:
    if isinstance(value, Mapping):
        return tuple(value.values())
    return tuple(value) if _is_sequence(value) else ()


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
