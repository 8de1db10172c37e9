"""Databases and users of a Cloud SQL instance. PostgreSQL itself is asked what exists: migrations may add to it.

Source: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/databases and .../users
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiohttp import web

from localgcp.kit.call import Call
from localgcp.kit.errors import from_http
from localgcp.kit.rest import json_body
from localgcp.kit.schema import checked, without_nulls
from localgcp.kit.store import etag_of
from localgcp.services.sql.operations import Change, Json, SqlOperations, api_base
from localgcp.services.sql.parts import POSTGRES
from localgcp.services.sql.postgres.installation import ADMIN, IAM_GROUPS, SUPERUSER_GROUP
from localgcp.services.sql.postgres.quoting import identifier, literal
from localgcp.services.sql.postgres.scram import verifier
from localgcp.services.sql.postgres.servers import Postgres
from localgcp.services.sql.records import Instances, flags_of
from localgcp.services.sql.tls.listeners import iam_enabled

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

Rows = list[Json]

_DATABASES = """
SELECT json_build_object('name', datname, 'charset', pg_encoding_to_char(encoding), 'collation', datcollate)
FROM pg_database WHERE NOT datistemplate ORDER BY datname;
"""
_USERS = f"""
SELECT json_build_object('name', rolname, 'group', (
    SELECT g.rolname FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
    WHERE m.member = r.oid AND g.rolname IN ({", ".join(map(literal, IAM_GROUPS.values()))}) LIMIT 1))
