"""Token buckets: never faster than the quota, and always something left for a roll-back."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agui_operator.core.errors import CloudError
from agui_operator.gcp.transport.quota import Quota, QuotaLimits, QuotaRate, rollback_lane


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def quota(clock: Clock, burst: float = 8, per_second: float = 2, reserved: float = 0.25) -> Quota:
    limits = QuotaLimits(read=QuotaRate(per_second, burst), write=QuotaRate(per_second, burst), reserved=reserved)
    return Quota(limits, limits, clock=clock, sleep=clock.sleep, jitter=lambda: 0.5)


@given(
    st.integers(1, 60), st.floats(0.5, 50, allow_nan=False), st.integers(2, 30), st.lists(st.floats(0, 2), max_size=30)
)
def test_no_more_than_the_quota_in_any_window(calls: int, per_second: float, burst: int, idle: list[float]) -> None:
    clock = Clock()
    buckets = quota(clock, burst, per_second)

    async def run() -> list[float]:
        taken = []
        for n in range(calls):
            clock.now += idle[n % len(idle)] if idle else 0
            await buckets.take("p", "r", write=True, until=1e9)
            taken.append(clock.now)
        return taken

    taken = asyncio.run(run())
    for i, start in enumerate(taken):
        for j in range(i, len(taken)):
            assert j - i + 1 <= burst + per_second * (taken[j] - start) + 1e-6


async def test_a_rollback_uses_what_others_may_not() -> None:
    clock = Clock()
    buckets = quota(clock)
    for _ in range(6):
        await buckets.take("p", "r", write=True, until=0)
    with pytest.raises(CloudError, match="write quota kept for p/r is used up") as caught:
        await buckets.take("p", "r", write=True, until=0)
    assert caught.value.code == 429
    assert caught.value.retry_after == pytest.approx(0.5)
    with rollback_lane():
        for _ in range(2):
            await buckets.take("p", "r", write=True, until=0)
        with pytest.raises(CloudError):
            await buckets.take("p", "r", write=True, until=0)
    await buckets.take("p", "r", write=False, until=0)  # reads have a bucket of their own
    await buckets.take("p", "other", write=True, until=0)


async def test_the_lane_reaches_into_tasks_and_ends_with_its_block() -> None:
    clock = Clock()
    buckets = quota(clock, burst=4, reserved=0.5)
    for _ in range(2):
        await buckets.take("p", "r", write=True, until=0)
    with rollback_lane():
        await asyncio.gather(*(buckets.take("p", "r", write=True, until=0) for _ in range(2)))
    clock.now = 1.0
    with pytest.raises(CloudError):
        await buckets.take("p", "r", write=True, until=1.0)


async def test_a_pause_grows_until_a_call_passes() -> None:
    clock = Clock()
    buckets = quota(clock, burst=1000, per_second=1000)
    pauses = []
    for _ in range(4):
        buckets.throttled("p", "r", write=True, retry_after=None)
        began = clock.now
        await buckets.take("p", "r", write=True, until=1e9)
        pauses.append(clock.now - began)
    assert pauses == [pytest.approx(p) for p in (1, 2, 4, 8)]
    buckets.passed("p", "r", write=True)
    buckets.throttled("p", "r", write=True, retry_after=None)
    began = clock.now
    with rollback_lane():
        await buckets.take("p", "r", write=True, until=1e9)
    assert clock.now == began
    await buckets.take("p", "r", write=True, until=1e9)
    assert clock.now - began == pytest.approx(1)
