"""The release pointer: which release the load balancer serves.

One host rule and one path matcher of the URL map are ours. Assets are never rewritten, so that an open old tab still
finds its files; html is rewritten to the release's folder, and moving the pointer is one patch. While a candidate is
checked, requests that carry its id in the header x-agui-release meet its page, and nobody else does; the patch that
promotes it or takes it back removes those rules too. Every patch carries the map's fingerprint: of two writers one has
to look again.
Source: https://cloud.google.com/compute/docs/reference/rest/v1/urlMaps
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agui_operator.core.actions import CHANGED_BY_HAND, Pointer, PointerSet
from agui_operator.core.environment import Edge, Place
from agui_operator.core.errors import CloudError, NotOwned, UserError
from agui_operator.core.names import OWNER_LABEL, RELEASE_HEADER, Names
from agui_operator.gcp.transport import operations
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.outcome import Outcome
from agui_operator.gcp.transport.paging import rest_pages

Json = dict[str, Any]
# Files that browsers ask for at the root; everything else that is neither API nor asset is a page of the application.
ROOT_FILES = ("/favicon.", "/apple-touch-icon", "/robots.txt", "/site.webmanifest", "/manifest.webmanifest")
_TRIES = 3
_LINK = "https://www.googleapis.com/compute/v1/projects/{}/global/{}/{}"
_DESCRIPTION = re.compile(rf"{OWNER_LABEL}=(\S*) release=(\S*) frontend=(\S*)(?: candidate=(\S+) shown=(\S+))?")
_NOBODY = "none"  # a release in the description: nothing is public yet


@dataclass(frozen=True, slots=True)
class UrlMap:
    """A URL map as it was read; `host_rules` and `matchers` are those of everybody."""

    fingerprint: str
    host_rules: tuple[Json, ...]
    matchers: tuple[Json, ...]


@dataclass(frozen=True, slots=True)
class Routing:
    """What a map says of one deployment: the release that everybody meets, the candidate that is met by its name."""

    pointer: Pointer | None
    candidate: Pointer | None = None


def rules(edge: Edge, names: Names, pointer: Pointer | None, candidate: Pointer | None = None) -> Json:
    """Our path matcher. Of a public release: API paths to the service, assets as they are, html from its folder;
    without a frontend everything goes to the service. Of a candidate the same, for requests that name it; what they ask
    of the API is answered by the release that serves, because a URL map can't choose among Cloud Run's revisions."""
    service = _LINK.format(names.project, "backendServices", edge.backend_service)
    bucket = _LINK.format(names.project, "backendBuckets", edge.backend_bucket)
    matcher: Json = {
        "name": names.path_matcher,
        "description": _describe(names, pointer, candidate),
        "defaultService": service if pointer is not None and pointer.frontend is None else bucket,
    }
    api = [_api(service, path) for path in edge.api_paths if path != "/"]
    pooled = _route(bucket, {"prefixMatch": "/assets/"}, {"prefixMatch": "/releases/"})
    has_pages = pointer is not None and pointer.frontend is not None
    routes = api if pointer is not None else []
    if candidate is not None:
        shown = [*([] if routes else api), *([] if has_pages else [pooled]), *_pages(bucket, candidate)]
        named = [_only_for(route, candidate.release) for route in shown]
        routes = [*routes, *([pooled] if has_pages else []), *named]
    elif has_pages:
        routes = [*routes, pooled]
    if pointer is not None:
        routes = [*routes, *_pages(bucket, pointer)]
    if routes:
        matcher["routeRules"] = [{"priority": 10 * (n + 1), **route} for n, route in enumerate(routes)]
    return matcher


def _api(service: str, path: str) -> Json:
    return _route(service, {"fullPathMatch": path}, {"prefixMatch": path.rstrip("/") + "/"})


def _pages(bucket: str, pointer: Pointer) -> list[Json]:
    """Routes to a release's folder; the last one fits every path that is neither the API's nor a file's."""
    if pointer.frontend is None:
        return []
    folder = f"/releases/{pointer.frontend}"
    page = {"pathTemplateRewrite": f"{folder}/index.html"}
    return [
        *(_route(bucket, {"prefixMatch": path}, rewrite={"pathPrefixRewrite": folder + path}) for path in ROOT_FILES),
        _route(bucket, {"fullPathMatch": "/"}, rewrite={"pathPrefixRewrite": f"{folder}/index.html"}),
        _route(bucket, {"pathTemplateMatch": "/t/{thread=**}"}, rewrite=page),
        _route(bucket, {"pathTemplateMatch": "/{page=**}"}, rewrite=page),
    ]


def _only_for(route: Json, release: str) -> Json:
    """The route for requests that name the release."""
    header = {"headerName": RELEASE_HEADER, "exactMatch": release}
    return {**route, "matchRules": [{**match, "headerMatches": [header]} for match in route["matchRules"]]}


