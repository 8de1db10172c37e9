"""A target HTTP proxy: it passes the requests of a forwarding rule to a URL map.

Source: https://cloud.google.com/compute/docs/reference/rest/v1/targetHttpProxies
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agui_operator.gcp.kinds.contract import only_known
from agui_operator.gcp.kinds.edge.compute import ComputeKind, Json


@dataclass(frozen=True, slots=True)
class TargetHttpProxy:
    """`url_map` is the link of the URL map."""

    name: str
    url_map: str | None = None


class TargetHttpProxies(ComputeKind[TargetHttpProxy]):
    name = "TargetHttpProxy"
    desired = TargetHttpProxy
    collection = "targetHttpProxies"
    has_fingerprint = True

    def body(self, want: TargetHttpProxy) -> Json:
        return only_known(urlMap=want.url_map)

    def fields(self, found: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"url_map": found.get("urlMap")}


KIND = TargetHttpProxies()