FROM pg_roles r
WHERE rolcanlogin AND rolname <> {literal(ADMIN)} ORDER BY rolname;
"""  # noqa: S608 - a constant
_RESERVED = {ADMIN, SUPERUSER_GROUP, "cloudsqlreplica", *IAM_GROUPS.values()}
_TYPE_OF_GROUP = {group: kind for kind, group in IAM_GROUPS.items()}


class Databases:
    def __init__(self, cloud: Cloud, records: Instances, operations: SqlOperations) -> None:
        self._records, self._operations = records, operations
        self._postgres = cloud.part(POSTGRES)
        operations.register("CREATE_DATABASE", self._create)
        operations.register("DELETE_DATABASE", self._drop)

    async def insert(self, request: web.Request, call: Call) -> Json:
        body = without_nulls(checked("sqladmin", "Database", await json_body(request)))
        instance, name = self._records.of(request, runnable=True), str(body.get("name", ""))
        if not 0 < len(name.encode()) <= 63:
            raise from_http(400, f"Invalid database name {name!r}.", "invalid")
        if body.get("charset", "UTF8").upper() != "UTF8" or body.get("collation", "C") not in ("C", "en_US.UTF8"):
            raise from_http(
                400, "This local Cloud SQL has charset UTF8 and the collations C and en_US.UTF8.", "invalid"
            )
        if any(found["name"] == name for found in await self._found(request, instance)):
            detail = f'pq: database "{name}" already exists'
            raise from_http(400, f"Invalid request: failed to create database {name}. Detail: {detail}.", "invalid")
        return await self._operations.begin(request, call, "CREATE_DATABASE", instance["name"], {"database": name})

    async def list(self, request: web.Request, call: Call) -> Json:
        instance = self._records.of(request, runnable=True)
        return {"kind": "sql#databasesList", "items": await self._found(request, instance)}

    async def get(self, request: web.Request, call: Call) -> Json:
        name = request.match_info["database"]
        for database in await self._found(request, self._records.of(request, runnable=True)):
            if database["name"] == name:
                return database
        raise from_http(404, f"Not Found: database {name}", "notFound")

    async def delete(self, request: web.Request, call: Call) -> Json:
        found = await self.get(request, call)
        if found["name"] == "postgres":
            raise from_http(400, "Invalid request: the default database can't be deleted.", "invalid")
        context = {"database": found["name"]}
        return await self._operations.begin(request, call, "DELETE_DATABASE", found["instance"], context)

    async def _found(self, request: web.Request, instance: Json) -> Rows:
        project, name = instance["project"], instance["name"]
        link = f"{api_base(request)}/projects/{project}/instances/{name}/databases"
        rows = map(json.loads, (await self._postgres.sql(project, name, _DATABASES)).splitlines())
        return [
            {
                "kind": "sql#database",
                **row,
                "instance": name,
                "project": project,
                "selfLink": f"{link}/{row['name']}",
                "etag": etag_of(project, name, row["name"]),
            }
            for row in rows
        ]

    async def _exists(self, project: str, instance: str, name: str) -> bool:
        rows = map(json.loads, (await self._postgres.sql(project, instance, _DATABASES)).splitlines())
        return any(row["name"] == name for row in rows)

    async def _create(self, project: str, instance: str, context: Json, call: Call) -> None:
        name = context["database"]
        if not context["resumed"] or not await self._exists(project, instance, name):
            create = f"CREATE DATABASE {identifier(name)} OWNER {identifier(SUPERUSER_GROUP)};"
            await self._postgres.sql(project, instance, create)
        call.effect("create", f"projects/{project}/instances/{instance}/databases/{name}")

    async def _drop(self, project: str, instance: str, context: Json, call: Call) -> None:
        name = context["database"]
        gone = "IF EXISTS " if context["resumed"] else ""
        await self._postgres.sql(project, instance, f"DROP DATABASE {gone}{identifier(name)};")
        call.effect("delete", f"projects/{project}/instances/{instance}/databases/{name}")


class Users:
    def __init__(self, cloud: Cloud, records: Instances, operations: SqlOperations) -> None:
        self._records, self._operations = records, operations
        self._postgres = cloud.part(POSTGRES)
        operations.register("CREATE_USER", self._create)
        operations.register("UPDATE_USER", self._change)
        operations.register("DELETE_USER", self._drop)

    async def insert(self, request: web.Request, call: Call) -> Json:
        body = without_nulls(checked("sqladmin", "User", await json_body(request)))
        instance, name = self._records.of(request, runnable=True), str(body.get("name", ""))
        kind = body.get("type", "BUILT_IN")
        _check_user(body, name, iam_enabled(flags_of(instance)))
        if any(found["name"] == name for found in await self._found(instance)):
            raise from_http(409, f"User {name} already exists.", "userAlreadyExists")
        if kind in IAM_GROUPS:
            statements = self._iam_statements(instance, name, IAM_GROUPS[kind], body.get("databaseRoles") or [])
            return await self._begin(request, call, "CREATE_USER", instance["name"], name, statements)
        roles = body.get("databaseRoles") or [SUPERUSER_GROUP]
        password = literal(verifier(body["password"])) if body.get("password") else "NULL"
        statements = [f"CREATE ROLE {identifier(name)} LOGIN CREATEDB CREATEROLE PASSWORD {password};"]
        statements += [f"GRANT {identifier(role)} TO {identifier(name)};" for role in roles]
        return await self._begin(request, call, "CREATE_USER", instance["name"], name, statements)

    def _iam_statements(self, instance: Json, name: str, group: str, roles: Sequence[str]) -> Sequence[str]:
        """A role with a password that only localgcp knows: a token is checked before it is used."""
        password = literal(self._postgres.iam_password(instance["project"], instance["name"], name))
        made = f"CREATE ROLE {identifier(group)} NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL;"
        granted = [f"GRANT {identifier(role)} TO {identifier(name)};" for role in (group, *roles)]
        return [
            f"DO $$ BEGIN {made} END $$;",
            f"CREATE ROLE {identifier(name)} LOGIN PASSWORD {password};",
            *granted,
        ]

    async def list(self, request: web.Request, call: Call) -> Json:
        return {"kind": "sql#usersList", "items": await self._found(self._records.of(request, runnable=True))}

    async def get(self, request: web.Request, call: Call) -> Json:
        return await self._one(request, request.match_info["name"])

    async def update(self, request: web.Request, call: Call) -> Json:
        body = without_nulls(checked("sqladmin", "User", await json_body(request)))
        name = request.query.get("name") or str(body.get("name", ""))
        user = await self._one(request, name)
        statements = []
        if user["type"] in IAM_GROUPS and body.get("password"):
            raise from_http(400, f"{name} is an IAM user: it has no password.", "invalid")
        _check_roles([*request.query.getall("databaseRoles", []), *(body.get("databaseRoles") or [])])
        if body.get("password"):
            statements.append(f"ALTER ROLE {identifier(name)} PASSWORD {literal(verifier(body['password']))};")
        for role in [*request.query.getall("databaseRoles", []), *(body.get("databaseRoles") or [])]:
            statements.append(f"GRANT {identifier(role)} TO {identifier(name)};")  # noqa: PERF401
        return await self._begin(request, call, "UPDATE_USER", user["instance"], name, statements)

    async def delete(self, request: web.Request, call: Call) -> Json:
        user = await self._one(request, request.query.get("name", ""))
        return await self._operations.begin(request, call, "DELETE_USER", user["instance"], {"user": user["name"]})

    async def _begin(
        self, request: web.Request, call: Call, kind: str, instance: str, name: str, statements: Sequence[str]
    ) -> Json:
        context = {"user": name}
        return await self._operations.begin(request, call, kind, instance, context, Change(statements=statements))

    async def _one(self, request: web.Request, name: str) -> Json:
        for user in await self._found(self._records.of(request, runnable=True)):
            if user["name"] == name:
                return user
        raise from_http(404, f"User {name!r} does not exist.", "userDoesNotExist")

    async def _found(self, instance: Json) -> Rows:
        project, name = instance["project"], instance["name"]
        rows = map(json.loads, (await self._postgres.sql(project, name, _USERS)).splitlines())
        fixed = {"kind": "sql#user", "host": "", "instance": name, "project": project}
        return [
            {
                **fixed,
                "name": row["name"],
                "type": _TYPE_OF_GROUP.get(row["group"], "BUILT_IN"),
                "etag": etag_of(project, name, row["name"]),
            }
            for row in rows
        ]

    async def _create(self, project: str, instance: str, context: Json, call: Call) -> None:
        if not context["resumed"] or not await self._exists(project, instance, context["user"]):
            await self._in_one(project, instance, context["statements"])
        call.effect("create", f"projects/{project}/instances/{instance}/users/{context['user']}")

    async def _change(self, project: str, instance: str, context: Json, call: Call) -> None:
        await self._in_one(project, instance, context["statements"])
        call.effect("update", f"projects/{project}/instances/{instance}/users/{context['user']}")

    async def _in_one(self, project: str, instance: str, statements: Sequence[str]) -> None:
        """Runs statements in one transaction."""
        if statements:
            await self._postgres.sql(project, instance, "\n".join(("BEGIN;", *statements, "COMMIT;")))

    async def _exists(self, project: str, instance: str, name: str) -> bool:
        rows = map(json.loads, (await self._postgres.sql(project, instance, _USERS)).splitlines())
        return any(row["name"] == name for row in rows)

    async def _drop(self, project: str, instance: str, context: Json, call: Call) -> None:
        gone = "IF EXISTS " if context["resumed"] else ""
        await self._postgres.sql(project, instance, f"DROP ROLE {gone}{identifier(context['user'])};")
        call.effect("delete", f"projects/{project}/instances/{instance}/users/{context['user']}")


async def is_iam_user(postgres: Postgres, project: str, instance: str, role: str) -> bool:
    """Whether a role is an IAM user of an instance."""
    groups = ", ".join(map(literal, IAM_GROUPS.values()))
    query = (
        "SELECT 1 FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member "  # noqa: S608
        f"WHERE g.rolname IN ({groups}) AND r.rolname = {literal(role)} LIMIT 1;"
    )
    return bool((await postgres.sql(project, instance, query)).strip())


def _check_user(body: Json, name: str, iam: bool) -> None:
    """Raises ApiError 400. `iam`: whether the instance has IAM authentication on."""
    if not 0 < len(name.encode()) <= 63 or name in _RESERVED or name.startswith("pg_"):
        raise from_http(400, f"Invalid user name {name!r}.", "invalid")
    _check_roles(body.get("databaseRoles") or [])
    kind = body.get("type", "BUILT_IN")
    if kind == "BUILT_IN":
        return
    if kind not in IAM_GROUPS:
        known = ", ".join(("BUILT_IN", *IAM_GROUPS))
        raise from_http(400, f"This local Cloud SQL has users of the types {known}, not {kind}.", "invalid")
    if not iam:
        message = "IAM authentication is not enabled for the instance: set the flag cloudsql.iam_authentication."
        raise from_http(400, message, "invalid")
    if body.get("password"):
        raise from_http(400, "An IAM user has no password.", "invalid")
    if name.endswith(".gserviceaccount.com"):
        message = 'A service account\'s database user is named without the suffix ".gserviceaccount.com".'
        raise from_http(400, message, "invalid")
    if "@" not in name:
        raise from_http(400, f"Invalid user name {name!r}: an IAM user is named by its e-mail.", "invalid")


def _check_roles(roles: Sequence[str]) -> None:
    """The IAM groups say who logs in with a token: only a user's type puts him there. Raises ApiError 400."""
    for role in roles:
        if role in IAM_GROUPS.values():
            raise from_http(400, f"{role} can't be granted: create the user with an IAM type.", "invalid")
