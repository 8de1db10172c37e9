"""Cloud SQL's admin API, on both of its paths (/v1 and /sql/v1beta4): instances, and the list of all routes.

Source: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/instances
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from localgcp.kit.call import Call
from localgcp.kit.errors import ApiError, from_http
from localgcp.kit.filters import json_field, matching
from localgcp.kit.paging import rest_page
from localgcp.kit.rest import RestRoute, json_body, json_response
from localgcp.kit.schema import checked, merged, without_nulls
from localgcp.kit.store import etag_of
from localgcp.services.sql.backups import Backups
from localgcp.services.sql.connect import Connect
from localgcp.services.sql.databases import Databases, Users
from localgcp.services.sql.operations import PAGE, Change, Json, SqlOperations, api_base, timestamp
from localgcp.services.sql.parts import POSTGRES, TLS
from localgcp.services.sql.postgres.installation import PostgresError
from localgcp.services.sql.postgres.quoting import literal
from localgcp.services.sql.postgres.scram import verifier
from localgcp.services.sql.records import Instances as Records
from localgcp.services.sql.records import flags_of, is_stopped

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,96}[a-z0-9])?")
_FLAG = re.compile(r"[a-z_][a-z0-9_.]*")
# Cloud SQL has a list of flags; what is never on it would move the server or run commands on this machine.
_FORBIDDEN_FLAG = re.compile(r".*_(command|file|directory|directories|libraries|addresses)|port|fsync|ssl.*")
_CLIENT_FIELDS = ("databaseVersion", "region", "settings", "maintenanceVersion", "masterInstanceName", "gceZone")


def routes(cloud: Cloud) -> list[RestRoute]:
    operations, records = SqlOperations(cloud), Records(cloud)
    instances = Instances(cloud, records, operations)
    databases, users = Databases(cloud, records, operations), Users(cloud, records, operations)
    backups, connect = Backups(cloud, records, operations), Connect(cloud, records)
    one = "/projects/{project}/instances/{instance}"
    table: list[tuple[str, str, str, Callable[[web.Request, Call], Awaitable[Json]]]] = [
        ("POST", "/projects/{project}/instances", "instances.insert", instances.insert),
        ("GET", "/projects/{project}/instances", "instances.list", instances.list),
        ("GET", one, "instances.get", instances.get),
        ("PATCH", one, "instances.patch", instances.patch),
        ("PUT", one, "instances.update", instances.update),
        ("DELETE", one, "instances.delete", instances.delete),
        ("POST", one + "/restart", "instances.restart", instances.restart),
        ("POST", one + "/restoreBackup", "instances.restoreBackup", backups.restore),
        ("POST", one + "/clone", "instances.clone", instances.clone),
        ("POST", one + "/databases", "databases.insert", databases.insert),
        ("GET", one + "/databases", "databases.list", databases.list),
        ("GET", one + "/databases/{database}", "databases.get", databases.get),
        ("DELETE", one + "/databases/{database}", "databases.delete", databases.delete),
        ("POST", one + "/users", "users.insert", users.insert),
        ("GET", one + "/users", "users.list", users.list),
        ("GET", one + "/users/{name}", "users.get", users.get),
        ("PUT", one + "/users", "users.update", users.update),
        ("DELETE", one + "/users", "users.delete", users.delete),
        ("POST", one + "/backupRuns", "backupRuns.insert", backups.insert),
        ("GET", one + "/backupRuns", "backupRuns.list", backups.list),
        ("GET", one + "/backupRuns/{id}", "backupRuns.get", backups.get),
        ("DELETE", one + "/backupRuns/{id}", "backupRuns.delete", backups.delete),
        ("GET", one + "/connectSettings", "connect.get", connect.settings),
        ("POST", one + ":generateEphemeralCert", "connect.generateEphemeralCert", connect.generate),
        ("GET", "/projects/{project}/operations", "operations.list", operations.list),
        ("GET", "/projects/{project}/operations/{operation}", "operations.get", operations.get),
    ]
    return [
        RestRoute(verb, prefix + path, f"sqladmin.{method}", _rendered(func), verb != "GET")
        for prefix in ("/v1", "/sql/v1beta4")
        for verb, path, method, func in table
    ]


def _rendered(func: Callable[[web.Request, Call], Awaitable[Json]]) -> Any:
    async def answer(request: web.Request, call: Call) -> web.Response:
        return json_response(await func(request, call))

    return answer


class Instances:
    def __init__(self, cloud: Cloud, records: Records, operations: SqlOperations) -> None:
        self._cloud, self._records, self._operations = cloud, records, operations
        self._postgres = cloud.part(POSTGRES)
        for kind, work in (
            ("CREATE", self._create),
            ("UPDATE", self._apply),
            ("DELETE", self._remove),
            ("RESTART", self._restart),
            ("CLONE", self._clone),
        ):
            operations.register(kind, work)

    async def insert(self, request: web.Request, call: Call) -> Json:
        body = without_nulls(checked("sqladmin", "DatabaseInstance", await json_body(request)))
        project, name = self._records.project(request), str(body.get("name", ""))
        self._check_new(project, name)
        version = body.get("databaseVersion", "")
        if not version.startswith("POSTGRES_"):
            raise from_http(
                400, f"Invalid databaseVersion {version!r}: this local Cloud SQL runs PostgreSQL", "invalid"
            )
        if not (body.get("settings") or {}).get("tier"):
            raise from_http(400, "Missing parameter: settings.tier.", "invalid")
        _check_flags(body)
        record = self._new_record(project, name, {k: body[k] for k in _CLIENT_FIELDS if k in body})
        password = body.get("rootPassword")
        statements = [f"ALTER ROLE postgres PASSWORD {literal(verifier(password))};"] if password else []
        change = Change(lambda: self._records.put(record), statements)
        return await self._operations.begin(request, call, "CREATE", name, {}, change)

    async def get(self, request: web.Request, call: Call) -> Json:
        return self._shown(request, self._records.of(request))

    async def list(self, request: web.Request, call: Call) -> Json:
        known = self._records.all(self._records.project(request))
        found = matching(known, request.query.get("filter", ""), json_field)
        items, token = rest_page(request, call.method, found, lambda record: (record["name"],), PAGE)
        body: Json = {"kind": "sql#instancesList", **token}
        return body | ({"items": [self._shown(request, item) for item in items]} if items else {})

    async def patch(self, request: web.Request, call: Call) -> Json:
        body = checked("sqladmin", "DatabaseInstance", await json_body(request))
        current = self._records.of(request)
        wanted = merged(current, {k: v for k, v in body.items() if k in _CLIENT_FIELDS})
        return await self._updated(request, call, body, current, wanted)

    async def update(self, request: web.Request, call: Call) -> Json:
        body = without_nulls(checked("sqladmin", "DatabaseInstance", await json_body(request)))
        current = self._records.of(request)
        if "settingsVersion" not in (body.get("settings") or {}):
            raise from_http(400, "Missing parameter: settings.settingsVersion.", "invalid")
        wanted = current | {k: body[k] for k in _CLIENT_FIELDS if k in body}
        return await self._updated(request, call, body, current, wanted)

    async def delete(self, request: web.Request, call: Call) -> Json:
        record = self._records.of(request)
        if record["settings"].get("deletionProtectionEnabled"):
            message = (
                "The instance is protected. Please disable the deletion protection and try again. To disable deletion "
                "protection, update the instance settings with deletionProtectionEnabled set to false."
            )
            raise from_http(400, message, "invalidRequest")
        return await self._operations.begin(request, call, "DELETE", record["name"], {})

    async def restart(self, request: web.Request, call: Call) -> Json:
        record = self._records.of(request, runnable=True)
        return await self._operations.begin(request, call, "RESTART", record["name"], {})

    async def clone(self, request: web.Request, call: Call) -> Json:
        body = checked("sqladmin", "InstancesCloneRequest", await json_body(request))
        source = self._records.of(request, runnable=True)
        context = body.get("cloneContext") or {}
        unsupported = set(context) - {"kind", "destinationInstanceName"}
        if unsupported:
            raise from_http(400, f"cloneContext.{min(unsupported)} is not supported by this local Cloud SQL", "invalid")
        project, name = source["project"], str(context.get("destinationInstanceName", ""))
        self._check_new(project, name)
        record = self._new_record(project, name, {k: source[k] for k in _CLIENT_FIELDS if k in source})
        change = Change(lambda: self._records.put(record), also=source["name"])
        return await self._operations.begin(request, call, "CLONE", name, {"source": source["name"]}, change)

    async def _updated(self, request: web.Request, call: Call, body: Json, current: Json, wanted: Json) -> Json:
        version = current["settings"]["settingsVersion"]
        asked = (body.get("settings") or {}).get("settingsVersion")
        if asked is not None and str(asked) != version:
            raise from_http(412, f"Stale settingsVersion {asked}: the present one is {version}.", "staleData")
        if wanted["databaseVersion"] != current["databaseVersion"] or wanted["region"] != current["region"]:
            raise from_http(400, "databaseVersion and region can't be changed here", "invalid")
        _check_flags(wanted)
        wanted["settings"] = {**wanted["settings"], "settingsVersion": str(int(version) + 1)}
        wanted["settings"].setdefault("activationPolicy", "ALWAYS")
        before = {"flags": flags_of(current), "stopped": is_stopped(current)}
        wanted["etag"] = etag_of(current["name"], current["createTime"], wanted["settings"]["settingsVersion"])
        change = Change(lambda: self._records.put(wanted))
        answer = await self._operations.begin(request, call, "UPDATE", current["name"], {"before": before}, change)
        call.effect("update", f"projects/{current['project']}/instances/{current['name']}")
        return answer

    def _check_new(self, project: str, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise from_http(400, f"Invalid instance name ({name}).", "invalidInstanceName")
        if self._records.get(project, name) is not None:
            raise from_http(409, "The Cloud SQL instance already exists.", "instanceAlreadyExists")

    def _new_record(self, project: str, name: str, fields: Json) -> Json:
        region = fields.get("region") or self._cloud.settings.region
        settings = {"kind": "sql#settings", "activationPolicy": "ALWAYS", **(fields.get("settings") or {})}
        created = timestamp()
        return {
            **fields,
            "kind": "sql#instance",
            "name": name,
            "project": project,
            "region": region,
            "gceZone": fields.get("gceZone") or f"{region}-a",
            "backendType": "SECOND_GEN",
            "instanceType": "CLOUD_SQL_INSTANCE",
            "connectionName": f"{project}:{region}:{name}",
            "databaseInstalledVersion": self._postgres.version(),
            "state": "PENDING_CREATE",
            "createTime": created,
            "etag": etag_of(name, created, 1),
            "settings": {**settings, "settingsVersion": "1"},
        }

    def _shown(self, request: web.Request, record: Json) -> Json:
        link = f"{api_base(request)}/projects/{record['project']}/instances/{record['name']}"
        try:
            address = self._cloud.part(TLS).address(record["project"], record["name"])
        except OSError:  # no address for connectors here: everything else about the instance holds
            address = "127.0.0.1"
        return {**record, "selfLink": link, "ipAddresses": [{"type": "PRIMARY", "ipAddress": address}]}

    async def _create(self, project: str, instance: str, context: Json, call: Call) -> None:
        record = self._records.existing(project, instance)
        try:
            await self._postgres.create(project, instance, flags_of(record))
            for statement in context["statements"]:
                await self._postgres.sql(project, instance, statement)
            if is_stopped(record):
                await self._postgres.configure(project, instance, flags=flags_of(record), stopped=True)
        except (PostgresError, TimeoutError, OSError):
            self._records.set_state(project, instance, "FAILED")
            raise
        self._records.set_state(project, instance, "RUNNABLE")
        call.effect("create", f"projects/{project}/instances/{instance}")

    async def _apply(self, project: str, instance: str, context: Json, call: Call) -> None:
        record = self._records.existing(project, instance)
        try:
            await self._postgres.configure(project, instance, flags=flags_of(record), stopped=is_stopped(record))
        except (PostgresError, TimeoutError) as error:
            before = context["before"]  # a flag that the server rejects must not take the database away
            await self._postgres.configure(project, instance, flags=before["flags"], stopped=before["stopped"])
            settings = record["settings"]
            settings["databaseFlags"] = [{"name": k, "value": v} for k, v in before["flags"].items()]
            self._records.put(record)
            raise ApiError(from_http(400, "").code, f"the server rejects its configuration: {error}") from error

    async def _remove(self, project: str, instance: str, context: Json, call: Call) -> None:
        if self._records.get(project, instance) is not None:
            self._records.set_state(project, instance, "PENDING_DELETE")
        await self._cloud.part(TLS).forget(project, instance)
        await self._postgres.delete(project, instance)
        for run in self._records.backups(project, instance):
            await self._postgres.delete_backup(project, run["id"])
            self._records.delete_backup(project, instance, run["id"])
        self._records.delete(project, instance)
        call.effect("delete", f"projects/{project}/instances/{instance}")

    async def _restart(self, project: str, instance: str, context: Json, call: Call) -> None:
        flags = flags_of(self._records.existing(project, instance))
        await self._postgres.configure(project, instance, flags=flags, stopped=True)
        await self._postgres.configure(project, instance, flags=flags, stopped=False)
        call.effect("restart", f"projects/{project}/instances/{instance}")

    async def _clone(self, project: str, instance: str, context: Json, call: Call) -> None:
        if self._records.existing(project, instance)["state"] == "RUNNABLE":  # an earlier run has finished it
            return
        try:
            await self._postgres.clone(project, context["source"], instance)
        except (PostgresError, TimeoutError, OSError):
            self._records.set_state(project, instance, "FAILED")
            raise
        self._records.set_state(project, instance, "RUNNABLE")
        call.effect("create", f"projects/{project}/instances/{instance}", f"clone of {context['source']}")


def _check_flags(record: Json) -> None:
    for flag in record["settings"].get("databaseFlags") or []:
        name = str(flag.get("name", ""))
        if not _FLAG.fullmatch(name) or _FORBIDDEN_FLAG.fullmatch(name) or "value" not in flag:
            raise from_http(400, f"Invalid flag name or value: {name!r}", "invalidFlagName")
