"""What the operator does when it ends."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import kopf

from agui_operator.handlers import startup


async def test_nothing_waits_for_the_end_any_more_once_it_ends() -> None:
    """After SIGTERM kopf waits five seconds for every task that is left, and one of its own waits for this flag."""
    memo = kopf.Memo(health=SimpleNamespace(ready=True), stop=asyncio.Event(), closing=asyncio.Event())
    await startup.stop(memo=memo)
    assert memo.stop.is_set()
    assert memo.closing.is_set()
    assert memo.health.ready is False
