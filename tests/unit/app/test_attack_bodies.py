"""What strangers may send as JSON, and that the documentation tells what the code does."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agui_app.environment import SettingsError
from agui_app.http.common import Refused, from_json, run_input
from agui_app.http.gate import PUBLIC
from agui_app.http.json_input import DEEPEST, NotJson, NotStorable, parsed
from agui_app.runs.endings import CODES
from agui_app.settings import read_settings
from agui_dev.guardrail_figures import main
from agui_dev.paths import ROOT

pytestmark = pytest.mark.no_cover  # other tests reach the lines; a measured run takes twice as long

PAGE = (ROOT / "docs/security-application.md").read_text(encoding="utf-8")
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_what_can_be_stored_passes_unchanged(value):
    assert parsed(json.dumps(value)) == value
    assert parsed(json.dumps(value, ensure_ascii=False).encode()) == value


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200))
def test_anything_else_is_refused_in_one_of_two_ways(raw):
    with suppress(NotJson, NotStorable):
        json.dumps(parsed(raw), allow_nan=False).encode()


@pytest.mark.parametrize(
    "body", ["NaN", "Infinity", "-Infinity", "[NaN]", "", "{", "[" * 100_000, b"\xff\xfe", "1" * 5_000]
)
def test_what_is_no_json(body):
    with pytest.raises(NotJson):
        parsed(body)


@pytest.mark.parametrize(
    "body",
    ['"\\u0000"', '{"a\\u0000": 1}', '"\\ud800"', '["\\udfff x"]', "1e999", "[" * (DEEPEST + 2) + "]" * (DEEPEST + 2)],
)
def test_what_cannot_be_stored(body):
    with pytest.raises(NotStorable):
        parsed(body)


BASE = {"threadId": "t", "runId": "r"}


def most(entry: object) -> list[object]:
    """As often as a body may hold it."""
    return [entry] * (262_000 // (len(json.dumps(entry, separators=(",", ":"))) + 1))


@contextmanager
def own_work() -> Iterator[None]:
    """Without the collection of what thousands of tests before left in this process."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "body",
    [
        {"tools": most({"name": "t", "description": "", "parameters": {}})},
        {"tools": most({"n": 1})},
        {"context": most({"description": "", "value": ""})},
        {"messages": most({})},
        {"messages": most({"role": "user"})},
        {"messages": [{"id": "1", "role": "user", "content": most({"type": "x"})}]},
        {"messages": [{"id": "1", "role": "user", "content": most({"type": "text", "text": ""})}]},
        {"resume": most({"interruptId": "1", "status": "resolved", "payload": 1})},
        {"state": {"a": most([[[[]]]])}},
        {"state": {str(n): 0 for n in range(25_000)}},
        {"forwardedProps": most(0)},
    ],
    ids=lambda body: next(iter(body)),
)
def test_a_body_of_many_values_is_refused_quickly(body):
    """The event loop serves nobody else meanwhile: 4,000 client tools once held it for two seconds."""
    raw = json.dumps(BASE | body, separators=(",", ":")).encode()
    assert len(raw) <= 262_144
    with own_work():
        began = time.process_time()
        with pytest.raises(Refused) as refused:
            run_input(from_json(raw, "x"))
        assert time.process_time() - began < 0.5
    assert refused.value.status == 422


def test_a_long_conversation_passes():
    call = {"id": "c", "type": "function", "function": {"name": "lookup_order", "arguments": "{}"}}
    turn = [
        {"id": "1", "role": "user", "content": "x"},
        {"id": "2", "role": "assistant", "toolCalls": [call]},
        {"id": "3", "role": "tool", "content": "y", "toolCallId": "c"},
        {"id": "4", "role": "assistant", "content": "z"},
    ]
    raw = json.dumps(BASE | {"messages": turn * 250})
    assert len(run_input(from_json(raw, "x")).messages) == 1000


@pytest.mark.parametrize("media", ["text/plain", "application/pdf", "image/*", "image", "*/*", "image/png,text/html"])
def test_media_that_hide_text_cannot_be_accepted(media):
    with pytest.raises(SettingsError, match="AGUI_ACCEPTED_MEDIA"):
        read_settings({"DATABASE_URL": "postgresql://h/n", "AGUI_ACCEPTED_MEDIA": media})


def test_the_page_tells_the_public_paths_the_codes_and_the_figures():
    assert all(f"`{path}`" in PAGE for path in PUBLIC)
    assert all(f"`{code}`" in PAGE for code in CODES)
    assert main(["--check"]) == 0, "run python -m agui_dev.guardrail_figures"
