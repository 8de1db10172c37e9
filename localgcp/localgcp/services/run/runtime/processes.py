"""Cloud Run's runtime on plain processes: revisions as pools of instances, jobs as tasks, traffic as a table.

A container engine would be a second class with the same interfaces (`kit.interfaces.Runtime` and
`edge.interfaces.DataPlane`); `create_runtime` is where it would be chosen.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from localgcp.edge.traffic import Routes, TrafficTable
from localgcp.kit.interfaces import Output, RevisionProcess, ServiceRoute, StartFailed, TaskResult, Workload
from localgcp.services.run.runtime.instances import Host, log_folder, outputs
from localgcp.services.run.runtime.pool import RevisionPool
from localgcp.services.run.runtime.tasks import Tasks
from localgcp.services.run.runtime.tether import Tether

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

_LOG = logging.getLogger(__name__)


class ProcessRuntime:
    """Implements `interfaces.Runtime`. `idle_seconds`: until an instance of a revision with traffic or a tag is ended
    when no request comes; `retired_idle_seconds`: the same for the others. `max_instances` caps every revision."""

    def __init__(
        self,
        state_dir: Path,
        *,
        idle_seconds: float = 60.0,
        retired_idle_seconds: float = 30.0,
        max_instances: int = 4,
    ) -> None:
        tether = Tether(state_dir / "processes")
        if tether.leftovers:
            _LOG.warning("killed %d processes that an earlier run left behind", len(tether.leftovers))
        self.routes = Routes()
        self._host = Host(tether, state_dir / "logs", state_dir)
        self._tasks = Tasks(self._host)
        self._pools: dict[Workload, RevisionPool] = {}
        self._starting: dict[Workload, asyncio.Task[None]] = {}
        self._idle, self._retired_idle = idle_seconds, min(idle_seconds, retired_idle_seconds)
        self._max_instances = max_instances
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self, spec: RevisionProcess) -> None:
        """See `interfaces.Runtime.start`. Two concurrent calls start one set of instances and get the same outcome."""
        key = spec.workload
        if key in self._starting:
            await asyncio.shield(self._starting[key])
        if key in self._pools:
            return
        pool = self._register(spec)
        starting = asyncio.ensure_future(pool.start())
        self._starting[key] = starting
        try:
            await asyncio.shield(starting)
        except StartFailed:
            self._pools.pop(key, None)
            raise
        finally:
            pool.set_serving(self.routes.serves(key))
            if starting.done():
                self._starting.pop(key, None)
            else:  # our caller gave up, not the start
                starting.add_done_callback(lambda done: self._start_ended(key, done))

    def register(self, spec: RevisionProcess) -> None:
        """Makes a revision known without starting it: its first request, or min_instances, will. For revisions that
        were ready before a restart of localgcp."""
        if spec.workload not in self._pools:
            self._register(spec).set_serving(self.routes.serves(spec.workload))

    async def stop(self, revision: Workload, grace: float = 10) -> None:
        pool = self._pools.pop(revision, None)
        if pool is not None:
            await pool.stop(grace)

    def route(self, route: ServiceRoute) -> None:
        before = self.routes.by_name(route.project, route.location, route.service)
        self.routes.put(route)
        self._tell_pools(before, self.routes.by_name(route.project, route.location, route.service))

    def unroute(self, project: str, location: str, service: str) -> None:
        before = self.routes.by_name(project, location, service)
        self.routes.drop(project, location, service)
        self._tell_pools(before)

    async def run_task(self, spec: RevisionProcess, env: Mapping[str, str], timeout: float) -> TaskResult:
        return await self._tasks.run(spec, env, timeout)

    async def cancel_tasks(self, execution: Workload) -> None:
        await self._tasks.cancel(execution)

    def describe(self) -> Sequence[Mapping[str, object]]:
        return [
            {
                "project": key.project,
                "location": key.location,
                "revision": key.name,
                "instance": instance.id,
                "state": str(instance.state),
                "pid": instance.child.pid,
                "port": instance.port,
                "since": instance.since,
                "requests": instance.requests,
                "in_flight": instance.in_flight,
                "log": str(instance.log),
            }
            for key, pool in self._pools.items()
            for instance in pool.instances
        ]

    def logs(self, owner: Workload) -> Sequence[Path]:
        """Log files of a revision or an execution, oldest first."""
        return sorted(log_folder(self._host.logs, owner).glob("*.log"), key=lambda path: path.stat().st_mtime)

    def outputs(self, project: str) -> Sequence[Output]:
        """See `interfaces.ContainerLogs`."""
        return list(outputs(self._host.logs, project))

    def pool_of(self, revision: Workload) -> RevisionPool | None:
        """For the proxy: where to get an instance of a revision."""
        return self._pools.get(revision)

    async def close(self, grace: float = 10) -> None:
        """Ends everything that runs: SIGTERM, SIGKILL after `grace` seconds."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        stopping = [self.stop(revision, grace) for revision in list(self._pools)]
        await asyncio.gather(*stopping, self._tasks.cancel_all(grace))
        await asyncio.gather(*self._starting.values(), return_exceptions=True)

    async def reset(self) -> None:
        """Ends all instances and forgets all routes, while the edge keeps running."""
        self.routes.clear()
        await self.close(grace=1)

    def _register(self, spec: RevisionProcess) -> RevisionPool:
        if self._sweeper is None:
            self._sweeper = asyncio.ensure_future(self._sweep())
        pool = RevisionPool(spec, self._host, self._max_instances)
        self._pools[spec.workload] = pool
        return pool

    def _start_ended(self, revision: Workload, done: asyncio.Task[None]) -> None:
        self._starting.pop(revision, None)
        if not done.cancelled() and done.exception() is not None:
            self._pools.pop(revision, None)

    def _tell_pools(self, *tables: TrafficTable | None) -> None:
        """Tells the pools of these tables' revisions whether they have traffic now."""
        for revision in {revision for table in tables if table is not None for revision in table.revisions}:
            if (pool := self._pools.get(revision)) is not None:
                pool.set_serving(self.routes.serves(revision))

    async def _sweep(self) -> None:
        pause = max(0.05, min(self._idle, self._retired_idle) / 4)
        while True:
            await asyncio.sleep(pause)
            for pool in list(self._pools.values()):
                pool.sweep(self._idle, self._retired_idle)


def create_runtime(cloud: Cloud) -> ProcessRuntime:
    """The runtime that `--engine` asks for. Raises ValueError for an engine that is not there."""
    settings = cloud.settings
    if settings.engine != "process":
        raise ValueError(f"engine {settings.engine!r} is not available; known: process")
    return ProcessRuntime(settings.state_dir, idle_seconds=settings.idle_seconds, max_instances=settings.max_instances)
