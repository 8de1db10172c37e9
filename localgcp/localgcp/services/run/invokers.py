"""Who may call a service, as far as it matters here: everybody, or only who has an identity token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localgcp.kit.iam import Policies
from localgcp.services.run.types import Service

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

_ROLES = ("roles/run.invoker", "roles/run.admin")


class ServiceInvokers:
    """Implements `interfaces.Invokers`."""

    def __init__(self, cloud: Cloud) -> None:
        self._services = cloud.store.protos("run.services", Service)
        self._policies = Policies(cloud)

    def anyone(self, project: str, location: str, service: str) -> bool:
        name = f"projects/{project}/locations/{location}/services/{service}"
        found = self._services.get(name)
        if found is None:
            return False
        bindings = self._policies.get(name).bindings
        granted = any(b.role in _ROLES and "allUsers" in b.members and not b.HasField("condition") for b in bindings)
        return bool(found.invoker_iam_disabled or granted)
