"""A global forwarding rule: the address and port of the load balancer.

Source: https://cloud.google.com/compute/docs/reference/rest/v1/globalForwardingRules
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from agui_operator.core.provisioning.graph import Site
from agui_operator.gcp.kinds.contract import View, only_known
from agui_operator.gcp.kinds.edge.compute import ComputeKind, Json
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.outcome import Outcome
from agui_operator.gcp.transport.rest import RestRequest


@dataclass(frozen=True, slots=True)
class ForwardingRule:
    """`target` is the link of the target proxy; `port` is one port."""

    name: str
    target: str | None = None
    port: int | None = None


class ForwardingRules(ComputeKind[ForwardingRule]):
    name = "ForwardingRule"
    desired = ForwardingRule
    immutable = frozenset({"port"})
    collection = "forwardingRules"
    api = "globalForwardingRules"
    constants = MappingProxyType({"loadBalancingScheme": "EXTERNAL_MANAGED"})

    def body(self, want: ForwardingRule) -> Json:
        port = None if want.port is None else str(want.port)
        return only_known(target=want.target, portRange=port)

    def fields(self, found: Mapping[str, Any]) -> Mapping[str, Any]:
        first, _, last = str(found.get("portRange", "")).partition("-")
        port = int(first) if first.isdigit() and last in ("", first) else None
        return {"target": found.get("target"), "port": port}

    async def update(self, cloud: Cloud, site: Site, want: ForwardingRule, have: View) -> Outcome:
        """The target has a method of its own."""
        path = f"/compute/v1/{self.full_name(site, want)}/setTarget"
        body = {"target": want.target}
        request = RestRequest("compute.globalForwardingRules.setTarget", path, site.project, "POST", body=body)
        return await self._write(cloud, site, request)


KIND = ForwardingRules()
