"""What a deployment owns in the cloud: listed by owner label, and deleted one by one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from agui_operator.core.actions import AlertDeleted, ExecutionCancelled, JobDeleted, ServiceDeleted
from agui_operator.core.deletion import Kind
from agui_operator.core.errors import CloudError, NotOwned
from agui_operator.core.migrating import is_running
from agui_operator.engine.deployment.scope import Scope
from agui_operator.gcp.kinds.edge import url_map
from agui_operator.gcp.kinds.monitoring import alert_policy
from agui_operator.gcp.kinds.run import job as run_job
from agui_operator.gcp.kinds.run import service as run_service
from agui_operator.gcp.transport import operations
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.outcome import Outcome

logger = logging.getLogger(__name__)
_WAIT = 20.0  # seconds for one operation to end


class Belongings:
    """One per process."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def listed(self, scope: Scope, kind: Kind) -> dict[str, Any]:
        """What carries the deployment's owner label, by name."""
        cloud, names = self._cloud, scope.names
        match kind:
            case Kind.URL_MAP_RULES:
                return dict.fromkeys(await self._url_maps(scope))
            case Kind.ALERT_POLICY:
                return {view.name: view for view in await alert_policy.observe(cloud, names)}
            case Kind.SERVICE:
                return {view.name: view for view in await run_service.owned(cloud, names)}
            case Kind.JOB:
                return {view.name: view for view in await run_job.owned(cloud, names)}
            case Kind.EXECUTION:
                return {view.name: view for view in await run_job.owned(cloud, names) if is_running(view)}

    async def _url_maps(self, scope: Scope) -> list[str]:
        """An environment without an edge may be in a project without Compute Engine, which answers 403."""
        try:
            return await url_map.owned(self._cloud, scope.names)
        except CloudError as error:
            if scope.place.edge is None and error.code in (403, 404):
                return []
            raise

    async def remove(self, scope: Scope, things: Sequence[tuple[Kind, str, Any]]) -> None:
        """Deletes what was listed, by kind, name and view: starts all deletions, then waits for those that take longer.
        Raises CloudError, TimeoutError."""
        outcomes = [await self._removed(scope, kind, name, view) for kind, name, view in things]
        for outcome in outcomes:
            if outcome.operation is None:
                continue
            result = await operations.wait(self._cloud, outcome.operation, _WAIT)
            if result.error is not None and result.error.code != 404:
                raise result.error
            if not result.done:
                raise TimeoutError(f"{outcome.operation} did not end within {_WAIT:g} s")

    async def _removed(self, scope: Scope, kind: Kind, name: str, view: Any) -> Outcome:
        """Deletes one thing; what is gone, or another's by now, needs no deletion."""
        cloud, names = self._cloud, scope.names
        try:
            match kind:
                case Kind.URL_MAP_RULES:
                    outcome = await url_map.remove(cloud, names, name)
                case Kind.ALERT_POLICY:
                    outcome = await alert_policy.apply(cloud, names, AlertDeleted(name))
                case Kind.SERVICE:
                    outcome = await run_service.apply(cloud, names, ServiceDeleted(name), view)
                case Kind.EXECUTION:
                    action = ExecutionCancelled(name, view.execution.name)
                    outcome = await run_job.apply(cloud, names, action, view)
                case Kind.JOB:
                    outcome = await run_job.apply(cloud, names, JobDeleted(name), view)
        except NotOwned as exc:
            logger.info("left alone: %s", exc)
            return Outcome()
        except CloudError as exc:
            if exc.code != 404:
                raise
            return Outcome()
        logger.info("%s %s %s", "cancelled" if kind is Kind.EXECUTION else "deleted", kind, name)
        return outcome
