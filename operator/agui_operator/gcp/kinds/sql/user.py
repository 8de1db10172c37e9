"""A user of a Cloud SQL instance, with the password that a secret holds. The password is read when the user is created,
and never logged; Cloud SQL does not return it, so it is not compared.

Source: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/users
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
class SqlUser:
    """`secret` is the id of the secret whose newest version is the password."""

    instance: str
    name: str
    secret: str | None = None


class SqlUsers(Kind[SqlUser]):
    name = "SqlUser"
    desired = SqlUser

    def full_name(self, site: Site, want: SqlUser) -> str:
        return f"projects/{site.project}/instances/{want.instance}/users/{want.name}"

    def lane(self, site: Site, want: SqlUser) -> str:
        return f"sql/{want.instance}"

    async def observe(self, cloud: Cloud, site: Site, want: SqlUser) -> View | None:
        path = f"{api.path_of(site, want.instance)}/users/{path_part(want.name)}"
        found = await api.read(cloud, site, "users.get", path)
        return None if found is None else View({}, outputs={"name": want.name})

    async def create(self, cloud: Cloud, site: Site, want: SqlUser) -> Outcome:
        body = {"name": want.name}
        if want.secret is not None:
            body["password"] = await _password(cloud, site, want.secret)
        return await api.write(cloud, site, "users.insert", "POST", f"{api.path_of(site, want.instance)}/users", body)

    async def update(self, cloud: Cloud, site: Site, want: SqlUser, have: View) -> Outcome:
        return Outcome(None, have)  # it has nothing that could be seen to differ

    async def delete(self, cloud: Cloud, site: Site, want: SqlUser) -> Outcome:
        path = f"{api.path_of(site, want.instance)}/users?name={path_part(want.name)}"
        return await api.remove(cloud, site, "users.delete", path)

    async def owned(self, cloud: Cloud, site: Site) -> Sequence[SqlUser]:
        return ()  # no label says whose it is; it is deleted with its instance


async def _password(cloud: Cloud, site: Site, secret: str) -> str:
    from google.cloud import secretmanager_v1

    name = f"projects/{site.project}/secrets/{secret}/versions/latest"
    request = secretmanager_v1.AccessSecretVersionRequest(name=name)
    found = await cloud.rpc("SecretManagerService.AccessSecretVersion", request, name)
    return bytes(found.payload.data).decode()


KIND = SqlUsers()
