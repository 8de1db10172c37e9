"""What the kinds of Cloud SQL share: how a method is called and how its operation is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agui_operator.core.provisioning.graph import Site
from agui_operator.gcp.transport import operations
from agui_operator.gcp.transport.absent import or_none
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.outcome import Outcome
from agui_operator.gcp.transport.rest import RestRequest

_WRITE_SECONDS = 60.0
Json = dict[str, Any]


def path_of(site: Site, instance: str = "") -> str:
    """URL path of an instance, or of the collection of all."""
    return f"/v1/projects/{site.project}/instances" + (f"/{instance}" if instance else "")


async def read(cloud: Cloud, site: Site, method: str, path: str) -> Json | None:
    """The resource at a path; None if it does not exist. Raises CloudError."""
    found: Json | None = await or_none(cloud.rest(RestRequest(f"sqladmin.{method}", path, site.project)))
    return found


async def write(
    cloud: Cloud, site: Site, method: str, verb: str, path: str, body: Mapping[str, Any] | None = None
) -> Outcome:
    """Starts an operation. Raises CloudError; 409 (another operation runs on the instance) is transient."""
    request = RestRequest(f"sqladmin.{method}", path, site.project, verb, body=body, write=True, timeout=_WRITE_SECONDS)
    operation = await cloud.rest(request)
    result = operations.sql_result(operation)
    if result.error is not None:
        raise result.error
    return Outcome(None if result.done else operations.sql_name(site.project, operation))


async def remove(cloud: Cloud, site: Site, method: str, path: str) -> Outcome:
    """Starts a deletion; what does not exist is deleted. Raises CloudError."""
    return await or_none(write(cloud, site, method, "DELETE", path)) or Outcome()
