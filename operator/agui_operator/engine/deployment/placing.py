"""Finds the service of a deployment before anything is done for a release, and takes over what it may.

Once per deployment: the answer is remembered as the place of the release. Taking over is idempotent; the service gets
its new label last, so that a crash in between is found again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from dataclasses import replace

from agui_operator.core.deletion import was_released
from agui_operator.core.errors import CloudError, NotOwned
from agui_operator.core.names import Names
from agui_operator.core.ownership import ADOPT, Claims, Refused, candidates, needs_settling, settle
from agui_operator.core.place import PlaceRecord
from agui_operator.core.rollout import Phase
from agui_operator.engine.deployment.scope import Directory, Scope
from agui_operator.gcp.kinds.edge import url_map
from agui_operator.gcp.kinds.monitoring import alert_policy
from agui_operator.gcp.kinds.run import job as run_job
from agui_operator.gcp.kinds.run import service as run_service
from agui_operator.gcp.kinds.storage import release_assets
from agui_operator.gcp.transport.clients import Cloud

logger = logging.getLogger(__name__)


class Placer:
    """One per process."""

    def __init__(self, cloud: Cloud, directory: Directory) -> None:
        self._cloud, self._directory = cloud, directory

    def is_needed(self, scope: Scope) -> bool:
        return scope.location is not None and needs_settling(scope.memory, scope.location.names)

    async def settle(self, scope: Scope) -> PlaceRecord:
        """The place of the release. Raises NotOwned when its name is taken, CloudError."""
        names, memory = scope.names, scope.memory
        wanted = candidates(memory, names, was_released(memory))
        found: dict[str, str] = {}
        for service in wanted:
            view = await run_service.of_anybody(self._cloud, replace(names, kept=service))
            if view is not None:
                found[service] = view.owner
                if names.owns(view.owner):
                    break
        adopt = scope.annotations.get(ADOPT, "").lower() == "true"
        claims = Claims(adopt, self._directory.policies(), self._directory.holder)
        verdict = settle(names, wanted, found, claims)
        if isinstance(verdict, Refused):
            raise NotOwned(verdict.message)
        names = replace(names, kept=verdict.service)
        owner = verdict.owner
        if verdict.take_over is not None:
            if verdict.take_over == names.uid and memory.phase is not Phase.RESOLVING:
                owner = names.uid  # of an earlier version: it still counts, and is replaced when a rollout starts
            else:
                await self._take_over(names, scope, verdict.take_over)
        if memory.place is None and memory.phase is Phase.RESOLVING and scope.place.edge is not None:
            await url_map.check(self._cloud, names, scope.place)
        environment = scope.parsed.environment_name or ""
        record = memory.place or PlaceRecord(environment, verdict.service, owner, scope.place)
        return replace(record, service=verdict.service, owner=owner)

    async def _take_over(self, names: Names, scope: Scope, label: str) -> None:
        cloud, place = self._cloud, scope.place
        if label:
            if place.edge is not None:
                await url_map.take_over(cloud, names, place, label)
            await _as_far_as_allowed("alert policies", alert_policy.take_over(cloud, names, label))
            await _as_far_as_allowed("jobs", run_job.take_over(cloud, names, label))
            if place.assets_bucket:
                await release_assets.take_over(cloud, place.assets_bucket, label, names.owner)
        await run_service.take_over(cloud, names, label)
        logger.info("service %s was taken over from owner %s", names.service, label or "none")


async def _as_far_as_allowed(what: str, work: Awaitable[None]) -> None:
    """A release must not wait for parts that it may not have: an API may be disabled in the project, or a right that
    nothing else needs may be missing."""
    try:
        await work
    except CloudError as error:
        if error.code not in (403, 404):
            raise
        logger.warning("%s of the earlier owner keep its label: %s", what, error)
