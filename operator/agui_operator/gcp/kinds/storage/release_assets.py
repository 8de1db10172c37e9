"""The frontend of a release: hashed files into the pool that all releases share, the rest into a folder of its own.

Publishing adds and never changes: every object is created under the condition that it does not exist, and the page is
written last, so that a folder with an index.html is complete. A roll-back copies and deletes nothing. Before
anything is written, or found to be there already, the folder gets the deployment's claim: see core/retention.py.
Source: https://cloud.google.com/storage/docs/json_api/v1/objects
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from agui_operator.api.conditions import Reason
from agui_operator.core.actions import AssetsPublished, Bundle
from agui_operator.core.errors import CloudError, UserError
from agui_operator.gcp.kinds.storage import objects
from agui_operator.gcp.kinds.storage.bundle import (
    COLLECTION_MARK,
    ENTRYPOINT,
    MANIFEST,
    POOL,
    BundleContents,
    BundleLimits,
    BundleRefused,
    check_runtime_url,
    read_bundle,
)
from agui_operator.gcp.kinds.storage.objects import Listed, Upload
from agui_operator.gcp.transport.clients import Cloud, path_part
from agui_operator.gcp.transport.outcome import Outcome
from agui_operator.gcp.transport.rest import RestRequest

if TYPE_CHECKING:
    import aiohttp

FOREVER = "public, max-age=31536000, immutable"
NEVER = "no-cache, max-age=0, must-revalidate"
RELEASES = "releases/"
_AT_ONCE = 8
_CHUNK = 256 * 1024
_DOWNLOAD_SECONDS = 120.0
CLAIMS = ".claims/"  # in a release folder: one empty object for each deployment that published it
MARK_LIFETIME = timedelta(minutes=2)  # an older one is left over from a process that died
Progress = Callable[[int, int], None]


def folder(frontend: str) -> str:
    """The release's folder in the assets bucket, with a slash at its end."""
    return f"{RELEASES}{frontend}/"


def claim(frontend: str, owner: str) -> Upload:
    """What says that a deployment (its owner label) needs a release folder and all that its manifest names."""
    return Upload.of(f"{folder(frontend)}{CLAIMS}{owner}", b"", "text/plain", NEVER)


def uploads(contents: BundleContents, frontend: str) -> tuple[tuple[Upload, ...], ...]:
    """What to write, in waves: pool and plain files, then the manifest, then the pages. A wave starts when the one
    before it is complete."""
    files: list[Upload] = []
    pages: list[Upload] = []
    for file in contents.files:
        name = file.path if file.pooled else folder(frontend) + file.path
        upload = Upload.of(name, file.data, file.content_type, FOREVER if file.pooled else NEVER)
        (pages if file.path.endswith(".html") else files).append(upload)
    pages.sort(key=lambda page: page.name == folder(frontend) + ENTRYPOINT)  # the entry point is the very last
    manifest = Upload.of(folder(frontend) + MANIFEST, contents.manifest, "application/json", NEVER)
    return tuple(files), (manifest,), tuple(pages[:-1]), tuple(pages[-1:])


async def observe(cloud: Cloud, bucket: str, frontend: str, owner: str | None = None) -> bool:
    """One call: True if the release's folder is complete, and claimed by the owner where one is given."""
    return needed(frontend, owner) <= (await objects.list_objects(cloud, bucket, folder(frontend))).keys()


def needed(frontend: str, owner: str | None = None) -> frozenset[str]:
    """Names of the objects that tell a complete folder, claimed by the owner where one is given."""
    wanted = {folder(frontend) + ENTRYPOINT, folder(frontend) + MANIFEST}
    return frozenset(wanted | ({claim(frontend, owner).name} if owner else set()))


