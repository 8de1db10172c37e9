"""Reads that many deployments share: one call for all who ask within an age, however many ask at once."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Read(Generic[V]):
    """A result, and the time at which its call began: what was changed later may not be in it."""

    value: V
    at: float


class SharedReads(Generic[K, V]):
    """The last result for each key. Times in seconds of `clock`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._reads: dict[K, Read[V]] = {}
        self._locks: defaultdict[K, asyncio.Lock] = defaultdict(asyncio.Lock)

    def last(self, key: K) -> Read[V] | None:
        return self._reads.get(key)

    async def get(self, key: K, since: float, load: Callable[[], Awaitable[V]]) -> Read[V]:
        """The result of a call that began at `since` or later; calls if there is none. Whoever comes while a call is
        under way shares it. When `load` raises, the last result stays as it was."""
        async with self._locks[key]:
            last = self._reads.get(key)
            if last is None or last.at < since:
                at = self.clock()
                last = self._reads[key] = Read(await load(), at)
            return last


class Changes:
    """When an owner's objects were last changed by this process: an older list does not tell about them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at: dict[str, float] = {}

    def note(self, owner: str) -> None:
        self._at[owner] = self._clock()

    def after(self, owner: str, at: float) -> bool:
        """True if there was a change at `at` or later."""
        return self._at.get(owner, float("-inf")) >= at

    def forget_before(self, at: float) -> None:
        """No list that old is used any more, so none can lack these changes."""
        self._at = {owner: changed for owner, changed in self._at.items() if changed >= at}

    def at(self, owner: str) -> float:
        return self._at.get(owner, float("-inf"))
