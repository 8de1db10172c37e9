"""google.longrunning.Operations over the operations of every API. Source: google/longrunning/operations.proto"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

from localgcp.kit.filters import matching
from localgcp.kit.operations import Operation, newest_first
from localgcp.kit.paging import Limits, proto_page

if TYPE_CHECKING:
    from localgcp.kit.call import Call
    from localgcp.kit.cloud import Cloud

_MAX_WAIT_SECONDS = 3600.0
_PAGE = Limits(default=100, largest=1000)


class LongRunning:
    def __init__(self, cloud: Cloud) -> None:
        self._operations = cloud.operations

    async def GetOperation(self, request: Any, call: Call) -> Any:
        return self._operations.get(request.name).pb

    async def WaitOperation(self, request: Any, call: Call) -> Any:
        """Answers as soon as the operation is done, or with its present state when the timeout is over."""
        timeout = request.timeout.ToTimedelta().total_seconds() if request.HasField("timeout") else _MAX_WAIT_SECONDS
        return (await self._operations.wait(request.name, min(timeout, _MAX_WAIT_SECONDS))).pb

    async def ListOperations(self, request: Any, call: Call) -> Any:
        """Newest first. The filter knows `done` and `name`."""
        found = matching(self._operations.list(f"{request.name}/operations/"), request.filter, _field)
        page, token = proto_page(request, found, newest_first, _PAGE)
        return operations_pb2.ListOperationsResponse(operations=[one.pb for one in page], next_page_token=token)

    async def DeleteOperation(self, request: Any, call: Call) -> Any:
        self._operations.delete(request.name)
        call.effect("delete", request.name)
        return empty_pb2.Empty()

    async def CancelOperation(self, request: Any, call: Call) -> Any:
        await self._operations.cancel(request.name)
        return empty_pb2.Empty()


def _field(operation: Operation, selector: str) -> str:
    return {"done": str(operation.done).lower(), "name": operation.name}[selector]
