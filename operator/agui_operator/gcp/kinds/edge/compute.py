"""What the kinds of the load balancer share: Compute Engine resources are read, inserted, patched and deleted alike.

The owner is kept in the description: not every resource here can carry labels.
Source: https://cloud.google.com/compute/docs/reference/rest/v1
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from agui_operator.core.names import OWNER_LABEL
from agui_operator.core.provisioning.graph import Site
from agui_operator.gcp.kinds.contract import Kind, View
from agui_operator.gcp.transport import operations
from agui_operator.gcp.transport.absent import or_none
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.outcome import Outcome
from agui_operator.gcp.transport.paging import rest_pages
from agui_operator.gcp.transport.rest import RestRequest

Json = dict[str, Any]
_OWNER = re.compile(rf"\b{OWNER_LABEL}=(\S+)")


class Named(Protocol):
    """Desired state of a resource that its name identifies."""

    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)


class ComputeKind(Kind[N]):
    """A kind whose resources are in one collection. `api` is the collection's name in methods, where it differs;
    `constants` are fields that all resources of the kind are created with."""

    collection: str
    api: str = ""
    is_regional: bool = False
    has_fingerprint: bool = False
    constants: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def body(self, want: N) -> Json:
        """The fields that are not None, as the API writes them."""

    @abstractmethod
    def fields(self, found: Mapping[str, Any]) -> Mapping[str, Any]:
        """The fields of the desired state, as the API tells them; links without what may be written in two ways."""

    def full_name(self, site: Site, want: N) -> str:
        where = f"regions/{site.region}" if self.is_regional else "global"
        return f"projects/{site.project}/{where}/{self.collection}/{want.name}"

    async def observe(self, cloud: Cloud, site: Site, want: N) -> View | None:
        found = await or_none(cloud.rest(RestRequest(self._method("get"), self._path(site, want), site.project)))
        return None if found is None else self._view(found)

    async def create(self, cloud: Cloud, site: Site, want: N) -> Outcome:
        described = {"name": want.name, "description": f"{OWNER_LABEL}={site.owner}", **self.constants}
        request = RestRequest(self._method("insert"), self._path(site, want).rpartition("/")[0], site.project, "POST")
        return await self._write(cloud, site, replace(request, body=described | self.body(want)))

    async def update(self, cloud: Cloud, site: Site, want: N, have: View) -> Outcome:
        body = self.body(want) | ({"fingerprint": have.version} if self.has_fingerprint else {})
        request = RestRequest(self._method("patch"), self._path(site, want), site.project, "PATCH", body=body)
        return await self._write(cloud, site, request)

    async def delete(self, cloud: Cloud, site: Site, want: N) -> Outcome:
        """Raises CloudError 400 while another resource uses it."""
        request = RestRequest(self._method("delete"), self._path(site, want), site.project, "DELETE")
        return await or_none(self._write(cloud, site, request)) or Outcome()

    async def owned(self, cloud: Cloud, site: Site) -> Sequence[N]:
        where = f"regions/{site.region}" if self.is_regional else "global"
        path = f"/compute/v1/projects/{site.project}/{where}/{self.collection}?maxResults=500"
        found: list[N] = []
        async for page in rest_pages(cloud, self._method("list"), path, project=site.project):
            items = page.get("items") or ()
            found += [self.desired(str(i["name"])) for i in items if _owner(i) == site.owner]  # type: ignore[call-arg]
        return found

    def _method(self, verb: str) -> str:
        return f"compute.{self.api or self.collection}.{verb}"

    def _path(self, site: Site, want: N) -> str:
        return f"/compute/v1/{self.full_name(site, want)}"

    def _view(self, found: Mapping[str, Any]) -> View:
        return View(
            fields=self.fields(found),
            outputs={"name": str(found["name"]), "link": str(found.get("selfLink", ""))},
            owner=_owner(found),
            version=str(found.get("fingerprint", "")),
        )

    async def _write(self, cloud: Cloud, site: Site, request: RestRequest) -> Outcome:
        operation = await cloud.rest(replace(request, write=True))
        result = operations.compute_result(operation)
        if result.error is not None:
            raise result.error
        return Outcome(None if result.done else operations.compute_name(site.project, operation))


def _owner(found: Mapping[str, Any]) -> str:
    match = _OWNER.search(str(found.get("description", "")))
    return match[1] if match is not None else ""
