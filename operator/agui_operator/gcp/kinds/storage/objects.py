"""Objects of Cloud Storage for publishing and garbage collection: list, create once, delete one generation.

Source: https://cloud.google.com/storage/docs/json_api/v1/objects
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from agui_operator.core.errors import CloudError
from agui_operator.gcp.kinds.storage.bundle import BundleFile
from agui_operator.gcp.kinds.storage.spool import Part
from agui_operator.gcp.kinds.storage.unpack import ATTACHMENTS
from agui_operator.gcp.transport.clients import Cloud, path_part
from agui_operator.gcp.transport.rest import Body, RestRequest

MARK: Mapping[str, str] = {"agui-operator": "release"}  # custom metadata of what was published: nothing else is deleted
_UPLOAD_SECONDS = 60.0
_FIELDS = "items(name,md5Hash,generation,timeCreated,metadata),nextPageToken"


@dataclass(frozen=True, slots=True)
class Upload:
    """One object that is to exist. `md5` in base64, as Cloud Storage returns it. `attachment`: a browser that opens it
    saves it instead of showing it. `addressed`: its name belongs to this content only."""

    name: str
    data: bytes | Part
    content_type: str
    cache_control: str
    md5: str
    attachment: bool = False
    addressed: bool = False

    @staticmethod
    def of_file(name: str, file: BundleFile, cache_control: str) -> Upload:
        attachment = file.pooled and file.content_type.partition(";")[0] in ATTACHMENTS
        addressed = file.pooled and file.addressed
        return Upload(name, file.content, file.content_type, cache_control, file.md5, attachment, addressed)

    @staticmethod
    def of(name: str, data: bytes, content_type: str, cache_control: str) -> Upload:
        md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        return Upload(name, data, content_type, cache_control, md5)


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as a list shows it."""

    name: str
    md5: str
    generation: str
    created: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)


async def list_objects(cloud: Cloud, bucket: str, prefix: str) -> dict[str, Listed]:
    """Objects below a prefix by name. One call for each 1000."""
    found: dict[str, Listed] = {}
    token = ""
    while True:
        path = f"/storage/v1/b/{path_part(bucket)}/o"
        query = f"?prefix={path_part(prefix)}&maxResults=1000&fields={_FIELDS}"
        query += f"&pageToken={path_part(token)}" if token else ""
        resource = f"gs://{bucket}/{prefix}"
        page = await cloud.rest(RestRequest("storage.objects.list", path + query, project=bucket, resource=resource))
        found |= {item["name"]: _listed(item) for item in page.get("items") or ()}
        token = str(page.get("nextPageToken") or "")
        if not token:
            return found


async def create(cloud: Cloud, bucket: str, upload: Upload, *, instead_of: str = "0") -> str | None:
    """Creates one object, or replaces one generation of it, and checks what has arrived by the checksum in the reply;
    returns its generation. None: the name is taken, nothing was written. Raises CloudError."""
    boundary = uuid.uuid4().hex
    path = f"/upload/storage/v1/b/{path_part(bucket)}/o"
    resource = f"gs://{bucket}/{upload.name}"
    request = RestRequest(
        "storage.objects.insert",
        path + f"?uploadType=multipart&ifGenerationMatch={instead_of}&fields=name,md5Hash,generation",
        project=bucket,
        resource=resource,
        verb="POST",
        data=_multipart(upload, boundary),
        headers={"Content-Type": f"multipart/related; boundary={boundary}"},
        write=True,
        timeout=_UPLOAD_SECONDS,
    )
    try:
        made = await cloud.rest(request)
    except CloudError as error:
        if error.code != 412:
            raise
        return None
    if made.get("md5Hash") != upload.md5:
        raise CloudError(503, "the stored object has another checksum", resource=resource, status="DATA_LOSS")
    return str(made.get("generation", ""))


def _multipart(upload: Upload, boundary: str) -> Body:
    """Metadata and content as one body: https://cloud.google.com/storage/docs/uploading-objects"""
    metadata: dict[str, Any] = {
        "name": upload.name,
        "contentType": upload.content_type,
        "cacheControl": upload.cache_control,
        "md5Hash": upload.md5,
        "metadata": dict(MARK),
    }
    if upload.attachment:
        metadata["contentDisposition"] = "attachment"
    head = (
        f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(metadata)}"
        f"\r\n--{boundary}\r\nContent-Type: {upload.content_type}\r\n\r\n"
    ).encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    data = upload.data

    def pieces() -> Iterator[bytes]:
        yield head
        yield from data.pieces() if isinstance(data, Part) else (data,) if data else ()
        yield tail

    size = data.size if isinstance(data, Part) else len(data)
    return Body(len(head) + size + len(tail), pieces)


async def delete(cloud: Cloud, bucket: str, name: str, generation: str) -> bool:
    """Deletes this generation of the object. False: it does not exist, or a newer generation replaced it."""
    path = f"/storage/v1/b/{path_part(bucket)}/o/{path_part(name)}?ifGenerationMatch={generation}"
    try:
        await cloud.rest(
            RestRequest(
                "storage.objects.delete",
                path,
                project=bucket,
                resource=f"gs://{bucket}/{name}",
                verb="DELETE",
                write=True,
            )
        )
    except CloudError as error:
        if error.code not in (404, 412):
            raise
        return False
    return True


async def read(cloud: Cloud, bucket: str, name: str) -> bytes:
    """The content of a small object."""

    async def whole(response: Any) -> bytes:
        data: bytes = await response.read()
        return data

    path = f"/storage/v1/b/{path_part(bucket)}/o/{path_part(name)}?alt=media"
    data: bytes = await cloud.rest(
        RestRequest("storage.objects.get", path, project=bucket, resource=f"gs://{bucket}/{name}", read=whole)
    )
    return data


def _listed(item: Mapping[str, Any]) -> Listed:
    created = datetime.fromisoformat(str(item.get("timeCreated", "1970-01-01T00:00:00Z"))).astimezone(UTC)
    generation, metadata = str(item.get("generation", "")), item.get("metadata") or {}
    return Listed(str(item["name"]), str(item.get("md5Hash", "")), generation, created, metadata)
