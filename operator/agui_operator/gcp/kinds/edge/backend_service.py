"""A backend service over a serverless network endpoint group.

Source: https://cloud.google.com/compute/docs/reference/rest/v1/backendServices
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from agui_operator.gcp.kinds.contract import only_known
from agui_operator.gcp.kinds.edge.compute import ComputeKind, Json


@dataclass(frozen=True, slots=True)
class BackendService:
    """`group` is the link of the endpoint group that requests go to."""

    name: str
    group: str | None = None
    protocol: str | None = None


class BackendServices(ComputeKind[BackendService]):
    name = "BackendService"
    desired = BackendService
    collection = "backendServices"
    has_fingerprint = True
    constants = MappingProxyType({"loadBalancingScheme": "EXTERNAL_MANAGED"})

    def body(self, want: BackendService) -> Json:
        backends = None if want.group is None else [{"group": want.group}]
        return only_known(protocol=want.protocol, backends=backends)

    def fields(self, found: Mapping[str, Any]) -> Mapping[str, Any]:
        groups = [backend.get("group") for backend in found.get("backends") or ()]
        return {"group": groups[0] if len(groups) == 1 else groups, "protocol": found.get("protocol")}


KIND = BackendServices()