def _describe(names: Names, pointer: Pointer | None, candidate: Pointer | None) -> str:
    """The routing in words that `parse` reads back."""
    public = pointer or Pointer(None, _NOBODY)
    text = f"{OWNER_LABEL}={names.uid} release={public.release} frontend={public.frontend or '-'}"
    return f"{text} candidate={candidate.release} shown={candidate.frontend or '-'}" if candidate else text


def host_of(edge: Edge) -> str:
    """The host name that our host rule matches: without scheme and port."""
    return edge.domain.rpartition("://")[2].partition("/")[0].partition(":")[0].lower()


def parse(url_map: UrlMap, edge: Edge, names: Names) -> Routing:
    """What the map says about this deployment. Rules that somebody changed are told by the folder CHANGED_BY_HAND, so
    that they are never taken for a release."""
    matcher = _ours(url_map, names)
    if matcher is None or not _is_routed(url_map, edge, names):
        return Routing(None)
    found = _DESCRIPTION.search(str(matcher.get("description", "")))
    if found is None or found[1] != names.uid:
        return Routing(None)
    pointer = None if found[2] == _NOBODY else Pointer(None if found[3] == "-" else found[3], found[2])
    candidate = Pointer(None if found[5] == "-" else found[5], found[4]) if found[4] else None
    if (pointer or candidate) and _comparable(matcher) == _comparable(rules(edge, names, pointer, candidate)):
        return Routing(pointer, candidate)
    return Routing(Pointer(CHANGED_BY_HAND, found[2]), candidate)


def patch(url_map: UrlMap, edge: Edge, names: Names, pointer: Pointer | None, candidate: Pointer | None) -> Json | None:
    """The body that makes the map say so; None if it does. Everybody else's rules are sent as they were. Raises
    NotOwned, UserError."""
    wanted = Routing(pointer, candidate)
    visible = pointer is not None or candidate is not None
    _check_owner(url_map, edge, names, visible=visible)
    if parse(url_map, edge, names) == wanted and (visible or _ours(url_map, names) is None):
        return None
    host_rules = [rule for rule in url_map.host_rules if rule.get("pathMatcher") != names.path_matcher]
    matchers = [matcher for matcher in url_map.matchers if matcher.get("name") != names.path_matcher]
    if visible:
        host_rules.append(_host_rule(url_map, edge, names))
        matchers.append(rules(edge, names, pointer, candidate))
    # In a merge patch null removes a field; an empty list may be taken for "not given".
    return {
        "fingerprint": url_map.fingerprint,
        "hostRules": host_rules or None,
        "pathMatchers": matchers or None,
    }


async def observe(cloud: Cloud, names: Names, place: Place) -> tuple[Routing, UrlMap]:
    """One call: the routing and the map itself. Raises CloudError 404 if the map does not exist."""
    edge = _edge(place)
    url_map = await _get(cloud, names, _path(names, edge))
    return parse(url_map, edge, names), url_map


async def owned(cloud: Cloud, names: Names) -> list[str]:
    """Names of the project's URL maps that hold a path matcher of this deployment, whatever its environment says now;
    one call for each 500 maps. Raises CloudError."""
    path = f"/compute/v1/projects/{names.project}/global/urlMaps?maxResults=500"
    found: list[str] = []
    async for page in rest_pages(cloud, "compute.urlMaps.list", path, project=names.project):
        found += [str(m["name"]) for m in page.get("items") or () if _without_ours(_parsed(m), names) is not None]
    return found


async def remove(cloud: Cloud, names: Names, url_map: str) -> Outcome:
    """Takes this deployment's path matchers and their host rules out of a map that `owned` named; everybody else's
    stay. Nothing is written when the map has none of them, or is gone. Raises CloudError."""
    path = f"/compute/v1/projects/{names.project}/global/urlMaps/{url_map}"

    async def look() -> Json | None:
        return _without_ours(await _get(cloud, names, path), names)

    try:
        return await _patched(cloud, names, path, look)
    except CloudError as error:
        if error.code != 404:
            raise
        return Outcome()


async def apply(cloud: Cloud, names: Names, place: Place, action: PointerSet, fresh: UrlMap | None = None) -> Outcome:
    """Looks (unless `fresh` is given) and patches once; after a 412 it looks again, because nothing was written. That a
    candidate is shown is not waited for: its check asks until it is. Raises NotOwned, UserError, CloudError."""
    edge = _edge(place)
    path = _path(names, edge)
    known = [fresh] if fresh is not None else []

    async def look() -> Json | None:
        url_map = known.pop() if known else await _get(cloud, names, path)
        return patch(url_map, edge, names, action.pointer, action.candidate)

    outcome = await _patched(cloud, names, path, look)
    return Outcome(None if action.candidate is not None else outcome.operation, action)


