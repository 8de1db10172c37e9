"""Properties of what reads a server's or an author's bytes: the SSE reader, the run's record, the guard's judgement of
origins, paths and addresses. None of them may raise anything unplanned, whatever comes."""

import ipaddress
import json
from contextlib import suppress
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agui_operator.checks.addresses import Refused, checked_path, is_permitted, parse_origin
from agui_operator.checks.agent_run import Run, Thread
from agui_operator.checks.json_path import JsonPathInvalid, parse_json_path, value_at
from agui_operator.checks.page import read_page
from agui_operator.checks.run_order import name_of
from agui_operator.checks.sse import EventReader, ServerSentEvent
from agui_operator.checks.target import Failed
from agui_operator.core.words import UNDISCLOSED

lines = st.lists(
    st.one_of(
        st.sampled_from(
            [b"", b"data", b"data:", b"data: x", b"data:x", b":", b": c", b"event: e", b"id: 7", b"retry: 1"]
        ),
        st.binary(max_size=12),
    ),
    max_size=12,
)
ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
streams = st.one_of(
    st.binary(max_size=300),
    st.builds(lambda parts, end: end.join([*parts, b""]), lines, ends),
    st.builds(
        lambda parts: b"".join(parts),
        st.lists(st.sampled_from([b"data: a", b"\n", b"\r", b"\r\n", b"\xef\xbb\xbf", b"\xff"])),
    ),
)


def read(chunks: list[bytes]) -> list[ServerSentEvent]:
    reader = EventReader()
    return [event for chunk in chunks for event in reader.feed(chunk)]


def reference(stream: bytes) -> list[ServerSentEvent]:
    """The specification's algorithm on the whole stream: split into lines, interpret, drop what has no blank line."""
    text = stream.decode("utf-8", errors="replace").removeprefix("\ufeff")
    lines, rest = [], text.replace("\r\n", "\n").replace("\r", "\n")
    *lines, _ = rest.split("\n")
    events, data, kind, last = [], [], "", ""
    for line in lines:
        name, colon, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if not line:
            if data:
                events.append(ServerSentEvent("\n".join(data), kind or "message", last))
            data, kind = [], ""
        elif colon and not name:
            continue
        elif name == "data":
            data.append(value)
        elif name == "event":
            kind = value
        elif name == "id" and "\0" not in value:
            last = value
    return events


@given(stream=streams, cuts=st.lists(st.integers(0, 300), max_size=8))
@example(stream=b"data: a\r\n\r\n", cuts=[8, 10])
@example(stream=b"\xef\xbb\xbfdata: a\n\n", cuts=[1, 2])
@settings(max_examples=600, deadline=None)
def test_events_do_not_depend_on_where_the_stream_is_cut(stream: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(stream), *(c for c in cuts if c < len(stream))})
    chunks = [stream[a:b] for a, b in pairwise(places)]
    whole = read([stream])
    assert read(chunks) == whole
    assert read([bytes([b]) for b in stream]) == whole


@given(stream=streams)
@example(stream=b"data: a\n\ndata: b\r\rdata: c\r\n\r\n")
@settings(max_examples=600, deadline=None)
def test_events_are_those_of_the_specification(stream: bytes) -> None:
    # A lone "\r" at the very end may be half of a "\r\n", so the reader has to wait for more; one more byte settles it.
    assert read([stream, b":"]) == reference(stream + b":")


