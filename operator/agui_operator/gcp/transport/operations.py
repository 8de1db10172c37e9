"""Long-running operations: one waiting call where the API has one, else polling with growing pauses.

A name has its API as a prefix (`compute:...`, `sqladmin:...`; Cloud Run's have none), so that it can be kept in a
status and waited for by another process.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from agui_operator.core.errors import CloudError
from agui_operator.core.snapshot import ExecutionView, JobView, ServiceView
from agui_operator.gcp.transport import run_views
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.rest import RestRequest
from agui_operator.gcp.transport.translation import from_status

COMPUTE, SQLADMIN = "compute:", "sqladmin:"
_GRACE = 10.0  # seconds that a waiting call may last longer than it was asked to
_FIRST_LOOK, _FIRST_PAUSE, _GROWTH, _LONGEST_PAUSE = 0.6, 1.0, 1.5, 15.0
_SQL_FIRST_LOOK = 2.0  # no operation of Cloud SQL takes less
_COMPUTE_WAIT = 120.0  # globalOperations.wait answers after two minutes at the latest


@dataclass(frozen=True, slots=True)
class OperationResult:
    """`error` is set when the operation failed. A failed execution of a job is not an error: it is the view."""

    done: bool
    error: CloudError | None = None
    view: ServiceView | JobView | ExecutionView | None = None


async def wait(cloud: Cloud, operation: str, timeout: float) -> OperationResult:
    """Returns when the operation is done, or a result that is not done after about `timeout` seconds. Raises CloudError
    when the operation can't be read."""
    deadline = time.monotonic() + timeout
    if operation.startswith(SQLADMIN):
        return await _poll_sql(cloud, operation.removeprefix(SQLADMIN), deadline)
    pause = _FIRST_LOOK
    while True:
        began = time.monotonic()
        left = max(0.0, deadline - began)
        if operation.startswith(COMPUTE):
            result = await _wait_compute(cloud, operation.removeprefix(COMPUTE), min(left, _COMPUTE_WAIT))
        else:
            result = await _wait_run(cloud, operation, left)
        if result.done or time.monotonic() >= deadline:
            return result
        if time.monotonic() - began < pause:  # it answered without waiting: no tight loop
            await asyncio.sleep(min(pause, max(0.0, deadline - time.monotonic())))
            pause = min(pause * _GROWTH, _LONGEST_PAUSE)


async def finish(cloud: Cloud, operation: str, timeout: float = 60.0) -> None:
    """Returns when the operation has succeeded. Raises its error, CloudError, TimeoutError."""
    result = await wait(cloud, operation, timeout)
    if result.error is not None:
        raise result.error
    if not result.done:
        raise TimeoutError(f"{operation} did not end within {timeout:g} s")


def result_of(operation: Any) -> OperationResult:
    """A google.longrunning.Operation of Cloud Run."""
    if not operation.done:
        return OperationResult(False)
    if operation.HasField("error"):
        ended = _view_in(operation.metadata)
        if isinstance(ended, ExecutionView) and ended.succeeded is not None:
            return OperationResult(True, view=ended)
        return OperationResult(True, from_status(operation.error, "Operation", operation.name))
    return OperationResult(True, view=_view_in(operation.response))


def started_view(operation: Any) -> ServiceView | JobView | ExecutionView | None:
    """What an operation that is still open says about its target: the resource as it was accepted."""
    view = _view_in(operation.metadata)
    return view if view is not None and view.name else None


def compute_result(operation: dict[str, Any]) -> OperationResult:
    """A compute#operation: https://cloud.google.com/compute/docs/reference/rest/v1/globalOperations"""
    if operation.get("status") != "DONE":
        return OperationResult(False)
    return OperationResult(True, _first_error(operation, int(operation.get("httpErrorStatusCode") or 500)))


def compute_name(project: str, operation: dict[str, Any]) -> str:
    """Of a global operation, or of a regional one, which says its region."""
    region = str(operation.get("region") or "").rpartition("/")[2]
    return f"{COMPUTE}{project}/{region}/{operation['name']}" if region else f"{COMPUTE}{project}/{operation['name']}"


def sql_result(operation: dict[str, Any]) -> OperationResult:
    """A sql#operation: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/operations"""
    if operation.get("status") != "DONE":
        return OperationResult(False)
    return OperationResult(True, _first_error(operation, 500))


def sql_name(project: str, operation: dict[str, Any]) -> str:
    return f"{SQLADMIN}{project}/{operation['name']}"


async def _wait_run(cloud: Cloud, name: str, seconds: float) -> OperationResult:
    from google.longrunning import operations_pb2

    timeout = {"seconds": int(seconds), "nanos": int(seconds % 1 * 1e9)}
    request = operations_pb2.WaitOperationRequest(name=name, timeout=timeout)
    reply = await cloud.rpc("Operations.WaitOperation", request, name, timeout=seconds + _GRACE)
    if isinstance(reply, bytes):  # this client method does not parse its response
        reply = operations_pb2.Operation.FromString(reply)
    return result_of(reply)


async def _wait_compute(cloud: Cloud, name: str, seconds: float) -> OperationResult:
    project, *region, operation = name.split("/")
    where = f"regions/{region[0]}" if region else "global"
    path = f"/compute/v1/projects/{project}/{where}/operations/{operation}/wait"
    method = "compute.regionOperations.wait" if region else "compute.globalOperations.wait"
    try:
        reply = await cloud.rest(RestRequest(method, path, project, "POST", timeout=max(seconds, 1.0) + _GRACE))
    except CloudError as error:
        if error.code == 504:  # it waits longer than we do
            return OperationResult(False)
        raise
    return compute_result(reply)


async def _poll_sql(cloud: Cloud, name: str, deadline: float) -> OperationResult:
    project, _, operation = name.partition("/")
    path = f"/v1/projects/{project}/operations/{operation}"
    pause = _SQL_FIRST_LOOK
    while True:
        await asyncio.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        result = sql_result(await cloud.rest(RestRequest("sqladmin.operations.get", path, project=project)))
        if result.done or time.monotonic() >= deadline:
            return result
        pause = _FIRST_PAUSE if pause == _SQL_FIRST_LOOK else min(pause * _GROWTH, _LONGEST_PAUSE)


def _first_error(operation: dict[str, Any], code: int) -> CloudError | None:
    errors = (operation.get("error") or {}).get("errors") or []
    if not errors:
        return None
    status, message = str(errors[0].get("code", "")), str(errors[0].get("message", ""))
    kind = str(operation.get("operationType", "operation"))
    return CloudError(code, message, method=kind, resource=str(operation.get("targetLink", "")), status=status)


def _view_in(packed: Any) -> ServiceView | JobView | ExecutionView | None:
    """The view of a Cloud Run message in an Any; None for any other message."""
    from google.cloud import run_v2

    match packed.type_url.rpartition("google.cloud.run.v2.")[2]:
        case "Service":
            return run_views.service_view(run_v2.Service.deserialize(packed.value))
        case "Job":
            return run_views.job_view(run_v2.Job.deserialize(packed.value))
        case "Execution":
            return run_views.execution_view(run_v2.Execution.deserialize(packed.value))
        case _:
            return None
