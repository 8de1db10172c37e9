"""The sender of synthetic conversations keeps its rate, its label and its bounds."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from agui_operator.checks.guard import Guard
from agui_operator.checks.synthetic import SyntheticConversations

Serve = Callable[[web.Application], Awaitable[str]]
Make = Callable[..., Any]
GOOD = b'data: {"type": "RUN_STARTED"}\n\ndata: {"type": "RUN_FINISHED"}\n\n'
BAD = b'data: {"type": "RUN_STARTED"}\n\ndata: {"type": "RUN_ERROR"}\n\n'


class Agent:
    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.said: list[str] = []
        self.labels: set[str] = set()
        self.threads: set[str] = set()
        self.open = 0
        self.six = asyncio.Event()

    async def run(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.said.append(body["messages"][-1]["content"])
        self.labels.add(request.headers["x-agui-synthetic"])
        self.threads.add(body["threadId"])
        if len(self.said) == 6:
            self.six.set()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if self.answer is None:
            self.open += 1
            try:
                await asyncio.sleep(60)
            finally:
                self.open -= 1
        else:
            await response.write(self.answer)
        return response

    def app(self) -> web.Application:
        app = web.Application(handler_args={"handler_cancellation": True})
        app.router.add_post("/agent", self.run)
        return app


@pytest.fixture
def checks(smoke: Make) -> list[Any]:
    two = {"agent": {"say": ["second", "never said"]}}
    return [smoke({"agent": {"say": "first"}}), smoke({"http": {"path": "/"}}), smoke(two)]


async def test_both_sides_get_the_same_conversations_at_the_rate(
    serve: Serve, guard: Guard, target_of: Make, checks: list[Any]
) -> None:
    good, bad = Agent(GOOD), Agent(BAD)
    targets = [target_of(await serve(good.app())), target_of(await serve(bad.app()), release="r0")]
    sender = SyntheticConversations(guard, checks, targets, per_minute=600)
    loop = asyncio.get_running_loop()
    started = loop.time()
    sender.start()
    sender.start()
    await asyncio.wait_for(good.six.wait(), 10)
    elapsed = loop.time() - started
    await sender.stop()
    assert elapsed >= 0.5, "six conversations at ten a second take half a second"
    assert good.said[:4] == ["first", "second", "first", "second"]
    assert abs(len(good.said) - len(bad.said)) <= 1
    assert good.labels == bad.labels == {"canary"}
    assert len(good.threads) == len(good.said)
    assert sender.sent["r1"].failed == 0
    assert sender.sent["r0"].failed >= 5
    assert sender.sent["r1"].skipped == 0


async def test_after_stop_nothing_is_sent_and_nothing_is_open(
    serve: Serve, guard: Guard, target_of: Make, checks: list[Any]
) -> None:
    agent = Agent(GOOD)
    before = asyncio.all_tasks()
    sender = SyntheticConversations(guard, checks, [target_of(await serve(agent.app()))], per_minute=3000)
    await sender.stop()
    sender.start()
    await asyncio.sleep(0.2)
    await sender.stop()
    said = len(agent.said)
    assert said > 0
    await asyncio.sleep(0.2)
    assert len(agent.said) == said
    assert not [task for task in asyncio.all_tasks() - before if "yntheti" in repr(task.get_coro())]


async def test_a_release_that_hangs_collects_a_bounded_number(
    serve: Serve, guard: Guard, target_of: Make, smoke: Make
) -> None:
    agent = Agent(None)
    check = smoke({"agent": {"say": "x"}}, timeout=30)
    sender = SyntheticConversations(guard, [check], [target_of(await serve(agent.app()))], per_minute=6000)
    sender.start()
    await asyncio.sleep(0.5)
    most = agent.open
    await sender.stop()
    assert most == 8
    assert sender.sent["r1"].begun == 8
    assert sender.sent["r1"].skipped > 0
    for _ in range(100):
        if agent.open == 0:
            break
        await asyncio.sleep(0.02)
    assert agent.open == 0, "stopping closed the conversations"


async def test_without_agent_checks_nothing_is_sent(serve: Serve, guard: Guard, target_of: Make, smoke: Make) -> None:
    agent = Agent(GOOD)
    target = target_of(await serve(agent.app()))
    sender = SyntheticConversations(guard, [smoke({"http": {"path": "/"}})], [target], per_minute=6000)
    sender.start()
    await asyncio.sleep(0.1)
    await sender.stop()
    assert agent.said == []


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_must_be_a_rate(guard: Guard, rate: float) -> None:
    with pytest.raises(ValueError, match="per_minute"):
        SyntheticConversations(guard, [], [], per_minute=rate)
