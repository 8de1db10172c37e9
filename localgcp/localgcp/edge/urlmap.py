"""Evaluates a URL map as a global external Application Load Balancer does: pure, total, one request at a time.

Total means: whatever body is stored, evaluation never raises; what is malformed does not match, what does not match
falls back to the default. Source: https://cloud.google.com/compute/docs/reference/rest/v1/urlMaps and
https://cloud.google.com/load-balancing/docs/url-map-concepts
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from localgcp.edge.urlmap_match import PathMatch, as_maps, as_number, as_text, match_path_rule, match_route_rule
from localgcp.edge.urlmap_match import Seen as Seen

Body = Mapping[str, Any]

_REDIRECT_CODES = {
    "MOVED_PERMANENTLY_DEFAULT": 301,
    "FOUND": 302,
    "SEE_OTHER": 303,
    "TEMPORARY_REDIRECT": 307,
    "PERMANENT_REDIRECT": 308,
}


@dataclass(frozen=True, slots=True)
class HeaderEdits:
    """Removals first, then additions; `add` holds (name, value, replace)."""

    remove: tuple[str, ...] = ()
    add: tuple[tuple[str, str, bool], ...] = ()

    def __add__(self, later: HeaderEdits) -> HeaderEdits:
        return HeaderEdits(self.remove + later.remove, self.add + later.add)


@dataclass(frozen=True, slots=True)
class Redirect:
    location: str
    status: int


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes and how it is changed. `service` is the reference in the map, "" when the map names none;
    `rule` says which part of the map decided; `error_policies` are nearest first."""

    service: str
    path: str
    query: str
    host: str
    rule: str
    request_headers: HeaderEdits = HeaderEdits()
    response_headers: HeaderEdits = HeaderEdits()
    error_policies: tuple[Body, ...] = ()


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """What customErrorResponsePolicy puts in the place of an error: an object of a backend bucket and a status."""

    service: str
    path: str
    status: int


@dataclass(frozen=True, slots=True)
class _Level:
    """One place in the map that can decide: a rule, a path matcher's default, or the map's default."""

    name: str
    service: str
    action: Body
    redirect: Body
    match: PathMatch
    headers: tuple[Body, ...]
    errors: tuple[Body, ...]


def evaluate(url_map: Body, seen: Seen, draw: float = 0.0) -> Route | Redirect:
    """The decision for one request; `draw` in [0, 1) picks among weighted backend services."""
    level = _decide(url_map, seen)
    if level.redirect:
        return _redirect(level, seen)
    weighted = _weighted_service(level.action, draw)
    rewrite = as_map(level.action.get("urlRewrite"))
    actions = ((weighted,) if weighted else ()) + level.headers
    edits = [as_map(action.get("headerAction")) for action in actions]
    return Route(
        service=as_text(weighted.get("backendService")) or level.service or as_text(url_map.get("defaultService")),
        path=_rewritten(seen.path, level.match, rewrite),
        query=seen.query,
        host=as_text(rewrite.get("hostRewrite")) or seen.host,
        rule=level.name,
        request_headers=sum((_edits(edit, "request") for edit in edits), HeaderEdits()),
        response_headers=sum((_edits(edit, "response") for edit in edits), HeaderEdits()),
        error_policies=level.errors,
    )


def error_answer(policies: Sequence[Body], status: int) -> ErrorAnswer | None:
    """The custom answer for an error of a backend: the nearest policy that knows the code wins, an exact code before
    its class; a policy without errorService takes that of the next level up."""
    for index, policy in enumerate(policies):
        rule = _error_rule(policy, status)
        if rule is None:
            continue
        services = (as_text(level.get("errorService")) for level in policies[index:])
        path = as_text(rule.get("path"))
        override = int(as_number(rule.get("overrideResponseCode"), 0))
        final = override if 200 <= override <= 599 else status
        return ErrorAnswer(next((s for s in services if s), ""), path, final)
    return None


def names_host(url_map: Body, host: str) -> bool:
    """Whether a host rule names a host, by itself or with a wildcard below a domain."""
    patterns = [as_text(pattern) for rule in as_maps(url_map.get("hostRules")) for pattern in _hosts(rule)]
    return any(_host_score(pattern.lower(), host) for pattern in patterns if pattern != "*")


def as_map(value: object) -> Body:
    return value if isinstance(value, Mapping) else {}


def _error_rule(policy: Body, status: int) -> Body | None:
    for wanted in (str(status), f"{status // 100}xx"):
        for rule in as_maps(policy.get("errorResponseRules")):
            codes = rule.get("matchResponseCodes")
            if isinstance(codes, Sequence) and not isinstance(codes, str) and wanted in codes:
                return rule
    return None


