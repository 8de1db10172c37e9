"""Is what an environment names really there? One cheap read for each thing; nothing is changed.

Service accounts are not looked at: reading them needs a permission that the operator has no other use for, and Cloud
Run refuses a revision whose service account is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from agui_operator.api.environment import AgUiEnvironmentSpec
from agui_operator.core.errors import CloudError
from agui_operator.gcp.transport.clients import Cloud, path_part
from agui_operator.gcp.transport.rest import RestRequest

PRESENT, MISSING = "Present", "Missing"
Resource = dict[str, str]  # kind, name, state


async def observe(cloud: Cloud, spec: AgUiEnvironmentSpec) -> list[Resource]:
    """A row for each resource that the spec names, in its order. Raises CloudError other than 404."""
    project = spec.project_id
    looks: list[Awaitable[Resource]] = []
    if spec.database is not None:
        looks += _database(cloud, project, spec.database.instance, spec.database.databases)
    if spec.storage is not None:
        looks += [_bucket(cloud, b.bucket) for b in (spec.storage.assets, spec.storage.artifacts)]
    if spec.edge is not None:
        looks += [
            _compute(cloud, project, "UrlMap", "urlMaps", spec.edge.url_map),
            _compute(cloud, project, "BackendBucket", "backendBuckets", spec.edge.backend_bucket),
            _compute(cloud, project, "BackendService", "backendServices", spec.edge.backend_service),
        ]
    looks += [_secret(cloud, project, secret.name) for secret in spec.secrets]
    if spec.observability is not None:
        looks += [_channel(cloud, channel.resource) for channel in spec.observability.channels]
    return list(await asyncio.gather(*looks))


def _database(cloud: Cloud, project: str, instance: str, databases: tuple[str, ...]) -> list[Awaitable[Resource]]:
    path = f"/v1/projects/{project}/instances/{instance}"
    name = f"projects/{project}/instances/{instance}"
    looks: list[Awaitable[Resource]] = [_row("SqlInstance", name, _instance(cloud, project, path))]
    for database in databases:
        read = cloud.rest(
            RestRequest("sqladmin.databases.get", f"{path}/databases/{path_part(database)}", project=project)
        )
        looks.append(_row("SqlDatabase", f"{name}/databases/{database}", read))
    return looks


async def _instance(cloud: Cloud, project: str, path: str) -> str:
    found = await cloud.rest(RestRequest("sqladmin.instances.get", path, project=project))
    state = str(found.get("state", ""))
    return PRESENT if state in ("RUNNABLE", "MAINTENANCE", "PENDING_CREATE") else state.capitalize()


def _bucket(cloud: Cloud, bucket: str) -> Awaitable[Resource]:
    path = f"/storage/v1/b/{path_part(bucket)}?fields=name"
    return _row("Bucket", bucket, cloud.rest(RestRequest("storage.buckets.get", path, project=bucket)))


def _compute(cloud: Cloud, project: str, kind: str, collection: str, name: str) -> Awaitable[Resource]:
    path = f"/compute/v1/projects/{project}/global/{collection}/{name}"
    read = cloud.rest(RestRequest(f"compute.{collection}.get", path, project=project))
    return _row(kind, f"projects/{project}/global/{collection}/{name}", read)


def _secret(cloud: Cloud, project: str, secret: str) -> Awaitable[Resource]:
    from google.cloud import secretmanager_v1

    name = f"projects/{project}/secrets/{secret}"
    request = secretmanager_v1.GetSecretRequest(name=name)
    return _row("Secret", name, cloud.rpc("SecretManagerService.GetSecret", request, name))


def _channel(cloud: Cloud, name: str) -> Awaitable[Resource]:
    from google.cloud import monitoring_v3

    request = monitoring_v3.GetNotificationChannelRequest(name=name)
    read = cloud.rpc("NotificationChannelService.GetNotificationChannel", request, name)
    return _row("NotificationChannel", name, read)


async def _row(kind: str, name: str, look: Awaitable[Any]) -> Resource:
    try:
        seen = await look
    except CloudError as error:
        if error.code != 404:
            raise
        seen = MISSING
    return {"kind": kind, "name": name, "state": seen if isinstance(seen, str) else PRESENT}
