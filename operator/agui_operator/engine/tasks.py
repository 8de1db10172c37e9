"""Work that runs beside a loop, at most once per key."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Hashable
from typing import Any


class Tasks:
    """Tasks by key. A task leaves when it ends, unless it left before and the key is another's by now."""

    __slots__ = ("_running",)

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Task[None]] = {}

    def start(self, key: Hashable, work: Coroutine[Any, Any, None]) -> None:
        """Starts `work`, unless work with that key is running."""
        if key in self._running:
            work.close()
            return
        task = asyncio.create_task(work)
        self._running[key] = task
        task.add_done_callback(lambda ended: self._running.pop(key) if self._running.get(key) is ended else None)

    def leave(self, key: Hashable) -> None:
        """Called by the work itself before it wakes the loop, so that the loop does not find it still running."""
        self._running.pop(key, None)

    def cancel(self, key: Hashable | None = None) -> None:
        """Ends the work of that key, or all of it."""
        for running, task in self._running.items():
            if key is None or running == key:
                task.cancel()

    async def wait(self) -> None:
        """Until everything that runs now has ended."""
        await asyncio.gather(*self._running.values())

    def __contains__(self, key: Hashable) -> bool:
        return key in self._running

    def __len__(self) -> int:
        return len(self._running)
