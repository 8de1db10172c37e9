"""The number of a secret's version, which must be enabled; payloads are never read.

Source: https://cloud.google.com/secret-manager/docs/reference/rpc
"""

from __future__ import annotations

from typing import Any

from agui_operator.api.conditions import Reason
from agui_operator.core.environment import Place
from agui_operator.core.errors import CloudError, UserError
from agui_operator.gcp.pinning.messages import explained
from agui_operator.gcp.transport.absent import or_none
from agui_operator.gcp.transport.clients import Cloud

_LATEST = "latest"
_ENABLED = 1  # secretmanager SecretVersion.State


async def secret_version(cloud: Cloud, place: Place, secret: str, version: str, field: str) -> str:
    """The number of a secret's version; payloads are never read. Raises UserError if it is absent or disabled."""
    from google.cloud import secretmanager_v1

    name = f"projects/{place.project}/secrets/{secret}/versions/{version}"
    request = secretmanager_v1.GetSecretVersionRequest(name=name)
    try:
        found: Any = await cloud.rpc("SecretManagerService.GetSecretVersion", request, name)
    except CloudError as error:
        what = f"{field}: secret {secret}" + (f" version {version}" if version != _LATEST else "")
        raise explained(error, what, "roles/secretmanager.viewer", "create it and add a version") from error
    number = str(found.name).rpartition("/")[2]
    if int(found.state) != _ENABLED:
        newest = "the newest " if version == _LATEST else ""
        raise UserError(
            f"{field}: {newest}version {number} of secret {secret} is not enabled; enable it or add a version",
            reason=Reason.VERSION_DISABLED,
        )
    return number


async def is_enabled(cloud: Cloud, place: Place, secret: str, version: str) -> bool:
    """True if instances that start now can read the version. One call. Raises CloudError."""
    from google.cloud import secretmanager_v1

    parent = secret if secret.startswith("projects/") else f"projects/{place.project}/secrets/{secret}"
    name = f"{parent}/versions/{version}"
    request = secretmanager_v1.GetSecretVersionRequest(name=name)
    found = await or_none(cloud.rpc("SecretManagerService.GetSecretVersion", request, name))
    return found is not None and int(found.state) == _ENABLED
