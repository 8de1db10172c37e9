"""Who may write: the holder of one coordination.k8s.io Lease, kept by compare-and-swap and checked before each write.

kopf's peering is not a lock (two operators with it run every handler twice). A lease is one only if its holder stops by
itself when it could not renew in time: `held` is false from the moment another may take it, by the monotonic clock.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from agui_operator.core.errors import LeaseLost
from agui_operator.engine.cluster.kube import Kube, KubeError

logger = logging.getLogger(__name__)


class Lease:
    """Taken once at start and renewed every third of its length: one PUT, as long as nobody else writes it. A renewal
    that failed is repeated within the remaining time. `kube` has to be a client of its own, so that a renewal never
    waits behind other writes, with a time-out below a third of the length."""

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        name: str,
        identity: str,
        seconds: float,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_lost` is called once, when another has held it in between: then what this process remembers of its
        objects may be old, and it has to end."""
        self._on_lost = on_lost
        self._kube, self._namespace, self._name = kube, namespace, name
        self._identity, self._seconds = identity, seconds
        self._held_until = 0.0
        self._last: dict[str, Any] | None = None  # as the API server last answered, while it is ours
        self._seen: tuple[str, float] = ("", 0.0)  # resourceVersion of another's lease, and when it was first seen
        self._free_at = 0.0  # monotonic time at which another's lease may be taken
        self._task: asyncio.Task[None] | None = None

    @property
    def held(self) -> bool:
        return time.monotonic() < self._held_until

    def check(self) -> None:
        """Raises LeaseLost unless the lease is held now; called before every write, to the cloud and to the cluster."""
        if not self.held:
            raise LeaseLost(f"lease {self._namespace}/{self._name} is not held by {self._identity}")

    async def acquire(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Returns when the lease is held; waits for as long as another holds it or the API server can't be asked."""
        while not await self._try_at_start():
            await sleep(self._pause())
        self._task = asyncio.create_task(self._renew(), name="lease")

    async def release(self) -> None:
        """Lets the next operator begin at once."""
        if self._task is not None:
            self._task.cancel()
        if self.held:
            self._held_until = 0.0
            try:
                lease = await self._kube.get_lease(self._namespace, self._name)
                if lease is not None and lease["spec"].get("holderIdentity") == self._identity:
                    lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                    await self._kube.put_lease(self._namespace, self._name, lease, create=False)
            except (KubeError, ConnectionError) as exc:
                logger.warning("the lease was not released: %s", exc)

    async def _try_at_start(self) -> bool:
        """kopf would try a failed start again only after a minute; an API server that restarts is back much sooner."""
        try:
            return await self._try()
        except (KubeError, ConnectionError) as exc:
            logger.warning("the lease could not be taken yet: %s", exc)
            return False

    def _pause(self) -> float:
        """Until the next look at another's lease: not beyond the moment at which it becomes free."""
        left = self._free_at - time.monotonic()
        return max(0.01, min(self._seconds / 6, left)) if left > 0 else self._seconds / 6

    async def _renew(self) -> None:
        renewed = True
        while True:
            await asyncio.sleep(self._seconds / (3 if renewed else 7.5))
            try:
                kept = await self._renew_once()
            except (KubeError, ConnectionError) as exc:
                logger.warning("the lease could not be renewed: %s", exc)
                renewed = False
                continue
            if kept is None:
                break
            renewed = kept
        self._held_until = 0.0
        logger.error("lease lost to another operator; this process ends, the next one starts from the status")
        self._on_lost()

    async def _renew_once(self) -> bool | None:
        """True: renewed. False: it was changed meanwhile, to be repeated soon. None: another holds it."""
        if self._last is not None and await self._put(self._last):
            return True
        lease = await self._kube.get_lease(self._namespace, self._name)
        if lease is not None and _holder(lease) != self._identity:
            return None
        return await self._put(lease)

    async def _try(self) -> bool:
        lease = await self._kube.get_lease(self._namespace, self._name)
        if lease is not None and not self._free(lease):
            return False
        return await self._put(lease)

    async def _put(self, lease: dict[str, Any] | None) -> bool:
        """Compare-and-swap. The time counts from before the request: others count from after they saw its effect."""
        wanted = self._document(lease)
        began = time.monotonic()
        try:
            self._last = await self._kube.put_lease(self._namespace, self._name, wanted, create=lease is None)
        except KubeError as exc:
            self._last = None
            if exc.code in (404, 409):  # deleted, or another was faster
                return False
            raise
        except ConnectionError:
            self._last = None  # it may have been written
            raise
        self._held_until = began + self._seconds
        return True

    def _free(self, lease: dict[str, Any]) -> bool:
        """Another's lease is free when it did not change for its whole length by *our* clock alone."""
        spec = lease.get("spec") or {}
        if _holder(lease) in ("", self._identity):
            return True
        version = str(lease["metadata"].get("resourceVersion", ""))
        if version != self._seen[0]:
            self._seen = (version, time.monotonic())
        self._free_at = self._seen[1] + float(spec.get("leaseDurationSeconds") or self._seconds)
        return time.monotonic() >= self._free_at

    def _document(self, lease: dict[str, Any] | None) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = dict((lease or {}).get("spec") or {})
        if spec.get("holderIdentity") != self._identity:
            spec |= {"acquireTime": now, "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1}
        spec |= {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, math.ceil(self._seconds)),
            "renewTime": now,
        }
        metadata = (lease or {}).get("metadata") or {"name": self._name, "namespace": self._namespace}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


def _holder(lease: dict[str, Any]) -> str:
    return str((lease.get("spec") or {}).get("holderIdentity") or "")
