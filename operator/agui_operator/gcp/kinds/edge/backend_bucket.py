"""A backend bucket: the load balancer serves files from a Cloud Storage bucket.

Source: https://cloud.google.com/compute/docs/reference/rest/v1/backendBuckets
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agui_operator.gcp.kinds.contract import only_known
from agui_operator.gcp.kinds.edge.compute import ComputeKind, Json


@dataclass(frozen=True, slots=True)
class BackendBucket:
    """`cdn`: Cloud CDN caches the files."""

    name: str
    bucket: str | None = None
    cdn: bool | None = None


class BackendBuckets(ComputeKind[BackendBucket]):
    name = "BackendBucket"
    desired = BackendBucket
    collection = "backendBuckets"

    def body(self, want: BackendBucket) -> Json:
        return only_known(bucketName=want.bucket, enableCdn=want.cdn)

    def fields(self, found: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"bucket": found.get("bucketName"), "cdn": bool(found.get("enableCdn"))}


KIND = BackendBuckets()
