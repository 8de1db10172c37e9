"""`agui-operator init`: creates what a new environment stands on, and prints the AgUiEnvironment that names it."""

from __future__ import annotations

import yaml

from agui_operator.core.errors import UserError
from agui_operator.core.provisioning.resources import NewEnvironment, document, new_graph
from agui_operator.core.provisioning.status import rows, summarize
from agui_operator.engine.environment.provision import Provisioner
from agui_operator.gcp.transport.clients import CloudSettings, connect


async def create(endpoint: str | None, new: NewEnvironment) -> str:
    """The AgUiEnvironment as YAML. Creates only what is missing, so that it can be repeated after any interruption.
    Raises UserError when a resource can't be as it has to be, CloudError."""
    cloud = await connect(CloudSettings(endpoint=endpoint))
    try:
        graph = new_graph(new)
        have = await Provisioner(cloud).apply(graph)
    finally:
        await cloud.close()
    verdict = summarize(rows(graph, have))
    if verdict.ready is not True:
        raise UserError(verdict.message)
    outputs = {name: seen.outputs for name, seen in have.items() if seen is not None}
    return yaml.safe_dump(document(new, outputs), sort_keys=False)
