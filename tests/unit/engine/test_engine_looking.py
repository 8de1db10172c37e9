"""Looks that nobody waits for: an answer counts once, a slow one wakes, another question starts anew."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from agui_operator.core.rollout import Look
from agui_operator.engine.deployment.looking import PENDING, Looking

Read = Callable[[], Awaitable[int]]


class Source:
    """Answers 1, 2, ... when it is let."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.asked = 0
        self.woken = 0

    async def read(self) -> int:
        self.asked += 1
        number = self.asked
        await self.open.wait()
        return number

    def wake(self) -> None:
        self.woken += 1


async def test_a_quick_answer_counts_at_once_and_each_call_asks_again() -> None:
    looking, source = Looking(), Source()
    source.open.set()
    assert await looking.answer(Look.ALERTS, 0, source.read, source.wake) == 1
    assert await looking.answer(Look.ALERTS, 0, source.read, source.wake) == 2
    assert (source.woken, len(looking)) == (0, 0)


async def test_a_slow_look_is_asked_once_wakes_once_and_is_answered_once() -> None:
    looking, source = Looking(), Source()
    for _ in range(3):
        assert await looking.answer(Look.ALERTS, 0, source.read, source.wake) is PENDING
    assert source.asked == 1
    source.open.set()
    await asyncio.sleep(0.01)
    assert source.woken == 1
    assert await looking.answer(Look.ALERTS, 0, source.read, source.wake) == 1
    assert await looking.answer(Look.ALERTS, 0, source.read, source.wake) == 2


async def test_the_answer_to_another_question_is_of_no_use() -> None:
    looking, source = Looking(), Source()
    assert await looking.answer(Look.ANALYSIS, "step 0", source.read, source.wake) is PENDING
    source.open.set()
    await asyncio.sleep(0.01)
    assert await looking.answer(Look.ANALYSIS, "step 1", source.read, source.wake) == 2


async def test_a_forgotten_look_neither_wakes_nor_answers() -> None:
    looking, source = Looking(), Source()
    assert await looking.answer(Look.ROUTING, 0, source.read, source.wake) is PENDING
    looking.forget(Look.ROUTING)
    source.open.set()
    await asyncio.sleep(0.01)
    assert source.woken == 0
    assert await looking.answer(Look.ROUTING, 0, source.read, source.wake) == 2
    looking.close()


async def test_one_slow_look_holds_up_no_other() -> None:
    looking, slow, quick = Looking(), Source(), Source()
    quick.open.set()
    assert await looking.answer(Look.ALERTS, 0, slow.read, slow.wake) is PENDING
    assert await looking.answer(Look.ROUTING, 0, quick.read, quick.wake) == 1
    looking.close()
    await asyncio.sleep(0)
    assert len(looking) == 0


async def test_what_a_look_raises_is_raised_where_it_is_taken() -> None:
    async def fails() -> int:
        raise TimeoutError("too slow")

    looking, source = Looking(), Source()
    with pytest.raises(TimeoutError, match="too slow"):
        await looking.answer(Look.ALERTS, 0, fails, source.wake)
    assert len(looking) == 0
