"""Client-side rate limits: token buckets below Google's quotas, with a share that only roll-backs may use.

A fleet-wide rollout must not use up the calls that a roll-back needs. There is a bucket for each (project, location,
read or write); the location is the region of a regional API, else the name of the API. Source of the limits:
https://cloud.google.com/run/quotas (180 writes and 3000 reads per minute and region); other APIs allow more.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from agui_operator.core.errors import CloudError

_LONGEST_PAUSE = 64.0
_ROLLING_BACK: ContextVar[bool] = ContextVar("agui_rolling_back", default=False)


@dataclass(frozen=True, slots=True)
class QuotaRate:
    """`per_second` tokens are added, at most `burst` are kept."""

    per_second: float
    burst: float


@dataclass(frozen=True, slots=True)
class QuotaLimits:
    """`reserved` is the share of each burst (0..1) that only calls in the roll-back lane may use."""

    read: QuotaRate = QuotaRate(50.0, 500.0)
    write: QuotaRate = QuotaRate(3.0, 60.0)
    reserved: float = 0.25


STORAGE = QuotaLimits(
    read=QuotaRate(500.0, 1000.0), write=QuotaRate(200.0, 400.0)
)  # https://cloud.google.com/storage/quotas
UNLIMITED = QuotaLimits(read=QuotaRate(1e6, 1e6), write=QuotaRate(1e6, 1e6))


@contextmanager
def rollback_lane() -> Iterator[None]:
    """Calls inside may use the reserved share and do not wait out the pause that a 429 started."""
    token = _ROLLING_BACK.set(True)
    try:
        yield
    finally:
        _ROLLING_BACK.reset(token)


@dataclass(slots=True)
class _Bucket:
    rate: QuotaRate
    reserved: float
    tokens: float
    filled_at: float
    paused_until: float = 0.0
    throttles: int = 0

    def wait(self, now: float, urgent: bool) -> float:
        """Takes a token and returns 0, or returns the seconds after which to ask again."""
        self.tokens = min(self.rate.burst, self.tokens + (now - self.filled_at) * self.rate.per_second)
        self.filled_at = now
        if not urgent and now < self.paused_until:
            return self.paused_until - now
        floor = 0.0 if urgent else self.reserved * self.rate.burst
        if self.tokens - 1.0 >= floor - 1e-9:
            self.tokens -= 1.0
            return 0.0
        return (floor + 1.0 - self.tokens) / self.rate.per_second


@dataclass(slots=True)
class Quota:
    """All buckets of one process. Times in seconds of `clock`."""

    limits: QuotaLimits = field(default_factory=QuotaLimits)
    storage: QuotaLimits = STORAGE
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    jitter: Callable[[], float] = random.random
    _buckets: dict[tuple[str, str, bool], _Bucket] = field(default_factory=dict)

    async def take(self, project: str, location: str, *, write: bool, until: float) -> None:
        """Returns when a call may be made. Raises CloudError 429 if that is not before the time `until`."""
        bucket = self._bucket(project, location, write)
        while (seconds := bucket.wait(self.clock(), _ROLLING_BACK.get())) > 0:
            if self.clock() + seconds > until:
                kind = "write" if write else "read"
                message = (
                    f"the {kind} quota kept for {project}/{location} is used up; {seconds:.0f} s until the next call"
                )
                raise CloudError(429, message, status="RESOURCE_EXHAUSTED", retry_after=seconds)
            await self.sleep(seconds)

    def throttled(self, project: str, location: str, *, write: bool, retry_after: float | None) -> None:
        """Google answered 429: the bucket pauses for `retry_after` seconds, else for twice as long each time."""
        bucket = self._bucket(project, location, write)
        bucket.throttles += 1
        pause = retry_after or min(_LONGEST_PAUSE, 2.0 ** (bucket.throttles - 1)) * (0.5 + self.jitter())
        bucket.paused_until = max(bucket.paused_until, self.clock() + pause)

    def passed(self, project: str, location: str, *, write: bool) -> None:
        """A call succeeded: the next pause is short again."""
        self._bucket(project, location, write).throttles = 0

    def _bucket(self, project: str, location: str, write: bool) -> _Bucket:
        key = (project, location, write)
        if key not in self._buckets:
            limits = self.storage if location == "storage" else self.limits
            rate = limits.write if write else limits.read
            self._buckets[key] = _Bucket(rate, limits.reserved, rate.burst, self.clock())
        return self._buckets[key]
