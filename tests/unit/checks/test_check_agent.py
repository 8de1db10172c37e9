"""Agent checks against a scripted AG-UI server: each expectation red and green, and each way a stream can be
illegal."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from agui_operator.checks.guard import Guard
from agui_operator.checks.run import run_check

Serve = Callable[[web.Application], Awaitable[str]]
Make = Callable[..., Any]
Script = list[dict[str, Any] | bytes | float]

STARTED = {"type": "RUN_STARTED", "threadId": "t", "runId": "r"}
FINISHED = {"type": "RUN_FINISHED", "threadId": "t", "runId": "r"}
FAILED = {"type": "RUN_ERROR", "message": "canary secret", "code": "BACKGROUND_EXECUTION_ERROR"}
ASKS = {
    **FINISHED,
    "outcome": {"type": "interrupt", "interrupts": [{"id": "adk-1", "reason": "confirmation", "message": "canary"}]},
}


def text(*deltas: str, key: str = "m1") -> Script:
    middle: Script = [{"type": "TEXT_MESSAGE_CONTENT", "messageId": key, "delta": d} for d in deltas]
    return [
        {"type": "TEXT_MESSAGE_START", "messageId": key, "role": "assistant"},
        *middle,
        {"type": "TEXT_MESSAGE_END", "messageId": key},
    ]


def tool(name: str, key: str = "c1", *, result: bool = True) -> Script:
    events: Script = [
        {"type": "TOOL_CALL_START", "toolCallId": key, "toolCallName": name},
        {"type": "TOOL_CALL_ARGS", "toolCallId": key, "delta": "{}"},
        {"type": "TOOL_CALL_END", "toolCallId": key},
    ]
    return [*events, *([tool_result(key)] if result else [])]


def tool_result(key: str = "c1") -> dict[str, Any]:
    return {"type": "TOOL_CALL_RESULT", "toolCallId": key, "messageId": f"{key}-result", "content": "canary"}


def blocked(rule: str) -> dict[str, Any]:
    return {"type": "CUSTOM", "name": "guardrail.block", "value": {"rule": rule}}


class Agent:
    """Answers each POST to /agent with the next script."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.inputs: list[dict[str, Any]] = []
        self.headers: list[Any] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/agent", self.answer)
        return app

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.inputs.append(await request.json())
        self.headers.append(request.headers)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for entry in self.scripts[min(len(self.inputs), len(self.scripts)) - 1]:
            if isinstance(entry, float):
                await asyncio.sleep(entry)
            elif isinstance(entry, bytes):
                await response.write(entry)
            else:
                await response.write(f"data: {json.dumps(entry)}\n\n".encode())
        return response


@pytest.fixture
def converse(serve: Serve, guard: Guard, smoke: Make, target_of: Make) -> Make:
    async def run(agent: Agent, expect: list[dict[str, Any]], *, timeout: float = 2.0, **more: Any) -> Any:
        spec = {"say": "refund order 42 for 80", **({"expect": expect} if expect else {}), **more}
        return await run_check(smoke({"agent": spec}, timeout=timeout), target_of(await serve(agent.app())), guard)

    return run


