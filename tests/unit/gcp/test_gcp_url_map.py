"""The release pointer as rules of a URL map, and back; everybody else's rules stay as they are."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agui_operator.core.actions import Pointer
from agui_operator.core.environment import Edge
from agui_operator.core.errors import NotOwned
from agui_operator.core.names import Names
from agui_operator.gcp.url_map import CHANGED_BY_HAND, UrlMap, host_of, parse, patch, rules

NAMES = Names("shop", "concierge", "uid-1", "demo", "us-central1")
EDGE = Edge("app.example", "site", "site-assets", "site-api", ("/copilotkit", "/api", "/ws"))
FOREIGN = UrlMap(
    "f0",
    ({"hosts": ["other.example"], "pathMatcher": "other"},),
    ({"name": "other", "defaultService": "global/backendServices/other"},),
)
EMPTY = UrlMap("f0", (), ())

identifiers = st.from_regex(r"[0-9a-f]{6,12}", fullmatch=True)
pointers = st.builds(Pointer, st.one_of(st.none(), identifiers), identifiers)
edges = st.builds(
    Edge,
    st.sampled_from(["app.example", "http://127.0.0.1:8086", "https://App.Example"]),
    st.just("site"),
    st.just("site-assets"),
    st.just("site-api"),
    st.lists(st.from_regex(r"/[a-z]{1,8}", fullmatch=True), min_size=1, max_size=4, unique=True).map(tuple),
)
foreign_maps = st.sampled_from([EMPTY, FOREIGN])


def patched(url_map: UrlMap, body: dict[str, Any]) -> UrlMap:
    """As the API would: a merge patch with a new fingerprint; references come back as full links or partial ones."""
    text = json.dumps(body).replace("https://www.googleapis.com/compute/v1/", "")
    new = json.loads(text)
    return UrlMap(url_map.fingerprint + "'", tuple(new["hostRules"] or ()), tuple(new["pathMatchers"] or ()))


@given(edges, pointers, foreign_maps)
def test_what_is_written_is_read_again(edge: Edge, pointer: Pointer, before: UrlMap) -> None:
    body = patch(before, edge, NAMES, pointer)
    assert body is not None
    after = patched(before, body)
    assert parse(after, edge, NAMES) == pointer
    assert patch(after, edge, NAMES, pointer) is None


@given(edges, pointers, pointers, foreign_maps)
def test_applying_the_patch_leaves_nothing_to_do(edge: Edge, first: Pointer, second: Pointer, before: UrlMap) -> None:
    steps: list[Pointer | None] = [first, second, None]
    current = before
    for wanted in steps:
        body = patch(current, edge, NAMES, wanted)
        if body is not None:
            assert body["fingerprint"] == current.fingerprint
            current = patched(current, body)
        assert patch(current, edge, NAMES, wanted) is None
        assert parse(current, edge, NAMES) == wanted
        assert current.host_rules[: len(before.host_rules)] == before.host_rules
        assert current.matchers[: len(before.matchers)] == before.matchers
    assert (current.host_rules, current.matchers) == (before.host_rules, before.matchers)


@given(edges, pointers, st.data())
def test_any_change_by_hand_is_seen(edge: Edge, pointer: Pointer, data: st.DataObject) -> None:
    current = patched(EMPTY, patch(EMPTY, edge, NAMES, pointer) or {})
    matcher = copy.deepcopy(current.matchers[0])
    route = data.draw(st.sampled_from(matcher["routeRules"]))
    change = data.draw(st.sampled_from(["service", "path", "gone"]))
    if change == "service":
        route["service"] = "projects/demo/global/backendServices/elsewhere"
    elif change == "path":
        route["matchRules"][0] = {"prefixMatch": "/elsewhere"}
    else:
        matcher["routeRules"].remove(route)
    seen = parse(replace(current, matchers=(matcher,)), edge, NAMES)
    assert seen == Pointer(CHANGED_BY_HAND, pointer.release)
    assert seen != pointer


def test_priorities_rise_and_the_pages_come_last() -> None:
    routes = rules(EDGE, NAMES, Pointer("abc", "r1"))["routeRules"]
    priorities = [route["priority"] for route in routes]
    assert priorities == sorted(set(priorities))
    paths = [[next(iter(m.values())) for m in route["matchRules"]] for route in routes]
    assert paths[:3] == [["/copilotkit", "/copilotkit/"], ["/api", "/api/"], ["/ws", "/ws/"]]
    assert paths[3] == ["/assets/", "/releases/"]
    assert "routeAction" not in routes[3]
    assert paths[-3:] == [["/"], ["/t/{thread=**}"], ["/{page=**}"]]


def test_without_a_frontend_everything_is_the_service() -> None:
    matcher = rules(EDGE, NAMES, Pointer(None, "r1"))
    services = {matcher["defaultService"], *(route["service"] for route in matcher["routeRules"])}
    assert services == {"https://www.googleapis.com/compute/v1/projects/demo/global/backendServices/site-api"}


@pytest.mark.parametrize(
    ("domain", "host"),
    [("app.example", "app.example"), ("http://127.0.0.1:8086", "127.0.0.1"), ("https://App.Example/", "app.example")],
)
def test_the_host_of_a_domain(domain: str, host: str) -> None:
    assert host_of(replace(EDGE, domain=domain)) == host


def test_added_hosts_are_kept() -> None:
    current = patched(EMPTY, patch(EMPTY, EDGE, NAMES, Pointer("a", "r1")) or {})
    (rule,) = current.host_rules
    current = replace(current, host_rules=({**rule, "hosts": ["app.example", "www.app.example"]},))
    body = patch(current, EDGE, NAMES, Pointer("b", "r2"))
    assert body is not None
    assert body["hostRules"][0]["hosts"] == ["app.example", "www.app.example"]


def test_nothing_is_public_without_a_host_rule() -> None:
    current = patched(EMPTY, patch(EMPTY, EDGE, NAMES, Pointer("a", "r1")) or {})
    assert parse(replace(current, host_rules=()), EDGE, NAMES) is None
    assert parse(current, replace(EDGE, domain="new.example"), NAMES) is None


@pytest.mark.parametrize("description", ["", "made by hand", "agui-owner=uid-2 release=r1 frontend=a"])
def test_a_matcher_of_somebody_else_is_not_touched(description: str) -> None:
    current = patched(EMPTY, patch(EMPTY, EDGE, NAMES, Pointer("a", "r1")) or {})
    theirs = replace(current, matchers=({**current.matchers[0], "description": description},))
    assert parse(theirs, EDGE, NAMES) is None
    for wanted in (Pointer("b", "r2"), None):
        with pytest.raises(NotOwned):
            patch(theirs, EDGE, NAMES, wanted)


def test_a_host_of_somebody_else_is_not_taken() -> None:
    taken = replace(EDGE, domain="other.example")
    with pytest.raises(NotOwned, match="path matcher other"):
        patch(FOREIGN, taken, NAMES, Pointer("a", "r1"))
    assert patch(FOREIGN, taken, NAMES, None) is None
