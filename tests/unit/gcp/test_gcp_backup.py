"""A backup is found among all backups of its instance, not only among the newest."""

from __future__ import annotations

from typing import Any, cast

from agui_operator.core.names import Names
from agui_operator.gcp.kinds.sql import backup
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.rest import RestRequest

NAMES = Names("shop", "concierge", "uid-1", "demo", "us-central1")
WANTED = NAMES.backup_description("r1")


class ManyBackups:
    """An instance with as many backups after the wanted one."""

    def __init__(self, later: int) -> None:
        runs = [{"id": f"{n}", "description": "nightly", "status": "SUCCESSFUL"} for n in range(later)]
        self.runs = [*runs, {"id": "wanted", "description": WANTED, "status": "SUCCESSFUL"}]
        self.asked: list[str] = []

    async def rest(self, request: RestRequest) -> dict[str, Any]:
        self.asked.append(request.path)
        query = dict(part.split("=") for part in request.path.partition("?")[2].split("&"))
        start, size = int(query.get("pageToken", "0")), int(query["maxResults"])
        more = {"nextPageToken": str(start + size)} if start + size < len(self.runs) else {}
        return {"items": self.runs[start : start + size], **more}


async def observed(instance: ManyBackups, description: str) -> str | None:
    found = await backup.observe(cast(Cloud, instance), NAMES, "main", description)
    return found.name if found is not None else None


async def test_a_backup_is_found_behind_any_number_of_newer_ones() -> None:
    for later, calls in ((0, 1), (120, 1), (600, 2)):
        instance = ManyBackups(later)
        assert await observed(instance, WANTED) == "wanted"
        assert len(instance.asked) == calls


async def test_one_that_is_not_there_is_looked_for_to_the_end() -> None:
    instance = ManyBackups(600)
    assert await observed(instance, NAMES.backup_description("r2")) is None
    assert len(instance.asked) == 2
