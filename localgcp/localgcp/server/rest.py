"""The REST server: the same methods as JSON over HTTP/1.1, by Google's HTTP rules, and the APIs that are REST only.

JSON is read strictly: an unknown field or a value of the wrong type is an INVALID_ARGUMENT that names it, as on Google.
Source of the mapping: https://google.aip.dev/127 and google/api/http.proto
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor

from localgcp.kit.call import Call, caller_of
from localgcp.kit.errors import ApiError, invalid, not_found, permission_denied
from localgcp.kit.listening import HttpServer, Rules
from localgcp.kit.paging import check_rest_token
from localgcp.kit.rest import RestRoute, json_response
from localgcp.server.middleware import as_call

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud
    from localgcp.server.grpc import Bound
    from localgcp.server.methods import HttpRule

_SYSTEM_PARAMETERS = {
    "alt",
    "key",
    "prettyPrint",
    "fields",
    "quotaUser",
    "access_token",
    "oauth_token",
    "uploadType",
    "upload_protocol",
    "callback",
}
_MAX_BODY = 512 * 1024 * 1024  # uploads of one request; larger ones are resumable


class RestServer:
    """One aiohttp application: own routes first, then everything by HTTP rule."""

    def __init__(
        self, cloud: Cloud, rules: Iterable[tuple[HttpRule, Bound]], routes: Iterable[RestRoute], admin: web.Application
    ) -> None:
        self._cloud = cloud
        self._rules: dict[str, list[tuple[HttpRule, Bound]]] = {}
        for rule, method in rules:
            self._rules.setdefault(rule.verb, []).append((rule, method))
        app = web.Application(client_max_size=_MAX_BODY)
        app.add_subapp("/_localgcp/", admin)
        for route in routes:
            app.router.add_route(route.http_method, route.pattern, self._rest_only(route))
        app.router.add_route("*", "/{tail:.*}", self._by_rule)
        self._server = HttpServer(app, cloud.settings.guard, Rules(_refused), grace=1.0)

    async def open(self) -> Callable[[], asyncio.BaseProtocol]:
        """Returns the protocol factory that serves accepted connections."""
        return await self._server.open()

    async def close(self) -> None:
        await self._server.close()

    def _rest_only(self, route: RestRoute) -> Any:
        api = route.method.partition(".")[0]

        async def answer(request: web.Request) -> web.StreamResponse:
            call = self._call(request, api, route.method)

            async def work() -> web.StreamResponse:
                check_rest_token(request, route.method)
                return await route.func(request, call)

            try:
                return await as_call(self._cloud, call, request.path, route.mutating, work)
            except ApiError as error:
                return json_response(error.legacy_body() if route.legacy_errors else error.body(), error.http)

        return answer

    async def _by_rule(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        for rule, method in self._rules.get(request.method, ()):
            if match := rule.pattern.match(path):
                return await self._transcode(request, rule, method, match.groups())
        error = not_found(f"Method not found: {request.method} {path}")
        return json_response(error.body(), error.http)

    async def _transcode(
        self, request: web.Request, rule: HttpRule, method: Bound, values: tuple[str, ...]
    ) -> web.StreamResponse:
        call = self._call(request, rule.rpc.api, rule.rpc.method)
        try:
            message = rule.rpc.request()
            resource = "/".join(values)
            parsing: ApiError | None = None
            try:
                await _read_message(message, request, rule, values)
                resource = rule.rpc.resource(message)
            except ApiError as error:  # a rejected request is a call too
                parsing = error

            async def work() -> Any:
                if parsing is not None:
                    raise parsing
                return await method(message, call)

            reply = await as_call(self._cloud, call, resource, rule.rpc.write, work)
        except ApiError as error:
            return json_response(error.body(), error.http)
        enums = "enum-encoding=int" in request.query.get("$alt", "")
        text = json_format.MessageToJson(reply, indent=None, use_integers_for_enums=enums)
        return web.Response(text=text, content_type="application/json", charset="UTF-8")

    def _call(self, request: web.Request, api: str, method: str) -> Call:
        metadata = {key.lower(): value for key, value in request.headers.items()}
        return Call(api, method, metadata, self._cloud.ledger, caller_of(metadata))


def _refused(sentence: str) -> web.Response:
    error = permission_denied(sentence)
    return json_response(error.body(), error.http)


async def _read_message(message: Any, request: web.Request, rule: HttpRule, values: tuple[str, ...]) -> None:
    if rule.body is not None:
        raw = _text(await request.read())
        target = message if rule.body == "*" else getattr(message, rule.body)
        if rule.body != "*":
            target.SetInParent()
        _parse(target, raw, "" if rule.body == "*" else rule.body)
    query: dict[str, Any] = {}
    for key in dict.fromkeys(request.query):
        if not key.startswith("$") and key not in _SYSTEM_PARAMETERS:
            _set_path(query, message.DESCRIPTOR, key, request.query.getall(key))
    if query:
        fresh = type(message)()
        _parse_dict(fresh, query)
        message.MergeFrom(fresh)
    for variable, value in zip(rule.variables, values, strict=True):
        owner = message
        *parents, last = variable.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        setattr(owner, last, value)


def _text(raw: bytes) -> str:
    """JSON is UTF-8, whatever the charset of the content type says."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise invalid(f"Invalid JSON payload received. The body is no UTF-8: {error.reason}.") from error


def _parse(message: Any, raw: str, field: str) -> None:
    if not raw.strip():
        return
    try:
        json_format.Parse(raw, message)
    except (json_format.ParseError, RecursionError) as error:
        raise invalid(f"Invalid JSON payload received. {error}", field) from error


def _parse_dict(message: Any, value: Mapping[str, Any]) -> None:
    try:
        json_format.ParseDict(dict(value), message)
    except json_format.ParseError as error:
        raise invalid(f"Invalid value in the query. {error}") from error


def _set_path(tree: dict[str, Any], descriptor: Any, path: str, values: list[str]) -> None:
    """Puts a query parameter ("a.b=1", camelCase or as declared) into a JSON tree, shaped by the message's fields."""
    *parents, last = path.split(".")
    for parent in parents:
        field = _field(descriptor, parent, path)
        descriptor = field.message_type
        if descriptor is None:
            raise invalid(f"Invalid JSON payload received. Unknown name {path!r}: Cannot bind query parameter.", path)
        tree = tree.setdefault(field.json_name, {})
    field = _field(descriptor, last, path)
    shaped = [v.lower() == "true" if field.type == FieldDescriptor.TYPE_BOOL else v for v in values]
    tree[field.json_name] = shaped if field.is_repeated else shaped[-1]


def _field(descriptor: Any, name: str, path: str) -> Any:
    for field in descriptor.fields:
        if name in (field.name, field.json_name):
            return field
    raise invalid(f"Invalid JSON payload received. Unknown name {path!r}: Cannot bind query parameter.", path)
