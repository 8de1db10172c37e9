"""Carries out actions: each goes to the kind that it belongs to, in order, and stops at the first fault.

A long operation is started, not awaited: the object is woken when it ends. A roll-back's actions go out together,
because traffic and pointer belong to one unit.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from agui_operator.core.actions import (
    Action,
    AlertCreated,
    AlertDeleted,
    AlertUpdated,
    AssetsPublished,
    BackupTaken,
    ExecutionCancelled,
    ExecutionStarted,
    JobDefined,
    JobDeleted,
    PointerSet,
    RevisionStaged,
    ServiceDeleted,
    TrafficSplit,
    describe,
)
from agui_operator.core.errors import CloudError, UserError, reason_of, told
from agui_operator.core.rollout import Look
from agui_operator.core.snapshot import AlertView, BackupView, ExecutionView, JobView, LookFault, ServiceView
from agui_operator.engine.cluster.wakeups import Wakeups
from agui_operator.engine.deployment.cache import ObjectCache
from agui_operator.engine.deployment.scope import Scope
from agui_operator.engine.deployment.views import ALERTS, ASSETS, BACKUP, POINTER, SERVICE, Views, of_job
from agui_operator.gcp.kinds.edge import url_map
from agui_operator.gcp.kinds.monitoring import alert_policy
from agui_operator.gcp.kinds.run import job as run_job
from agui_operator.gcp.kinds.run import service as run_service
from agui_operator.gcp.kinds.sql import backup as sql_backup
from agui_operator.gcp.kinds.storage import release_assets
from agui_operator.gcp.transport import operations
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.outcome import Outcome
from agui_operator.gcp.transport.quota import rollback_lane

logger = logging.getLogger(__name__)
_POLICY_RETRY = 15.0  # seconds until alert policies that could not be written are tried again
_WAIT = 30.0  # seconds per WaitOperation call


class Executor:
    """Applies actions of one object at a time and keeps its views true."""

    def __init__(self, cloud: Cloud, wakeups: Wakeups) -> None:
        self._cloud, self._wakeups = cloud, wakeups

    async def execute(
        self,
        scope: Scope,
        cache: ObjectCache,
        actions: Sequence[Action],
        changed: Callable[[], None] = lambda: None,
        *,
        urgent: bool,
    ) -> None:
        """Raises the first fault; everything before it has happened, everything after it has not been tried. `urgent`:
        a roll-back, whose actions go out together and may use the reserved quota. Alert policies follow beside the
        loop, so that nothing waits for Cloud Monitoring; `changed` is called when they are done."""
        policies = [action for action in actions if isinstance(action, AlertCreated | AlertUpdated | AlertDeleted)]
        others = [action for action in actions if action not in policies]
        try:
            if urgent:
                await self._together(scope, cache, others)
            else:
                for action in others:
                    await self._apply(scope, cache, action)
        finally:
            if policies:
                cache.looking.forget(Look.ALERTS)
                cache.operations.start(ALERTS, self._apply_policies(scope, cache, policies, changed))

    async def _together(self, scope: Scope, cache: ObjectCache, actions: Sequence[Action]) -> None:
        with rollback_lane():
            results = await asyncio.gather(
                *(self._apply(scope, cache, action) for action in actions), return_exceptions=True
            )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _apply_policies(
        self, scope: Scope, cache: ObjectCache, actions: Sequence[Action], changed: Callable[[], None]
    ) -> None:
        """A policy that can't be written is a look that failed: the next one says what is missing."""
        try:
            for action in actions:
                await self._apply(scope, cache, action)
        except Exception as exc:
            text = told(exc, scope.disclosure)
            logger.warning("alert policies could not be changed: %s", text)
            cache.views.mark_stale(ALERTS)
            cache.look_failed(Look.ALERTS, LookFault(reason_of(exc), text), _POLICY_RETRY)
        finally:
            changed()
            cache.operations.leave(ALERTS)
            self._wakeups.wake(cache.uid)

    async def _apply(self, scope: Scope, cache: ObjectCache, action: Action) -> None:
        began = time.monotonic()
        view = view_of(action)
        cache.views.mark_stale(view)
        if view == POINTER:
            cache.looking.forget(Look.ROUTING)
        outcome = await self._dispatch(scope, cache, action)
        milliseconds = (time.monotonic() - began) * 1000
        logger.info(describe(action), extra={"action": type(action).__name__, "ms": round(milliseconds, 1)})
        self._take(cache.views, action, outcome.view)
        if outcome.operation is not None:
            cache.operations.start(view, self._await_operation(scope, cache, view, action, outcome.operation))
        else:
            cache.views.mark_fresh(view)

    async def _dispatch(self, scope: Scope, cache: ObjectCache, action: Action) -> Outcome:
        cloud, names, place, views = self._cloud, scope.names, scope.place, cache.views
        match action:
            case RevisionStaged() | TrafficSplit() | ServiceDeleted():
                return await run_service.apply(cloud, names, action, views.service, scope.attested_by)
            case JobDefined() | JobDeleted():
                job = action.template.job if isinstance(action, JobDefined) else action.job
                return await run_job.apply(cloud, names, action, views.jobs.get(job), scope.attested_by)
            case ExecutionStarted() | ExecutionCancelled():
                return await run_job.apply(cloud, names, action, views.jobs.get(action.job))
            case BackupTaken():
                return await sql_backup.apply(cloud, names, action)
            case AssetsPublished():
                return await self._publish(scope, cache, action)
            case PointerSet():
                return await url_map.apply(cloud, names, place, action)
            case AlertCreated() | AlertUpdated() | AlertDeleted():
                return await alert_policy.apply(cloud, names, action)

    async def _publish(self, scope: Scope, cache: ObjectCache, action: AssetsPublished) -> Outcome:
        """Why files of the stable page could not be restored is told until they are."""
        names = scope.names
        cache.unpublished = None
        try:
            return await release_assets.apply(self._cloud, action, names.owner, _log_progress, tenant=names.namespace)
        except (UserError, CloudError) as error:
            cache.unpublished = told(error, scope.disclosure) if action.restores else None
            raise

    async def _await_operation(
        self, scope: Scope, cache: ObjectCache, view: str, action: Action, operation: str
    ) -> None:
        """Waits for a long operation; what it answers becomes the fresh view, an error makes the next turn look."""
        try:
            while not (result := await operations.wait(self._cloud, operation, _WAIT)).done:
                pass
            if result.error is None and result.view is not None:
                self._take(cache.views, action, result.view)
                cache.views.mark_fresh(view)
            elif result.error is None and view == BACKUP:
                cache.views.put_backup(BackupView(operation, True))
                cache.views.mark_fresh(BACKUP)
            elif result.error is None and view == POINTER:
                cache.views.mark_fresh(POINTER)
            if result.error is not None:
                text = told(result.error, scope.disclosure)
                logger.warning("operation ended with an error: %s", text, extra={"operation": operation})
        except Exception as exc:
            text = told(exc, scope.disclosure)
            logger.warning("waiting for an operation failed, its result will be looked up: %s", text)
            await asyncio.sleep(1)
        finally:
            cache.operations.leave(view)
            self._wakeups.wake(cache.uid)

    def _take(self, views: Views, action: Action, seen: object) -> None:
        """Keeps a view that an answer brought."""
        match action:
            case RevisionStaged() | TrafficSplit() | ServiceDeleted():
                if isinstance(seen, ServiceView) or isinstance(action, ServiceDeleted):
                    views.put_service(seen if isinstance(seen, ServiceView) else None)
            case JobDefined() | ExecutionStarted():
                self._take_job(views, action, seen)
            case JobDeleted():
                views.drop_job(action.job)
            case PointerSet():
                views.put_routing(action.pointer, action.candidate)
            case AssetsPublished():
                views.put_assets(True)
            case ExecutionCancelled():
                pass  # the jobs are listed again
            case BackupTaken():
                views.put_backup(BackupView(action.description, None))  # running, until its operation says more
            case AlertCreated() | AlertUpdated() | AlertDeleted():
                self._take_alert(views, action, seen)

    def _take_alert(self, views: Views, action: AlertCreated | AlertUpdated | AlertDeleted, seen: object) -> None:
        changed = "" if isinstance(action, AlertCreated) else action.name
        rest = tuple(view for view in views.alerts if view.name != changed)
        views.put_alerts((*rest, seen) if isinstance(seen, AlertView) else rest)

    def _take_job(self, views: Views, action: JobDefined | ExecutionStarted, seen: object) -> None:
        job = action.template.job if isinstance(action, JobDefined) else action.job
        have = views.jobs.get(job)
        if isinstance(seen, JobView):
            views.put_job(job, seen)
        elif isinstance(seen, ExecutionView):
            image = have.image if have else ""
            views.put_job(job, JobView(job, image, True, seen, have.owner if have else ""))
        elif isinstance(action, JobDefined) and have is None:
            views.put_job(job, JobView(job, action.template.container.image, False))


def view_of(action: Action) -> str:
    """Which view an action changes."""
    match action:
        case RevisionStaged() | TrafficSplit() | ServiceDeleted():
            return SERVICE
        case JobDefined():
            return of_job(action.template.job)
        case ExecutionStarted() | ExecutionCancelled() | JobDeleted():
            return of_job(action.job)
        case BackupTaken():
            return BACKUP
        case AssetsPublished():
            return ASSETS
        case PointerSet():
            return POINTER
        case AlertCreated() | AlertUpdated() | AlertDeleted():
            return ALERTS


def _log_progress(done: int, total: int) -> None:
    if done == total or done % 20 == 0:
        logger.info("assets published: %d of %d files", done, total)
