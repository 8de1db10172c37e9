"""Everything that lives as long as the process, built in the operator's event loop and put into kopf's memo."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from agui_operator.checks.guard import Guard
from agui_operator.engine.cluster import metrics
from agui_operator.engine.cluster.access import cluster_id, wait_for_access
from agui_operator.engine.cluster.feed import SILENT, Feed
from agui_operator.engine.cluster.kube import Connection, Kube, clients
from agui_operator.engine.cluster.lease import Lease
from agui_operator.engine.cluster.records import Recorder
from agui_operator.engine.cluster.wakeups import Wakeups
from agui_operator.engine.deployment.belongings import Belongings
from agui_operator.engine.deployment.check_runner import CheckRunner
from agui_operator.engine.deployment.deletion import Deleter
from agui_operator.engine.deployment.execute import Executor
from agui_operator.engine.deployment.gc import GarbageCollector
from agui_operator.engine.deployment.observe import Observer
from agui_operator.engine.deployment.placing import Placer
from agui_operator.engine.deployment.reconcile import Engine
from agui_operator.engine.deployment.report import Reporter
from agui_operator.engine.environment.reconcile import EnvironmentEngine
from agui_operator.engine.policies import PolicyEngine
from agui_operator.engine.settings import Settings
from agui_operator.gcp.transport.clients import Cloud, CloudSettings, connect
from agui_operator.gcp.transport.identity import IdTokens
from agui_operator.handlers.directory import References, WatchedDirectory

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Runtime:
    """One per process."""

    settings: Settings
    kube: Kube
    control: Kube
    lease: Lease | None
    cloud: Cloud
    guard: Guard
    engine: Engine
    deleter: Deleter
    environments: EnvironmentEngine
    policies: PolicyEngine
    directory: WatchedDirectory
    references: References
    turns: asyncio.Semaphore
    wakeups: Wakeups
    feed: Feed

    async def close(self) -> None:
        self.environments.close()
        self.policies.close()
        await self.cloud.close()
        if self.lease is not None:
            await self.lease.release()
        await self.kube.close()
        await self.control.close()


def _now() -> datetime:
    return datetime.now(UTC)


def _lease(settings: Settings, control: Kube, on_lost: Callable[[], None]) -> Lease | None:
    if not settings.require_lease:
        return None
    where = settings.lease_namespace, settings.lease_name
    return Lease(control, *where, settings.identity, settings.lease_seconds, on_lost)


async def build(
    settings: Settings, connection: Connection, on_lost: Callable[[], None] = lambda: None, feed: Feed = SILENT
) -> Runtime:
    """Takes the lease first: until it is held nothing is watched and nothing is written. `on_lost` has to end the
    process."""
    kube, control = clients(connection, settings.lease_seconds)
    lease = _lease(settings, control, on_lost)
    if lease is not None:
        kube.before_write = lease.check
    cloud = await connect(  # before the lease is held: a standby that takes over has it behind itself
        CloudSettings(endpoint=settings.endpoint),
        on_call=metrics.observe_call,
        before_write=lease.check if lease is not None else None,
    )
    await wait_for_access(control, settings.namespaces)
    settings = replace(settings, cluster_id=settings.cluster_id or await cluster_id(control))
    if lease is not None:
        await lease.acquire()
    return _assembled(settings, kube, control, lease, cloud, feed)


def _assembled(settings: Settings, kube: Kube, control: Kube, lease: Lease | None, cloud: Cloud, feed: Feed) -> Runtime:
    """What works with the connections."""
    wakeups = Wakeups()
    guard = Guard(allow_loopback=settings.local, token=IdTokens().token if settings.has_identity else None)
    directory = WatchedDirectory(settings.cluster_id)
    references = directory.references
    recorder, reporter = Recorder(kube, feed=feed), Reporter(kube, feed)
    engine = Engine(
        settings=settings,
        observer=Observer(cloud, _now, wakeups, resync=settings.resync, feed=feed),
        checks=CheckRunner(guard, wakeups, propagation=settings.propagation),
        executor=Executor(cloud, wakeups),
        directory=directory,
        recorder=recorder,
        reporter=reporter,
        collector=GarbageCollector(cloud, settings.retention, _now),
        placer=Placer(cloud, directory),
    )
    return Runtime(
        settings=settings,
        kube=kube,
        control=control,
        lease=lease,
        cloud=cloud,
        guard=guard,
        engine=engine,
        deleter=Deleter(engine, Belongings(cloud), reporter, recorder),
        environments=EnvironmentEngine(kube, cloud, directory, settings.resync),
        policies=PolicyEngine(kube, references.namespaces, settings.resync),
        directory=directory,
        references=references,
        turns=asyncio.Semaphore(settings.concurrent_turns),
        wakeups=wakeups,
        feed=feed,
    )
