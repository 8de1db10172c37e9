"""google.longrunning.Operations, over the operations of every service."""

from __future__ import annotations

from google.longrunning import operations_pb2

from localgcp.kit.service import ProtoApi, Service
from localgcp.services.longrunning.operations import LongRunning

_METHODS = operations_pb2.DESCRIPTOR.services_by_name["Operations"].methods
# Source: https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.operations
_RULES = (
    ("GET", "/v2/{name=projects/*/locations/*/operations/*}", None, "GetOperation"),
    ("POST", "/v2/{name=projects/*/locations/*/operations/*}:wait", "*", "WaitOperation"),
    ("GET", "/v2/{name=projects/*/locations/*}/operations", None, "ListOperations"),
    ("DELETE", "/v2/{name=projects/*/locations/*/operations/*}", None, "DeleteOperation"),
)

SERVICE = Service(
    "longrunning",
    protos=(
        ProtoApi(
            "google.longrunning.Operations",
            LongRunning,
            requests={method.name: getattr(operations_pb2, method.input_type.name) for method in _METHODS},
            rules=_RULES,
        ),
    ),
)
