"""The load balancer's URL map as an environment has it: its default. The rules in it are the deployments' own.

Source: https://cloud.google.com/compute/docs/reference/rest/v1/urlMaps
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agui_operator.gcp.kinds.contract import only_known
from agui_operator.gcp.kinds.edge.compute import ComputeKind, Json


@dataclass(frozen=True, slots=True)
class UrlMap:
    """`default` is the link of the backend for requests that no rule matches."""

    name: str
    default: str | None = None


class UrlMaps(ComputeKind[UrlMap]):
    name = "UrlMap"
    desired = UrlMap
    collection = "urlMaps"
    has_fingerprint = True

    def body(self, want: UrlMap) -> Json:
        return only_known(defaultService=want.default)

    def fields(self, found: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"default": found.get("defaultService")}


KIND = UrlMaps()
