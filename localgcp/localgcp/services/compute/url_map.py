"""What makes a URL map acceptable: its structure, and its own tests run through the edge's evaluator.

Source: https://cloud.google.com/compute/docs/reference/rest/v1/urlMaps and
https://cloud.google.com/load-balancing/docs/url-map (limits and test semantics)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from localgcp.edge.urlmap import Redirect, evaluate
from localgcp.edge.urlmap_match import Seen
from localgcp.kit.errors import from_http

Json = dict[str, Any]

_MOST_TESTS = 100
_MOST_RULES = 200
_PATH_KINDS = ("prefixMatch", "fullPathMatch", "regexMatch", "pathTemplateMatch")


def check_url_map(body: Json) -> None:
    """Raises ApiError 400 with the first load error, or with the first test that fails."""
    for error in load_errors(body):
        raise from_http(400, error, "invalid")
    for failure in test_failures(body, lambda name: name):
        raise from_http(400, f"Invalid value for field 'resource.tests': {_told(failure)}", "invalid")


def load_errors(body: Json) -> Iterator[str]:
    """Why Google would not load this map; the structure only, not whether the backends exist."""
    yield from _decisions(body, "", ("defaultService", "defaultRouteAction", "defaultUrlRedirect"))
    matchers = {matcher.get("name"): matcher for matcher in body.get("pathMatchers") or []}
    if len(matchers) != len(body.get("pathMatchers") or []):
        yield _bad("pathMatchers", "names must be unique")
    seen: set[str] = set()
    for index, rule in enumerate(body.get("hostRules") or []):
        if rule.get("pathMatcher") not in matchers:
            yield _bad(f"hostRules[{index}].pathMatcher", f"path matcher '{rule.get('pathMatcher')}' does not exist")
        hosts = rule.get("hosts") or []
        if not hosts:
            yield _bad(f"hostRules[{index}].hosts", "at least one host is needed")
        for host in hosts:
            if host in seen:
                yield _bad(f"hostRules[{index}].hosts", f"host '{host}' is in more than one rule")
            seen.add(host)
    used = {rule.get("pathMatcher") for rule in body.get("hostRules") or []}
    for index, matcher in enumerate(body.get("pathMatchers") or []):
        if matcher.get("name") not in used:
            yield _bad(f"pathMatchers[{index}].name", f"path matcher '{matcher.get('name')}' is used by no host rule")
        yield from _matcher_errors(matcher, f"pathMatchers[{index}]")
    if len(body.get("tests") or []) > _MOST_TESTS:
        yield _bad("tests", f"at most {_MOST_TESTS} tests are allowed")


def _matcher_errors(matcher: Json, where: str) -> Iterator[str]:
    yield from _decisions(matcher, where + ".", ("defaultService", "defaultRouteAction", "defaultUrlRedirect"))
    path_rules, route_rules = matcher.get("pathRules") or [], matcher.get("routeRules") or []
    if path_rules and route_rules:
        yield _bad(where, "only one of pathRules and routeRules can be set")
    if len(route_rules) > _MOST_RULES:
        yield _bad(f"{where}.routeRules", f"at most {_MOST_RULES} rules are allowed")
    for index, rule in enumerate(path_rules):
        at = f"{where}.pathRules[{index}]"
        yield from _decisions(rule, at + ".", ("service", "routeAction", "urlRedirect"))
        for path in rule.get("paths") or []:
            if not path.startswith("/") or "*" in path.removesuffix("/*") or "?" in path or "#" in path:
                yield _bad(f"{at}.paths", f"'{path}' must start with / and have * only at the end, after a /")
    last = -1
    for index, rule in enumerate(route_rules):
        at = f"{where}.routeRules[{index}]"
        yield from _decisions(rule, at + ".", ("service", "routeAction", "urlRedirect"))
        priority = rule.get("priority")
        if not isinstance(priority, int) or not 0 <= priority <= 2147483647:
            yield _bad(f"{at}.priority", "a priority from 0 to 2147483647 is required")
        elif priority <= last:
            yield _bad(f"{at}.priority", "priorities must be unique and in ascending order")
        else:
            last = priority
        yield from _match_errors(rule, at)


def _match_errors(rule: Json, where: str) -> Iterator[str]:
    rules = rule.get("matchRules") or []
    rewrite = (rule.get("routeAction") or {}).get("urlRewrite") or {}
    if not rules:
        yield _bad(f"{where}.matchRules", "at least one match rule is needed")
    for index, match in enumerate(rules):
        kinds = [kind for kind in _PATH_KINDS if kind in match]
        if len(kinds) != 1:
            yield _bad(f"{where}.matchRules[{index}]", f"exactly one of {', '.join(_PATH_KINDS)} must be set")
        elif kinds[0] != "regexMatch" and not str(match[kinds[0]]).startswith("/"):
            yield _bad(f"{where}.matchRules[{index}].{kinds[0]}", "it must start with /")
        if "pathTemplateRewrite" in rewrite and kinds != ["pathTemplateMatch"]:
            yield _bad(f"{where}.routeAction.urlRewrite.pathTemplateRewrite", "it needs a pathTemplateMatch")
    if "pathPrefixRewrite" in rewrite and "pathTemplateRewrite" in rewrite:
        yield _bad(f"{where}.routeAction.urlRewrite", "only one of the two path rewrites can be set")


def _decisions(owner: Json, where: str, fields: tuple[str, str, str]) -> Iterator[str]:
    """Errors of a level's decision: a service, an action (which may weigh services), or a redirect."""
    service, action_field, redirect = fields
    action = owner.get(action_field) or {}
    weighted = action.get("weightedBackendServices") or []
    if not owner.get(service) and not weighted and not owner.get(redirect):
        yield _bad(f"{where}{service}", f"one of {service}, {redirect}, weightedBackendServices must be set")
    if owner.get(redirect) and (owner.get(service) or action):
        yield _bad(f"{where}{redirect}", f"it can't be set together with {service} or {action_field}")
    if owner.get(service) and weighted:
        yield _bad(f"{where}{service}", "it can't be set together with weightedBackendServices")
    for index, entry in enumerate(weighted):
        at = f"{where}{action_field}.weightedBackendServices[{index}]"
        if "/backendServices/" not in "/" + str(entry.get("backendService", "")):
            yield _bad(f"{at}.backendService", "only backend services can be weighted, no backend buckets")
        if not 0 <= int(entry.get("weight", 0)) <= 1000:
            yield _bad(f"{at}.weight", "it must be from 0 to 1000")


