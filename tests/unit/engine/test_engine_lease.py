"""The lease: one writer at a time, by a clock of its own, and an end for whoever lost it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from agui_operator.core.errors import LeaseLost
from agui_operator.engine.cluster import lease as lease_module
from agui_operator.engine.cluster.kube import KubeError
from agui_operator.engine.cluster.lease import Lease
from engine_fakes import FakeKube

LENGTH = 15.0


class Clock:
    """Time that passes when the test says so; sleepers wake when theirs has come."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, waiting))
        await waiting

    async def advance(self, seconds: float) -> None:
        """In steps of a second, as long as anybody has something to do."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 1)
            for due, waiting in list(self._sleepers):
                if due <= self.now and not waiting.done():
                    waiting.set_result(None)
            for _ in range(5):
                await asyncio.sleep(0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lease_module, "time", SimpleNamespace(monotonic=clock.monotonic))
    loop = SimpleNamespace(sleep=clock.sleep, create_task=asyncio.create_task)
    monkeypatch.setattr(lease_module, "asyncio", loop)
    return clock


@pytest.fixture
def kube() -> FakeKube:
    return FakeKube()


class Process:
    """One operator process that wants the lease."""

    def __init__(self, kube: FakeKube, identity: str, clock: Clock) -> None:
        self.ended = 0
        self.lease = Lease(kube.as_kube(), "ns", "op", identity, LENGTH, self._end)
        self._clock = clock
        self.waiting: asyncio.Task[None] | None = None

    def _end(self) -> None:
        self.ended += 1

    @property
    def held(self) -> bool:
        return self.lease.held

    async def start(self) -> Process:
        self.waiting = asyncio.create_task(self.lease.acquire(self._clock.sleep))
        for _ in range(5):
            await asyncio.sleep(0)
        return self


@pytest.fixture
def make(kube: FakeKube, clock: Clock) -> Iterator[Any]:
    made: list[Process] = []

    def process(identity: str) -> Process:
        made.append(Process(kube, identity, clock))
        return made[-1]

    yield process
    for one in made:
        for task in (one.waiting, one.lease._task):
            if task is not None:
                task.cancel()


async def test_the_first_takes_it_and_keeps_it_for_as_long_as_it_renews(
    make: Any, kube: FakeKube, clock: Clock
) -> None:
    one = await make("one").start()
    assert one.held
    for _ in range(10):
        await clock.advance(LENGTH)
        assert one.held
    assert kube.lease is not None
    spec = kube.lease["spec"]
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == ("one", 15, 1)
    one.lease.check()


async def test_before_it_is_taken_nothing_may_be_written(make: Any) -> None:
    with pytest.raises(LeaseLost, match="ns/op is not held by one"):
        make("one").lease.check()


async def test_a_second_waits_while_the_first_renews(make: Any, clock: Clock) -> None:
    await make("one").start()
    second = await make("two").start()
    await clock.advance(10 * LENGTH)
    assert not second.held


async def test_of_two_that_start_at_once_one_wins(make: Any, kube: FakeKube) -> None:
    one, two = make("one"), make("two")
    await asyncio.gather(one.start(), two.start())
    assert [one.held, two.held].count(True) == 1


async def test_a_second_takes_over_a_full_length_after_the_last_sign_of_life(make: Any, clock: Clock) -> None:
    one = await make("one").start()
    await clock.advance(LENGTH)
    one.lease._task.cancel()  # it died
    two = await make("two").start()
    await clock.advance(LENGTH - 1)
    assert not two.held, "by its own clock the lease did not rest for its whole length yet"
    await clock.advance(LENGTH / 2)
    assert two.held
    assert not one.held, "the first knows that its time is over without asking anybody"


async def test_the_clock_of_the_holder_does_not_matter(make: Any, kube: FakeKube, clock: Clock) -> None:
    """A renewTime in the past or future says nothing: only whether the lease changed while we looked."""
    kube.lease = {
        "metadata": {"name": "op", "namespace": "ns", "resourceVersion": "7"},
        "spec": {"holderIdentity": "other", "leaseDurationSeconds": 30, "renewTime": "1999-01-01T00:00:00.000000Z"},
    }
    one = await make("one").start()
    await clock.advance(29)
    assert not one.held
    await clock.advance(5)
    assert one.held, "thirty seconds is the other's length, and it is the other's that counts"
    assert kube.lease["spec"]["leaseTransitions"] == 1


async def test_held_ends_by_itself_when_renewals_fail(make: Any, kube: FakeKube, clock: Clock) -> None:
    one = await make("one").start()
    kube.faults |= {"get_lease": [ConnectionError("down")] * 100, "put_lease": [ConnectionError("down")] * 100}
    await clock.advance(LENGTH - 1)
    assert one.held
    await clock.advance(1)
    assert not one.held
    with pytest.raises(LeaseLost):
        one.lease.check()
    assert one.ended == 0, "nobody else has it: it goes on when the API server is back"
    kube.faults.clear()
    await clock.advance(LENGTH / 3)
    assert one.held


async def test_a_renewal_counts_from_before_it_was_sent(make: Any, kube: FakeKube, clock: Clock) -> None:
    """An answer that takes long must not make the lease longer than the others believe it to be."""
    one = await make("one").start()
    put = kube.put_lease

    async def slow(*args: Any, **more: Any) -> Any:
        answer = await put(*args, **more)
        await clock.sleep(LENGTH - 6)
        return answer

    kube.put_lease = slow  # type: ignore[method-assign]
    await clock.advance(LENGTH - 1)
    assert one.held
    await clock.advance(LENGTH / 3 + 2)
    kube.put_lease = put  # type: ignore[method-assign]
    assert not one.held


async def test_who_finds_another_holder_ends(make: Any, kube: FakeKube, clock: Clock) -> None:
    one = await make("one").start()
    assert kube.lease is not None
    kube.lease["spec"]["holderIdentity"] = "two"
    kube.lease["metadata"]["resourceVersion"] = "99"
    await clock.advance(LENGTH / 3)
    assert not one.held
    assert one.ended == 1
    await clock.advance(5 * LENGTH)
    assert one.ended == 1
    assert kube.lease["spec"]["holderIdentity"] == "two", "nothing of the other's is touched"


async def test_a_conflict_while_renewing_is_no_renewal(make: Any, kube: FakeKube, clock: Clock) -> None:
    one = await make("one").start()
    kube.faults["put_lease"] = [KubeError(409, "modified")] * 30
    await clock.advance(LENGTH)
    assert not one.held
    kube.faults.clear()
    await clock.advance(LENGTH)
    assert one.held


async def test_a_renewal_is_one_request(make: Any, kube: FakeKube, clock: Clock) -> None:
    one = await make("one").start()
    reads = kube.lease_reads
    await clock.advance(10 * LENGTH)
    assert one.held
    assert kube.lease_reads == reads


async def test_a_renewal_that_failed_is_repeated_within_the_lease_time(make: Any, kube: FakeKube, clock: Clock) -> None:
    """One request in two is lost: at a third of the length each, and no try in between, the lease would lapse."""
    one = await make("one").start()
    for _ in range(20):
        kube.faults["put_lease"] = [ConnectionError("lost"), KubeError(503, "busy"), KubeError(409, "modified")]
        await clock.advance(LENGTH)
        assert one.held
    assert one.ended == 0


async def test_the_second_takes_over_at_the_moment_the_lease_is_free(make: Any, kube: FakeKube, clock: Clock) -> None:
    """It knows when that is; it does not find out at its next regular look."""
    one, two = await make("one").start(), await make("two").start()
    await clock.advance(2 * LENGTH + 1)
    one.lease._task.cancel()
    reads = kube.lease_reads
    while not two.held:
        assert clock.now < 1000 + 4 * LENGTH
        await clock.advance(1)
    assert clock.now - two.lease._free_at <= 1.0
    assert kube.lease_reads - reads <= 8


async def test_a_lease_that_somebody_deleted_is_made_again(make: Any, kube: FakeKube, clock: Clock) -> None:
    one = await make("one").start()
    kube.lease = None
    await clock.advance(LENGTH)
    assert one.held
    assert kube.lease is not None


async def test_at_its_end_the_next_may_begin_at_once(make: Any, kube: FakeKube, clock: Clock) -> None:
    one = await make("one").start()
    two = await make("two").start()
    assert not two.held
    await one.lease.release()
    assert not one.held
    await clock.advance(LENGTH / 6)
    assert two.held
    await one.lease.release()
    assert kube.lease is not None
    assert kube.lease["spec"]["holderIdentity"] == "two", "a second release takes nothing from the next holder"


async def test_a_release_that_fails_is_no_error(make: Any, kube: FakeKube, caplog: pytest.LogCaptureFixture) -> None:
    one = await make("one").start()
    kube.faults["get_lease"] = [ConnectionError("down")]
    await one.lease.release()
    assert "was not released" in caplog.text


async def test_an_api_server_that_is_away_at_the_start_is_waited_for(make: Any, kube: FakeKube, clock: Clock) -> None:
    kube.faults["get_lease"] = [ConnectionError("down")]
    kube.faults["put_lease"] = [KubeError(500, "broken")]
    one = await make("one").start()
    assert not one.held
    await clock.advance(LENGTH / 2)
    assert one.held
