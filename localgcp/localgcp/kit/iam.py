"""IAM policies as data: they are stored with an etag and returned, and grant everything on this machine.

Source: google/iam/v1/iam_policy.proto
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from google.iam.v1 import iam_policy_pb2, policy_pb2

from localgcp.kit.errors import aborted
from localgcp.kit.store import ProtoTable, etag_of

if TYPE_CHECKING:
    from localgcp.kit.call import Call
    from localgcp.kit.cloud import Cloud


class Policies:
    def __init__(self, cloud: Cloud) -> None:
        self._table: ProtoTable[Any] = cloud.store.protos("iam.policies", policy_pb2.Policy)

    def get(self, resource: str) -> Any:
        return self._table.get(resource) or policy_pb2.Policy(version=1, etag=etag_of(resource, 0).encode())

    def set(self, resource: str, policy: Any, call: Call) -> Any:
        """Raises ApiError ABORTED for an etag that is not the present one."""
        if policy.etag and policy.etag != self.get(resource).etag:
            raise aborted("There were concurrent policy changes. Please retry the whole read-modify-write.")
        policy.etag = etag_of(resource, self._table.version(resource) + 1).encode()
        policy.version = policy.version or 1
        self._table.put(resource, policy)
        call.effect("set_iam_policy", resource)
        return policy

    def test(self, permissions: Iterable[str]) -> Any:
        return iam_policy_pb2.TestIamPermissionsResponse(permissions=list(permissions))
