"""Does what an environment names exist? The Observed nodes of a graph, one cheap read for each; nothing is changed.

Service accounts are not looked at: reading them needs a permission that the operator has no other use for, and Cloud
Run refuses a revision whose service account is missing.
"""

from __future__ import annotations

from agui_operator.api.environment import AgUiEnvironmentSpec
from agui_operator.core.provisioning.graph import Graph
from agui_operator.core.provisioning.plan import Have
from agui_operator.core.provisioning.resources import observed_graph, observed_nodes
from agui_operator.core.provisioning.status import Row, RowState, rows
from agui_operator.engine.environment.provision import Provisioner
from agui_operator.gcp.kinds.contract import desired_of
from agui_operator.gcp.kinds.registry import KINDS
from agui_operator.gcp.transport.clients import Cloud

Resource = dict[str, str]  # kind, name, state


async def observe(cloud: Cloud, spec: AgUiEnvironmentSpec) -> list[Resource]:
    """A row for each resource that the spec names, in its order. Raises CloudError other than 404."""
    graph = observed_graph(spec)
    have = await Provisioner(cloud).look(graph)
    found = {row.node.id: _resource(graph, row, have) for row in rows(graph, have)}
    return [found[node.id] for node in observed_nodes(spec)]


def _resource(graph: Graph, row: Row, have: Have) -> Resource:
    kind, seen = KINDS[row.node.kind], have.get(row.node.id)
    name = kind.full_name(graph.site, desired_of(kind, row.node.id, row.node.desired))
    state = seen.detail if row.state is RowState.FAILED and seen is not None else row.state
    return {"kind": row.node.kind, "name": name, "state": state}