async def take_over(cloud: Cloud, bucket: str, label: str, owner: str) -> None:
    """Replaces the claims of one owner by another's: first the new one, then the old one. Raises CloudError."""
    mark = f"/{CLAIMS}{label}"
    for name, found in (await objects.list_objects(cloud, bucket, RELEASES)).items():
        if name.endswith(mark):
            frontend = name.removeprefix(RELEASES).removesuffix(mark)
            await objects.create(cloud, bucket, claim(frontend, owner))
            await objects.delete(cloud, bucket, name, found.generation)


async def owned(cloud: Cloud, bucket: str, owner: str) -> list[str]:
    """Every release folder that the owner claims. One call for each 1000 objects. Raises CloudError."""
    claimed = f"/{CLAIMS}{owner}"
    names = sorted(await objects.list_objects(cloud, bucket, RELEASES))
    return [n.removeprefix(RELEASES).removesuffix(claimed) for n in names if n.endswith(claimed)]


async def verify(cloud: Cloud, bundle: Bundle, runtime_url: str | None) -> BundleContents:
    """Downloads and validates. Raises BundleRefused, UserError, CloudError."""
    contents = await asyncio.to_thread(read_bundle, await _download(cloud, bundle))
    check_runtime_url(contents, runtime_url)
    return contents


async def apply(cloud: Cloud, action: AssetsPublished, owner: str, progress: Progress | None = None) -> Outcome:
    """Downloads, validates, and only then claims the folder and uploads what is missing. Raises BundleRefused,
    UserError, CloudError."""
    contents = await verify(cloud, action.bundle, action.runtime_url)
    waves = await asyncio.to_thread(uploads, contents, action.frontend)
    await objects.create(cloud, action.bucket, claim(action.frontend, owner))
    pool = await objects.list_objects(cloud, action.bucket, POOL)  # the folder is new, or its few files answer 412
    _check_no_collection(pool, datetime.now(UTC))
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
    """Creates one object. One with the same bytes may exist; other bytes are never overwritten."""
    if await objects.create(cloud, bucket, upload) is None:
        found = await objects.list_objects(cloud, bucket, upload.name)
        if not _is_there(upload, found):
            raise CloudError(503, "the object was deleted in between", resource=f"gs://{bucket}/{upload.name}")


def _is_there(upload: Upload, have: Mapping[str, Listed]) -> bool:
    """True if the object exists as wanted. Raises BundleRefused if other bytes are under its name."""
    found = have.get(upload.name)
    if found is None:
        return False
    if found.md5 and found.md5 != upload.md5:
        raise BundleRefused(f"{upload.name} is published with another content; its name must carry a hash of it")
    return True


def _check_no_collection(pool: Mapping[str, Listed], now: datetime) -> None:
    """During a garbage collection the listed files may be deleted; a later one sees this claim."""
    lock = pool.get(COLLECTION_MARK)
    if lock is not None and lock.created > now - MARK_LIFETIME:
        raise CloudError(503, "old files are being deleted from the bucket; this waits for the end", retry_after=2.0)


async def _download(cloud: Cloud, bundle: Bundle, limits: BundleLimits | None = None) -> bytes:
    """The bundle's bytes; refused while they stream in when they are too many, and when the digest is another one."""
    most = (limits or BundleLimits()).packed
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

    request = RestRequest(
        "storage.objects.get",
        f"/storage/v1/b/{path_part(bundle.bucket)}/o/{path_part(bundle.object)}?alt=media",
        project=bundle.bucket,
        resource=where,
        timeout=_DOWNLOAD_SECONDS,
        read=read,
        headers={"Accept-Encoding": "gzip"},  # the stored bytes: the digest is theirs
        auto_decompress=False,
    )
    try:
        data: bytes = await cloud.rest(request)
    except CloudError as error:
        if error.code != 404:
            raise
        advice = "upload the bundle or correct the name"
        message = f"spec.frontend.bundle.object: {where} does not exist; {advice}"
        raise UserError(message, reason=Reason.BUNDLE_NOT_FOUND) from error
    return data