def _decide(url_map: Body, seen: Seen) -> _Level:
    matcher = _path_matcher(url_map, seen.host)
    if matcher is None:
        return _level("default", url_map, (url_map,), "default", PathMatch("/"))
    for rule in sorted(as_maps(matcher.get("routeRules")), key=lambda r: as_number(r.get("priority"), 0)):
        match = match_route_rule(rule, seen)
        if match is not None:
            return _level(f"routeRule {rule.get('priority', 0)}", rule, (rule, matcher, url_map), "", match)
    best = match_path_rule(as_maps(matcher.get("pathRules")), seen.path)
    if best is not None:
        rule, match = best
        return _level(f"pathRule {match.pattern}", rule, (rule, matcher, url_map), "", match)
    return _level(f"{matcher.get('name', '')} default", matcher, (matcher, url_map), "default", PathMatch("/"))


def _level(name: str, owner: Body, chain: tuple[Body, ...], prefix: str, match: PathMatch) -> _Level:
    """`chain` is the owner and what contains it, nearest first; a rule's own fields have no `default` prefix."""

    def named(body: Body, field: str, default: bool) -> Any:
        return body.get(f"default{field[0].upper()}{field[1:]}" if default else field)

    services = [named(body, "service", bool(prefix) or body is not owner) for body in chain]
    errors = [named(body, "customErrorResponsePolicy", bool(prefix) or body is not owner) for body in chain]
    action, redirect = named(owner, "routeAction", bool(prefix)), named(owner, "urlRedirect", bool(prefix))
    return _Level(
        name=name,
        service=next((as_text(s) for s in services if as_text(s)), ""),
        action=as_map(action),
        redirect=as_map(redirect),
        match=match,
        headers=chain,
        errors=tuple(as_map(e) for e in errors if as_map(e)),
    )


def _path_matcher(url_map: Body, host: str) -> Body | None:
    """The path matcher of the host rule that fits best: an exact host, then the longest wildcard."""
    host = host.partition(":")[0].lower()
    best: tuple[int, str] | None = None
    for rule in as_maps(url_map.get("hostRules")):
        for pattern in _hosts(rule):
            score = _host_score(as_text(pattern).lower(), host)
            if score and (best is None or score > best[0]):
                best = (score, as_text(rule.get("pathMatcher")))
    if best is None:
        return None
    return next((m for m in as_maps(url_map.get("pathMatchers")) if m.get("name") == best[1]), None)


def _hosts(rule: Body) -> Sequence[object]:
    hosts = rule.get("hosts")
    return hosts if isinstance(hosts, Sequence) and not isinstance(hosts, str) else ()


def _host_score(pattern: str, host: str) -> int:
    if pattern == host and host:
        return 10_000
    if pattern == "*":
        return 1
    if pattern[:2] in ("*.", "*-") and host.endswith(pattern[1:]) and len(host) >= len(pattern):
        return 1 + len(pattern)
    return 0


def _weighted_service(action: Body, draw: float) -> Body:
    services = [s for s in as_maps(action.get("weightedBackendServices")) if as_number(s.get("weight"), 0) > 0]
    total = sum(as_number(s.get("weight"), 0) for s in services)
    passed = 0.0
    for service in services:
        passed += as_number(service.get("weight"), 0)
        if draw * total < passed:
            return service
    return {}


def _rewritten(path: str, match: PathMatch, rewrite: Body) -> str:
    template, prefix = as_text(rewrite.get("pathTemplateRewrite")), as_text(rewrite.get("pathPrefixRewrite"))
    if template and match.variables is not None:
        for name, value in match.variables.items():
            template = template.replace("{" + name + "}", value)
        return template if template.startswith("/") else "/" + template
    if prefix:
        new = prefix + path[len(match.pattern) :]
        return new if new.startswith("/") else "/" + new
    return path


def _redirect(level: _Level, seen: Seen) -> Redirect:
    redirect = level.redirect
    scheme = "https" if redirect.get("httpsRedirect") is True else seen.scheme
    host = as_text(redirect.get("hostRedirect")) or seen.host
    path = as_text(redirect.get("pathRedirect"))
    if not path and (prefix := as_text(redirect.get("prefixRedirect"))):
        path = prefix + seen.path[len(level.match.pattern) :]
    path = path or seen.path
    query = f"?{seen.query}" if seen.query and redirect.get("stripQuery") is not True else ""
    status = _REDIRECT_CODES.get(as_text(redirect.get("redirectResponseCode")), 301)
    return Redirect(f"{scheme}://{host}{path}{query}", status)


def _edits(action: Body, direction: str) -> HeaderEdits:
    removed = action.get(f"{direction}HeadersToRemove")
    names = removed if isinstance(removed, Sequence) and not isinstance(removed, str) else ()
    return HeaderEdits(
        remove=tuple(as_text(name) for name in names if as_text(name)),
        add=tuple(
            (as_text(item.get("headerName")), as_text(item.get("headerValue")), item.get("replace") is True)
            for item in as_maps(action.get(f"{direction}HeadersToAdd"))
            if as_text(item.get("headerName"))
        ),
    )