def test_one_long_line_is_read_in_linear_time() -> None:
    reader = EventReader()
    for _ in range(20_000):
        assert reader.feed(b"data: x" * 10) == []
    (event,) = reader.feed(b"\n\n")
    assert len(event.data) > 1_000_000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=6) | st.just(float("nan")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
ORDERED = (
    *("RUN_STARTED", "RUN_FINISHED", "RUN_ERROR", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"),
    *("TEXT_MESSAGE_CHUNK", "TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_RESULT"),
    *("STATE_SNAPSHOT", "STATE_DELTA"),
)
kinds = st.sampled_from(
    [
        "RUN_STARTED",
        "RUN_FINISHED",
        "RUN_ERROR",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "TEXT_MESSAGE_CHUNK",
        "TOOL_CALL_START",
        "TOOL_CALL_ARGS",
        "TOOL_CALL_END",
        "TOOL_CALL_RESULT",
        "STATE_SNAPSHOT",
        "STATE_DELTA",
        "MESSAGES_SNAPSHOT",
        "CUSTOM",
        "STEP_STARTED",
        "STEP_FINISHED",
    ]
)
fields = st.sampled_from(
    [
        "messageId",
        "toolCallId",
        "toolCallName",
        "delta",
        "snapshot",
        "messages",
        "name",
        "value",
        "outcome",
        "code",
        "stepName",
    ]
)
paths = st.sampled_from(["", "/", "/a", "/a/0", "/a/-", "/b/c", "nope", "/a/99999999999", "/~2"])
patches = st.lists(
    st.fixed_dictionaries(
        {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x"]), "path": paths},
        optional={"value": json_values, "from": paths},
    ),
    max_size=4,
)
events = st.builds(
    lambda kind, more, delta: {"type": kind, **more, **({"delta": delta} if kind == "STATE_DELTA" else {})},
    kinds | json_values,
    st.dictionaries(fields, json_values, max_size=4),
    patches | json_values,
)


def taken(run: Run, data: str) -> str:
    """What was wrong with an event; empty if nothing."""
    try:
        run.take(data)
    except Failed as wrong:
        return str(wrong)
    return ""


@given(stream=st.lists(events, max_size=12))
@settings(max_examples=400, deadline=None)
def test_any_events_give_a_record_or_a_sentence(stream: list[dict[str, Any]]) -> None:
    run = Run(Thread("t"))
    took = [taken(run, data) for data in ['{"type": "RUN_STARTED"}', *(json.dumps(event) for event in stream)]]
    assert took[0] == ""
    assert all(sentence == "" or sentence.startswith("expected ") for sentence in took)
    assert run.outcome(UNDISCLOSED)
    assert len(run.outcome(UNDISCLOSED)) < 200


@given(data=st.text(max_size=60) | json_values.map(json.dumps))
@settings(max_examples=300, deadline=None)
def test_any_data_is_an_event_or_refused(data: str) -> None:
    sentence = taken(Run(Thread("t")), data)
    assert sentence == "" or sentence.startswith("expected ")


@given(kind=st.text(max_size=60) | json_values)
def test_a_type_in_a_message_is_a_word_in_capitals(kind: Any) -> None:
    assert name_of(kind) == "an unknown event" or (name_of(kind) == kind and kind.replace("_", "").isalpha())


PIECES = st.sampled_from(
    [
        "http://",
        "https://",
        "//",
        "@",
        ":",
        "/",
        "\\",
        "#",
        "?",
        "[",
        "]",
        "::1",
        "127.0.0.1",
        "0x7f.1",
        "localhost",
        "good.example",
        ".",
        "..",
        "%2f",
        "%5c",
        "%00",
        "%0d%0a",
        "\r\n",
        "\t",
        " ",
        "443",
        "a",
        "é",
        "①",
        "run.app",
        "---",
    ]
)
puzzles = st.lists(PIECES, max_size=8).map("".join) | st.text(max_size=40)


@given(text=puzzles)
@settings(max_examples=2000, deadline=None)
def test_an_origin_is_a_public_name_or_refused(text: str) -> None:
    try:
        origin = parse_origin(text)
    except Refused:
        return
    split = urlsplit(text)
    assert (split.scheme, split.hostname, split.path, split.query) == ("https", origin.host, "", "")
    assert split.username is None
    assert origin.port == 443
    assert origin.host.isascii()
    with pytest.raises(ValueError):
        ipaddress.ip_address(origin.host)


@given(text=puzzles, more=st.booleans())
@settings(max_examples=2000, deadline=None)
def test_a_path_never_changes_the_host(text: str, more: bool) -> None:
    try:
        path = checked_path("/" + text if more else text)
    except Refused:
        return
    for base in ("https://good.example", "https://[2606:4700::1111]:8443"):
        split, want = urlsplit(base + path), urlsplit(base)
        assert (split.netloc, split.hostname, split.username) == (want.netloc, want.hostname, None)
    assert path.startswith("/")
    assert not path.startswith("//")
    assert path.isascii()
    assert path.isprintable()


v4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
v6 = st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address)


@given(address=v4)
@settings(max_examples=2000, deadline=None)
def test_what_is_permitted_is_global_by_the_registry(address: ipaddress.IPv4Address) -> None:
    if is_permitted(address):
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_reserved


@given(inside=v4, far=v6)
@settings(max_examples=1000, deadline=None)
def test_no_ipv6_form_carries_an_ipv4_address(inside: ipaddress.IPv4Address, far: ipaddress.IPv6Address) -> None:
    number = int(inside)
    forms = {
        "mapped": (0xFFFF << 32) | number,
        "compatible": number,
        "nat64": (0x64FF9B << 96) | number,
        "local-nat64": (0x64FF9B0001 << 80) | number,
        "6to4": (0x2002 << 112) | (number << 80),
        "teredo": (0x20010000 << 96) | (number << 64) | (number ^ 0xFFFFFFFF),
    }
    for name, form in forms.items():
        assert not is_permitted(ipaddress.IPv6Address(form), allow_loopback=form != 1), name
    if is_permitted(far):
        assert far.is_global
        assert far.ipv4_mapped is None
        assert far.sixtofour is None
        assert far.teredo is None


@given(
    html=st.binary(max_size=200)
    | st.lists(
        st.sampled_from(
            [
                b"<script src=",
                b"<link rel=stylesheet href=",
                b"'",
                b">",
                b"//x",
                b"/a",
                b"<base href=",
                b"<!--",
                b"]]>",
                b"\xff",
            ]
        )
    ).map(b"".join)
)
@settings(max_examples=500, deadline=None)
def test_any_html_is_read(html: bytes) -> None:
    for reference_ in read_page(html, "/releases/f1/index.html").references:
        assert reference_.path is None or reference_.path.startswith(("/", "?")) or reference_.path == ""


@given(path=puzzles | st.text(alphabet="$.['a\"]0-", max_size=14), document=json_values)
@settings(max_examples=800, deadline=None)
def test_any_json_path_is_read_or_refused(path: str, document: Any) -> None:
    with suppress(JsonPathInvalid):
        value_at(document, parse_json_path(path))
