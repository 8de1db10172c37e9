"""Compute Engine's load balancing resources as REST: one implementation for all kinds, driven by compute_kinds.KINDS.

Source: https://cloud.google.com/compute/docs/reference/rest/v1
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from localgcp.kit.call import Call
from localgcp.kit.errors import ApiError, from_http
from localgcp.kit.filters import json_field, matching
from localgcp.kit.interfaces import CDN_CACHE
from localgcp.kit.paging import rest_page
from localgcp.kit.rest import RestRoute, json_body, json_response
from localgcp.kit.schema import checked, merged, without_nulls
from localgcp.kit.service import Slot
from localgcp.kit.store import etag_of
from localgcp.services.compute.kinds import KINDS, Kind, bad_value, required
from localgcp.services.compute.operations import BASE, DIALECT, PAGE, ComputeOperations, Json, new_id, timestamp
from localgcp.services.compute.propagation import Propagation
from localgcp.services.compute.url_map import load_errors, test_failures

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_REFERENCE = re.compile(
    r"(?:https?://[^/]+/compute/v1/|/?compute/v1/)?(?:projects/(?P<project>[^/]+)/)?"
    r"(?P<scope>global|regions/[^/]+)/(?P<collection>[A-Za-z]+)/(?P<name>[a-z0-9-]+)"
)


def routes(cloud: Cloud) -> list[RestRoute]:
    operations = ComputeOperations(cloud)
    found = operations.routes()
    for kind in KINDS.values():
        found += Methods(cloud, kind, operations).routes()
    maps = UrlMapMethods(cloud, KINDS["urlMaps"], operations)
    one = "/compute/v1/projects/{project}/global/urlMaps/{name}"
    found.append(RestRoute("POST", one + "/validate", "compute.urlMaps.validate", maps.validate))
    found.append(RestRoute("POST", one + "/invalidateCache", "compute.urlMaps.invalidateCache", maps.invalidate, True))
    return found


class Resources:
    """All resources by `{project}/{scope}/{collection}/{name}`. Implements `interfaces.UrlMaps`."""

    def __init__(self, cloud: Cloud) -> None:
        self._table = cloud.store.json("compute.resources")
        self._read: dict[str, tuple[int, Json]] = {}  # parsed records: the edge asks for each request
        self._propagation = Propagation(cloud.settings.url_map_propagation_seconds)

    def get(self, key: str) -> Json | None:
        """The record; not to be changed."""
        version = self._table.version(key)
        if not version:
            return None
        known = self._read.get(key)
        if known is None or known[0] != version:
            known = self._read[key] = (version, self._table.get(key) or {})
        return known[1]

    def reset(self) -> None:
        self._read.clear()
        self._propagation.reset()

    def put(self, key: str, record: Json) -> None:
        if "/global/urlMaps/" in key and (before := self.get(key)) is not None:
            self._propagation.changed(key, before)
        self._table.put(key, record)
        self._read.pop(key, None)

    def delete(self, key: str) -> None:
        self._table.delete(key)
        self._read.pop(key, None)

    def items(self, prefix: str = "") -> list[tuple[str, Json]]:
        return list(self._table.items(prefix))

    def url_map(self, project: str, name: str, front_end: int) -> Mapping[str, object] | None:
        key = f"{project}/global/urlMaps/{name}"
        return self._propagation.seen(key, self.get(key), front_end)

    def backend(self, project: str, kind: str, name: str) -> Mapping[str, object] | None:
        """Also a networkEndpointGroup, whose region is then looked for."""
        if (found := self.get(f"{project}/global/{kind}/{name}")) is not None:
            return found
        suffix = f"/{kind}/{name}"
        return next((record for key, record in self.items(f"{project}/regions/") if key.endswith(suffix)), None)

    def edge_url_map(self) -> tuple[str, str] | None:
        rules = [record for key, record in self.items() if "/global/forwardingRules/" in key]
        for rule in sorted(rules, key=lambda rule: (rule["creationTimestamp"], rule["name"])):
            proxy = self.get(key_of(rule["target"]) or "")
            if proxy is not None and (key := key_of(proxy["urlMap"])) is not None and self.get(key) is not None:
                project, _, _, name = key.split("/")
                return project, name
        return None


RESOURCES: Slot[Resources] = Slot("compute.resources")


def key_of(reference: str, project: str = "") -> str | None:
    """Store key of a full or partial URL of a resource; None for anything else."""
    match = _REFERENCE.fullmatch(reference)
    if match is None or match["collection"] not in KINDS:
        return None
    owner = match["project"] or project
    return f"{owner}/{match['scope']}/{match['collection']}/{match['name']}"


class Methods:
    """The methods of one kind."""

    def __init__(self, cloud: Cloud, kind: Kind, operations: ComputeOperations) -> None:
        self._cloud, self.kind, self.operations = cloud, kind, operations
        self.resources = cloud.part(RESOURCES)

    def routes(self) -> list[RestRoute]:
        kind, name = self.kind, f"compute.{self.kind.api}."
        scope = "global" if kind.scope == "global" else "regions/{region}"
        path = f"/compute/v1/projects/{{project}}/{scope}/{kind.collection}"
        found = [
            RestRoute("POST", path, name + "insert", self.insert, True),
            RestRoute("GET", path, name + "list", self.list),
            RestRoute("GET", path + "/{name}", name + "get", self.get),
            RestRoute("DELETE", path + "/{name}", name + "delete", self.delete, True),
        ]
        if "patch" in kind.updates:
            found.append(RestRoute("PATCH", path + "/{name}", name + "patch", self.patch, True))
        if "update" in kind.updates:
            found.append(RestRoute("PUT", path + "/{name}", name + "update", self.update, True))
        for method, message, source, field in kind.setters:
            func = functools.partial(self.set_field, method=method, message=message, source=source, field=field)
            for base in (path, f"/compute/v1/projects/{{project}}/{kind.collection}"):  # proxies have the short path
                found.append(RestRoute("POST", f"{base}/{{name}}/{method}", name + method, func, True))  # noqa: PERF401
        return found

    async def insert(self, request: web.Request, call: Call) -> web.Response:
        body = self._stripped(without_nulls(checked("compute", self.kind.schema, await json_body(request))))
        if (answer := self.operations.repeated(request)) is not None:
            return answer
        name = str(body.get("name", ""))
        if not name:
            raise required("name")
        if not _NAME.fullmatch(name):
            raise bad_value("name", f"'{name}'. Must be a match of regex '{_NAME.pattern}'")
        key = f"{self._prefix(request)}/{name}"
        if self.resources.get(key) is not None:
            raise from_http(409, f"The resource 'projects/{key}' already exists", "alreadyExists")
        record = {"kind": self.kind.type, "id": new_id(), "creationTimestamp": timestamp(), **body}
        record["selfLink"] = f"{BASE}/projects/{key}"
        if self.kind.scope == "region":
            record["region"] = f"{BASE}/projects/{self._project(request)}/regions/{request.match_info['region']}"
        return await self._saved(request, call, "insert", key, record)

    async def get(self, request: web.Request, call: Call) -> web.Response:
        return json_response(self._of(request)[1])

    async def list(self, request: web.Request, call: Call) -> web.Response:
        prefix = self._prefix(request)
        records = [record for _, record in self.resources.items(prefix + "/")]
        found = matching(records, request.query.get("filter", ""), json_field, DIALECT)
        items, token = rest_page(request, call.method, found, lambda record: (record["name"],), PAGE)
        body: Json = {
            "kind": f"{self.kind.type}List",
            "id": f"projects/{prefix}",
            "selfLink": f"{BASE}/projects/{prefix}",
        }
        return json_response(body | ({"items": items} if items else {}) | token)

    async def patch(self, request: web.Request, call: Call) -> web.Response:
        body = checked("compute", self.kind.schema, await json_body(request))
        return await self._changed(request, call, "patch", body)

    async def update(self, request: web.Request, call: Call) -> web.Response:
        body = without_nulls(checked("compute", self.kind.schema, await json_body(request)))
        return await self._changed(request, call, "update", body)

    async def delete(self, request: web.Request, call: Call) -> web.Response:
        if (answer := self.operations.repeated(request)) is not None:
            return answer
        key, record = self._of(request)
        for other, user in self.resources.items(f"{key.partition('/')[0]}/"):
            if other != key and key in _references(user, ""):
                message = f"The resource 'projects/{key}' is already being used by 'projects/{other}'"
                raise from_http(400, message, "resourceInUseByAnotherResource")
        return await self.operations.begin(request, call, "delete", record, lambda: self.resources.delete(key))

    async def set_field(
        self, request: web.Request, call: Call, *, method: str, message: str, source: str, field: str
    ) -> web.Response:
        body = without_nulls(checked("compute", message, await json_body(request)))
        if (answer := self.operations.repeated(request)) is not None:
            return answer
        key, record = self._of(request)
        return await self._saved(request, call, method, key, {**record, field: body.get(source)})

    async def _changed(self, request: web.Request, call: Call, method: str, body: Json) -> web.Response:
        if (answer := self.operations.repeated(request)) is not None:
            return answer
        key, record = self._of(request)
        if self.kind.fingerprint:
            if not body.get("fingerprint"):
                raise required("fingerprint")
            if body["fingerprint"] != record["fingerprint"]:
                raise from_http(412, "Invalid fingerprint.", "conditionNotMet", location="If-Match")
        if body.get("name", record["name"]) != record["name"]:
            raise bad_value("name", "it can't be changed")
        server = {k: v for k, v in record.items() if k in (*self.kind.server_fields, "name")}
        wanted = self._stripped(body)
        changed = merged(record, wanted) if method == "patch" else {**server, **wanted}
        return await self._saved(request, call, method, key, {**changed, **server})

    async def _saved(self, request: web.Request, call: Call, method: str, key: str, record: Json) -> web.Response:
        """Completes, checks and stores a record; starts its operation. Raises ApiError 400, 404."""
        project = key.partition("/")[0]
        record = _with_full_links(json.loads(json.dumps(record)), project)
        self.kind.complete(record)
        self._check_references(key, record)
        self.kind.check(record)
        if self.kind.fingerprint:
            content = {k: v for k, v in record.items() if k != "fingerprint"}
            record["fingerprint"] = etag_of(key, json.dumps(content, sort_keys=True))
        return await self.operations.begin(request, call, method, record, lambda: self.resources.put(key, record))

    def _check_references(self, key: str, record: Json) -> None:
        for reference in sorted(_references(record, key.partition("/")[0]) - {key}):
            if self.resources.get(reference) is None:
                raise from_http(404, f"The resource 'projects/{reference}' was not found", "notFound")

    def _stripped(self, body: Json) -> Json:
        """Without what only the server sets, and without secrets: nothing here needs a private key."""
        return {k: v for k, v in body.items() if k not in (*self.kind.server_fields, *self.kind.secret_fields)}

    def _of(self, request: web.Request) -> tuple[str, Json]:
        key = f"{self._prefix(request)}/{request.match_info['name']}"
        record = self.resources.get(key)
        if record is None:
            raise from_http(404, f"The resource 'projects/{key}' was not found", "notFound")
        return key, record

    def _project(self, request: web.Request) -> str:
        return self._cloud.settings.project_id(request.match_info["project"])

    def _prefix(self, request: web.Request) -> str:
        scope = "global" if self.kind.scope == "global" else f"regions/{request.match_info['region']}"
        return f"{self._project(request)}/{scope}/{self.kind.collection}"


class UrlMapMethods(Methods):
    """The two methods that only URL maps have."""

    async def validate(self, request: web.Request, call: Call) -> web.Response:
        body = without_nulls(checked("compute", "UrlMapsValidateRequest", await json_body(request)))
        if not isinstance(body.get("resource"), dict):
            raise required("urlMap")
        project = self._project(request)
        record = _with_full_links({**body["resource"], "name": request.match_info["name"]}, project)
        errors = [error.replace("'resource.", "'urlMap.") for error in load_errors(record)]
        try:
            self._check_references(f"{self._prefix(request)}/{record['name']}", record)
        except ApiError as error:
            errors.append(error.message)
        result: Json = {"loadSucceeded": not errors}
        if errors:
            result["loadErrors"] = errors
        else:
            failures = [*test_failures(record, functools.partial(_full_link, project=project))]
            result |= {"testPassed": not failures, **({"testFailures": failures} if failures else {})}
        return json_response({"result": result})

    async def invalidate(self, request: web.Request, call: Call) -> web.Response:
        body = without_nulls(checked("compute", "CacheInvalidationRule", await json_body(request)))
        if (answer := self.operations.repeated(request)) is not None:
            return answer
        key, record = self._of(request)
        path = str(body.get("path") or "/*")
        if not path.startswith("/") or "*" in path.removesuffix("*") or "?" in path:
            raise from_http(400, f"Invalid value for field 'path': '{path}'", "invalid")
        if (cache := self._cloud.find(CDN_CACHE)) is not None:
            cache.invalidate(path)
        call.effect("invalidate", f"projects/{key}", path)
        return await self.operations.begin(request, call, "invalidateCache", record)


def _references(value: Any, project: str) -> set[str]:
    """Keys of all resources that a record mentions."""
    return {key for text in _strings(value) if (key := key_of(text, project)) is not None}


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if name != "selfLink":
                yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _full_link(text: str, project: str) -> str:
    key = key_of(text, project)
    return text if key is None else f"{BASE}/projects/{key}"


def _with_full_links(value: Any, project: str) -> Any:
    """Partial URLs become full ones, as in what Google returns."""
    if isinstance(value, str):
        return _full_link(value, project)
    if isinstance(value, dict):
        return {name: _with_full_links(item, project) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_full_links(item, project) for item in value]
    return value
