"""The frontend of a release: hashed files into the pool that all releases share, the rest into a folder of its own.

Publishing adds and never changes: every object is created under the condition that it does not exist, and the page is
written last, so that a folder with an index.html is complete. Taking a release back copies and deletes nothing.
Source: https://cloud.google.com/storage/docs/json_api/v1/objects
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agui_operator.core.actions import AssetsPublished, Bundle
from agui_operator.core.errors import CloudError, UserError
from agui_operator.gcp.bundle import (
    ENTRYPOINT,
    MANIFEST,
    POOL,
    BundleContents,
    BundleRefused,
    Limits,
    check_runtime_url,
    read_bundle,
)
from agui_operator.gcp.clients import Cloud, path_part
from agui_operator.gcp.outcome import Outcome

if TYPE_CHECKING:
    import aiohttp

FOREVER = "public, max-age=31536000, immutable"
NEVER = "no-cache, max-age=0, must-revalidate"
_AT_ONCE = 8
_CHUNK = 256 * 1024
_DOWNLOAD_SECONDS, _UPLOAD_SECONDS = 120.0, 60.0
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Upload:
    """One object that is to exist."""

    name: str
    data: bytes
    content_type: str
    cache_control: str
    md5: str  # base64, as Cloud Storage tells it


def _upload(name: str, data: bytes, content_type: str, cache_control: str) -> Upload:
    md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
    return Upload(name, data, content_type, cache_control, md5)


def folder(frontend: str) -> str:
    """The release's folder in the assets bucket, with a slash at its end."""
    return f"releases/{frontend}/"


def uploads(contents: BundleContents, frontend: str) -> tuple[tuple[Upload, ...], ...]:
    """What to write, in waves: pool and plain files, then the manifest, then the pages. A wave begins when the one
    before it is complete."""
    files: list[Upload] = []
    pages: list[Upload] = []
    for file in contents.files:
        name = file.path if file.pooled else folder(frontend) + file.path
        upload = _upload(name, file.data, file.content_type, FOREVER if file.pooled else NEVER)
        (pages if file.path.endswith(".html") else files).append(upload)
    pages.sort(key=lambda page: page.name == folder(frontend) + ENTRYPOINT)  # the entry point is the very last
    manifest = _upload(folder(frontend) + MANIFEST, contents.manifest, "application/json", NEVER)
    return tuple(files), (manifest,), tuple(pages[:-1]), tuple(pages[-1:])


async def observe(cloud: Cloud, bucket: str, frontend: str) -> bool:
    """One call: True if the release's folder is complete."""
    found = await _list(cloud, bucket, folder(frontend))
    return {folder(frontend) + ENTRYPOINT, folder(frontend) + MANIFEST} <= found.keys()


async def apply(cloud: Cloud, action: AssetsPublished, progress: Progress | None = None) -> Outcome:
    """Downloads, validates, and only then uploads what is missing. Raises BundleRefused, UserError, CloudError."""
    data = await _download(cloud, action.bundle)
    contents = await asyncio.to_thread(read_bundle, data)
    check_runtime_url(contents, action.runtime_url)
    waves = await asyncio.to_thread(uploads, contents, action.frontend)
    pool = await _list(cloud, action.bucket, POOL)  # the folder is new, or its few files answer 412
    total = sum(len(wave) for wave in waves)
    done = 0
    for wave in waves:
        missing = [upload for upload in wave if not _is_there(upload, pool)]
        done += len(wave) - len(missing)
        done = await _upload_all(cloud, action.bucket, missing, done, total, progress)
    if progress is not None:
        progress(total, total)
    return Outcome(None, True)


