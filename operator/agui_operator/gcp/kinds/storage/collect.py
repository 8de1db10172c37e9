"""Garbage collection of release folders and pool files that no release of any deployment needs.

What may go is decided in core/retention.py. Two writers are kept apart by order: a publication writes its claim and
then lists the pool; a garbage collection writes its mark into the pool and then lists the claims. One of the two sees
the other: the collection keeps what the claim needs, or the publication waits until the mark is deleted.
Source: https://cloud.google.com/storage/docs/json_api/v1/objects
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from agui_operator.core.errors import CloudError
from agui_operator.core.retention import Folder, Kept, Stored, collect_assets, due
from agui_operator.gcp.kinds.storage import objects
from agui_operator.gcp.kinds.storage.manifests import Manifests
from agui_operator.gcp.kinds.storage.objects import MARK, Listed, Upload
from agui_operator.gcp.kinds.storage.release_assets import CLAIMS, MARK_LIFETIME, NEVER
from agui_operator.gcp.kinds.storage.unpack import COLLECTION_MARK, MANIFEST, POOL
from agui_operator.gcp.transport.clients import Cloud

logger = logging.getLogger(__name__)
_RELEASES = "releases/"
_MOST = 200  # deletions in one run
_SECONDS = 30.0  # of one run: far less than the lifetime of a mark


def folders_of(listed: Mapping[str, Listed]) -> list[Folder]:
    """Release folders as listed; what their manifests say is not known yet."""
    files: dict[str, list[Stored]] = {}
    claims: dict[str, dict[str, Stored]] = {}
    for name, found in listed.items():
        frontend, slash, rest = name.removeprefix(_RELEASES).partition("/")
        if not slash:
            continue
        files.setdefault(frontend, [])
        if rest.startswith(CLAIMS):
            claims.setdefault(frontend, {})[rest.removeprefix(CLAIMS)] = _stored(found)
        else:
            files[frontend].append(_stored(found))
    return [Folder(frontend, tuple(have), claims.get(frontend, {})) for frontend, have in files.items()]


async def observe(cloud: Cloud, bucket: str) -> list[Folder]:
    """All release folders with their claims: one call for each 1000 objects."""
    return folders_of(await objects.list_objects(cloud, bucket, _RELEASES))


@dataclass(frozen=True, slots=True)
class Unneeded:
    """What the owner needs no more, by release folder since when; it is deleted `window` later."""

    owner: str
    since: Mapping[str, datetime]
    now: datetime
    window: timedelta


async def collect(
    cloud: Cloud, bucket: str, unneeded: Unneeded, kept: Callable[[], Kept | None], manifests: Manifests
) -> int:
    """Deletes what is due; returns how many objects were deleted. `kept` is called before each deletion; None, because
    a rollout started, ends the run. Raises CloudError."""
    count = 0
    owner, since, now, window = unneeded.owner, unneeded.since, unneeded.now, unneeded.window
    async with _marked(cloud, bucket, now) as alone:
        wanted = kept()
        if not alone or wanted is None:
            return 0
        folders = await _read_manifests(cloud, bucket, await observe(cloud, bucket), manifests)
        pool = await objects.list_objects(cloud, bucket, POOL)
        going = due(folders, owner, wanted, since, now - window)
        files = [_stored(found) for name, found in pool.items() if name != COLLECTION_MARK]
        ends = time.monotonic() + _SECONDS
        for stored in collect_assets(folders, files, owner, going, now, window)[:_MOST]:
            current = kept()
            if current is None or not current.frontends.isdisjoint(going) or time.monotonic() > ends:
                break
            if not await objects.delete(cloud, bucket, stored.name, stored.generation):
                break  # another process works here; the next run reads again
            count += 1
    if count:
        logger.info("deleted %d objects of unneeded releases from gs://%s", count, bucket)
    return count


@asynccontextmanager
async def _marked(cloud: Cloud, bucket: str, now: datetime) -> AsyncIterator[bool]:
    """The mark is in the pool for the time of the block; False if another process has its own there."""
    mark = Upload.of(COLLECTION_MARK, b"", "text/plain", NEVER)
    generation = await objects.create(cloud, bucket, mark)
    if generation is None:
        left = (await objects.list_objects(cloud, bucket, COLLECTION_MARK)).get(COLLECTION_MARK)
        if left is not None and left.created <= now - MARK_LIFETIME:
            await objects.delete(cloud, bucket, COLLECTION_MARK, left.generation)
            generation = await objects.create(cloud, bucket, mark)
    try:
        yield generation is not None
    finally:
        if generation is not None:
            await objects.delete(cloud, bucket, COLLECTION_MARK, generation)


async def _read_manifests(cloud: Cloud, bucket: str, folders: list[Folder], manifests: Manifests) -> list[Folder]:
    known: list[Folder] = []
    for folder in folders:
        needs: frozenset[str] | None = None
        if any(file.name == f"{_RELEASES}{folder.frontend}/{MANIFEST}" for file in folder.files):
            try:
                needs = await manifests.needs(cloud, bucket, folder.frontend)
            except (ValueError, CloudError) as error:
                logger.warning("manifest of release folder %s can't be read: %s", folder.frontend, error)
        known.append(Folder(folder.frontend, folder.files, folder.claims, needs))
    return known


def _stored(found: Listed) -> Stored:
    ours = all(found.metadata.get(key) == value for key, value in MARK.items())
    return Stored(found.name, found.generation, found.created, ours)
