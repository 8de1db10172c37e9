"""Runs the operator until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import kopf

from agui_operator.dashboard.board import Board
from agui_operator.dashboard.pages import Presence
from agui_operator.dashboard.site import Site
from agui_operator.engine.cluster.feed import SILENT, Feed
from agui_operator.engine.settings import SettingInvalid, Settings
from agui_operator.handlers import deployment, startup, surroundings  # noqa: F401 - registers the handlers
from agui_operator.handlers.health import Health

logger = logging.getLogger(__name__)
_ENDS_WITHIN = 20.0  # seconds from the end of the work to the end of the process


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
    closing = asyncio.Event()
    memo = kopf.Memo(settings=settings, health=health, stop=stop, closing=closing, feed=feed)
    operator = kopf.operator(
        standalone=True,  # the Lease guards us; kopf's peering is no lock
        clusterwide=not settings.namespaces,
        namespaces=list(settings.namespaces),
        memo=memo,
        stop_flag=stop,
    )
    try:
        await _until_ended(operator, closing)
    finally:
        if site is not None:
            await site.stop()
        await health.stop()


async def _until_ended(operator: Coroutine[Any, Any, None], closing: asyncio.Event) -> None:
    """Waits for kopf. Once it has begun to end, nothing is watched and nothing is written any more, so that a process
    whose tasks do not end by themselves (one that a broken watch ended waits for a login for ever) is of no use: it
    ends at once, and what starts it again starts a new one."""
    task, begun = asyncio.ensure_future(operator), asyncio.ensure_future(closing.wait())
    try:
        await asyncio.wait({task, begun}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await asyncio.wait({task}, timeout=_ENDS_WITHIN)
    except asyncio.CancelledError:
        task.cancel()
        raise
    finally:
        begun.cancel()
    if not task.done():
        logger.critical("the operator did not end within %g s after it stopped; the process ends now", _ENDS_WITHIN)
        logging.shutdown()
        os._exit(1)  # tasks that do not end would keep the event loop too
    await task


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
