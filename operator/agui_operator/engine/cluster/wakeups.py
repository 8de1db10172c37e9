"""What wakes a waiting object: a change of it, the end of a long operation, the end of a check."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable


class Wakeups:
    """One flag per object uid. Two wake-ups before the object's loop looks are one."""

    def __init__(self) -> None:
        self._flags: dict[str, asyncio.Event] = {}
        self._keys: dict[str, object] = {}

    def wake(self, uid: str, key: object = None) -> None:
        """With a `key`: only if it differs from that of the last call."""
        if key is not None:
            if self._keys.get(uid) == key:
                return
            self._keys[uid] = key
        self._flag(uid).set()

    def wake_each(self, uids: Iterable[str]) -> None:
        """Those that depend on a policy or an environment that changed."""
        for uid in uids:
            self.wake(uid)

    async def wait(self, uid: str, timeout: float | None) -> bool:
        """Waits for a wake-up or `timeout` seconds; True if it was woken."""
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
        self._keys.pop(uid, None)

    def _flag(self, uid: str) -> asyncio.Event:
        return self._flags.setdefault(uid, asyncio.Event())
