"""Garbage collection of Cloud Run revisions and jobs: those of a deployment, and their deletion.

Source: https://cloud.google.com/run/docs/reference/rpc/google.cloud.run.v2
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from agui_operator.core.errors import CloudError, NotOwned
from agui_operator.core.names import OWNER_LABEL, RELEASE_LABEL, Names
from agui_operator.core.retention import Made
from agui_operator.gcp.kinds.run import service as run_service
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.paging import pages
from agui_operator.gcp.transport.run_views import short

logger = logging.getLogger(__name__)
_PAGE = 500


async def revisions(cloud: Cloud, names: Names) -> tuple[Made, ...]:
    """Revisions that the operator made for the deployment's service, which may have been taken over since: a revision
    never changes its labels. None if the service is not the deployment's. One call, and one for each 500 revisions."""
    try:
        if await run_service.observe(cloud, names) is None:
            return ()
    except NotOwned as error:
        logger.warning("nothing is deleted: %s", error)
        return ()
    return await _revisions(cloud, names, _is_released)


async def attempted(cloud: Cloud, names: Names) -> tuple[Made, ...]:
    """Revisions that were made for this deployment. One call for each 500."""
    return await _revisions(cloud, names, lambda labels: _is_released(labels) and names.owns(labels[OWNER_LABEL]))


async def _revisions(cloud: Cloud, names: Names, wanted: Callable[[Mapping[str, str]], bool]) -> tuple[Made, ...]:
    from google.cloud import run_v2

    found: list[Made] = []
    request = run_v2.ListRevisionsRequest(parent=names.service_path, page_size=_PAGE)
    async for page in pages(cloud, "Revisions.ListRevisions", request, names.service_path):
        found += [_made(r) for r in page.revisions if wanted(r.labels) and not r.delete_time]
    return tuple(found)


class Jobs:
    """Jobs by project, region and owner. Cloud Run lists all jobs of a region only, so one list serves every
    deployment there."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._found: dict[str, dict[str, list[Made]]] = {}
        self._at: dict[str, float] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def of(self, names: Names, age: float) -> Sequence[Made]:
        """Of a list that is at most `age` seconds old. Raises CloudError."""
        async with self._locks[names.parent]:
            if time.monotonic() - self._at.get(names.parent, float("-inf")) > age:
                self._at[names.parent], self._found[names.parent] = time.monotonic(), await self._list(names.parent)
        found = self._found[names.parent]
        return [job for owner in names.owners for job in found.get(owner, ())]

    async def _list(self, parent: str) -> dict[str, list[Made]]:
        from google.cloud import run_v2

        found: defaultdict[str, list[Made]] = defaultdict(list)
        request = run_v2.ListJobsRequest(parent=parent, page_size=_PAGE)
        async for page in pages(self._cloud, "Jobs.ListJobs", request, parent):
            for job in page.jobs:
                if job.labels.get(OWNER_LABEL) and not job.delete_time:
                    found[job.labels[OWNER_LABEL]].append(_made(job, busy=_runs(job)))
        return dict(found)


async def delete_revision(cloud: Cloud, names: Names, revision: Made) -> bool:
    """Requests the deletion; the etag refuses it if the revision changed since it was listed. False: it stays."""
    from google.cloud import run_v2

    path = f"{names.service_path}/revisions/{revision.name}"
    request = run_v2.DeleteRevisionRequest(name=path, etag=revision.etag)
    return await _deleted(cloud, "Revisions.DeleteRevision", request, path)


async def delete_job(cloud: Cloud, names: Names, job: Made) -> bool:
    """Requests the deletion of a job with its executions. False: it stays."""
    from google.cloud import run_v2

    path = names.job_path(job.name)
    return await _deleted(cloud, "Jobs.DeleteJob", run_v2.DeleteJobRequest(name=path, etag=job.etag), path)


async def _deleted(cloud: Cloud, method: str, request: Any, path: str) -> bool:
    try:
        await cloud.rpc(method, request, path, write=True)
    except CloudError as error:
        if error.code in (404, 409) or error.status == "FAILED_PRECONDITION":
            return False
        raise
    return True


def _made(found: Any, *, busy: bool = False) -> Made:
    created = found.create_time
    at = datetime.fromtimestamp(created.timestamp(), UTC) if created else datetime.now(UTC)
    return Made(short(found.name), str(found.labels.get(RELEASE_LABEL, "")), at, str(found.etag), busy)


def _is_released(labels: Mapping[str, str]) -> bool:
    return bool(labels.get(OWNER_LABEL)) and bool(labels.get(RELEASE_LABEL))


def _runs(job: Any) -> bool:
    reference = job.latest_created_execution
    return bool(reference.name) and not reference.completion_time
