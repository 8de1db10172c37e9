"""Attempts are found again by what the cloud has of them: revisions and migration jobs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from google.cloud import run_v2

from agui_operator.core.names import OWNER_LABEL, RELEASE_LABEL
from agui_operator.engine.deployment import attempts
from agui_operator.engine.deployment.cache import ObjectCache
from agui_operator.engine.deployment.scope import Scope
from agui_operator.engine.deployment.views import LEFT_RUNNING
from agui_operator.gcp.transport.clients import Cloud
from world_model import NAMES

OURS = {OWNER_LABEL: NAMES.owner}


class Lists:
    """Answers the two lists of a region that has a revision of `r1` and migration jobs of `r2` and of another."""

    def __init__(self, *, running: bool) -> None:
        status = 4 if running else 1
        self.asked = list[str]()
        self.jobs = [
            run_v2.Job(
                name=f"a/{NAMES.migration_job('r2-2')}",
                labels=OURS,
                latest_created_execution={"name": "x", "completion_status": status},
            ),
            run_v2.Job(name=f"a/{NAMES.check_job('r3', 'smoke')}", labels=OURS),
            run_v2.Job(name="a/other-m-r9", labels={OWNER_LABEL: "other"}),
        ]

    async def rpc(self, method: str, request: Any, resource: str) -> Any:
        self.asked.append(method)
        if method == "Revisions.ListRevisions":
            labels = {**OURS, RELEASE_LABEL: "r1"}
            return run_v2.ListRevisionsResponse(revisions=[run_v2.Revision(name="a/x-r1", labels=labels)])
        return run_v2.ListJobsResponse(jobs=self.jobs)


@pytest.mark.parametrize("running", [False, True])
async def test_revisions_and_migration_jobs_tell_of_attempts(running: bool) -> None:
    cloud, cache = Lists(running=running), ObjectCache("uid")
    scope = cast(Scope, SimpleNamespace(names=NAMES))
    assert await attempts.look(cast(Cloud, cloud), scope, cache) == ("r1", "r2-2")
    assert cloud.asked == ["Revisions.ListRevisions", "Jobs.ListJobs"]
    assert (LEFT_RUNNING in cache.views.fresh) == (not running), "asked for again only where a migration runs"
