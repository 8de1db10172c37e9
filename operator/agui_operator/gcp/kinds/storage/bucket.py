"""A Cloud Storage bucket.

Source: https://cloud.google.com/storage/docs/json_api/v1/buckets
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agui_operator.core.names import OWNER_LABEL
from agui_operator.core.provisioning.graph import Site
from agui_operator.gcp.kinds.contract import Kind, View, labels, only_known
from agui_operator.gcp.transport.absent import or_none
from agui_operator.gcp.transport.clients import Cloud, path_part
from agui_operator.gcp.transport.outcome import Outcome
from agui_operator.gcp.transport.paging import rest_pages
from agui_operator.gcp.transport.rest import RestRequest


@dataclass(frozen=True, slots=True)
class Bucket:
    """`location` in capitals, as Cloud Storage returns it; `versioning` keeps the old generations of objects."""

    name: str
    location: str | None = None
    versioning: bool | None = None


class Buckets(Kind[Bucket]):
    name = "Bucket"
    desired = Bucket
    immutable = frozenset({"location"})

    def full_name(self, site: Site, want: Bucket) -> str:
        return want.name

    async def observe(self, cloud: Cloud, site: Site, want: Bucket) -> View | None:
        found = await or_none(cloud.rest(RestRequest("storage.buckets.get", _path(want), want.name)))
        return None if found is None else _view(found)

    async def create(self, cloud: Cloud, site: Site, want: Bucket) -> Outcome:
        body = only_known(name=want.name, location=want.location, versioning=_versioning(want), labels=labels(site))
        path = f"/storage/v1/b?project={site.project}"
        await cloud.rest(RestRequest("storage.buckets.insert", path, site.project, "POST", body=body, write=True))
        return Outcome()

    async def update(self, cloud: Cloud, site: Site, want: Bucket, have: View) -> Outcome:
        path = f"{_path(want)}?ifMetagenerationMatch={have.version}"
        body = only_known(versioning=_versioning(want))
        await cloud.rest(RestRequest("storage.buckets.patch", path, want.name, "PATCH", body=body, write=True))
        return Outcome()

    async def delete(self, cloud: Cloud, site: Site, want: Bucket) -> Outcome:
        """Raises CloudError 409 while there are objects in it."""
        await or_none(cloud.rest(RestRequest("storage.buckets.delete", _path(want), want.name, "DELETE", write=True)))
        return Outcome()

    async def owned(self, cloud: Cloud, site: Site) -> Sequence[Bucket]:
        found: list[Bucket] = []
        path = f"/storage/v1/b?project={site.project}&maxResults=500"
        async for page in rest_pages(cloud, "storage.buckets.list", path, project=site.project):
            items = page.get("items") or ()
            found += [Bucket(str(item["name"])) for item in items if _view(item).owner == site.owner]
        return found


def _path(want: Bucket) -> str:
    return f"/storage/v1/b/{path_part(want.name)}"


def _versioning(want: Bucket) -> dict[str, bool] | None:
    return None if want.versioning is None else {"enabled": want.versioning}


def _view(found: dict[str, Any]) -> View:
    versioning = bool((found.get("versioning") or {}).get("enabled"))
    return View(
        fields={"location": found.get("location"), "versioning": versioning},
        outputs={"name": str(found["name"])},
        owner=str((found.get("labels") or {}).get(OWNER_LABEL, "")),
        version=str(found.get("metageneration", "")),
    )


KIND = Buckets()
