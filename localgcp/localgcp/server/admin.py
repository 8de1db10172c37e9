"""The admin API below /_localgcp/: what only a local cloud can answer. It is in no ledger and no fault touches it.

What only reads is open to every process of this machine, as the APIs are. What changes something needs the token of the
state folder.
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
from aiohttp import hdrs, web

from localgcp.kit.errors import ApiError, invalid, not_found
from localgcp.kit.interfaces import RUNTIME
from localgcp.kit.rest import json_body, json_response
from localgcp.kit.state import TOKEN_FILE, admin_token

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_UNAUTHENTICATED = (
    "{} {} needs the token of this localgcp: send `Authorization: Bearer TOKEN`, with what is in the file admin-token "
    "of its --state-dir. The command `localgcp` does that by itself."
)


class Admin:
    """`reset` is what empties the cloud (see server.Server.reset)."""

    def __init__(self, cloud: Cloud, reset: Callable[[], Awaitable[None]]) -> None:
        self._cloud, self._reset, self._since = cloud, reset, time.time()
        self._token = admin_token(cloud.settings.state_dir)

    def application(self) -> web.Application:
        app = web.Application(middlewares=[_errors, _authorized(self._token)])
        app.router.add_get("/status", self.status)
        app.router.add_post("/reset", self.reset)
        app.router.add_get("/ledger", self.ledger)
        app.router.add_get("/faults", self.faults)
        app.router.add_post("/faults", self.add_fault)
        app.router.add_delete("/faults", self.clear_faults)
        app.router.add_get("/executions/{name:.+}/log", self.execution_log)
        return app

    async def status(self, request: web.Request) -> web.Response:
        cloud, settings = self._cloud, self._cloud.settings
        runtime = cloud.find(RUNTIME)
        body = {
            "endpoint": settings.endpoint,
            "edge": settings.edge,
            "exposed": settings.exposed,
            "tokenFile": str(settings.state_dir / TOKEN_FILE),
            "pid": os.getpid(),
            "project": settings.project,
            "projectNumber": settings.project_number,
            "region": settings.region,
            "since": self._since,
            "ledger": cloud.ledger.last,
            "faults": len(cloud.faults.list()),
            "openOperations": sum(not operation.done for operation in cloud.operations.list()),
            "services": {service.name: list(service.hosts) for service in cloud.services if service.hosts},
            "instances": [dict(row) for row in runtime.describe()] if runtime is not None else [],
        }
        return json_response(body)

    async def reset(self, request: web.Request) -> web.Response:
        await self._reset()
        return json_response({})

    async def ledger(self, request: web.Request) -> web.Response:
        """Entries after `since`; filters kind, method (glob), resource (substring), write (true|false), limit."""
        query = request.query
        write = {"true": True, "false": False}.get(query.get("write", ""))
        entries = self._cloud.ledger.query(
            int(query.get("since", "0")),
            kind=query.get("kind", ""),
            method=query.get("method", ""),
            resource=query.get("resource", ""),
            write=write,
            limit=int(query.get("limit", "0")),
        )
        return json_response({"entries": entries, "last": self._cloud.ledger.last})

    async def faults(self, request: web.Request) -> web.Response:
        return json_response({"faults": self._cloud.faults.list()})

    async def add_fault(self, request: web.Request) -> web.Response:
        fault = self._cloud.faults.add(await json_body(request))
        return json_response({"id": fault.id})

    async def clear_faults(self, request: web.Request) -> web.Response:
        self._cloud.faults.clear()
        return json_response({})

    async def execution_log(self, request: web.Request) -> web.Response:
        """The last output lines of a job's execution, by its full name or, if one project has it, its short one."""
        name = request.match_info["name"]
        records = dict(self._cloud.store.json("run.execution_logs").items())
        found = [key for key in records if key == name or key.rpartition("/")[2] == name]
        if not found:
            raise not_found(f"no log of an execution '{name}'")
        if len(found) > 1:
            raise invalid(f"several projects have an execution '{name}'; name it in full: {', '.join(sorted(found))}")
        return json_response(records[found[0]])


def _authorized(token: str) -> Any:
    """Requests that may change something carry the token, whatever route they are for."""
    wanted = f"Bearer {token}".encode()

    @web.middleware
    async def authorized(request: web.Request, handler: Handler) -> web.StreamResponse:
        sent = request.headers.get(hdrs.AUTHORIZATION, "").encode("utf-8", "surrogateescape")
        if request.method in (hdrs.METH_GET, hdrs.METH_HEAD) or hmac.compare_digest(sent, wanted):
            return await handler(request)
        raise ApiError(grpc.StatusCode.UNAUTHENTICATED, _UNAUTHENTICATED.format(request.method, request.path))

    return authorized


@web.middleware
async def _errors(request: web.Request, handler: Callable[[web.Request], Awaitable[Any]]) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except ApiError as error:
        return json_response(error.body(), error.http)
    except (ValueError, TypeError) as error:
        return json_response({"error": {"code": 400, "message": str(error), "status": "INVALID_ARGUMENT"}}, 400)
    return response
