"""What wakes a sleeping object: a change of it, the end of a long operation, the end of a check."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable


class Wakeups:
    """One flag per object uid. Ringing twice before anybody looks is one wake-up."""

    def __init__(self) -> None:
        self._flags: dict[str, asyncio.Event] = {}
        self._wishes: dict[str, object] = {}

    def ring(self, uid: str, wish: object = None) -> None:
        """With a `wish` it rings only if that is another one than the last time."""
        if wish is not None:
            if self._wishes.get(uid) == wish:
                return
            self._wishes[uid] = wish
        self._flag(uid).set()

    def ring_each(self, uids: Iterable[str]) -> None:
        """Those that depend on a policy or an environment that changed."""
        for uid in uids:
            self.ring(uid)

    async def wait(self, uid: str, timeout: float | None) -> bool:
        """Waits until somebody rings or `timeout` seconds passed; True if it rang."""
        flag = self._flag(uid)
        try:
            await asyncio.wait_for(flag.wait(), timeout)
        except TimeoutError:
            return False
        finally:
            flag.clear()
        return True

    def forget(self, uid: str) -> None:
        self._flags.pop(uid, None)
        self._wishes.pop(uid, None)

    def _flag(self, uid: str) -> asyncio.Event:
        return self._flags.setdefault(uid, asyncio.Event())
