"""A serverless network endpoint group: how the load balancer reaches a Cloud Run service.

Source: https://cloud.google.com/compute/docs/reference/rest/v1/regionNetworkEndpointGroups
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from agui_operator.gcp.kinds.edge.compute import ComputeKind, Json


@dataclass(frozen=True, slots=True)
class ServerlessNeg:
    """`service` is the name of the Cloud Run service in the same project and region."""

    name: str
    service: str | None = None


class ServerlessNegs(ComputeKind[ServerlessNeg]):
    name = "ServerlessNeg"
    desired = ServerlessNeg
    immutable = frozenset({"service"})
    collection = "networkEndpointGroups"
    api = "regionNetworkEndpointGroups"
    is_regional = True
    constants = MappingProxyType({"networkEndpointType": "SERVERLESS"})

    def body(self, want: ServerlessNeg) -> Json:
        return {} if want.service is None else {"cloudRun": {"service": want.service}}

    def fields(self, found: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"service": (found.get("cloudRun") or {}).get("service")}


KIND = ServerlessNegs()