def test_failures(body: Json, canonical: Callable[[str], str]) -> Iterator[Json]:
    """Tests of the map that do not hold, as `TestFailure`s. `canonical` makes references comparable."""
    for test in body.get("tests") or []:
        headers = {h.get("name", "").lower(): h.get("value", "") for h in test.get("headers") or []}
        path, _, query = str(test.get("path", "/")).partition("?")
        found = evaluate(body, Seen(str(test.get("host", "")), path, query, headers))
        actual = _outcome(found, canonical)
        expected = {
            "service": canonical(test["service"]) if "service" in test else None,
            "outputUrl": test.get("expectedOutputUrl"),
            "redirectResponseCode": test.get("expectedRedirectResponseCode"),
        }
        wrong = any(value is not None and not _same(name, value, actual) for name, value in expected.items())
        if wrong or (
            expected["service"] is None and expected["redirectResponseCode"] is None and not _redirects(found)
        ):
            failure = {key: test[key] for key in ("host", "path", "headers") if key in test}
            for name, value in expected.items():
                title = name[0].upper() + name[1:]
                failure |= {f"expected{title}": value} if value is not None else {}
                failure |= {f"actual{title}": actual[name]} if actual.get(name) is not None else {}
            yield failure


def _redirects(found: object) -> bool:
    return isinstance(found, Redirect)


def _outcome(found: Any, canonical: Callable[[str], str]) -> Json:
    if isinstance(found, Redirect):
        return {"outputUrl": found.location, "redirectResponseCode": found.status}
    query = f"?{found.query}" if found.query else ""
    return {"service": canonical(found.service), "outputUrl": f"http://{found.host}{found.path}{query}"}


def _same(name: str, expected: Any, actual: Json) -> bool:
    if name == "outputUrl" and "service" in actual:  # the scheme counts for redirects only
        seen = actual.get(name)
        return seen is not None and _without_scheme(str(expected)) == _without_scheme(seen)
    return bool(actual.get(name) == expected)


def _without_scheme(url: str) -> str:
    parts = urlsplit(url if "://" in url else "http://" + url)
    return f"{parts.netloc}{parts.path}" + (f"?{parts.query}" if parts.query else "")


def _told(failure: Json) -> str:
    url = f"{failure.get('host', '')}{failure.get('path', '')}"
    wanted = {k.removeprefix("expected"): v for k, v in failure.items() if k.startswith("expected")}
    actual = {k.removeprefix("actual"): v for k, v in failure.items() if k.startswith("actual")}
    return f"Test failure: Expect URL '{url}' to map to {wanted}, but actually mapped to {actual}."


def _bad(field: str, message: str) -> str:
    return f"Invalid value for field 'resource.{field}': {message}"
