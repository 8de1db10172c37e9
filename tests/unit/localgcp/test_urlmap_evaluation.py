"""The URL map evaluator against Google's documented semantics, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from localgcp.edge.urlmap import ErrorAnswer, HeaderEdits, Redirect, Route, error_answer, evaluate
from localgcp.edge.urlmap_match import Seen, compile_template

BUCKET, API, OTHER = "backendBuckets/assets", "backendServices/api", "backendServices/other"


def url_map(*route_rules: dict[str, Any], **matcher: Any) -> dict[str, Any]:
    rules = [{"priority": n, "service": f"backendServices/{n}", **rule} for n, rule in enumerate(route_rules, start=1)]
    return {
        "name": "web",
        "defaultService": OTHER,
        "hostRules": [{"hosts": ["*"], "pathMatcher": "all"}],
        "pathMatchers": [
            {"name": "all", "defaultService": BUCKET, **({"routeRules": rules} if rules else {}), **matcher}
        ],
    }


def matching(**match_rule: Any) -> dict[str, Any]:
    return {"matchRules": [match_rule]}


def route(the_map: dict[str, Any], path: str = "/", draw: float = 0.0, **seen: Any) -> Route:
    decision = evaluate(the_map, Seen(seen.pop("host", "app.example"), path, **seen), draw)
    assert isinstance(decision, Route)
    return decision


@pytest.mark.parametrize(
    ("host", "matcher"),
    [
        ("app.example", "exact"),
        ("APP.example:8086", "exact"),
        ("a.app.example", "wide"),
        ("a.b.app.example", "wide"),
        ("x.b.app.example", "wide"),
        ("x.deep.app.example", "deep"),
        ("eu-app.example", "dash"),
        ("unknown.test", "any"),
        ("", "any"),
    ],
)
def test_the_most_specific_host_rule_wins(host: str, matcher: str) -> None:
    hosts = {
        "any": "*",
        "wide": "*.app.example",
        "deep": "*.deep.app.example",
        "exact": "app.example",
        "dash": "*-app.example",
    }
    the_map = {
        "defaultService": "backendServices/none",
        "hostRules": [{"hosts": [pattern], "pathMatcher": name} for name, pattern in hosts.items()],
        "pathMatchers": [{"name": name, "defaultService": f"backendServices/{name}"} for name in hosts],
    }
    assert route(the_map, host=host).service == f"backendServices/{matcher}"


def test_without_a_fitting_host_rule_the_maps_default_decides() -> None:
    the_map = url_map() | {"hostRules": [{"hosts": ["other.example"], "pathMatcher": "all"}]}
    assert route(the_map).service == OTHER


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/api", "exact"),
        ("/api/", "api"),
        ("/api/x", "api"),
        ("/apix", "default"),
        ("/api/v2/x", "v2"),
        ("/api/v2/", "v2"),
        ("/", "default"),
    ],
)
def test_path_rules_match_longest_first_whatever_their_order(path: str, service: str) -> None:
    rules = [
        {"paths": ["/api/*"], "service": "backendServices/api"},
        {"paths": ["/api"], "service": "backendServices/exact"},
        {"paths": ["/api/v2/*"], "service": "backendServices/v2"},
    ]
    for order in (rules, rules[::-1]):
        the_map = url_map(pathRules=order, defaultService="backendServices/default")
        assert route(the_map, path).service == f"backendServices/{service}"


@pytest.mark.parametrize(
    ("condition", "path", "matches"),
    [
        ({"prefixMatch": "/api"}, "/apix", True),
        ({"prefixMatch": "/api/"}, "/api", False),
        ({"prefixMatch": "/API", "ignoreCase": True}, "/api/x", True),
        ({"prefixMatch": "/API"}, "/api/x", False),
        ({"fullPathMatch": "/"}, "/", True),
        ({"fullPathMatch": "/"}, "/x", False),
        ({"fullPathMatch": "/A", "ignoreCase": True}, "/a", True),
        ({"regexMatch": "/v[0-9]+/.*"}, "/v12/x", True),
        ({"regexMatch": "/v[0-9]+"}, "/v12/x", False),
        ({"regexMatch": "["}, "/", False),
        ({"pathTemplateMatch": "/t/{thread=**}"}, "/t/a/b", True),
        ({"pathTemplateMatch": "/t/{thread=**}"}, "/t/", True),
        ({"pathTemplateMatch": "/t/{thread=**}"}, "/t", False),
        ({"pathTemplateMatch": "/u/{id}/p"}, "/u/7/p", True),
        ({"pathTemplateMatch": "/u/{id=*}/p"}, "/u/7/8/p", False),
        ({"pathTemplateMatch": "/u/*/p"}, "/u/7/p", True),
        ({"pathTemplateMatch": "/v/{file=videos/*}.mp4"}, "/v/videos/cat.mp4", True),
        ({"pathTemplateMatch": "/v/**.mp4"}, "/v/a/b/cat.mp4", True),
        ({"pathTemplateMatch": "/v/**.mp4"}, "/v/a/b/cat.mp3", False),
        ({"pathTemplateMatch": "no-slash"}, "no-slash", False),
        ({"prefixMatch": 7}, "/", False),
        ({}, "/anything", True),
    ],
)
def test_path_conditions(condition: dict[str, Any], path: str, matches: bool) -> None:
    decided = route(url_map(matching(**condition)), path).service
    assert decided == ("backendServices/1" if matches else BUCKET)


@pytest.mark.parametrize(
    ("condition", "headers", "matches"),
    [
        ({"exactMatch": "abc"}, {"x-r": "abc"}, True),
        ({"exactMatch": "abc"}, {"x-r": "abcd"}, False),
        ({"exactMatch": "abc"}, {}, False),
        ({"exactMatch": "abc", "invertMatch": True}, {"x-r": "other"}, True),
        ({"exactMatch": "abc", "invertMatch": True}, {}, True),
        ({"prefixMatch": "ab"}, {"x-r": "abc"}, True),
        ({"suffixMatch": "bc"}, {"x-r": "abc"}, True),
        ({"regexMatch": "[0-9]{3}"}, {"x-r": "1234"}, False),
        ({"regexMatch": "[0-9]{3}", "invertMatch": True}, {"x-r": "1234"}, True),
        ({"presentMatch": True}, {"x-r": ""}, True),
        ({"presentMatch": True}, {}, False),
        ({"presentMatch": True, "invertMatch": True}, {}, True),
        ({"rangeMatch": {"rangeStart": "-10", "rangeEnd": "0"}}, {"x-r": "-5"}, True),
        ({"rangeMatch": {"rangeStart": "-10", "rangeEnd": "0"}}, {"x-r": "0"}, False),
        ({"rangeMatch": {"rangeStart": 1, "rangeEnd": 5}}, {"x-r": "1.5"}, False),
        ({}, {"x-r": "abc"}, False),
    ],
)
def test_header_conditions(condition: dict[str, Any], headers: dict[str, str], matches: bool) -> None:
    the_map = url_map(matching(prefixMatch="/", headerMatches=[{"headerName": "X-R", **condition}]))
    assert (route(the_map, headers=headers).service == "backendServices/1") is matches


def test_pseudo_headers_match_method_and_authority() -> None:
    rule = matching(prefixMatch="/", headerMatches=[{"headerName": ":method", "exactMatch": "POST"}])
    assert route(url_map(rule), method="POST").service == "backendServices/1"
    assert route(url_map(rule)).service == BUCKET


@pytest.mark.parametrize(
    ("condition", "query", "matches"),
    [
        ({"exactMatch": "1"}, "v=1", True),
        ({"exactMatch": "1"}, "v=2&v=1", False),
        ({"exactMatch": "a b"}, "v=a%20b", True),
        ({"presentMatch": True}, "v=", True),
        ({"presentMatch": True}, "w=1", False),
        ({"regexMatch": "[0-9]+"}, "v=12", True),
        ({"regexMatch": "[0-9]+"}, "v=x", False),
    ],
)
def test_query_conditions(condition: dict[str, Any], query: str, matches: bool) -> None:
    the_map = url_map(matching(prefixMatch="/", queryParameterMatches=[{"name": "v", **condition}]))
    assert (route(the_map, query=query).service == "backendServices/1") is matches


def test_match_rules_are_alternatives_and_their_conditions_are_not() -> None:
    rule = {
        "matchRules": [
            {"prefixMatch": "/a", "headerMatches": [{"headerName": "x", "presentMatch": True}]},
            {"prefixMatch": "/b"},
        ]
    }
    assert route(url_map(rule), "/b").service == "backendServices/1"
    assert route(url_map(rule), "/a").service == BUCKET
    assert route(url_map(rule), "/a", headers={"x": ""}).service == "backendServices/1"


def test_the_lowest_priority_number_wins_whatever_the_order() -> None:
    late, early = (
        matching(prefixMatch="/") | {"priority": 20},
        matching(prefixMatch="/") | {"priority": 3, "service": API},
    )
    assert route(url_map(late, early)).service == API


@pytest.mark.parametrize(
    ("condition", "rewrite", "path", "becomes"),
    [
        ({"prefixMatch": "/"}, {"pathPrefixRewrite": "/releases/7/"}, "/a.css", "/releases/7/a.css"),
        ({"prefixMatch": "/old"}, {"pathPrefixRewrite": "/new"}, "/old/x", "/new/x"),
        ({"fullPathMatch": "/"}, {"pathPrefixRewrite": "/releases/7/index.html"}, "/", "/releases/7/index.html"),
        ({"pathTemplateMatch": "/t/{thread=**}"}, {"pathTemplateRewrite": "/r/index.html"}, "/t/a/b", "/r/index.html"),
        (
            {"pathTemplateMatch": "/u/{id}/{rest=**}"},
            {"pathTemplateRewrite": "/{rest}/of/{id}"},
            "/u/7/a/b",
            "/a/b/of/7",
        ),
        ({"prefixMatch": "/"}, {}, "/same", "/same"),
        ({"prefixMatch": "/"}, {"pathTemplateRewrite": "/x"}, "/no-template", "/no-template"),
    ],
)
def test_path_rewrites(condition: dict[str, Any], rewrite: dict[str, str], path: str, becomes: str) -> None:
    decided = route(url_map(matching(**condition) | {"routeAction": {"urlRewrite": rewrite}}), path, query="q=1")
    assert (decided.path, decided.query) == (becomes, "q=1")


def test_path_rules_rewrite_what_stands_before_the_wildcard() -> None:
    rule = {"paths": ["/static/*"], "service": BUCKET, "routeAction": {"urlRewrite": {"pathPrefixRewrite": "/v7/"}}}
    assert route(url_map(pathRules=[rule]), "/static/a/b.js").path == "/v7/a/b.js"


def test_defaults_rewrite_too() -> None:
    the_map = url_map(defaultRouteAction={"urlRewrite": {"pathPrefixRewrite": "/r/", "hostRewrite": "inner.example"}})
    assert (route(the_map, "/x").path, route(the_map, "/x").host) == ("/r/x", "inner.example")


@pytest.mark.parametrize(("draw", "service"), [(0.0, "a"), (0.89, "a"), (0.9, "b"), (0.999, "b")])
def test_weighted_services_share_by_weight(draw: float, service: str) -> None:
    weighted = [
        {"backendService": "backendServices/a", "weight": 90},
        {"backendService": "backendServices/none", "weight": 0},
        {"backendService": "backendServices/b", "weight": 10, "headerAction": {"requestHeadersToRemove": ["x"]}},
    ]
    rule = matching(prefixMatch="/") | {"service": "", "routeAction": {"weightedBackendServices": weighted}}
    decided = route(url_map(rule), draw=draw)
    assert decided.service == f"backendServices/{service}"
    assert decided.request_headers.remove == (("x",) if service == "b" else ())


@pytest.mark.parametrize(
    ("redirect", "location", "status"),
    [
        ({"httpsRedirect": True}, "https://app.example/old/x?q=1", 301),
        ({"pathRedirect": "/new", "stripQuery": True}, "http://app.example/new", 301),
        ({"prefixRedirect": "/new/", "redirectResponseCode": "FOUND"}, "http://app.example/new/x?q=1", 302),
        (
            {"hostRedirect": "b.example", "redirectResponseCode": "PERMANENT_REDIRECT"},
            "http://b.example/old/x?q=1",
            308,
        ),
    ],
)
def test_redirects(redirect: dict[str, Any], location: str, status: int) -> None:
    rule = matching(prefixMatch="/old/") | {"urlRedirect": redirect}
    assert evaluate(url_map(rule), Seen("app.example", "/old/x", "q=1")) == Redirect(location, status)


def test_header_actions_apply_from_the_rule_outwards() -> None:
    def action(name: str) -> dict[str, Any]:
        added = [{"headerName": "x-level", "headerValue": name, "replace": name == "map"}]
        return {"headerAction": {"responseHeadersToAdd": added, "requestHeadersToRemove": [name]}}

    the_map = url_map(matching(prefixMatch="/") | action("rule"), **action("matcher")) | action("map")
    decided = route(the_map)
    assert decided.request_headers.remove == ("rule", "matcher", "map")
    assert decided.response_headers == HeaderEdits(
        add=(("x-level", "rule", False), ("x-level", "matcher", False), ("x-level", "map", True))
    )


def errors(*rules: tuple[list[str], str, int], service: str = "") -> dict[str, Any]:
    policy: dict[str, Any] = {
        "errorResponseRules": [
            {"matchResponseCodes": codes, "path": path, "overrideResponseCode": status} for codes, path, status in rules
        ]
    }
    return policy | ({"errorService": service} if service else {})


@pytest.mark.parametrize(
    ("path", "status", "answer"),
    [
        ("/spa/x", 404, ErrorAnswer(BUCKET, "/index.html", 200)),
        ("/spa/x", 403, ErrorAnswer(BUCKET, "/4xx.html", 403)),
        ("/spa/x", 500, ErrorAnswer(BUCKET, "/map-5xx.html", 503)),
        ("/x", 404, ErrorAnswer(BUCKET, "/matcher.html", 404)),
        ("/x", 302, None),
    ],
)
def test_custom_errors_come_from_the_nearest_policy_for_the_code(
    path: str, status: int, answer: ErrorAnswer | None
) -> None:
    rule = matching(prefixMatch="/spa/") | {
        "customErrorResponsePolicy": errors((["4xx"], "/4xx.html", 0), (["404"], "/index.html", 200))
    }
    the_map = url_map(rule, defaultCustomErrorResponsePolicy=errors((["404"], "/matcher.html", 0)))
    the_map["defaultCustomErrorResponsePolicy"] = errors((["5xx"], "/map-5xx.html", 503), service=BUCKET)
    assert error_answer(route(the_map, path).error_policies, status) == answer


def test_templates_have_names_once() -> None:
    assert compile_template("/{a}/{a}") is None
    assert compile_template("/{a={b}}") is not None, "a stray brace is a literal"
