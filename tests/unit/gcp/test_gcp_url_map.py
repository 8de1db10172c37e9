"""The release pointer as rules of a URL map, and back; everybody else's rules stay as they are."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agui_operator.core.actions import CHANGED_BY_HAND, Pointer
from agui_operator.core.environment import Edge
from agui_operator.core.errors import NotOwned
from agui_operator.core.names import Names
from agui_operator.gcp.kinds.edge.route_rules import rules
from agui_operator.gcp.kinds.edge.url_map import Routing, UrlMap, parse, patch

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


routings = st.builds(Routing, st.none() | pointers, st.none() | pointers)
visible = routings.filter(lambda r: r != Routing(None))


def patch_to(url_map: UrlMap, edge: Edge, routing: Routing) -> dict[str, Any] | None:
    return patch(url_map, edge, NAMES, routing.pointer, routing.candidate)


@given(edges, visible, foreign_maps)
def test_what_is_written_is_read_again(edge: Edge, routing: Routing, before: UrlMap) -> None:
    body = patch_to(before, edge, routing)
    assert body is not None
    after = patched(before, body)
    assert parse(after, edge, NAMES) == routing
    assert patch_to(after, edge, routing) is None


@given(edges, routings, routings, foreign_maps)
def test_applying_the_patch_leaves_nothing_to_do(edge: Edge, first: Routing, second: Routing, before: UrlMap) -> None:
    current = before
    for wanted in (first, second, Routing(None)):
        body = patch_to(current, edge, wanted)
        if body is not None:
            assert body["fingerprint"] == current.fingerprint
            current = patched(current, body)
        assert patch_to(current, edge, wanted) is None
        assert parse(current, edge, NAMES) == wanted
        assert current.host_rules[: len(before.host_rules)] == before.host_rules
        assert current.matchers[: len(before.matchers)] == before.matchers
    assert (current.host_rules, current.matchers) == (before.host_rules, before.matchers)


@given(edges, visible, st.data())
def test_any_change_by_hand_is_seen(edge: Edge, routing: Routing, data: st.DataObject) -> None:
    current = patched(EMPTY, patch_to(EMPTY, edge, routing) or {})
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
    assert seen.pointer is not None
    assert seen.pointer.frontend == CHANGED_BY_HAND
    assert seen != routing


def test_priorities_rise_and_the_pages_come_last() -> None:
    routes = rules(EDGE, NAMES, Pointer("abc", "r1"))["routeRules"]
    priorities = [route["priority"] for route in routes]
    assert priorities == sorted(set(priorities))
    paths = [[next(iter(m.values())) for m in route["matchRules"]] for route in routes]
    assert paths[:3] == [["/copilotkit", "/copilotkit/"], ["/api", "/api/"], ["/ws", "/ws/"]]
    assert paths[3:5] == [["/assets/"], ["/releases/abc/"]]
    assert not any("routeAction" in route for route in routes[3:5])
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
    assert replace(EDGE, domain=domain).host == host


def test_added_hosts_are_kept() -> None:
    current = patched(EMPTY, patch(EMPTY, EDGE, NAMES, Pointer("a", "r1"), None) or {})
    (rule,) = current.host_rules
    current = replace(current, host_rules=({**rule, "hosts": ["app.example", "www.app.example"]},))
    body = patch(current, EDGE, NAMES, Pointer("b", "r2"), None)
    assert body is not None
    assert body["hostRules"][0]["hosts"] == ["app.example", "www.app.example"]


def test_nothing_is_public_without_a_host_rule() -> None:
    current = patched(EMPTY, patch(EMPTY, EDGE, NAMES, Pointer("a", "r1"), None) or {})
    assert parse(replace(current, host_rules=()), EDGE, NAMES) == Routing(None)
    assert parse(current, replace(EDGE, domain="new.example"), NAMES) == Routing(None)


@pytest.mark.parametrize("description", ["", "made by hand", "agui-owner=uid-2 release=r1 frontend=a"])
def test_a_matcher_of_somebody_else_is_not_touched(description: str) -> None:
    current = patched(EMPTY, patch(EMPTY, EDGE, NAMES, Pointer("a", "r1"), None) or {})
    theirs = replace(current, matchers=({**current.matchers[0], "description": description},))
    assert parse(theirs, EDGE, NAMES) == Routing(None)
    for wanted in (Pointer("b", "r2"), None):
        with pytest.raises(NotOwned):
            patch(theirs, EDGE, NAMES, wanted, None)


def test_a_host_of_somebody_else_is_not_taken() -> None:
    taken = replace(EDGE, domain="other.example")
    with pytest.raises(NotOwned, match="path matcher other"):
        patch(FOREIGN, taken, NAMES, Pointer("a", "r1"), None)
    assert patch(FOREIGN, taken, NAMES, None, None) is None


@pytest.mark.parametrize(
    ("rule", "host", "taken"),
    [
        ("*.platform.example", "shop.platform.example", True),
        ("*.platform.example", "a.b.platform.example", True),
        ("*-shop.example", "a-shop.example", True),
        ("*.platform.example", "platform.example", False),
        ("*.platform.example", "evilplatform.example", False),
        ("*", "shop.platform.example", False),
    ],
)
def test_a_host_below_somebodys_wildcard_is_not_taken(rule: str, host: str, taken: bool) -> None:
    theirs = replace(FOREIGN, host_rules=({"hosts": ["x.example", rule], "pathMatcher": "other"},))
    edge = replace(EDGE, domain=host)
    if not taken:
        assert patch(theirs, edge, NAMES, Pointer("a", "r1"), None) is not None
        return
    with pytest.raises(NotOwned, match=r"path matcher other \(host rule \*"):
        patch(theirs, edge, NAMES, Pointer("a", "r1"), None)


def header_of(route: dict[str, Any]) -> str | None:
    """The release that a route is for; None: it is for everybody."""
    (name,) = {m.get("headerMatches", [{}])[0].get("exactMatch") for m in route["matchRules"]}
    return None if name is None else str(name)


def test_a_candidate_is_asked_for_before_the_public_page_and_the_api_stays_as_it_is() -> None:
    public, candidate = Pointer("aaa", "r1"), Pointer("bbb", "r2")
    before = rules(EDGE, NAMES, public)["routeRules"]
    routes = rules(EDGE, NAMES, public, candidate)["routeRules"]
    everybody = [{k: v for k, v in r.items() if k != "priority"} for r in routes if header_of(r) is None]
    assert everybody == [{k: v for k, v in r.items() if k != "priority"} for r in before]
    named = [n for n, r in enumerate(routes) if header_of(r) == "r2"]
    assert len(named) == 9
    assert all("/releases/bbb/" in json.dumps(routes[n]) for n in named)
    pages = [n for n, r in enumerate(routes) if "/releases/aaa/" in json.dumps(r)]
    assert max(named) < min(pages)


@pytest.mark.parametrize("public", [None, Pointer(None, "r1")])
def test_where_no_page_is_public_only_requests_by_name_meet_files(public: Pointer | None) -> None:
    routes = rules(EDGE, NAMES, public, Pointer("bbb", "r2"))["routeRules"]
    closed = routes.pop() if public is None else None
    for route in routes:
        api = "backendServices" in route["service"]
        assert header_of(route) == (None if api and public else "r2")
    if closed is not None:
        assert closed["matchRules"] == [{"prefixMatch": "/"}]
        assert closed["routeAction"]["urlRewrite"] == {"pathPrefixRewrite": "/.none/"}


@given(edges, visible)
def test_rules_of_an_earlier_version_are_no_change_by_hand_and_are_replaced_by_the_next_move(
    edge: Edge, routing: Routing
) -> None:
    body = patch_to(EMPTY, edge, routing) or {}
    old = rules(edge, NAMES, routing.pointer, routing.candidate, earlier=True)
    current = patched(EMPTY, {**body, "pathMatchers": [old]})
    assert parse(current, edge, NAMES) == routing
    again = patch_to(current, edge, routing)
    assert again is None or again["pathMatchers"] == body["pathMatchers"]
    assert '"/releases/"' not in json.dumps(body["pathMatchers"]), "folders of others are not served"
