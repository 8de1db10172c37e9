"""Traffic lists: what they may say, and what they mean to the data plane."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgcp.kit.errors import ApiError
from localgcp.kit.interfaces import Target
from localgcp.services.run.traffic import check_traffic, targets, traffic_statuses
from localgcp.services.run.types import LATEST, REVISION, Service


def traffic(*shares: dict[str, Any]) -> Any:
    return Service(traffic=list(shares)).traffic


def test_no_list_means_the_latest_ready_revision() -> None:
    assert targets(traffic(), "web-b") == (Target("web-b", 100),)
    assert targets(traffic(), "") == ()


def test_latest_and_named_revisions() -> None:
    listed = traffic({"type_": LATEST, "percent": 90}, {"revision": "web-a", "percent": 10, "tag": "old"})
    check_traffic(listed, "web")
    assert listed[1].type_ == REVISION, "a target that names a revision is of that type"
    assert targets(listed, "web-b") == (Target("web-b", 90), Target("web-a", 10, "old"))


def test_statuses_have_a_uri_per_tag() -> None:
    listed = traffic({"type_": REVISION, "revision": "web-a", "percent": 100}, {"type_": LATEST, "tag": "next"})
    first, second = traffic_statuses(listed, lambda tag: f"http://{tag}---host")
    assert (first.uri, first.percent) == ("", 100)
    assert (second.uri, second.revision, second.percent) == ("http://next---host", "", 0)


@pytest.mark.parametrize("tag", ["Next", "1st", "-x", "x-", "x_y", "a" * 44])
def test_tags_that_make_no_host(tag: str) -> None:
    with pytest.raises(ApiError, match="Traffic tag"):
        check_traffic(traffic({"type_": LATEST, "percent": 100, "tag": tag}), "web")


@given(st.lists(st.integers(-200, 200), min_size=1, max_size=5))
def test_only_sums_of_100_pass(percents: list[int]) -> None:
    listed = traffic(*({"type_": LATEST, "percent": percent} for percent in percents))
    legal = sum(percents) == 100 and all(0 <= percent <= 100 for percent in percents)
    if legal:
        check_traffic(listed, "web")
    else:
        with pytest.raises(ApiError, match="percent"):
            check_traffic(listed, "web")
