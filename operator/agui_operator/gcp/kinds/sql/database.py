"""A database of a Cloud SQL instance. It can carry no label, so it is taken for the owner's own.

Source: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/databases
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agui_operator.core.provisioning.graph import Site
from agui_operator.gcp.kinds.contract import Kind, View
from agui_operator.gcp.kinds.sql import api
from agui_operator.gcp.transport.clients import Cloud, path_part
from agui_operator.gcp.transport.outcome import Outcome


@dataclass(frozen=True, slots=True)
class SqlDatabase:
    instance: str
    name: str


class SqlDatabases(Kind[SqlDatabase]):
    name = "SqlDatabase"
    desired = SqlDatabase

    def full_name(self, site: Site, want: SqlDatabase) -> str:
        return f"projects/{site.project}/instances/{want.instance}/databases/{want.name}"

    def lane(self, site: Site, want: SqlDatabase) -> str:
        return f"sql/{want.instance}"

    async def observe(self, cloud: Cloud, site: Site, want: SqlDatabase) -> View | None:
        found = await api.read(cloud, site, "databases.get", _path(site, want))
        return None if found is None else View({}, outputs={"name": want.name})

    async def create(self, cloud: Cloud, site: Site, want: SqlDatabase) -> Outcome:
        path = f"{api.path_of(site, want.instance)}/databases"
        return await api.write(cloud, site, "databases.insert", "POST", path, {"name": want.name})

    async def update(self, cloud: Cloud, site: Site, want: SqlDatabase, have: View) -> Outcome:
        return Outcome(None, have)  # it has nothing that could differ

    async def delete(self, cloud: Cloud, site: Site, want: SqlDatabase) -> Outcome:
        return await api.remove(cloud, site, "databases.delete", _path(site, want))

    async def owned(self, cloud: Cloud, site: Site) -> Sequence[SqlDatabase]:
        return ()  # no label says whose it is; it is deleted with its instance


def _path(site: Site, want: SqlDatabase) -> str:
    return f"{api.path_of(site, want.instance)}/databases/{path_part(want.name)}"


KIND = SqlDatabases()
