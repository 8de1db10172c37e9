"""The parts of a running instance, built once and shared by all transports."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from agui_app.agents.tree import Agents, build_agents
from agui_app.database.engine import create_engine
from agui_app.database.passwords import Connector
from agui_app.database.schema import REQUIRED_SCHEMA
from agui_app.http.identity import Callers
from agui_app.runs.event_log import EventLog
from agui_app.runs.runs import Runs
from agui_app.runs.signals import Signals
from agui_app.runs.threads import Threads
from agui_app.settings import Settings
from agui_app.telemetry.logs import log
from agui_app.telemetry.measures import Measures, configure_telemetry

logger = logging.getLogger("agui_app.services")
HEARTBEAT_SECONDS = 5
PRUNE_EVERY = 60  # heartbeats
DRAIN_SECONDS = 6.0  # Cloud Run gives 10 s after SIGTERM


@dataclass(slots=True)
class Services:
    """What a request needs. `required_schema` is the newest migration that this code or an extension needs."""

    settings: Settings
    engine: AsyncEngine
    agents: Agents
    event_log: EventLog
    runs: Runs
    signals: Signals
    callers: Callers
    measures: Measures
    threads: Threads
    required_schema: str
    sessions_ready: bool = False


@asynccontextmanager
async def running_services(settings: Settings, extensions: Sequence[ModuleType]) -> AsyncIterator[Services]:
    """Builds the services, keeps their background work going, and ends it in order. Needs no database to start."""
    connector = Connector(settings.database)
    engine = create_engine(connector, settings.pool_size)
    event_log = EventLog(engine, f"{settings.revision or 'local'}-{uuid.uuid4().hex[:12]}")
    flush = configure_telemetry(settings, event_log.instance)
    measures = Measures(settings.revision, settings.release)
    agents = build_agents(settings, engine, measures, _extra_tools(extensions, engine))
    runs = Runs(agents, event_log, settings.limits, settings.channels, measures)
    services = Services(
        settings=settings,
        engine=engine,
        agents=agents,
        event_log=event_log,
        runs=runs,
        signals=Signals(connector, runs.stop),
        callers=Callers(settings.access),
        measures=measures,
        threads=Threads(engine),
        required_schema=max([REQUIRED_SCHEMA, *(getattr(e, "REQUIRED_SCHEMA", "") for e in extensions)]),
    )
    background = [
        asyncio.create_task(services.signals.listen(), name="signals"),
        asyncio.create_task(_keep_alive(services), name="heartbeat"),
    ]
    try:
        yield services
    finally:
        await runs.drain(DRAIN_SECONDS)
        for task in background:
            task.cancel()
        for task in background:
            with suppress(asyncio.CancelledError):
                await task
        await agents.adk.close()
        await engine.dispose()
        await connector.close()
        await asyncio.to_thread(flush)


def _extra_tools(extensions: Sequence[ModuleType], engine: AsyncEngine) -> Mapping[str, list[Any]]:
    tools: dict[str, list[Any]] = {}
    for extension in extensions:
        if hasattr(extension, "tools"):
            for agent, functions in extension.tools(engine).items():
                tools.setdefault(agent, []).extend(functions)
    return tools


async def _keep_alive(services: Services) -> None:
    """Heartbeat of this instance's runs, the end of lost ones, and pruning of the event log."""
    beats = 0
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        beats += 1
        try:
            if services.runs.count():
                await services.event_log.heartbeat()
            if lost := await services.event_log.reap():
                log(logger, logging.WARNING, "runs_reaped", count=lost)
            if beats % PRUNE_EVERY == 0:
                await services.event_log.prune(services.settings.event_retention_seconds)
        except (SQLAlchemyError, OSError, TimeoutError) as exc:
            log(logger, logging.WARNING, "heartbeat_failed", error=type(exc).__name__)
