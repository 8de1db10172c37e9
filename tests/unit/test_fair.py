"""Turns: few at once, a share for each tenant, and the tenants one after the other."""

from __future__ import annotations

import asyncio

from agui_operator.fair import FairGate


class Work:
    """Notes who has a turn; each turn lasts until `finish`."""

    def __init__(self, gate: FairGate) -> None:
        self.gate = gate
        self.began: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, *names: str) -> None:
        for name in names:
            self._ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._do(name))
        await self._settle()

    async def _do(self, name: str) -> None:
        async with self.gate.turn(name[0]):
            self.began.append(name)
            await self._ends[name].wait()

    async def finish(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
        await self._settle()

    async def cancel(self, name: str) -> None:
        self.tasks[name].cancel()
        await self._settle()

    async def _settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


async def test_a_tenant_has_at_most_its_share() -> None:
    work = Work(FairGate(3, 1))
    await work.start("a1", "a2", "b1")
    assert work.began == ["a1", "b1"]
    await work.finish("a1")
    assert work.began == ["a1", "b1", "a2"]
    await work.finish("a2", "b1")


async def test_tenants_get_the_next_turn_one_after_the_other() -> None:
    work = Work(FairGate(1, 1))
    await work.start("a1", "a2", "a3", "b1", "b2", "c1")
    for name in ("a1", "b1", "c1", "a2", "b2", "a3"):
        assert work.began[-1] == name
        await work.finish(name)
    assert work.began == ["a1", "b1", "c1", "a2", "b2", "a3"]


async def test_who_came_first_is_first_among_equals() -> None:
    work = Work(FairGate(1, 1))
    await work.start("a1", "b1", "a2")
    await work.finish("a1")
    assert work.began == ["a1", "b1"]
    await work.finish("b1", "a2")


async def test_what_is_cancelled_gives_its_turn_to_others() -> None:
    work = Work(FairGate(1, 1))
    await work.start("a1", "a2", "a3", "b1")
    await work.cancel("b1")  # while it waits
    await work.cancel("a2")
    await work.cancel("a1")  # while it has its turn
    assert work.began == ["a1", "a3"]
    await work.finish("a3")
    await work.start("b2")
    assert work.began[-1] == "b2"
    await work.finish("b2")


async def test_a_turn_that_was_given_and_cancelled_at_once_is_not_lost() -> None:
    work = Work(FairGate(1, 1))
    await work.start("a1", "b1")
    work.tasks["a1"].cancel()
    await asyncio.sleep(0)  # a1 ends and gives its turn to b1, which has not noticed yet
    work.tasks["b1"].cancel()
    await work.start("c1")
    assert work.began[-1] == "c1"
    await work.finish("c1")
