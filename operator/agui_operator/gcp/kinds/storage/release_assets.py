"""The frontend of a release: hashed files into the pool that all releases share, the rest into a folder of its own.

Publishing adds and never changes: every object is created under the condition that it does not exist (only wrong bytes
under a name that carries a digest are replaced), and the page is written last, so that a folder with an index.html is
complete. A roll-back copies and deletes nothing. Before anything is written, or found to be there already, the folder
gets the deployment's claim: see core/retention.py.
Source: https://cloud.google.com/storage/docs/json_api/v1/objects
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from agui_operator.core.actions import AssetsPublished, Bundle
from agui_operator.core.errors import CloudError, UserError
from agui_operator.gcp.kinds.storage import objects
from agui_operator.gcp.kinds.storage.bundle import BundleContents, BundleRefused, check_runtime_url
from agui_operator.gcp.kinds.storage.objects import Listed, Upload
from agui_operator.gcp.kinds.storage.publications import Publications
from agui_operator.gcp.kinds.storage.unpack import COLLECTION_MARK, ENTRYPOINT, MANIFEST, POOL
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.outcome import Outcome

FOREVER = "public, max-age=31536000, immutable"
NEVER = "no-cache, max-age=0, must-revalidate"
RELEASES = "releases/"
_AT_ONCE = 8
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
        upload = Upload.of_file(name, file, FOREVER if file.pooled else NEVER)
        (pages if file.path.endswith(".html") else files).append(upload)
    pages.sort(key=lambda page: page.name == folder(frontend) + ENTRYPOINT)  # the entry point is the very last
    manifest = Upload.of_file(folder(frontend) + MANIFEST, contents.manifest, NEVER)
    return tuple(files), (manifest,), tuple(pages[:-1]), tuple(pages[-1:])


async def observe(cloud: Cloud, bucket: str, frontend: str, owners: Sequence[str]) -> bool:
    """One call: True if the release's folder is complete and claimed by one of the owners. A folder that nobody of them
    claims is somebody else's, whatever it holds."""
    have = await objects.list_objects(cloud, bucket, folder(frontend))
    return needed(frontend) <= have.keys() and any(claim(frontend, owner).name in have for owner in owners if owner)


def needed(frontend: str) -> frozenset[str]:
    """Names of the objects that tell a complete folder."""
    return frozenset({folder(frontend) + ENTRYPOINT, folder(frontend) + MANIFEST})


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


async def verify(cloud: Cloud, bundle: Bundle, runtime_url: str | None, tenant: str = "") -> None:
    """Downloads and validates. Raises BundleRefused, UserError, CloudError."""
    async with cloud.shared(Publications).opened(cloud, bundle, tenant) as contents:
        check_runtime_url(contents, runtime_url)


async def apply(
    cloud: Cloud, action: AssetsPublished, owner: str, progress: Progress | None = None, *, tenant: str = ""
) -> Outcome:
    """Downloads, validates, and only then claims the folder and uploads what is missing. `tenant`: the namespace whose
    turn this takes. Raises BundleRefused, UserError, CloudError."""
    try:
        return await _apply(cloud, action, owner, progress, tenant)
    except UserError as error:
        if not action.restores:
            raise
        text = f"missing files of the page of release {action.restores} can't be published again: {error}"
        raise UserError(text, reason=error.reason) from error


async def _apply(cloud: Cloud, action: AssetsPublished, owner: str, progress: Progress | None, tenant: str) -> Outcome:
    async with cloud.shared(Publications).opened(cloud, action.bundle, tenant) as contents:
        check_runtime_url(contents, action.runtime_url)
        await objects.create(cloud, action.bucket, claim(action.frontend, owner))
        await _publish(cloud, action, uploads(contents, action.frontend), progress)
    return Outcome(None, True)


async def _publish(
    cloud: Cloud, action: AssetsPublished, waves: Sequence[Sequence[Upload]], progress: Progress | None
) -> None:
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
    """Creates one object. One with the same bytes may exist. Other bytes are overwritten only where the name belongs to
    this content: whoever wrote them can't have meant them."""
    if await objects.create(cloud, bucket, upload) is not None:
        return
    found = await objects.list_objects(cloud, bucket, upload.name)
    if _is_there(upload, found):
        return
    wrong = found.get(upload.name)
    if wrong is None or await objects.create(cloud, bucket, upload, instead_of=wrong.generation) is None:
        raise CloudError(503, "the object was changed in between", resource=f"gs://{bucket}/{upload.name}")


def _is_there(upload: Upload, have: Mapping[str, Listed]) -> bool:
    """True if the object exists as wanted. Raises BundleRefused if other bytes are under its name, which may be another
    release's."""
    found = have.get(upload.name)
    if found is None or (found.md5 != upload.md5 and upload.addressed):
        return False
    if found.md5 and found.md5 != upload.md5:
        raise BundleRefused(
            f"{upload.name} is published with another content; its name must carry a hash of it "
            "(with 32 or more hex digits of its sha256 it is safe from other releases in this bucket)"
        )
    return True


def _check_no_collection(pool: Mapping[str, Listed], now: datetime) -> None:
    """During a garbage collection the listed files may be deleted; a later one sees this claim."""
    lock = pool.get(COLLECTION_MARK)
    if lock is not None and lock.created > now - MARK_LIFETIME:
        raise CloudError(503, "old files are being deleted from the bucket; this waits for the end", retry_after=2.0)
