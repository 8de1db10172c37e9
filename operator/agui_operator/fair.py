"""Turns at work that only a few may do at once, given out fairly among tenants."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FairGate:
    """`slots` turns at once, at most `share` of them for one tenant (a namespace). Tenants who wait get the next turn
    one after the other, however much each of them waits for; a tenant's own turns are in order."""

    def __init__(self, slots: int, share: int) -> None:
        self._free, self._share = slots, share
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # in the order of the next turns

    @asynccontextmanager
    async def turn(self, tenant: str) -> AsyncIterator[None]:
        """Waits for a turn and holds it for the block."""
        granted = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(granted)
        self._grant()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self._return(tenant)
            raise
        try:
            yield
        finally:
            self._return(tenant)

    def _return(self, tenant: str) -> None:
        self._free += 1
        self._held[tenant] -= 1
        if not self._held[tenant]:
            del self._held[tenant]
        self._grant()

    def _grant(self) -> None:
        while self._free and (granted := self._next()) is not None:
            granted.set_result(None)

    def _next(self) -> asyncio.Future[None] | None:
        """Whose turn it is; what was cancelled while it waited is dropped."""
        for tenant, queue in list(self._waiting.items()):
            while queue and queue[0].done():
                queue.popleft()
            if not queue:
                del self._waiting[tenant]
            elif self._held[tenant] < self._share:
                granted = queue.popleft()
                self._waiting[tenant] = self._waiting.pop(tenant)  # to the end of the line
                self._free -= 1
                self._held[tenant] += 1
                return granted
        return None
