"""Which answered approvals came to nothing: only those after whose answer nobody has said a word."""

from __future__ import annotations

import pytest
from google.adk.events import Event
from google.genai import types

from agui_app.runs.reopen import came_to_nothing


def event(author: str, *parts: types.Part, partial: bool = False) -> Event:
    return Event(author=author, invocation_id="i", partial=partial, content=types.Content(role=author, parts=[*parts]))


def text(author: str, words: str, partial: bool = False) -> Event:
    return event(author, types.Part(text=words), partial=partial)


def answer(author: str, call: str, name: str = "adk_request_confirmation") -> Event:
    return event(author, types.Part(function_response=types.FunctionResponse(id=call, name=name, response={})))


ASKED = [text("user", "refund"), answer("orders", "call-1", "issue_refund")]


@pytest.mark.parametrize(
    ("later", "lost"),
    [
        ([], False),
        ([answer("user", "q")], True),
        ([answer("user", "other")], False),
        ([answer("orders", "q")], False),
        ([answer("user", "q"), Event(author="user", invocation_id="i")], True),
        ([answer("user", "q"), answer("orders", "call-1", "issue_refund")], True),
        ([answer("user", "q"), text("orders", "I ref", partial=True)], True),
        ([answer("user", "q"), text("orders", "I refunded it.")], False),
        ([answer("user", "q"), text("user", "never mind")], False),
        ([answer("user", "q"), answer("user", "q")], True),
        ([answer("user", "q"), text("orders", "no"), answer("user", "q")], False),
    ],
)
def test_came_to_nothing(later, lost):
    assert came_to_nothing([*ASKED, *later], "q") is lost
