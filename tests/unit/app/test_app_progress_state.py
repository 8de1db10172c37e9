"""Progress, places of blocks and cut-off answers, as functions of what is stored."""

from __future__ import annotations

import pytest
from google.adk.events import Event
from google.genai import types

from agui_app.agents.progress import settled
from agui_app.agents.stream_shape import client_state
from agui_app.runs.runs import _cut_off
from agui_app.runs.threads import TITLE_CHARACTERS, _title, turns_of


def event(author: str, invocation: str, text: str = "") -> Event:
    content = types.Content(role=author, parts=[types.Part(text=text)]) if text else None
    return Event(author=author, invocation_id=invocation, content=content)


def test_what_ran_when_its_run_ended_was_stopped():
    steps = [{"name": "a", "status": "done"}, {"name": "b", "status": "running"}, {"name": "c", "status": "waiting"}]
    given = {"x": {"name": "p", "status": "running", "steps": steps}, "y": {"status": "failed", "steps": steps}}
    shown = settled(given)
    assert shown["x"]["status"] == "stopped"
    assert [step["status"] for step in shown["x"]["steps"]] == ["done", "stopped", "waiting"]
    assert shown["y"] == given["y"]
    assert given["x"]["status"] == "running", "what is stored is not changed"


@pytest.mark.parametrize("state", [None, 7, [], {"x": None}, {"x": {"status": "done"}}])
def test_a_state_of_another_shape_is_left_alone(state):
    assert settled(state) == state


def test_a_client_sets_neither_progress_nor_bookkeeping():
    assert client_state({"pipelines": {}, "_adk_x": 1, "colour": "blue"}) == {"colour": "blue"}
    assert client_state(None) is None


def test_an_invocation_answers_the_message_that_began_it():
    events = [
        event("user", "state"),  # a change of state is no message
        event("user", "one", "hello"),
        event("concierge", "one", "Hello."),
        event("user", "two", "refund"),
        event("orders", "two"),
        event("user", "two"),  # the approval, which resumes the invocation
        event("user", "three", "thanks"),
        event("orders", "two", "late"),
    ]
    assert turns_of(events) == {"state": 0, "one": 1, "two": 2, "three": 3}


def test_the_answer_that_is_open_is_what_was_cut_off():
    def content(message: str, words: str) -> dict[str, str]:
        return {"type": "TEXT_MESSAGE_CONTENT", "messageId": message, "delta": words}

    begun = [{"type": "TEXT_MESSAGE_START", "messageId": "1"}, content("1", "whole")]
    ended = [*begun, {"type": "TEXT_MESSAGE_END", "messageId": "1"}]
    assert _cut_off([]) == ""
    assert _cut_off(ended) == ""
    second = [
        {"type": "TEXT_MESSAGE_START", "messageId": "2"},
        content("2", "a "),
        content("1", "x"),
        content("2", "b"),
    ]
    assert _cut_off([*ended, *second]) == "a b"


def test_a_title_is_one_short_line():
    assert _title(" a\n  b ") == "a b"
    assert len(_title("x" * 500)) == TITLE_CHARACTERS
