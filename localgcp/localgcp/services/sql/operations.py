"""Cloud SQL operations: one at a time per instance, in the form `sql#operation`, resumed after a restart.

They are kept by the operations of localgcp; what they are about is in their metadata. Statements that hold a password's
verifier are kept in a table of their own, which no method shows, until they have been run.
Source: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/operations
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import grpc
from aiohttp import web
from google.protobuf import json_format, struct_pb2

from localgcp.kit.call import Call
from localgcp.kit.errors import ApiError, from_http
from localgcp.kit.operations import Operation, newest_first
from localgcp.kit.paging import Limits, rest_page
from localgcp.services.sql.postgres.installation import PostgresError

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

PAGE = Limits(default=500, largest=1000)
Json = dict[str, Any]
Work = Callable[[str, str, Json, Call], Awaitable[None]]
"""Does what an operation says: (project, instance, context, call). `context["resumed"]`: an earlier run may have done
any part of it. `context["statements"]` are the SQL statements that came with the operation."""


def timestamp(seconds: float | None = None) -> str:
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


@dataclass(frozen=True, slots=True)
class Change:
    """What is stored together with an operation: `write` stores the record that it is about, `statements` are SQL for
    its work, without passwords in clear. `also` names a second instance that the operation keeps busy."""

    write: Callable[[], None] | None = None
    statements: Sequence[str] = ()
    also: str = ""


class SqlOperations:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._works: dict[str, Work] = {}
        self._statements = cloud.store.json("sql.statements")
        self._forget_statements()

    def register(self, kind: str, work: Work) -> None:
        """`work` does all operations of a kind (an operationType), also those that an earlier run left open."""
        self._works[kind] = work
        self._cloud.operations.resume(f"sql.{kind}", lambda operation: self._run(operation, work))

    async def begin(
        self,
        request: web.Request,
        call: Call,
        kind: str,
        instance: str,
        context: Json,
        change: Change | None = None,
    ) -> Json:
        """Starts an operation on an instance. Raises ApiError 409 while another operation runs on it, or on the second
        instance of the change."""
        change = change or Change()
        project = self._cloud.settings.project_id(request.match_info["project"])
        for name in filter(None, (instance, change.also)):
            self.check_free(project, name)
        metadata = {
            "project": project,
            "instance": instance,
            "also": change.also,
            "type": kind,
            "context": context,
            "method": call.method,
            "caller": call.caller,
            "request": call.request_id,
        }
        work = self._works[kind]
        name = f"projects/{project}/sqlOperations/{uuid.uuid4()}"
        with self._cloud.store.transaction():
            if change.write is not None:
                change.write()
            if change.statements:
                self._statements.put(name, {"statements": list(change.statements)})
            operation = self._cloud.operations.begin(
                f"sql.{kind}", "", f"{project}/{instance}", lambda one: self._run(one, work), metadata, name=name
            )
        return self.shown(request, await self._cloud.operations.settled(operation))

    def check_free(self, project: str, instance: str) -> None:
        """Raises ApiError 409 `operationInProgress`."""
        for operation in self._cloud.operations.list(f"projects/{project}/sqlOperations/"):
            if not operation.done and instance in (_metadata(operation)["instance"], _metadata(operation)["also"]):
                message = (
                    "Operation failed because another operation was already in progress. "
                    "Try your request after the current operation is complete."
                )
                raise from_http(409, message, "operationInProgress")

    async def get(self, request: web.Request, call: Call) -> Json:
        project = self._cloud.settings.project_id(request.match_info["project"])
        try:
            operation = self._cloud.operations.get(
                f"projects/{project}/sqlOperations/{request.match_info['operation']}"
            )
        except ApiError as error:
            message = "The Cloud SQL instance operation does not exist."
            raise from_http(404, message, "operationDoesNotExist") from error
        return self.shown(request, operation)

    async def list(self, request: web.Request, call: Call) -> Json:
        project = self._cloud.settings.project_id(request.match_info["project"])
        instance = request.query.get("instance", "")
        target = f"{project}/{instance}" if instance else ""
        found = self._cloud.operations.list(f"projects/{project}/sqlOperations/", target)
        items, token = rest_page(request, call.method, found, newest_first, PAGE)
        return {"kind": "sql#operationsList", "items": [self.shown(request, item) for item in items], **token}

    def shown(self, request: web.Request, operation: Operation) -> Json:
        metadata = _metadata(operation)
        project, instance = metadata["project"], metadata["instance"]
        base = api_base(request)
        name = operation.name.rpartition("/")[2]
        shown: Json = {
            "kind": "sql#operation",
            "name": name,
            "operationType": metadata["type"],
            "status": "DONE" if operation.done else "RUNNING",
            "user": metadata["caller"][:80] or "anonymous",
            "insertTime": timestamp(operation.created),
            "startTime": timestamp(operation.created),
            "targetId": instance,
            "targetProject": project,
            "targetLink": f"{base}/projects/{project}/instances/{instance}",
            "selfLink": f"{base}/projects/{project}/operations/{name}",
        }
        if operation.finished:
            shown["endTime"] = timestamp(operation.finished)
        if backup := metadata["context"].get("backupId"):
            shown["backupContext"] = {"kind": "sql#backupContext", "backupId": backup}
        if (error := operation.error()) is not None:
            code = "INTERNAL_ERROR" if error.code == grpc.StatusCode.INTERNAL.value[0] else "ERROR"
            item = {"kind": "sql#operationError", "code": code, "message": error.message}
            shown["error"] = {"kind": "sql#operationErrors", "errors": [item]}
        return shown

    async def _run(self, operation: Operation, work: Work) -> None:
        metadata = _metadata(operation)
        call = Call("sqladmin", metadata["method"], {}, self._cloud.ledger, metadata["caller"], metadata["request"])
        kept = self._statements.get(operation.name) or {"statements": []}
        context = {**metadata["context"], "resumed": operation.resumed, **kept}
        try:
            await work(metadata["project"], metadata["instance"], context, call)
        except (PostgresError, TimeoutError, OSError) as error:
            raise ApiError(grpc.StatusCode.INTERNAL, str(error) or type(error).__name__) from error
        finally:
            asyncio.get_running_loop().call_soon(self._forget_statements)  # the operation has ended by then

    def _forget_statements(self) -> None:
        """Removes the statements of operations that have ended."""
        for name, _ in list(self._statements.items()):
            with contextlib.suppress(ApiError):  # an operation that was deleted has ended, too
                if not self._cloud.operations.get(name).done:
                    continue
            self._statements.delete(name)


def api_base(request: web.Request) -> str:
    """The address that was asked, up to the API's version: links lead back to it."""
    version = "sql/v1beta4" if request.path.startswith("/sql/") else "v1"
    return f"{request.scheme}://{request.host}/{version}"


def _metadata(operation: Operation) -> Json:
    struct = struct_pb2.Struct()
    operation.pb.metadata.Unpack(struct)
    return dict(json_format.MessageToDict(struct))
