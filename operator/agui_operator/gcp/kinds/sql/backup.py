"""The database backup that a migration waits for, found by its description, which has the release id.

Source: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/backupRuns
"""

from __future__ import annotations

from typing import Any

from agui_operator.core.actions import BackupTaken
from agui_operator.core.names import Names
from agui_operator.core.snapshot import BackupView
from agui_operator.core.words import Words
from agui_operator.gcp.transport import operations
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.outcome import Outcome
from agui_operator.gcp.transport.paging import rest_pages
from agui_operator.gcp.transport.rest import RestRequest

_ENDED = {"SUCCESSFUL": True, "FAILED": False, "SKIPPED": False, "OVERDUE": False, "DELETION_PENDING": False}
_START_SECONDS = 60.0


async def observe(cloud: Cloud, names: Names, instance: str, description: str) -> BackupView | None:
    """The newest backup with this description. One call for each 500 backups of the instance, newest first, until one
    has it: on-demand backups stay until somebody deletes them."""
    path = f"{_path(names, instance)}?maxResults=500"
    async for page in rest_pages(cloud, "sqladmin.backupRuns.list", path, project=names.project):
        runs = page.get("items") or ()
        found = [run for run in runs if names.is_backup(str(run.get("description", "")), description)]
        if found:
            return view_of(max(found, key=_age))
    return None


async def owned(cloud: Cloud, names: Names, instance: str) -> list[BackupView]:
    """Every backup of the instance that the deployment's releases took. Raises CloudError."""
    path = f"{_path(names, instance)}?maxResults=500"
    mine = tuple(f"agui {owner} " for owner in names.owners)
    found: list[BackupView] = []
    async for page in rest_pages(cloud, "sqladmin.backupRuns.list", path, project=names.project):
        runs = page.get("items") or ()
        found += [view_of(r) for r in runs if str(r.get("description", "")).startswith(mine)]
    return found


async def apply(cloud: Cloud, names: Names, action: BackupTaken) -> Outcome:
    """Starts a backup. Raises CloudError; 409 (another operation runs on the instance) is transient."""
    operation = await cloud.rest(
        RestRequest(
            "sqladmin.backupRuns.insert",
            _path(names, action.instance),
            verb="POST",
            body={"description": action.description},
            write=True,
            timeout=_START_SECONDS,
            **_where(names, action.instance),
        )
    )
    result = operations.sql_result(operation)
    if result.error is not None:
        raise result.error
    return Outcome(None if result.done else operations.sql_name(names.project, operation))


def view_of(run: dict[str, Any]) -> BackupView:
    """A sql#backupRun."""
    error = run.get("error") or {}
    said = Words.of_api(error.get("message", ""))
    return BackupView(str(run.get("id", "")), _ENDED.get(str(run.get("status"))), said)


def _age(run: dict[str, Any]) -> str:
    return str(run.get("enqueuedTime") or run.get("startTime") or "")


def _path(names: Names, instance: str) -> str:
    return f"/v1/projects/{names.project}/instances/{instance}/backupRuns"


def _where(names: Names, instance: str) -> dict[str, Any]:
    return {"project": names.project, "resource": f"projects/{names.project}/instances/{instance}"}
