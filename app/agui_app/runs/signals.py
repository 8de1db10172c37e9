"""What instances tell each other, over PostgreSQL's LISTEN/NOTIFY: "there are new events", "stop this run".

Cloud Run gives no way from one instance to another; the database is the one thing they share. A notification is only a
hint to look: after a reconnect every follower looks once, so that a lost hint costs time and never an event.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from agui_app.database.passwords import Connector
from agui_app.runs.event_log import EVENTS_CHANNEL, STOP_CHANNEL
from agui_app.telemetry.logs import log

logger = logging.getLogger("agui_app.signals")


class Signals:
    """Listens on one connection of its own. `on_stop(user, thread)` is awaited for each stop that is asked for."""

    def __init__(self, connector: Connector, on_stop: Callable[[str, str], Awaitable[Any]]) -> None:
        self._connector = connector
        self._on_stop = on_stop
        self._watchers: dict[tuple[str, str], set[asyncio.Event]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self.connected = False

    @contextmanager
    def watch(self, user: str, thread: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever this thread may have new events in the log."""
        changed = asyncio.Event()
        watchers = self._watchers.setdefault((user, thread), set())
        watchers.add(changed)
        try:
            yield changed
        finally:
            watchers.discard(changed)
            if not watchers:
                self._watchers.pop((user, thread), None)

    async def listen(self) -> None:
        """Runs until it is cancelled; reconnects with back-off."""
        pause = 0.2
        while True:
            try:
                connection = await self._connector.connect("agui-app signals")
            except (OSError, TimeoutError, asyncpg.PostgresError) as exc:
                log(logger, logging.WARNING, "signals_disconnected", error=type(exc).__name__, retry_seconds=pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 10)
                continue
            pause = 0.2
            try:
                await self._serve(connection)
            finally:
                self.connected = False
                connection.terminate()

    async def _serve(self, connection: asyncpg.Connection[Any]) -> None:
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        await connection.add_listener(EVENTS_CHANNEL, self._events_noted)
        await connection.add_listener(STOP_CHANNEL, self._stop_noted)
        self.connected = True
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.set()
        while not lost.is_set():
            try:
                async with asyncio.timeout(30):
                    await lost.wait()
            except TimeoutError:
                try:
                    await connection.execute("SELECT 1", timeout=5)  # a half-open connection says nothing by itself
                except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    return

    def _events_noted(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        note = json.loads(str(payload))
        for watcher in self._watchers.get((note["user"], note["thread"]), ()):
            watcher.set()

    def _stop_noted(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        note = json.loads(str(payload))
        task = asyncio.ensure_future(self._on_stop(note["user"], note["thread"]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
