"""What leaves the process: closed messages, public state, redaction over chunk borders, followers that miss nothing."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agui_app.agents.guardrails import load_guardrails, redact
from agui_app.agents.stream_shape import StreamRedactor, closing_events, opening_events, public_state
from agui_app.http.common import frames, lines_of
from agui_app.runs.runs import Run
from agui_app.settings import PACKAGE

RULES = load_guardrails(PACKAGE / "data" / "guardrails.yaml")


def test_open_messages_and_calls_are_closed():
    events = [
        {"type": "TEXT_MESSAGE_START", "messageId": "m1"},
        {"type": "TEXT_MESSAGE_END", "messageId": "m1"},
        {"type": "TEXT_MESSAGE_START", "messageId": "m2"},
        {"type": "TOOL_CALL_START", "toolCallId": "c1", "toolCallName": "x"},
    ]
    assert closing_events(events, "t", "r") == [
        {"type": "TEXT_MESSAGE_END", "messageId": "m2"},
        {"type": "TOOL_CALL_END", "toolCallId": "c1"},
    ]


def test_bookkeeping_is_not_public():
    state = {"_ag_ui_x": 1, "user:y": 2, "app:z": 3, "temp:t": 4, "pending_tool_calls": [], "colour": "blue"}
    assert public_state(state) == {"colour": "blue"}
    assert public_state(None) is None


def stream(chunks: list[str]) -> str:
    redactor = StreamRedactor(RULES)
    sent = []
    for chunk in chunks:
        sent += redactor.pass_on({"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": chunk})
    sent += redactor.pass_on({"type": "TEXT_MESSAGE_END", "messageId": "m"})
    assert sent[-1]["type"] == "TEXT_MESSAGE_END"
    assert all(event["delta"] for event in sent[:-1])
    return "".join(event["delta"] for event in sent[:-1])


@given(st.lists(st.text(max_size=12), max_size=12), st.integers(0, 200))
def test_redaction_does_not_depend_on_where_the_chunks_were_cut(words, cut):
    text = " ".join([*words, "ann@mail.example.org", "and", "123-45-6789", "end"])
    cut %= len(text) + 1
    assert stream([text[:cut], text[cut:]]) == redact(RULES, text)[0]


def test_no_half_of_an_address_ever_leaves():
    redactor = StreamRedactor(RULES)
    event = {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "mail ann@mail"}
    assert [e["delta"] for e in redactor.pass_on(event)] == ["mail "]
    assert redactor.drain() == [{"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "ann@mail"}]


async def test_followers_get_every_event_once_whenever_they_come():
    run = Run("u", "t", "r", first_seq=7)

    async def follow(durable: bool) -> list[int]:
        return [seq async for seq, _ in run.follow(durable)]

    early = asyncio.create_task(follow(False))
    durable = asyncio.create_task(follow(True))
    for number in range(50):
        run.add({"type": "CUSTOM", "name": "n", "value": number})
        if number % 7 == 0:
            await asyncio.sleep(0)
        if number == 30:
            late = asyncio.create_task(follow(False))
    await asyncio.sleep(0)
    assert not durable.done()
    run.committed = 50
    run.ended = True
    run.wake()
    expected = list(range(7, 57))
    assert await asyncio.gather(early, late, durable) == [expected, expected, expected]


async def test_quiet_streams_are_kept_alive():
    run = Run("u", "t", "r", first_seq=1)
    stream = frames(lines_of(run), ping_seconds=0.01)
    assert await anext(stream) == b": ping\n\n"
    run.add({"type": "RUN_STARTED"})
    assert json.loads((await anext(stream))[6:]) == {"type": "RUN_STARTED"}
    run.ended = True
    run.wake()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


def test_a_run_that_is_stopped_before_its_first_event_begins_and_ends() -> None:
    finished, failed = {"type": "RUN_FINISHED"}, {"type": "RUN_ERROR"}
    started = {"type": "RUN_STARTED", "threadId": "t", "runId": "r"}
    assert opening_events([], finished, "t", "r") == [started]
    assert opening_events([], failed, "t", "r") == [], "an error may come first"
    assert opening_events([started], finished, "t", "r") == []
