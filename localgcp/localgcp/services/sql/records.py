"""The records of Cloud SQL: instances and backup runs as the API shows them, and what follows from their fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from localgcp.kit.errors import from_http

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

Json = dict[str, Any]


class Instances:
    def __init__(self, cloud: Cloud) -> None:
        self._settings = cloud.settings
        self._table = cloud.store.json("sql.instances")
        self._backups = cloud.store.json("sql.backups")

    def project(self, request: web.Request) -> str:
        return self._settings.project_id(request.match_info["project"])

    def of(self, request: web.Request, *, runnable: bool = False) -> Json:
        """The instance in a request's path. Raises ApiError 404; 400 where it must be running and is not."""
        record = self.existing(self.project(request), request.match_info["instance"])
        if runnable and (record["state"] != "RUNNABLE" or is_stopped(record)):
            raise from_http(400, "Invalid request since instance is not running.", "invalid")
        return record

    def existing(self, project: str, instance: str) -> Json:
        record = self.get(project, instance)
        if record is None:
            raise from_http(404, "The Cloud SQL instance does not exist.", "instanceDoesNotExist")
        return record

    def get(self, project: str, instance: str) -> Json | None:
        return self._table.get(f"{project}/{instance}")

    def all(self, project: str) -> list[Json]:
        return self._table.values(f"{project}/")

    def put(self, record: Json) -> None:
        self._table.put(f"{record['project']}/{record['name']}", record)

    def set_state(self, project: str, instance: str, state: str) -> None:
        self.put(self.existing(project, instance) | {"state": state})

    def delete(self, project: str, instance: str) -> None:
        self._table.delete(f"{project}/{instance}")

    def backups(self, project: str, instance: str) -> list[Json]:
        """Newest first."""
        return sorted(self._backups.values(f"{project}/{instance}/"), key=lambda run: -int(run["id"]))

    def backup(self, project: str, instance: str, backup: str) -> Json:
        record = self._backups.get(f"{project}/{instance}/{backup}")
        if record is None:
            raise from_http(404, "The Cloud SQL backup run does not exist.", "backupRunDoesNotExist")
        return record

    def put_backup(self, project: str, record: Json) -> None:
        self._backups.put(f"{project}/{record['instance']}/{record['id']}", record)

    def delete_backup(self, project: str, instance: str, backup: str) -> None:
        self._backups.delete(f"{project}/{instance}/{backup}")


def flags_of(record: Json) -> dict[str, str]:
    return {flag["name"]: str(flag["value"]) for flag in record["settings"].get("databaseFlags") or []}


def is_stopped(record: Json) -> bool:
    return bool(record["settings"].get("activationPolicy") == "NEVER")
