"""Work that runs beside a loop, at most once per key."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Hashable
from typing import Any


class Tasks:
    """Tasks by key. A task leaves when it ends, unless it left before and the key is another's by now."""

    __slots__ = ("_running",)

    def __init__(self) -> None:
        self._running: dict[Hashable, tuple[asyncio.Task[None], float]] = {}  # since when, monotonic

    def start(self, key: Hashable, work: Coroutine[Any, Any, None]) -> None:
        """Starts `work`, unless work with that key is running."""
        if key in self._running:
            work.close()
            return
        task = asyncio.create_task(work)
        self._running[key] = task, time.monotonic()
        task.add_done_callback(lambda ended: self._ended(key, ended))

    def _ended(self, key: Hashable, task: asyncio.Task[None]) -> None:
        running = self._running.get(key)
        if running is not None and running[0] is task:
            del self._running[key]

    def age(self, key: Hashable) -> float:
        """Seconds since the work that runs under the key began."""
        return time.monotonic() - self._running[key][1]

    def leave(self, key: Hashable) -> None:
        """Called by the work itself before it wakes the loop, so that the loop does not find it still running."""
        self._running.pop(key, None)

    def cancel(self, key: Hashable | None = None) -> None:
        """Ends the work of that key, or all of it."""
        for running, (task, _) in self._running.items():
            if key is None or running == key:
                task.cancel()

    async def wait(self) -> None:
        """Until everything that runs now has ended."""
        await asyncio.gather(*(task for task, _ in self._running.values()))

    def __contains__(self, key: Hashable) -> bool:
        return key in self._running

    def __len__(self) -> int:
        return len(self._running)