APPROVAL: tuple[Script, Script] = (
    [STARTED, *tool("issue_refund", result=False), ASKS],
    [STARTED, tool_result(), *text("Refunded."), FINISHED],
)
STATE: Script = [
    {"type": "STATE_SNAPSHOT", "snapshot": {"notes": [], "user": {"tier": "gold", "n": 1}}},
    {"type": "STATE_DELTA", "delta": [{"op": "add", "path": "/notes/-", "value": "buy milk"}]},
]
GREEN: list[Any] = [
    pytest.param(
        ([STARTED, *text("Hi ", "there"), FINISHED],), [{"text": "^Hi there$"}, {"finished": True}], id="text"
    ),
    pytest.param(([STARTED, *text("a"), *text("b", key="m2"), FINISHED],), [{"text": "a\\nb"}], id="two-messages"),
    pytest.param(([STARTED, *text("order 42 of 7 items"), FINISHED],), [{"text": "order \\d+ of"}], id="quantifier"),
    pytest.param(
        ([STARTED, *tool("a"), *tool("b", "c2"), FINISHED],), [{"tool": "a"}, {"tool": "b"}], id="tools-in-order"
    ),
    pytest.param(
        APPROVAL,
        [{"interrupt": "confirmation"}, {"resume": {"confirmed": True}}, {"tool": "issue_refund"}, {"finished": True}],
        id="approval",
    ),
    pytest.param(
        ([STARTED, blocked("prompt_injection"), *text("No."), FINISHED],),
        [{"blocked": "prompt_injection"}],
        id="blocked",
    ),
    pytest.param(([STARTED, *STATE, FINISHED],), [{"state": {"notes": ["buy milk"], "user": {"n": 1}}}], id="state"),
    pytest.param(
        ([STARTED, *text("x"), *tool("a"), FINISHED],), [{"tool": "a"}, {"text": "x"}], id="any-order-of-kinds"
    ),
    pytest.param(([b": ping\r\n\r\n", STARTED, b": ping\n\n", FINISHED],), [{"finished": True}], id="comments"),
    pytest.param(
        ([STARTED, {"type": "SOMETHING_NEW", "x": 1}, {"type": "RAW", "event": {}}, FINISHED],),
        [{"finished": True}],
        id="unknown-events-pass",
    ),
    pytest.param(
        (
            [
                STARTED,
                {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m", "delta": "ch"},
                {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m", "delta": "unk"},
                FINISHED,
            ],
        ),
        [{"text": "chunk"}],
        id="chunks",
    ),
    pytest.param(([STARTED, FINISHED],), [], id="nothing-expected"),
]


@pytest.mark.parametrize(("scripts", "expect"), GREEN)
async def test_green(converse: Make, scripts: tuple[Script, ...], expect: list[dict[str, Any]]) -> None:
    result = await converse(Agent(*scripts), expect)
    assert result.passed is True, result.message
    assert result.code == 200


RED: list[Any] = [
    pytest.param(
        ([STARTED, FAILED],),
        [{"tool": "issue_refund"}],
        "expected tool issue_refund; the run ended with RUN_ERROR (code BACKGROUND_EXECUTION_ERROR)",
        id="tool-run-error",
    ),
    pytest.param(
        ([FAILED],),
        [],
        "expected finished; the run ended with RUN_ERROR (code BACKGROUND_EXECUTION_ERROR)",
        id="error-only",
    ),
    pytest.param(
        ([STARTED, *tool("b"), FINISHED],),
        [{"tool": "a"}],
        "expected tool a; the run ended with RUN_FINISHED",
        id="other-tool",
    ),
    pytest.param(
        ([STARTED, *tool("b"), *tool("a", "c2"), FINISHED],),
        [{"tool": "a"}, {"tool": "b"}],
        "expected tool b;",
        id="wrong-order",
    ),
    pytest.param(
        ([STARTED, *tool("a"), FINISHED],),
        [{"tool": "a"}, {"tool": "a"}],
        "expected tool a;",
        id="call-and-result-are-one-call",
    ),
    pytest.param(
        ([STARTED, *text("canary"), FINISHED],),
        [{"text": "hello"}],
        "expected text /hello/; the text does not match and the run ended with RUN_FINISHED",
        id="other-text",
    ),
    pytest.param(
        ([STARTED, *text("a" * 40 + "!"), FINISHED],),
        [{"text": "^(a+)+$"}],
        "expected text /^(a+)+$/; the text does not match and the run ended with RUN_FINISHED",
        id="exponential-pattern",
    ),
    pytest.param(
        ([STARTED, FINISHED],),
        [{"text": "x"}],
        "expected text /x/; no text came and the run ended with RUN_FINISHED",
        id="no-text",
    ),
    pytest.param(
        ([STARTED, FINISHED],),
        [{"interrupt": "confirmation"}],
        "expected interrupt confirmation; the run ended with RUN_FINISHED",
        id="no-interrupt",
    ),
    pytest.param(
        ([STARTED, ASKS],),
        [{"finished": True}],
        "expected finished; the run ended with an interrupt (confirmation)",
        id="interrupt-is-not-finished",
    ),
    pytest.param(
        ([STARTED, FINISHED],),
        [{"resume": {"confirmed": True}}],
        "expected an interrupt to resume; the run ended with RUN_FINISHED",
        id="nothing-to-resume",
    ),
    pytest.param(
        (APPROVAL[0], [STARTED, FAILED]),
        [{"resume": {}}, {"tool": "issue_refund"}],
        "expected tool issue_refund; the run ended with RUN_ERROR",
        id="resume-fails",
    ),
    pytest.param(
        ([STARTED, *text("fine"), FINISHED],),
        [{"blocked": "pi"}],
        "expected blocked by pi; no guardrail blocked it and the run ended with RUN_FINISHED",
        id="not-blocked",
    ),
    pytest.param(
        ([STARTED, blocked("pii"), FINISHED],),
        [{"blocked": "pi"}],
        "expected blocked by pi; the run was blocked by another rule",
        id="other-rule",
    ),
    pytest.param(
        ([STARTED, blocked("canary rule with words"), FINISHED],),
        [{"blocked": "pi"}],
        "expected blocked by pi; the run was blocked by another rule",
        id="rule-is-prose",
    ),
    pytest.param(
        ([STARTED, *STATE, FINISHED],),
        [{"state": {"notes": []}}],
        "expected state with notes; the values differ when the run ended with RUN_FINISHED",
        id="other-state",
    ),
    pytest.param(
        ([STARTED, {"type": "STATE_DELTA", "delta": [{"op": "remove", "path": "/x"}]}, FINISHED],),
        [{"state": {}}],
        "expected a state; a STATE_DELTA does not apply to the state before it",
        id="delta-does-not-apply",
    ),
    pytest.param(
        ([STARTED, {"type": "STATE_DELTA", "delta": [{"op": "copy", "from": "", "path": "/x"}]}, FINISHED],),
        [{"state": {}}],
        "expected a state; a STATE_DELTA is not a list of",
        id="copying-delta",
    ),
    pytest.param(([STARTED],), [], "expected RUN_FINISHED; the stream ended after RUN_STARTED", id="no-end"),
    pytest.param(([],), [], "expected RUN_FINISHED; the stream ended after nothing", id="empty"),
    pytest.param(
        ([{"type": "STATE_SNAPSHOT"}, FINISHED],),
        [],
        "expected a legal order of events; the first event is STATE_SNAPSHOT, not RUN_STARTED",
        id="no-start",
    ),
    pytest.param(
        ([STARTED, FINISHED, *text("late")],),
        [],
        "expected a legal order of events; TEXT_MESSAGE_START came after RUN_FINISHED",
        id="late-event",
    ),
    pytest.param(
        ([STARTED, STARTED, FINISHED],), [], "expected a legal order of events; RUN_STARTED came twice", id="two-starts"
    ),
    pytest.param(
        ([STARTED, *text("x")[:-1], FINISHED],),
        [],
        "expected a legal order of events; RUN_FINISHED came while a text message was open",
        id="open-message",
    ),
    pytest.param(
        ([STARTED, *tool("x", result=False)[:-1], FINISHED],),
        [],
        "expected a legal order of events; RUN_FINISHED came while a tool call was open",
        id="open-tool-call",
    ),
    pytest.param(
        ([STARTED, *text("x")[1:], FINISHED],),
        [],
        "expected a legal order of events; TEXT_MESSAGE_CONTENT came for a text message that was not open",
        id="content-without-start",
    ),
    pytest.param(
        ([STARTED, *text("x")[:1] * 2, FINISHED],),
        [],
        "expected a legal order of events; TEXT_MESSAGE_START came for a text message that was already open",
        id="two-message-starts",
    ),
    pytest.param(
        ([STARTED, {"type": "Canary says hello"}, FINISHED, FINISHED],),
        [],
        "expected a legal order of events; RUN_FINISHED came after RUN_FINISHED",
        id="two-ends",
    ),
    pytest.param(
        ([STARTED, FINISHED, {"type": "canary prose"}],),
        [],
        "expected a legal order of events; an unknown event came after RUN_FINISHED",
        id="type-is-prose",
    ),
    pytest.param(
        ([STARTED, {"kind": "x"}],), [], "expected a legal order of events; an event has no type", id="no-type"
    ),
    pytest.param(
        ([STARTED, b"data: canary\n\n"],),
        [],
        "expected AG-UI events; after RUN_STARTED came data that is not a JSON object",
        id="no-json",
    ),
    pytest.param(
        ([STARTED, b"data: " + b"[" * 50_000 + b"\n\n"],),
        [],
        "expected AG-UI events; after RUN_STARTED came data that is not",
        id="deep-json",
    ),
    pytest.param(([STARTED, b"data: " + b"x" * 300_000],), [], "the answer is longer than 256 kB", id="endless-event"),
    pytest.param(([STARTED, 30.0],), [], "no complete answer within 0.5 s; the last event was RUN_STARTED", id="hangs"),
]


@pytest.mark.parametrize(("scripts", "expect", "message"), RED)
async def test_red(converse: Make, scripts: tuple[Script, ...], expect: list[dict[str, Any]], message: str) -> None:
    result = await converse(Agent(*scripts), expect, timeout=0.5 if 30.0 in scripts[0] else 5.0)
    assert result.passed is False
    assert result.message.startswith(message), result.message
    assert "anary" not in result.message


async def test_a_resume_answers_the_interrupt_on_the_same_thread(converse: Make) -> None:
    agent = Agent(*APPROVAL)
    assert (await converse(agent, [{"resume": {"confirmed": True}}])).passed is True
    first, second = agent.inputs
    assert first["messages"] == [
        {"id": f"{first['threadId']}-user-0", "role": "user", "content": "refund order 42 for 80"}
    ]
    assert "resume" not in first
    assert second["resume"] == [{"interruptId": "adk-1", "status": "resolved", "payload": {"confirmed": True}}]
    assert second["threadId"] == first["threadId"]
    assert second["runId"] != first["runId"]
    assert first["threadId"].startswith("smoke-r1-")


async def test_each_check_has_a_fresh_thread_and_is_labelled(converse: Make) -> None:
    agent = Agent([STARTED, FINISHED])
    for _ in range(2):
        await converse(agent, [])
    assert len({body["threadId"] for body in agent.inputs}) == 2
    assert {h["x-agui-synthetic"] for h in agent.headers} == {"smoke"}


async def test_several_messages_are_said_in_turn_and_the_history_goes_along(converse: Make) -> None:
    agent = Agent(
        [STARTED, {"type": "STATE_SNAPSHOT", "snapshot": {"n": 1}}, *text("one"), FINISHED],
        [STARTED, *text("two", key="m2"), FINISHED],
        [STARTED, *text("three", key="m3"), FINISHED],
    )
    expect = [{"text": "one"}, {"finished": True}, {"text": "two"}, {"finished": True}, {"text": "three"}]
    result = await converse(agent, expect, say=["a", "b", "c"])
    assert (result.passed, result.message) == (True, "the conversation went as expected in 3 runs")
    assert [(m["role"], m["content"]) for m in agent.inputs[2]["messages"]] == [
        *(("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two"), ("user", "c"))
    ]
    assert agent.inputs[1]["state"] == {"n": 1}


async def test_messages_without_expectations_are_said_too(converse: Make) -> None:
    agent = Agent([STARTED, FINISHED], [STARTED, FAILED])
    result = await converse(agent, [{"finished": True}], say=["a", "b"])
    assert result.passed is False
    assert len(agent.inputs) == 2


async def test_a_messages_snapshot_replaces_the_history(converse: Make) -> None:
    snapshot = {"type": "MESSAGES_SNAPSHOT", "messages": [{"id": "m1", "role": "assistant", "content": "hi"}]}
    agent = Agent([STARTED, *text("hi"), snapshot, FINISHED], [STARTED, FINISHED])
    assert (await converse(agent, [{"finished": True}], say=["a", "b"])).passed is True
    assert [m["content"] for m in agent.inputs[1]["messages"]] == ["hi", "b"]


async def test_the_first_token_has_its_own_limit(converse: Make) -> None:
    slow: Script = [STARTED, 0.6, *text("late"), FINISHED]
    red = await converse(Agent(slow), [], firstTokenWithin="200ms")
    assert red.message == "expected a first token within 0.2 s; by then the last event was RUN_STARTED"
    green = await converse(Agent([STARTED, *text("soon"), 0.4, FINISHED]), [], firstTokenWithin="300ms")
    assert green.passed is True, green.message
    assert green.latency_ms is not None
    assert green.latency_ms < 300


async def test_no_stream_at_all(serve: Serve, guard: Guard, smoke: Make, target_of: Make) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=int(request.query["code"]), text="canary")

    app = web.Application()
    app.router.add_post("/agent", refuse)
    target = target_of(await serve(app))
    for code, message in ((500, "the server answered 500"), (200, "the answer's type is not text/event-stream")):
        check = smoke({"agent": {"path": f"/agent?code={code}", "say": "x"}})
        result = await run_check(check, target, guard)
        assert (result.passed, result.code) == (False, code)
        assert result.message == f"expected an AG-UI event stream; {message}"