async def _patched(cloud: Cloud, names: Names, path: str, look: Callable[[], Awaitable[Json | None]]) -> Outcome:
    """Writes the patch that `look` gives, unless it gives none; after a 412 it looks again."""
    for attempt in range(1, _TRIES + 1):
        body = await look()
        if body is None:
            return Outcome()
        try:
            operation = await cloud.rest(
                "compute.urlMaps.patch", path, project=names.project, verb="PATCH", body=body, write=True
            )
        except CloudError as error:
            if error.code != 412 or attempt == _TRIES:
                raise
            continue
        result = operations.compute_result(operation)
        if result.error is not None:
            raise result.error
        return Outcome(None if result.done else operations.compute_name(names.project, operation))
    raise AssertionError("the last try returns or raises")


def _without_ours(url_map: UrlMap, names: Names) -> Json | None:
    """The patch that removes this deployment's path matchers, told by the owner in their description, with the host
    rules that lead to them; None if there are none."""
    gone = {m.get("name") for m in url_map.matchers if _owner_of(m) == names.uid}
    if not gone:
        return None
    return {
        "fingerprint": url_map.fingerprint,
        "hostRules": [rule for rule in url_map.host_rules if rule.get("pathMatcher") not in gone] or None,
        "pathMatchers": [matcher for matcher in url_map.matchers if matcher.get("name") not in gone] or None,
    }


def _owner_of(matcher: Json) -> str:
    found = _DESCRIPTION.search(str(matcher.get("description", "")))
    return found[1] if found is not None else ""


async def _get(cloud: Cloud, names: Names, path: str) -> UrlMap:
    return _parsed(await cloud.rest("compute.urlMaps.get", path, project=names.project))


def _parsed(body: Json) -> UrlMap:
    return UrlMap(
        fingerprint=str(body.get("fingerprint", "")),
        host_rules=tuple(body.get("hostRules") or ()),
        matchers=tuple(body.get("pathMatchers") or ()),
    )


def _path(names: Names, edge: Edge) -> str:
    return f"/compute/v1/projects/{names.project}/global/urlMaps/{edge.url_map}"


def _edge(place: Place) -> Edge:
    if place.edge is None:
        raise UserError("the environment has no edge, so there is no release pointer; add spec.edge to it")
    return place.edge


def _route(service: str, *matches: Json, rewrite: Json | None = None) -> Json:
    route: Json = {"matchRules": list(matches), "service": service}
    return route if rewrite is None else {**route, "routeAction": {"urlRewrite": rewrite}}


def _ours(url_map: UrlMap, names: Names) -> Json | None:
    return next((m for m in url_map.matchers if m.get("name") == names.path_matcher), None)


def _is_routed(url_map: UrlMap, edge: Edge, names: Names) -> bool:
    host = host_of(edge)
    return any(
        rule.get("pathMatcher") == names.path_matcher and host in (rule.get("hosts") or ())
        for rule in url_map.host_rules
    )


def _host_rule(url_map: UrlMap, edge: Edge, names: Names) -> Json:
    """Ours, with the hosts that somebody added to it."""
    mine = next((r for r in url_map.host_rules if r.get("pathMatcher") == names.path_matcher), {})
    hosts = dict.fromkeys([*(mine.get("hosts") or ()), host_of(edge)])
    return {**mine, "hosts": list(hosts), "pathMatcher": names.path_matcher}


def _check_owner(url_map: UrlMap, edge: Edge, names: Names, *, visible: bool) -> None:
    matcher = _ours(url_map, names)
    if matcher is not None:
        found = _DESCRIPTION.search(str(matcher.get("description", "")))
        if found is None or found[1] != names.uid:
            owner = f"belongs to {found[1]}" if found else "does not say whom it belongs to"
            raise NotOwned(f"path matcher {names.path_matcher} of URL map {edge.url_map} {owner}; remove it first")
    for rule in url_map.host_rules if visible else ():
        if host_of(edge) in (rule.get("hosts") or ()) and rule.get("pathMatcher") != names.path_matcher:
            raise NotOwned(
                f"host {host_of(edge)} of URL map {edge.url_map} is served by path matcher {rule.get('pathMatcher')}; "
                "give this environment another domain or remove that host rule"
            )


def _comparable(matcher: Mapping[str, Any]) -> object:
    """What we set of a matcher, with references that do not depend on how they were written."""
    routes: Iterable[Json] = matcher.get("routeRules") or ()
    return (
        _reference(matcher.get("defaultService")),
        matcher.get("defaultRouteAction"),
        matcher.get("pathRules") or None,
        [
            (
                r.get("priority"),
                _matches(r),
                _reference(r.get("service")),
                (r.get("routeAction") or {}).get("urlRewrite"),
            )
            for r in routes
        ],
    )


def _matches(route: Json) -> list[Json]:
    """Match rules without the fields that the API adds with their default."""
    return [{k: v for k, v in match.items() if v not in (False, None, [])} for match in route.get("matchRules") or ()]


def _reference(link: object) -> str:
    return str(link or "").partition("/global/")[2] or str(link or "")
