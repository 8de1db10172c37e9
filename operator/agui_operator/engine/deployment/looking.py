"""Looks that nobody waits for: a Google Cloud API that does not answer holds up nothing but what it alone can tell.

A look that answers within `_PATIENCE` counts at once. A slower one goes on beside the loop and wakes the object when it
ends; until then what it would tell is not known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final

from agui_operator.core.rollout import Look

_PATIENCE = 0.05  # seconds
PENDING: Final = object()  # instead of an answer


@dataclass(slots=True)
class _Running:
    """A look under way. `key` says what it looks at: the answer to another question is of no use."""

    key: Hashable
    task: asyncio.Task[Any]
    wakes: bool = False


@dataclass(slots=True)
class Looking:
    """The looks of one object that may be slow, at most one of each kind."""

    _running: dict[Look, _Running] = field(default_factory=dict)

    async def answer(
        self, look: Look, key: Hashable, read: Callable[[], Awaitable[Any]], wake: Callable[[], None]
    ) -> Any:
        """What `read` returns, or PENDING. An answer is given once; the next call reads again. Raises what `read`
        raises."""
        running = self._running.get(look)
        if running is not None and running.key != key:
            self.forget(look)
            running = None
        if running is None:
            task = asyncio.create_task(_awaited(read))
            running = self._running[look] = _Running(key, task)
            await asyncio.wait({task}, timeout=_PATIENCE)
        if not running.task.done():
            if not running.wakes:
                running.wakes = True
                running.task.add_done_callback(lambda task: None if task.cancelled() else wake())
            return PENDING
        if self._running.get(look) is running:
            del self._running[look]
        return running.task.result()

    def forget(self, look: Look) -> None:
        """Its answer would be about the past."""
        running = self._running.pop(look, None)
        if running is not None:
            running.task.cancel()

    def __len__(self) -> int:
        return len(self._running)

    def close(self) -> None:
        for look in list(self._running):
            self.forget(look)


async def _awaited(read: Callable[[], Awaitable[Any]]) -> Any:
    return await read()
