"""Runs the operator until it is told to stop."""

from __future__ import annotations

import asyncio
import logging

import kopf

from agui_operator.engine.settings import Settings
from agui_operator.handlers import deployment, startup, surroundings  # noqa: F401 - registers the handlers
from agui_operator.handlers.health import Health

logger = logging.getLogger(__name__)


async def serve(settings: Settings) -> None:
    """Returns when the process gets SIGTERM or SIGINT (kopf listens to both), or when the lease went to another."""
    health = Health(settings.http_host, settings.http_port)
    port = await health.start()
    logger.info("health and metrics on http://%s:%d", settings.http_host, port)
    stop = asyncio.Event()
    memo = kopf.Memo(settings=settings, health=health, stop=stop)
    try:
        await kopf.operator(
            standalone=True,  # the Lease guards us; kopf's peering is no lock
            clusterwide=not settings.namespaces,
            namespaces=list(settings.namespaces),
            memo=memo,
            stop_flag=stop,
        )
    finally:
        await health.stop()


def run(settings: Settings) -> None:
    asyncio.run(serve(settings))
