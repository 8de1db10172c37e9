"""Runs the operator until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import kopf

from agui_operator.dashboard.board import Board
from agui_operator.dashboard.pages import Presence
from agui_operator.dashboard.site import Site
from agui_operator.engine.cluster.feed import SILENT, Feed
from agui_operator.engine.settings import SettingInvalid, Settings
from agui_operator.handlers import deployment, startup, surroundings  # noqa: F401 - registers the handlers
from agui_operator.handlers.health import Health

logger = logging.getLogger(__name__)


async def serve(settings: Settings) -> None:
    """Returns when the process gets SIGTERM or SIGINT (kopf listens to both), or when the lease went to another. Raises
    SettingInvalid when a port can't be listened on."""
    health = Health(
        settings.http_host,
        settings.http_port,
        require_lease=settings.require_lease,
        namespaces=settings.namespaces,
    )
    with _listening("HTTP", settings.http_host, settings.http_port):
        port = await health.start()
    logger.info("health and metrics on http://%s:%d", settings.http_host, port)
    site, feed = await _dashboard(settings, health)
    stop = asyncio.Event()
    memo = kopf.Memo(settings=settings, health=health, stop=stop, feed=feed)
    try:
        await kopf.operator(
            standalone=True,  # the Lease guards us; kopf's peering is no lock
            clusterwide=not settings.namespaces,
            namespaces=list(settings.namespaces),
            memo=memo,
            stop_flag=stop,
        )
    finally:
        if site is not None:
            await site.stop()
        await health.stop()


@contextmanager
def _listening(which: str, host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        advice = "choose another one, or 0 for one that is free"
        raise SettingInvalid(f"AGUI_{which}_PORT: port {port} of {host}: {reason}; {advice}") from error


async def _dashboard(settings: Settings, health: Health) -> tuple[Site | None, Feed]:
    """The web page of rollouts, where the settings ask for it, and what feeds it."""
    if settings.dashboard_port is None:
        return None, SILENT
    board = Board()
    site = Site(board, lambda: _presence(health), settings.dashboard_names)
    with _listening("DASHBOARD", settings.dashboard_host, settings.dashboard_port):
        port = await site.start(settings.dashboard_host, settings.dashboard_port)
    logger.info("dashboard on http://%s:%d", settings.dashboard_host, port)
    return site, board


def _presence(health: Health) -> Presence:
    if not health.ready:
        return Presence.STANDBY
    return Presence.ACTIVE if health.lease_held else Presence.ADRIFT


def run(settings: Settings) -> None:
    asyncio.run(serve(settings))
