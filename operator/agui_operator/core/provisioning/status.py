"""What a user reads about a graph: a row for each resource, and one summary of all rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from agui_operator.api.environment import Management
from agui_operator.core.provisioning.graph import Graph, Node
from agui_operator.core.provisioning.plan import Have, Observed, State, blockers, is_ours


class RowState(StrEnum):
    """State of one resource, from best to worst."""

    PRESENT = "Present"  # as desired, or only to be observed
    PENDING = "Pending"  # an operation is under way
    DIFFERS = "Differs"  # the next plan changes it
    MISSING = "Missing"  # it does not exist
    BLOCKED = "Blocked"  # it does not exist and waits for another node
    UNKNOWN = "Unknown"  # it was not looked at
    IMMUTABLE = "Immutable"  # it differs in a field that can't be changed
    FAILED = "Failed"  # it exists and can't be used
    NOT_OWNED = "NotOwned"  # it belongs to somebody else


_IN_PROGRESS = (RowState.PENDING, RowState.DIFFERS, RowState.BLOCKED, RowState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Row:
    """One resource. `message` is empty when it is as it has to be."""

    node: Node
    state: RowState
    message: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """`ready` None: the resources are on their way."""

    ready: bool | None
    reason: str
    message: str


def rows(graph: Graph, have: Have) -> tuple[Row, ...]:
    """A row for each node, in the order of the graph."""
    return tuple(_row(graph, node, have) for node in graph.nodes)


def summarize(all_rows: Sequence[Row]) -> Summary:
    """Ready is False if a resource needs a user, else None while something is to be done, else True."""
    bad = [row for row in all_rows if _needs_user(row)]
    if bad:
        return Summary(False, bad[0].state, "; ".join(row.message for row in bad))
    moving = [row for row in all_rows if row.state is not RowState.PRESENT]
    if moving:
        return Summary(None, "Provisioning", "; ".join(row.message for row in moving))
    return Summary(True, "Present", f"{len(all_rows)} resources are present")


def _needs_user(row: Row) -> bool:
    if row.state is RowState.MISSING:
        return row.node.management is Management.OBSERVED
    return row.state is not RowState.PRESENT and row.state not in _IN_PROGRESS


def _row(graph: Graph, node: Node, have: Have) -> Row:
    what = f"{node.kind} {node.id}"
    seen = have.get(node.id)
    if seen is not None:
        return _existing(graph, node, seen)
    waits_for = blockers(graph, node, have)
    if node.management is Management.MANAGED and waits_for:
        return Row(node, RowState.BLOCKED, f"{what} waits for {', '.join(waits_for)}")
    if node.id not in have:
        return Row(node, RowState.UNKNOWN, f"{what} was not looked at yet")
    fix = "create it or correct the name" if node.management is Management.OBSERVED else "it is created next"
    return Row(node, RowState.MISSING, f"{what} does not exist; {fix}")


def _existing(graph: Graph, node: Node, seen: Observed) -> Row:
    what = f"{node.kind} {node.id}"
    if node.management is Management.MANAGED and not is_ours(graph, seen):  # its state is nobody's business here
        owner = f"belongs to {seen.owner}" if seen.owner else "carries no owner"
        return Row(node, RowState.NOT_OWNED, f"{what} {owner}; delete it, or set management to Observed")
    if seen.state is State.FAILED:
        return Row(node, RowState.FAILED, f"{what} is in state {seen.detail or State.FAILED}")
    if node.management is Management.OBSERVED:
        return Row(node, RowState.PRESENT)
    if seen.state is State.PENDING:
        return Row(node, RowState.PENDING, f"{what} has an operation under way")
    if seen.diff.immutable:
        fields = ", ".join(seen.diff.immutable)
        message = f"{what} differs in {fields}, which can't be changed; recreate it, or correct the specification"
        return Row(node, RowState.IMMUTABLE, message)
    if seen.diff.changed:
        return Row(node, RowState.DIFFERS, f"{what} differs in {', '.join(seen.diff.changed)}")
    return Row(node, RowState.PRESENT)