async def _upload_all(
    cloud: Cloud, bucket: str, missing: Sequence[Upload], done: int, total: int, progress: Progress | None
) -> int:
    gate = asyncio.Semaphore(_AT_ONCE)
    count = done

    async def one(upload: Upload) -> None:
        nonlocal count
        async with gate:
            await _create(cloud, bucket, upload)
        count += 1
        if progress is not None and count < total:
            progress(count, total)

    for result in await asyncio.gather(*(one(upload) for upload in missing), return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
    return count


async def _create(cloud: Cloud, bucket: str, upload: Upload) -> None:
    """Creates one object and checks what has arrived by the checksum in the reply."""
    boundary = uuid.uuid4().hex
    metadata = {
        "name": upload.name,
        "contentType": upload.content_type,
        "cacheControl": upload.cache_control,
        "md5Hash": upload.md5,
    }
    body = b"".join(
        (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n".encode(),
            json.dumps(metadata).encode(),
            f"\r\n--{boundary}\r\nContent-Type: {upload.content_type}\r\n\r\n".encode(),
            upload.data,
            f"\r\n--{boundary}--\r\n".encode(),
        )
    )
    path = f"/upload/storage/v1/b/{path_part(bucket)}/o"
    resource = f"gs://{bucket}/{upload.name}"
    try:
        made = await cloud.rest(
            "storage.objects.insert",
            path + "?uploadType=multipart&ifGenerationMatch=0&fields=name,md5Hash",
            project=bucket,
            resource=resource,
            verb="POST",
            data=body,
            headers={"Content-Type": f"multipart/related; boundary={boundary}"},
            write=True,
            timeout=_UPLOAD_SECONDS,
        )
    except CloudError as error:
        if error.code != 412:
            raise
        await _check_existing(cloud, bucket, upload)
        return
    if made.get("md5Hash") != upload.md5:
        raise CloudError(503, "the stored object has another checksum", resource=resource, status="DATA_LOSS")


async def _check_existing(cloud: Cloud, bucket: str, upload: Upload) -> None:
    """Somebody was faster. The same bytes are as good as ours; others are never overwritten."""
    found = await _list(cloud, bucket, upload.name)
    if not _is_there(upload, found):
        raise CloudError(503, "the object vanished between two looks", resource=f"gs://{bucket}/{upload.name}")


def _is_there(upload: Upload, have: dict[str, str]) -> bool:
    """True if the object exists as wanted. Raises BundleRefused if other bytes are under its name."""
    md5 = have.get(upload.name)
    if md5 is None:
        return False
    if md5 and md5 != upload.md5:
        raise BundleRefused(f"{upload.name} is published with another content; its name must carry a hash of it")
    return True


async def _list(cloud: Cloud, bucket: str, prefix: str) -> dict[str, str]:
    """Objects below a prefix: name -> MD5. One call for each 1000."""
    found: dict[str, str] = {}
    token = ""
    while True:
        path = f"/storage/v1/b/{path_part(bucket)}/o"
        query = f"?prefix={path_part(prefix)}&maxResults=1000&fields=items(name,md5Hash),nextPageToken"
        query += f"&pageToken={path_part(token)}" if token else ""
        resource = f"gs://{bucket}/{prefix}"
        page = await cloud.rest("storage.objects.list", path + query, project=bucket, resource=resource)
        found |= {item["name"]: item.get("md5Hash", "") for item in page.get("items") or ()}
        token = str(page.get("nextPageToken") or "")
        if not token:
            return found


async def _download(cloud: Cloud, bundle: Bundle, limits: Limits | None = None) -> bytes:
    """The bundle's bytes; refused while they stream in when they are too many, and when the digest is another one."""
    most = (limits or Limits()).packed
    where = f"gs://{bundle.bucket}/{bundle.object}"

    async def read(response: aiohttp.ClientResponse) -> bytes:
        parts: list[bytes] = []
        digest, size = hashlib.sha256(), 0
        async for chunk in response.content.iter_chunked(_CHUNK):
            size += len(chunk)
            if size > most:
                raise BundleRefused(f"{where} has more than {most} bytes")
            digest.update(chunk)
            parts.append(chunk)
        if digest.hexdigest() != bundle.sha256:
            raise BundleRefused(
                f"{where} has sha256 {digest.hexdigest()}, spec.frontend.bundle.sha256 says {bundle.sha256}"
            )
        return b"".join(parts)

    path = f"/storage/v1/b/{path_part(bundle.bucket)}/o/{path_part(bundle.object)}?alt=media"
    try:
        data: bytes = await cloud.rest(
            "storage.objects.get",
            path,
            project=bundle.bucket,
            resource=where,
            timeout=_DOWNLOAD_SECONDS,
            read=read,
            headers={"Accept-Encoding": "gzip"},  # the stored bytes: the digest is theirs
            auto_decompress=False,
        )
    except CloudError as error:
        if error.code == 404:
            raise UserError(
                f"spec.frontend.bundle.object: {where} does not exist; upload the bundle or correct the name",
                reason="BundleNotFound",
            ) from error
        raise
    return data
