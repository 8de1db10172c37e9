"""A Cloud SQL for PostgreSQL instance.

Source: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/instances
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agui_operator.core.names import OWNER_LABEL
from agui_operator.core.provisioning.graph import Site
from agui_operator.core.provisioning.plan import State
from agui_operator.gcp.kinds.contract import Kind, View, labels, only_known
from agui_operator.gcp.kinds.sql import api
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.outcome import Outcome
from agui_operator.gcp.transport.paging import rest_pages

_STATES = {
    "RUNNABLE": State.READY,
    "MAINTENANCE": State.READY,
    "PENDING_CREATE": State.PENDING,
    "PENDING_DELETE": State.PENDING,
}


@dataclass(frozen=True, slots=True)
class SqlInstance:
    """`version` and `tier` as Cloud SQL names them: POSTGRES_16, db-custom-1-3840."""

    name: str
    version: str | None = None
    tier: str | None = None
    region: str | None = None


class SqlInstances(Kind[SqlInstance]):
    name = "SqlInstance"
    desired = SqlInstance
    immutable = frozenset({"version", "region"})

    def full_name(self, site: Site, want: SqlInstance) -> str:
        return f"projects/{site.project}/instances/{want.name}"

    def lane(self, site: Site, want: SqlInstance) -> str:
        return f"sql/{want.name}"

    async def observe(self, cloud: Cloud, site: Site, want: SqlInstance) -> View | None:
        found = await api.read(cloud, site, "instances.get", api.path_of(site, want.name))
        return None if found is None else _view(found)

    async def create(self, cloud: Cloud, site: Site, want: SqlInstance) -> Outcome:
        body = only_known(name=want.name, region=want.region or site.region, databaseVersion=want.version)
        body["settings"] = only_known(tier=want.tier, userLabels=labels(site))
        return await api.write(cloud, site, "instances.insert", "POST", api.path_of(site), body)

    async def update(self, cloud: Cloud, site: Site, want: SqlInstance, have: View) -> Outcome:
        body = {"settings": only_known(settingsVersion=have.version, tier=want.tier)}
        return await api.write(cloud, site, "instances.patch", "PATCH", api.path_of(site, want.name), body)

    async def delete(self, cloud: Cloud, site: Site, want: SqlInstance) -> Outcome:
        return await api.remove(cloud, site, "instances.delete", api.path_of(site, want.name))

    async def owned(self, cloud: Cloud, site: Site) -> Sequence[SqlInstance]:
        found: list[SqlInstance] = []
        path = f"{api.path_of(site)}?maxResults=500"
        async for page in rest_pages(cloud, "sqladmin.instances.list", path, project=site.project):
            items = page.get("items") or ()
            found += [SqlInstance(str(item["name"])) for item in items if _view(item).owner == site.owner]
        return found


def _view(found: dict[str, Any]) -> View:
    settings = found.get("settings") or {}
    state = str(found.get("state", ""))
    return View(
        fields={"version": found.get("databaseVersion"), "tier": settings.get("tier"), "region": found.get("region")},
        outputs={"name": str(found["name"]), "connectionName": str(found.get("connectionName", ""))},
        owner=str((settings.get("userLabels") or {}).get(OWNER_LABEL, "")),
        state=_STATES.get(state, State.FAILED),
        detail=state.capitalize(),
        version=str(settings.get("settingsVersion", "")),
    )


KIND = SqlInstances()
