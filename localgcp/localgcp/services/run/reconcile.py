"""Makes a service's desired state true: starts its new revision, moves traffic, and says so in its status.

Level-triggered: a pass works from the stored service alone, so that the same pass serves an update, a restart of
localgcp and a retry. Traffic moves only when every target is ready; otherwise it stays where it was. As on Cloud Run a
service's configuration and its routes succeed or fail on their own: traffic can go back while the newest revision is
broken.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import grpc

from localgcp.kit.call import Call
from localgcp.kit.errors import ApiError, aborted, failed_precondition, not_found
from localgcp.kit.interfaces import RUNTIME, ServiceRoute, StartFailed, Target, Workload
from localgcp.kit.operations import Operation
from localgcp.kit.store import ProtoTable, etag_of
from localgcp.services.run.attestation import check_image
from localgcp.services.run.names import project_and_location, short
from localgcp.services.run.revisions import RevisionStore, refused_for
from localgcp.services.run.traffic import targets, traffic_statuses
from localgcp.services.run.types import (
    FAILED,
    RECONCILING,
    SUCCEEDED,
    CommonReason,
    Revision,
    Service,
    condition,
    condition_of,
    set_conditions,
)

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

_log = logging.getLogger(__name__)
_NO_REVISION = (
    "Revision '{}' does not exist or is deleted. Update all traffic to route to currently available revisions."
)


class Reconciler:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.services: ProtoTable[Any] = cloud.store.protos("run.services", Service)
        self.revisions = RevisionStore(cloud)
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._started: set[str] = set()
        self._routed: dict[str, tuple[Target, ...]] = {}
        cloud.operations.resume("run.service", self._resume)
        cloud.operations.resume("run.service.delete", self._resume_drop)

    def save(self, service: Any) -> None:
        service.etag = f'"{etag_of(service.uid, self.services.version(service.name) + 1)}"'
        self.services.put(service.name, service)

    def begin(self, service: Any) -> None:
        """Marks a service as being reconciled; `observed_generation` stays behind until that has succeeded."""
        service.uri = self._uri(service)
        del service.urls[:]
        service.urls.append(service.uri)
        set_conditions(service, [condition("RoutesReady", RECONCILING), condition("ConfigurationsReady", RECONCILING)])
        service.terminal_condition.CopyFrom(condition("Ready", RECONCILING))

    async def reconcile(self, name: str, generation: int, call: Call, made: bool = False) -> Any:
        """One pass for a generation; returns the service. Raises ApiError with the reason why it is not ready, ABORTED
        when a newer generation took over. `made`: this generation created the service's latest revision, as far as the
        caller knows."""
        async with self._locks[name]:
            service = self._current(name, generation)
            fresh = made or not self._is_settled(service.latest_created_revision)
            configuration = await self._start_latest(service, call)
            routes = await self._prepare_targets(service)
            service = self._current(name, generation)  # nothing is awaited from here on
            if configuration is None:
                service.latest_ready_revision = service.latest_created_revision
            if routes is None:
                self._move_traffic(service, call)
            self._finish(service, configuration, routes)
            if routes is not None or (configuration is not None and fresh):
                raise configuration or routes or aborted("")
            return service

    async def restore(self) -> None:
        """After a restart: URLs follow the present port, and what had traffic is routed again. Its instances start
        with their first request, as after a scale to zero, or at once where min_instances asks for it."""
        for name, service in list(self.services.items()):
            if service.uri and service.uri != self._uri(service):
                service.uri = self._uri(service)
                service.urls[:] = [service.uri]
                for status in service.traffic_statuses:
                    status.uri = self._uri(service, status.tag) if status.tag else ""
                self.save(service)
            await self._restore(self.services.get(name))

    async def drop(self, name: str, call: Call) -> Any:
        """Ends a service: its routes, its instances, its revisions. Returns what it was."""
        async with self._locks[name]:
            service = self.services.get(name)
            if service is None:
                raise not_found(f"Resource '{short(name)}' of kind 'SERVICE' does not exist.")
            project, location = project_and_location(name)
            self._cloud.part(RUNTIME).unroute(project, location, short(name))
            revisions = self.revisions.of(name)
            await asyncio.gather(
                *(self._cloud.part(RUNTIME).stop(Workload.of(revision.name)) for revision in revisions)
            )
            for revision in revisions:
                self._started.discard(revision.name)
                self.revisions.remove(revision.name)
            self._routed.pop(name, None)
            self.services.delete(name)
            call.effect("delete", name)
            return service

    async def drop_all(self) -> None:
        for name, _ in list(self.services.items()):
            await self.drop(name, self._own_call("reset"))

    async def _start_latest(self, service: Any, call: Call) -> ApiError | None:
        revision = self.revisions.get(service.latest_created_revision)
        if revision is None:
            return not_found(f"Revision '{short(service.latest_created_revision)}' not found.")
        state = condition_of(revision, "Ready").state
        if state == FAILED:
            return failed_precondition(condition_of(revision, "Ready").message)
        if state == SUCCEEDED:
            return None
        try:
            spec = await self.revisions.spec(revision)
            self.revisions.save(revision)
            check_image(self._cloud.settings, service.binary_authorization, spec.image)
            await self._cloud.part(RUNTIME).start(spec)
        except (StartFailed, ApiError) as error:
            code = error.code if isinstance(error, ApiError) else grpc.StatusCode.FAILED_PRECONDITION
            text = error.message if isinstance(error, ApiError) else str(error)
            message = f"Revision '{short(revision.name)}' is not ready and cannot serve traffic. {text}"
            self.revisions.failed(revision, message, refused_for(error) if isinstance(error, ApiError) else None)
            call.effect("fail", revision.name, text)
            return ApiError(code, message, error.reason if isinstance(error, ApiError) else "")
        self._started.add(revision.name)
        self.revisions.ready(revision)
        call.effect("ready", revision.name)
        return None

    async def _prepare_targets(self, service: Any) -> ApiError | None:
        """Sees to it that every revision in the traffic list can serve."""
        latest = service.latest_ready_revision
        if self._is_ready(service.latest_created_revision):
            latest = service.latest_created_revision
        table = targets(service.traffic, short(latest))
        for target in table:
            revision = self.revisions.get(f"{service.name}/revisions/{target.revision}")
            if not target.revision:
                return failed_precondition(condition_of(self._latest(service), "Ready").message)
            if revision is None:
                return ApiError(grpc.StatusCode.INTERNAL, _NO_REVISION.format(target.revision))
            if not self._is_ready(revision.name):
                return failed_precondition(condition_of(revision, "Ready").message or "The revision is not ready.")
            try:
                await self._ensure_started(revision)
            except (StartFailed, ApiError) as error:
                return failed_precondition(
                    f"Revision '{target.revision}' is not ready and cannot serve traffic. {error}"
                )
        return None

    def _move_traffic(self, service: Any, call: Call) -> None:
        moved = traffic_statuses(service.traffic, lambda tag: self._uri(service, tag))
        table = targets(service.traffic, short(service.latest_ready_revision))
        if list(service.traffic_statuses) != moved or self._routed.get(service.name) != table:
            call.effect("route", service.name, ", ".join(f"{t.revision}={t.percent}" for t in table))
        del service.traffic_statuses[:]
        service.traffic_statuses.extend(moved)
        self._route(service)

    def _latest(self, service: Any) -> Any:
        return self.revisions.get(service.latest_created_revision) or Revision()

    def _is_ready(self, revision: str) -> bool:
        found = self.revisions.get(revision)
        return found is not None and condition_of(found, "Ready").state == SUCCEEDED

    def _is_settled(self, revision: str) -> bool:
        found = self.revisions.get(revision)
        return found is not None and not found.reconciling

    async def _ensure_started(self, revision: Any) -> None:
        """A revision from an earlier run of localgcp has no instances yet."""
        if revision.name not in self._started:
            await self._cloud.part(RUNTIME).start(await self.revisions.spec(revision))
            self._started.add(revision.name)

    def _route(self, service: Any) -> None:
        project, location = project_and_location(service.name)
        table = targets(service.traffic_statuses, short(service.latest_ready_revision))
        route = ServiceRoute(project, location, short(service.name), self._host(service), table)
        self._routed[service.name] = table
        delay = self._cloud.settings.traffic_propagation_seconds
        if delay > 0:
            asyncio.get_running_loop().call_later(delay, self._cloud.part(RUNTIME).route, route)
        else:
            self._cloud.part(RUNTIME).route(route)
        self.revisions.set_active(service.name, {target.revision for target in table})

    def _finish(self, service: Any, configuration: ApiError | None, routes: ApiError | None) -> None:
        service.reconciling = False
        if configuration is None and routes is None:
            service.observed_generation = service.generation
        # A failed generation is never observed: the field keeps the state of the last one that served (run_v2.Service).
        latest = condition_of(self._latest(service), "Ready")
        conditions = [
            _outcome("RoutesReady", routes, latest),
            _outcome("ConfigurationsReady", configuration, latest),
        ]
        set_conditions(service, conditions)
        service.terminal_condition.CopyFrom(_outcome("Ready", configuration or routes, latest))
        self.save(service)

    def _current(self, name: str, generation: int) -> Any:
        service = self.services.get(name)
        if service is None or service.HasField("delete_time"):
            raise aborted(f"Service '{short(name)}' was deleted meanwhile.")
        if generation and service.generation != generation:
            raise aborted(
                f"Service '{short(name)}' was updated meanwhile: generation {generation} gave way to "
                f"{service.generation}."
            )
        return service

    async def _resume(self, operation: Operation) -> Any:
        """The same pass for the generation that the operation is about. Where that generation made a revision, its
        failure is the operation's failure, also when an earlier run has noticed it."""
        began = operation.about(Service())
        revision = self.revisions.get(began.latest_created_revision)
        made = revision is not None and revision.create_time.ToNanoseconds() >= began.update_time.ToNanoseconds()
        return await self.reconcile(operation.target, began.generation, self._own_call("UpdateService"), made)

    async def _resume_drop(self, operation: Operation) -> Any:
        if self.services.get(operation.target) is None:
            return operation.about(Service())
        return await self.drop(operation.target, self._own_call("DeleteService"))

    async def _restore(self, service: Any) -> None:
        if not service.traffic_statuses or service.HasField("delete_time"):
            return
        for target in targets(service.traffic_statuses, short(service.latest_ready_revision)):
            revision = self.revisions.get(f"{service.name}/revisions/{target.revision}")
            if revision is None or revision.name in self._started:
                continue
            try:
                self._cloud.part(RUNTIME).register(await self.revisions.spec(revision))
                self._started.add(revision.name)
            except ApiError as error:
                _log.warning("revision %s cannot start again: %s", target.revision, error)
        self._route(service)

    def _host(self, service: Any) -> str:
        project, location = project_and_location(service.name)
        return self._cloud.settings.run_host(short(service.name), project, location)

    def _uri(self, service: Any, tag: str = "") -> str:
        prefix = f"{tag}---" if tag else ""
        return f"http://{prefix}{self._host(service)}:{self._cloud.settings.edge_port}"

    def _own_call(self, method: str) -> Call:
        return Call("google.cloud.run.v2.Services", method, {}, self._cloud.ledger, "localgcp")


def _outcome(type_: str, failure: ApiError | None, latest: Any) -> Any:
    """A condition of the service. It has the reason of the newest revision's where it is that one's failure."""
    if failure is None:
        return condition(type_, SUCCEEDED)
    if latest.state == FAILED and latest.message == failure.message:
        field = latest.WhichOneof("reasons")
        return condition(type_, FAILED, failure.message, **{field: getattr(latest, field)})
    return condition(type_, FAILED, failure.message, reason=CommonReason.REVISION_FAILED)
