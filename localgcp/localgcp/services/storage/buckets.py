"""Cloud Storage's JSON API: buckets, their IAM policies, and the list of all its routes.

Source: https://cloud.google.com/storage/docs/json_api/v1
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from aiohttp import web

from localgcp.kit.call import Call
from localgcp.kit.errors import from_http
from localgcp.kit.paging import rest_page
from localgcp.kit.rest import RestRoute, json_body, json_response
from localgcp.kit.schema import checked, merged, without_nulls
from localgcp.kit.store import etag_of
from localgcp.services.storage.objects import PAGE, Objects
from localgcp.services.storage.preconditions import Preconditions
from localgcp.services.storage.store import STORE, Json, now_rfc3339
from localgcp.services.storage.uploads import Uploads

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_MULTI_REGIONS = {"US", "EU", "ASIA"}
_SERVER_FIELDS = frozenset(
    (
        *("kind", "id", "name", "selfLink", "projectNumber", "timeCreated", "updated", "metageneration", "etag"),
        *("generation", "location", "locationType", "owner"),
    )
)


def routes(cloud: Cloud) -> list[RestRoute]:
    buckets, objects, uploads = Buckets(cloud), Objects(cloud), Uploads(cloud)
    b, o = "/storage/v1/b/{bucket}", "/storage/v1/b/{bucket}/o/{object}"
    to = "/b/{destinationBucket}/o/{destinationObject}"
    upload = "/upload/storage/v1/b/{bucket}/o"
    return [
        RestRoute("POST", "/storage/v1/b", "storage.buckets.insert", buckets.insert, True),
        RestRoute("GET", "/storage/v1/b", "storage.buckets.list", buckets.list),
        RestRoute("GET", b, "storage.buckets.get", buckets.get),
        RestRoute("PATCH", b, "storage.buckets.patch", buckets.patch, True),
        RestRoute("PUT", b, "storage.buckets.update", buckets.update, True),
        RestRoute("DELETE", b, "storage.buckets.delete", buckets.delete, True),
        RestRoute("GET", b + "/iam", "storage.buckets.getIamPolicy", buckets.get_iam_policy),
        RestRoute("PUT", b + "/iam", "storage.buckets.setIamPolicy", buckets.set_iam_policy, True),
        RestRoute("GET", b + "/iam/testPermissions", "storage.buckets.testIamPermissions", buckets.test_permissions),
        RestRoute("GET", b + "/o", "storage.objects.list", objects.list),
        RestRoute("GET", o, "storage.objects.get", objects.get),
        RestRoute("GET", "/download" + o, "storage.objects.get", objects.download),
        RestRoute("PATCH", o, "storage.objects.patch", objects.patch, True),
        RestRoute("PUT", o, "storage.objects.update", objects.update, True),
        RestRoute("DELETE", o, "storage.objects.delete", objects.delete, True),
        RestRoute("POST", o + "/compose", "storage.objects.compose", objects.compose, True),
        RestRoute("POST", o + "/copyTo" + to, "storage.objects.copy", objects.copy, True),
        RestRoute("POST", o + "/rewriteTo" + to, "storage.objects.rewrite", objects.rewrite, True),
        RestRoute("POST", upload, "storage.objects.insert", uploads.insert, True),
        RestRoute("PUT", upload, "storage.objects.insert", uploads.resume, True),
        RestRoute("DELETE", upload, "storage.objects.insert", uploads.cancel, True),
    ]


class Buckets:
    def __init__(self, cloud: Cloud) -> None:
        self._settings = cloud.settings
        self._store = cloud.part(STORE)
        self._policies = cloud.store.json("storage.policies")

    async def insert(self, request: web.Request, call: Call) -> web.Response:
        body = without_nulls(checked("storage", "Bucket", await json_body(request)))
        name, project = str(body.get("name", "")), request.query.get("project", "")
        if not project:
            raise from_http(400, "Required parameter: project", "required", location="project")
        if not _NAME.fullmatch(name) or ".." in name:
            raise from_http(400, f"Invalid bucket name: '{name}'", "invalid")
        if self._store.buckets.get(name) is not None:
            message = "Your previous request to create the named bucket succeeded and you already own it."
            raise from_http(409, message, "conflict")
        now = now_rfc3339()
        location = str(body.get("location", "US")).upper()
        record: Json = {
            "iamConfiguration": {
                "bucketPolicyOnly": {"enabled": False},
                "uniformBucketLevelAccess": {"enabled": False},
                "publicAccessPrevention": "inherited",
            },
            "storageClass": "STANDARD",
            "softDeletePolicy": {"retentionDurationSeconds": "604800", "effectiveTime": now},
        }
        record = merged(record, {k: v for k, v in body.items() if k not in _SERVER_FIELDS})
        record |= {
            "kind": "storage#bucket",
            "id": name,
            "name": name,
            "projectNumber": str(self._settings.number_of(project)),
            "location": location,
            "locationType": "multi-region" if location in _MULTI_REGIONS else "region",
            "generation": str(self._store.next_generation()),
            "timeCreated": now,
            "_project": self._settings.project_id(project),
        }
        return self._saved(request, call, record, 1)

    async def list(self, request: web.Request, call: Call) -> web.Response:
        project = request.query.get("project", "")
        if not project:
            raise from_http(400, "Required parameter: project", "required", location="project")
        found = [
            self._shown(request, record)
            for _, record in self._store.buckets.items(request.query.get("prefix", ""))
            if record["_project"] == self._settings.project_id(project)
        ]
        items, token = rest_page(request, call.method, found, lambda bucket: (bucket["name"],), PAGE)
        return json_response({"kind": "storage#buckets", "items": items, **token})

    async def get(self, request: web.Request, call: Call) -> web.Response:
        record = self._store.bucket(request.match_info["bucket"])
        _metageneration(request).check(record, reading=True)
        return json_response(self._shown(request, record))

    async def patch(self, request: web.Request, call: Call) -> web.Response:
        body = checked("storage", "Bucket", await json_body(request))
        record = self._store.bucket(request.match_info["bucket"])
        _metageneration(request).check(record)
        changed = merged(record, {k: v for k, v in body.items() if k not in _SERVER_FIELDS})
        return self._saved(request, call, changed, int(record["metageneration"]) + 1)

    async def update(self, request: web.Request, call: Call) -> web.Response:
        body = without_nulls(checked("storage", "Bucket", await json_body(request)))
        record = self._store.bucket(request.match_info["bucket"])
        _metageneration(request).check(record)
        kept = {k: v for k, v in record.items() if k in _SERVER_FIELDS or k.startswith("_")}
        changed = kept | {k: v for k, v in body.items() if k not in _SERVER_FIELDS}
        changed.setdefault("storageClass", record["storageClass"])
        return self._saved(request, call, changed, int(record["metageneration"]) + 1)

    async def delete(self, request: web.Request, call: Call) -> web.Response:
        record = self._store.bucket(request.match_info["bucket"])
        _metageneration(request).check(record)
        name = record["name"]
        if next(self._store.names(name), None) is not None:
            raise from_http(409, "The bucket you tried to delete is not empty.", "conflict")
        self._store.buckets.delete(name)
        self._policies.delete(name)
        call.effect("delete", f"b/{name}")
        return web.Response(status=204)

    async def get_iam_policy(self, request: web.Request, call: Call) -> web.Response:
        return json_response(self._policy(request.match_info["bucket"]))

    async def set_iam_policy(self, request: web.Request, call: Call) -> web.Response:
        body = without_nulls(checked("storage", "Policy", await json_body(request)))
        name = request.match_info["bucket"]
        current = self._policy(name)
        if body.get("etag") not in (None, "", current["etag"]):
            raise from_http(412, "The etag of the policy is not the present one.", "conditionNotMet")
        etag = etag_of(name, "policy", self._policies.version(name) + 1)
        self._policies.put(name, {**current, "bindings": body.get("bindings", []), "etag": etag})
        call.effect("set_iam_policy", f"b/{name}")
        return json_response(self._policy(name))

    async def test_permissions(self, request: web.Request, call: Call) -> web.Response:
        self._store.bucket(request.match_info["bucket"])
        asked = request.query.getall("permissions", [])
        return json_response({"kind": "storage#testIamPermissionsResponse", "permissions": asked})

    def _policy(self, name: str) -> Json:
        bucket = self._store.bucket(name)
        project = bucket["_project"]
        default: Json = {
            "kind": "storage#policy",
            "resourceId": f"projects/_/buckets/{name}",
            "version": 1,
            "etag": etag_of(name, "policy", 0),
            "bindings": [
                {
                    "role": "roles/storage.legacyBucketOwner",
                    "members": [f"projectEditor:{project}", f"projectOwner:{project}"],
                },
                {"role": "roles/storage.legacyBucketReader", "members": [f"projectViewer:{project}"]},
            ],
        }
        return self._policies.get(name) or default

    def _saved(self, request: web.Request, call: Call, record: Json, metageneration: int) -> web.Response:
        record |= {"metageneration": str(metageneration), "updated": now_rfc3339()}
        record["etag"] = etag_of(record["name"], record["generation"], metageneration)
        self._store.buckets.put(record["name"], record)
        call.effect("create" if metageneration == 1 else "update", f"b/{record['name']}")
        return json_response(self._shown(request, record))

    def _shown(self, request: web.Request, record: Json) -> Json:
        shown = {key: value for key, value in record.items() if not key.startswith("_")}
        return {**shown, "selfLink": f"{request.scheme}://{request.host}/storage/v1/b/{record['name']}"}


def _metageneration(request: web.Request) -> Preconditions:
    asked: dict[str, Any] = {k: v for k, v in request.query.items() if k.startswith("ifMetageneration")}
    return Preconditions.of(asked)
