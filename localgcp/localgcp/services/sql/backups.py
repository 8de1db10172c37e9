"""Backup runs of Cloud SQL: real copies of the running cluster, and restoring them.

Source: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/backupRuns
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from aiohttp import web

from localgcp.kit.call import Call
from localgcp.kit.errors import from_http
from localgcp.kit.paging import rest_page
from localgcp.kit.rest import json_body
from localgcp.kit.schema import checked, without_nulls
from localgcp.services.sql.operations import PAGE, Change, Json, SqlOperations, api_base, timestamp
from localgcp.services.sql.parts import POSTGRES
from localgcp.services.sql.postgres.installation import PostgresError
from localgcp.services.sql.records import Instances

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud


class Backups:
    def __init__(self, cloud: Cloud, records: Instances, operations: SqlOperations) -> None:
        self._settings, self._records, self._operations = cloud.settings, records, operations
        self._postgres = cloud.part(POSTGRES)
        self._last_id = 0
        operations.register("BACKUP_VOLUME", self._back_up)
        operations.register("RESTORE_VOLUME", self._restore)
        operations.register("DELETE_BACKUP", self._remove)

    async def insert(self, request: web.Request, call: Call) -> Json:
        body = without_nulls(checked("sqladmin", "BackupRun", await json_body(request)))
        instance = self._records.of(request, runnable=True)
        self._last_id = max(self._last_id + 1, time.time_ns() // 1_000_000)
        now = timestamp()
        record: Json = {
            "kind": "sql#backupRun",
            "id": str(self._last_id),
            "instance": instance["name"],
            "status": "ENQUEUED",
            "type": "ON_DEMAND",
            "backupKind": "SNAPSHOT",
            "location": body.get("location") or instance["region"],
            "databaseVersion": instance["databaseVersion"],
            "enqueuedTime": now,
            "windowStartTime": now,
            **({"description": body["description"]} if "description" in body else {}),
        }
        change = Change(lambda: self._records.put_backup(instance["project"], record))
        context = {"backupId": record["id"]}
        return await self._operations.begin(request, call, "BACKUP_VOLUME", instance["name"], context, change)

    async def list(self, request: web.Request, call: Call) -> Json:
        instance = self._records.of(request)
        found = self._records.backups(instance["project"], instance["name"])
        items, token = rest_page(request, call.method, found, lambda run: (-int(run["id"]),), PAGE)
        body: Json = {"kind": "sql#backupRunsList", **token}
        return body | ({"items": [self._shown(request, item) for item in items]} if items else {})

    async def get(self, request: web.Request, call: Call) -> Json:
        return self._shown(request, self._of(request))

    async def delete(self, request: web.Request, call: Call) -> Json:
        run = self._of(request)
        return await self._operations.begin(request, call, "DELETE_BACKUP", run["instance"], {"backupId": run["id"]})

    async def restore(self, request: web.Request, call: Call) -> Json:
        """Into the instance of the path, from a backup of that or of another instance."""
        body = checked("sqladmin", "InstancesRestoreBackupRequest", await json_body(request))
        target = self._records.of(request)
        context = body.get("restoreBackupContext") or {}
        if not context.get("backupRunId"):
            raise from_http(400, "Missing parameter: restoreBackupContext.backupRunId.", "invalid")
        project = self._settings.project_id(context.get("project") or target["project"])
        source = context.get("instanceId") or target["name"]
        run = self._records.backup(project, source, str(context["backupRunId"]))
        if run["status"] != "SUCCESSFUL":
            raise from_http(400, f"The backup run {run['id']} is {run['status']}, not SUCCESSFUL.", "invalid")
        if target["state"] != "RUNNABLE":
            raise from_http(400, "Invalid request since instance is not running.", "invalid")
        wanted = {"backupId": run["id"], "project": project}
        return await self._operations.begin(request, call, "RESTORE_VOLUME", target["name"], wanted)

    def _of(self, request: web.Request) -> Json:
        instance = self._records.of(request)
        return self._records.backup(instance["project"], instance["name"], request.match_info["id"])

    def _shown(self, request: web.Request, record: Json) -> Json:
        project = self._records.project(request)
        link = f"{api_base(request)}/projects/{project}/instances/{record['instance']}/backupRuns/{record['id']}"
        return {**record, "selfLink": link}

    async def _back_up(self, project: str, instance: str, context: Json, call: Call) -> None:
        record = self._records.backup(project, instance, context["backupId"])
        if record["status"] == "SUCCESSFUL":  # an earlier run has finished it
            return
        self._records.put_backup(project, record | {"status": "RUNNING", "startTime": timestamp()})
        record = self._records.backup(project, instance, context["backupId"])
        try:
            size = await self._postgres.back_up(project, instance, record["id"])
        except (PostgresError, OSError) as error:
            failure = {"kind": "sql#operationError", "code": "INTERNAL_ERROR", "message": str(error)}
            self._records.put_backup(project, record | {"status": "FAILED", "endTime": timestamp(), "error": failure})
            raise
        done = {"status": "SUCCESSFUL", "endTime": timestamp(), "maxChargeableBytes": str(size)}
        self._records.put_backup(project, record | done)
        call.effect("create", f"projects/{project}/instances/{instance}/backupRuns/{record['id']}")

    async def _restore(self, project: str, instance: str, context: Json, call: Call) -> None:
        self._records.set_state(project, instance, "MAINTENANCE")
        try:
            await self._postgres.restore(project, instance, context["project"], context["backupId"])
        except (PostgresError, TimeoutError, OSError):
            self._records.set_state(project, instance, "FAILED")
            raise
        self._records.set_state(project, instance, "RUNNABLE")
        call.effect("restore", f"projects/{project}/instances/{instance}", f"from backup {context['backupId']}")

    async def _remove(self, project: str, instance: str, context: Json, call: Call) -> None:
        await self._postgres.delete_backup(project, context["backupId"])
        self._records.delete_backup(project, instance, context["backupId"])
        call.effect("delete", f"projects/{project}/instances/{instance}/backupRuns/{context['backupId']}")
