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
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._served: dict[str, int] = {}  # number of the last turn of tenants who hold one or wait
        self._turns = 0

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
        if tenant not in self._held and tenant not in self._waiting:
            self._served.pop(tenant, None)

    def _grant(self) -> None:
        while self._free and (tenant := self._next()) is not None:
            self._free -= 1
            self._turns += 1
            self._held[tenant] += 1
            self._served[tenant] = self._turns
            self._waiting[tenant].popleft().set_result(None)
            self._forget_done(tenant)

    def _next(self) -> str | None:
        """The tenant whose last turn is longest ago; among those without one, who came first."""
        for tenant in list(self._waiting):
            self._forget_done(tenant)
        able = (tenant for tenant in self._waiting if self._held[tenant] < self._share)
        return min(able, key=lambda tenant: self._served.get(tenant, 0), default=None)

    def _forget_done(self, tenant: str) -> None:
        """What was cancelled while it waited."""
        queue = self._waiting[tenant]
        while queue and queue[0].done():
            queue.popleft()
        if not queue:
            del self._waiting[tenant]
