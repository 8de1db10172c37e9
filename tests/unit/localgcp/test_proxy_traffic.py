"""The traffic table: splits that hold in the short and the long run, tags, sessions; and the trace headers."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from agui_dev.testbed.data_plane import HOST, split, workload
from localgcp.edge.headers import add_trace, end_to_end
from localgcp.edge.traffic import Routes, TrafficTable


@given(percent=st.integers(1, 99), requests=st.integers(100, 2000))
def test_a_split_is_never_far_from_its_percent(percent: int, requests: int) -> None:
    table = TrafficTable(split(("a", 100 - percent), ("b", percent)))
    seen = Counter(table.choose() for _ in range(requests))
    assert abs(seen["b"] - requests * percent / 100) <= 3


@given(percents=st.lists(st.integers(0, 100), min_size=1, max_size=6))
def test_revisions_without_percent_are_never_chosen(percents: list[int]) -> None:
    table = TrafficTable(split(*((f"r{n}", percent) for n, percent in enumerate(percents))))
    chosen = {table.choose() for _ in range(300)}
    assert chosen <= ({f"r{n}" for n, percent in enumerate(percents) if percent} or {None})


def test_percent_and_tag_of_one_revision_add_up() -> None:
    table = TrafficTable(split(("a", 40), ("a", 10, "green"), ("b", 50)))
    assert table.shares == {"a": 50, "b": 50}
    assert table.choose(tag="green") == "a"
    assert table.choose(tag="blue") is None


def test_a_session_keeps_its_revision_until_that_has_no_traffic() -> None:
    table = TrafficTable(split(("a", 1), ("b", 99), ("c", 0, "old")))
    assert {table.choose(affine="a") for _ in range(20)} == {"a"}
    assert "c" not in {table.choose(affine="c") for _ in range(20)}


def test_hosts_are_found_with_and_without_tag() -> None:
    routes = Routes()
    routes.put(split(("a", 100, "green")))
    found = routes.by_host(HOST)
    assert found is not None
    assert found[1] is None
    tagged = routes.by_host(f"green---{HOST}")
    assert tagged is not None
    assert tagged[1] == "green"
    assert routes.by_host(f"blue---{HOST}") is None
    assert routes.by_host("green---other.run.localhost") is None
    routes.put(split(("b", 100), host="new.us-central1.run.localhost"))
    assert routes.by_host(HOST) is None, "a service has one host"
    assert routes.serving() == {workload("b")}
    routes.drop("demo", "us-central1", "shop")
    routes.drop("demo", "us-central1", "shop")
    assert routes.serving() == frozenset()


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"traceparent": "nonsense"},
        {"X-Cloud-Trace-Context": "nonsense"},
        {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"},
        {"X-Cloud-Trace-Context": f"{'c' * 32}/5;o=0"},
        {"X-Cloud-Trace-Context": "c" * 32},
        {"X-Cloud-Trace-Context": f"{'c' * 32}/{2**70};o=1"},
    ],
)
def test_both_trace_headers_always_agree(sent: dict[str, str]) -> None:
    headers = CIMultiDict(sent)
    add_trace(headers)
    _, trace, span, flags = headers["traceparent"].split("-")
    assert headers["X-Cloud-Trace-Context"] == f"{trace}/{int(span, 16)};o={int(flags, 16) & 1}"
    if trace_sent := next(
        (value[3:35] for name, value in sent.items() if name == "traceparent" and len(value) > 40), ""
    ):
        assert trace == trace_sent


def test_hop_by_hop_headers_stay_on_their_hop() -> None:
    sent = CIMultiDictProxy(
        CIMultiDict(
            {"Connection": "Upgrade, X-Mine", "X-Mine": "1", "TE": "trailers", "Upgrade": "websocket", "X": "1"}
        )
    )
    assert dict(end_to_end(sent)) == {"X": "1"}
    assert dict(end_to_end(sent, upgrade=True)) == {"X": "1", "Connection": "Upgrade", "Upgrade": "websocket"}
