"""A secret with a generated first version. The payload is generated here, stored in Secret Manager, and never logged.

Source: https://cloud.google.com/secret-manager/docs/reference/rpc
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agui_operator.core.names import OWNER_LABEL
from agui_operator.core.provisioning.graph import Site
from agui_operator.gcp.kinds.contract import Kind, View, labels
from agui_operator.gcp.transport.absent import or_none
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.outcome import Outcome
from agui_operator.gcp.transport.paging import pages

_BYTES = 24  # of a generated payload: 192 bits
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Secret:
    """`generated`: the secret has a version; the first one is generated. None: versions are not read."""

    name: str
    generated: bool | None = None


class Secrets(Kind[Secret]):
    name = "Secret"
    desired = Secret

    def full_name(self, site: Site, want: Secret) -> str:
        return f"projects/{site.project}/secrets/{want.name}"

    async def observe(self, cloud: Cloud, site: Site, want: Secret) -> View | None:
        from google.cloud import secretmanager_v1

        name = self.full_name(site, want)
        request = secretmanager_v1.GetSecretRequest(name=name)
        found = await or_none(cloud.rpc("SecretManagerService.GetSecret", request, name))
        if found is None:
            return None
        owner = str(found.labels.get(OWNER_LABEL, ""))
        looked_into = want.generated is not None and owner == site.owner  # nothing is asked about a secret of others
        fields = {"generated": await _has_version(cloud, name)} if looked_into else {}
        return View(fields, outputs={"name": want.name}, owner=owner, version=str(found.etag))

    async def create(self, cloud: Cloud, site: Site, want: Secret) -> Outcome:
        from google.cloud import secretmanager_v1

        request = secretmanager_v1.CreateSecretRequest(
            parent=f"projects/{site.project}",
            secret_id=want.name,
            secret={"replication": {"automatic": {}}, "labels": labels(site)},
        )
        await cloud.rpc("SecretManagerService.CreateSecret", request, self.full_name(site, want), write=True)
        if want.generated:
            await _add_version(cloud, self.full_name(site, want))
        return Outcome()

    async def update(self, cloud: Cloud, site: Site, want: Secret, have: View) -> Outcome:
        """Adds the first version if an interrupted creation left the secret without one."""
        if want.generated and not have.fields.get("generated"):
            await _add_version(cloud, self.full_name(site, want))
        return Outcome()

    async def delete(self, cloud: Cloud, site: Site, want: Secret) -> Outcome:
        from google.cloud import secretmanager_v1

        name = self.full_name(site, want)
        request = secretmanager_v1.DeleteSecretRequest(name=name)
        await or_none(cloud.rpc("SecretManagerService.DeleteSecret", request, name, write=True))
        return Outcome()

    async def owned(self, cloud: Cloud, site: Site) -> Sequence[Secret]:
        from google.cloud import secretmanager_v1

        project = f"projects/{site.project}"
        request = secretmanager_v1.ListSecretsRequest(parent=project, page_size=_PAGE)
        found: list[Secret] = []
        async for page in pages(cloud, "SecretManagerService.ListSecrets", request, project):
            ours = [s for s in page.secrets if s.labels.get(OWNER_LABEL) == site.owner]
            found += [Secret(str(secret.name).rpartition("/")[2]) for secret in ours]
        return found


async def _has_version(cloud: Cloud, name: str) -> bool:
    from google.cloud import secretmanager_v1

    latest = f"{name}/versions/latest"
    request = secretmanager_v1.GetSecretVersionRequest(name=latest)
    return await or_none(cloud.rpc("SecretManagerService.GetSecretVersion", request, latest)) is not None


async def _add_version(cloud: Cloud, name: str) -> Any:
    from google.cloud import secretmanager_v1

    payload = {"data": secrets.token_urlsafe(_BYTES).encode()}
    request = secretmanager_v1.AddSecretVersionRequest(parent=name, payload=payload)
    return await cloud.rpc("SecretManagerService.AddSecretVersion", request, name, write=True)


KIND = Secrets()
