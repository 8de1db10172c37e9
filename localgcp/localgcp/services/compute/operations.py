"""Compute Engine operations: `compute#operation`, global or of a region.

A change is in force when its request is answered; the operation says so after the usual delay. A repeated `requestId`
gets the first one's operation. Source: https://cloud.google.com/compute/docs/reference/rest/v1/globalOperations
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web
from google.protobuf import json_format, struct_pb2

from localgcp.kit.call import Call
from localgcp.kit.errors import ApiError, from_http
from localgcp.kit.filters import Dialect, json_field, matching
from localgcp.kit.operations import Operation, newest_first
from localgcp.kit.paging import Limits, rest_page
from localgcp.kit.rest import RestRoute, json_response

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

Json = dict[str, Any]

BASE = "https://www.googleapis.com/compute/v1"  # of links; Google's own do not change with the endpoint either
_LONGEST_WAIT_SECONDS = 120.0
PAGE = Limits(default=500, largest=500)
DIALECT = Dialect(matches=True)  # `name eq "we.*"`


def timestamp(seconds: float | None = None) -> str:
    """Compute Engine shows milliseconds and an offset: 2026-01-31T12:00:00.000+00:00."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds")


def new_id() -> str:
    return str(uuid.uuid4().int >> 65)


class ComputeOperations:
    def __init__(self, cloud: Cloud) -> None:
        self._settings, self._store, self._operations = cloud.settings, cloud.store, cloud.operations
        self._requests = cloud.store.json("compute.requests")
        cloud.operations.resume("compute", _nothing_left)

    def routes(self) -> list[RestRoute]:
        found = []
        for api, scope in (("globalOperations", "global"), ("regionOperations", "regions/{region}")):
            path = f"/compute/v1/projects/{{project}}/{scope}/operations"
            one = path + "/{operation}"
            found += [
                RestRoute("GET", path, f"compute.{api}.list", self.list),
                RestRoute("GET", one, f"compute.{api}.get", self.get),
                RestRoute("POST", one + "/wait", f"compute.{api}.wait", self.wait),
                RestRoute("DELETE", one, f"compute.{api}.delete", self.delete, True),
            ]
        return found

    def repeated(self, request: web.Request) -> web.Response | None:
        """The answer to a request that was answered before, by its requestId."""
        known = self._requests.get(self._request_key(request)) if request.query.get("requestId") else None
        if known is None:
            return None
        if known["path"] != f"{request.method} {request.path}":
            raise from_http(400, "Invalid value for field 'requestId': it was used for another request", "invalid")
        return json_response(self._shown(self._operations.get(known["operation"])))

    async def begin(
        self, request: web.Request, call: Call, kind: str, target: Json, write: Callable[[], None] | None = None
    ) -> web.Response:
        """The operation of a change; `kind` is its operationType, `target` the resource. `write` makes the change: it
        and the operation are stored together, so that a killed localgcp leaves both or neither."""
        project = self._settings.project_id(request.match_info["project"])
        scope = target["selfLink"].partition(f"/projects/{project}/")[2].rpartition("/")[0].rpartition("/")[0]
        name = f"operation-{int(time.time() * 1000)}-{uuid.uuid4().hex[:13]}-{uuid.uuid4().hex[:8]}"
        metadata = {
            "id": new_id(),
            "type": kind,
            "target": target["selfLink"],
            "targetId": target["id"],
            "user": call.caller[:80] or "anonymous",
        }
        with self._store.transaction():
            if write is not None:
                write()
            operation = self._operations.begin(
                "compute", "", target["selfLink"], _nothing_left, metadata, name=_key(project, scope, name)
            )
            if request.query.get("requestId"):
                done = {"operation": operation.name, "path": f"{request.method} {request.path}"}
                self._requests.put(self._request_key(request), done)
        effect = {"insert": "create", "delete": "delete"}.get(kind, "update")
        if write is not None:
            call.effect(effect, target["selfLink"].removeprefix(f"{BASE}/"))
        return json_response(self._shown(await self._operations.settled(operation)))

    async def get(self, request: web.Request, call: Call) -> web.Response:
        return json_response(self._shown(self._of(request)))

    async def wait(self, request: web.Request, call: Call) -> web.Response:
        operation = await self._operations.wait(self._of(request).name, _LONGEST_WAIT_SECONDS)
        return json_response(self._shown(operation))

    async def list(self, request: web.Request, call: Call) -> web.Response:
        """Newest first."""
        shown = ((operation, self._shown(operation)) for operation in self._operations.list(self._prefix(request)))
        wanted = request.query.get("filter", "")
        found = matching(shown, wanted, lambda entry, selector: json_field(entry[1], selector), DIALECT)
        page, token = rest_page(request, call.method, found, lambda entry: newest_first(entry[0]), PAGE)
        return json_response({"kind": "compute#operationList", "items": [item for _, item in page], **token})

    async def delete(self, request: web.Request, call: Call) -> web.Response:
        self._operations.delete(self._of(request).name)
        return web.Response(status=204)

    def _of(self, request: web.Request) -> Operation:
        name = request.match_info["operation"]
        try:
            return self._operations.get(self._prefix(request) + name)
        except ApiError as error:
            raise from_http(404, f"The resource '{request.path}' was not found", "notFound") from error

    def _prefix(self, request: web.Request) -> str:
        region = request.match_info.get("region")
        project = self._settings.project_id(request.match_info["project"])
        return _key(project, f"regions/{region}" if region else "global", "")

    def _request_key(self, request: web.Request) -> str:
        return f"{request.match_info['project']}/{request.query['requestId']}"

    def _shown(self, operation: Operation) -> Json:
        struct = struct_pb2.Struct()
        operation.pb.metadata.Unpack(struct)
        metadata = json_format.MessageToDict(struct)
        _, project, _, *scope, name = operation.name.split("/")
        shown: Json = {
            "kind": "compute#operation",
            "id": metadata["id"],
            "name": name,
            "operationType": metadata["type"],
            "targetLink": metadata["target"],
            "targetId": metadata["targetId"],
            "status": "DONE" if operation.done else "RUNNING",
            "progress": 100 if operation.done else 0,
            "user": metadata["user"],
            "insertTime": timestamp(operation.created),
            "startTime": timestamp(operation.created),
            "selfLink": f"{BASE}/projects/{project}/{'/'.join(scope)}/operations/{name}",
        }
        if operation.finished:
            shown["endTime"] = timestamp(operation.finished)
        if scope[0] == "regions":
            shown["region"] = f"{BASE}/projects/{project}/regions/{scope[1]}"
        return shown


def _key(project: str, scope: str, name: str) -> str:
    return f"projects/{project}/computeOperations/{scope}/{name}"


async def _nothing_left(operation: Operation) -> None:
    return None
