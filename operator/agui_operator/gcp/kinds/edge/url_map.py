"""The release pointer: which release the load balancer serves.

One host rule and one path matcher of the URL map belong to the deployment; what is in them is built in route_rules.py.
Moving the pointer is one patch, and the patch that promotes a candidate, or takes it back, removes its rules too. Every
patch carries the map's fingerprint: the second of two writers has to read the map again.
Source: https://cloud.google.com/compute/docs/reference/rest/v1/urlMaps
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from agui_operator.core.actions import CHANGED_BY_HAND, Pointer, PointerSet
from agui_operator.core.environment import Edge, Place
from agui_operator.core.errors import CloudError, NotOwned, UserError
from agui_operator.core.names import Names
from agui_operator.gcp.kinds.edge.route_rules import Json, described, is_same, relabelled, rules
from agui_operator.gcp.transport import operations
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.outcome import Outcome
from agui_operator.gcp.transport.paging import rest_pages
from agui_operator.gcp.transport.rest import RestRequest

_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class UrlMap:
    """A URL map as it was read; `host_rules` and `matchers` include those of others."""

    fingerprint: str
    host_rules: tuple[Json, ...]
    matchers: tuple[Json, ...]


@dataclass(frozen=True, slots=True)
class Routing:
    """What a map says about one deployment: the public release, and the candidate for requests that name it."""

    pointer: Pointer | None
    candidate: Pointer | None = None


def parse(url_map: UrlMap, edge: Edge, names: Names) -> Routing:
    """What the map says about this deployment. Rules that were changed by hand give the folder CHANGED_BY_HAND, so that
    they are never taken for a release."""
    matcher = _ours(url_map, names)
    if matcher is None or not _is_routed(url_map, edge, names):
        return Routing(None)
    said = described(matcher)
    if said is None or not names.owns(said.owner):
        return Routing(None)
    pointer, candidate = said.pointer, said.candidate
    if (pointer or candidate) and _is_ruled(matcher, edge, names, Routing(pointer, candidate)):
        return Routing(pointer, candidate)
    return Routing(Pointer(CHANGED_BY_HAND, said.release), candidate)


def patch(url_map: UrlMap, edge: Edge, names: Names, pointer: Pointer | None, candidate: Pointer | None) -> Json | None:
    """The patch that leads to this routing; None if the map has it. The rules of others are sent unchanged. Raises
    NotOwned, UserError."""
    wanted = Routing(pointer, candidate)
    visible = pointer is not None or candidate is not None
    _check_owner(url_map, edge, names, visible=visible)
    mine = _ours(url_map, names)
    is_new = mine is None or is_same(mine, rules(edge, names, pointer, candidate))
    if parse(url_map, edge, names) == wanted and is_new and (visible or mine is None):
        return None
    host_rules = [rule for rule in url_map.host_rules if rule.get("pathMatcher") != names.path_matcher]
    matchers = [matcher for matcher in url_map.matchers if matcher.get("name") != names.path_matcher]
    if visible:
        host_rules.append(_host_rule(url_map, edge, names))
        matchers.append(rules(edge, names, pointer, candidate))
    return _body(url_map, host_rules, matchers)


def _body(url_map: UrlMap, host_rules: Sequence[Json], matchers: Sequence[Json]) -> Json:
    # In a merge patch null removes a field; an empty list may be taken for "not given".
    return {
        "fingerprint": url_map.fingerprint,
        "hostRules": list(host_rules) or None,
        "pathMatchers": list(matchers) or None,
    }


async def observe(cloud: Cloud, names: Names, place: Place) -> tuple[Routing, UrlMap]:
    """One call: the routing and the map itself. Raises CloudError 404 if the map does not exist."""
    edge = _edge(place)
    url_map = await _get(cloud, names, _path(names, edge))
    return parse(url_map, edge, names), url_map


async def check(cloud: Cloud, names: Names, place: Place) -> None:
    """Asks, before anything is done, whether the deployment may have the host. Raises NotOwned, CloudError."""
    edge = _edge(place)
    try:
        url_map = await _get(cloud, names, _path(names, edge))
    except CloudError as error:
        if error.code != 404:
            raise
        return  # the environment says that the map is missing
    _check_owner(url_map, edge, names, visible=True)


async def take_over(cloud: Cloud, names: Names, place: Place, label: str) -> None:
    """Makes the path matchers of an owner the deployment's. What they route stays. Raises CloudError."""
    path = _path(names, _edge(place))

    async def look() -> Json | None:
        url_map = await _get(cloud, names, path)
        matchers = [relabelled(m, label, names.owner) for m in url_map.matchers]
        return None if matchers == list(url_map.matchers) else _body(url_map, url_map.host_rules, matchers)

    outcome = await _patched(cloud, names, path, look)
    if outcome.operation is not None:
        await operations.finish(cloud, outcome.operation)


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
    """Reads the map (unless `fresh` is given) and patches it once; reads it again after a 412, because nothing was
    written. A candidate's routing is not waited for: its check polls it. Raises NotOwned, UserError, CloudError."""
    edge = _edge(place)
    path = _path(names, edge)
    known = [fresh] if fresh is not None else []

    async def look() -> Json | None:
        url_map = known.pop() if known else await _get(cloud, names, path)
        return patch(url_map, edge, names, action.pointer, action.candidate)

    outcome = await _patched(cloud, names, path, look)
    return Outcome(None if action.candidate is not None else outcome.operation, action)


async def _patched(cloud: Cloud, names: Names, path: str, look: Callable[[], Awaitable[Json | None]]) -> Outcome:
    """Writes the patch that `look` returns, if any; calls it again after a 412."""
    for attempt in range(1, _ATTEMPTS + 1):
        body = await look()
        if body is None:
            return Outcome()
        try:
            operation = await cloud.rest(
                RestRequest("compute.urlMaps.patch", path, project=names.project, verb="PATCH", body=body, write=True)
            )
        except CloudError as error:
            if error.code != 412 or attempt == _ATTEMPTS:
                raise
            continue
        result = operations.compute_result(operation)
        if result.error is not None:
            raise result.error
        return Outcome(None if result.done else operations.compute_name(names.project, operation))
    raise AssertionError("the last attempt returns or raises")


def _without_ours(url_map: UrlMap, names: Names) -> Json | None:
    """The patch that removes this deployment's path matchers, which their description names, with the host rules that
    lead to them; None if there are none."""
    gone = {m.get("name") for m in url_map.matchers if (said := described(m)) is not None and names.owns(said.owner)}
    if not gone:
        return None
    return _body(
        url_map,
        [rule for rule in url_map.host_rules if rule.get("pathMatcher") not in gone],
        [matcher for matcher in url_map.matchers if matcher.get("name") not in gone],
    )


async def _get(cloud: Cloud, names: Names, path: str) -> UrlMap:
    return _parsed(await cloud.rest(RestRequest("compute.urlMaps.get", path, project=names.project)))


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


def _ours(url_map: UrlMap, names: Names) -> Json | None:
    return next((m for m in url_map.matchers if m.get("name") == names.path_matcher), None)


def _is_ruled(matcher: Json, edge: Edge, names: Names, routing: Routing) -> bool:
    """True if the path matcher routes so, by the rules of this version or by those that an earlier one wrote: these
    are no change by hand, and are replaced when the pointer moves."""
    pointer, candidate = routing.pointer, routing.candidate
    return any(is_same(matcher, rules(edge, names, pointer, candidate, earlier=old)) for old in (False, True))


def _is_routed(url_map: UrlMap, edge: Edge, names: Names) -> bool:
    host = edge.host
    return any(
        rule.get("pathMatcher") == names.path_matcher and host in (rule.get("hosts") or ())
        for rule in url_map.host_rules
    )


def _host_rule(url_map: UrlMap, edge: Edge, names: Names) -> Json:
    """The deployment's host rule, with the hosts that were added to it by hand."""
    mine = next((r for r in url_map.host_rules if r.get("pathMatcher") == names.path_matcher), {})
    hosts = dict.fromkeys([*(mine.get("hosts") or ()), edge.host])
    return {**mine, "hosts": list(hosts), "pathMatcher": names.path_matcher}


def _check_owner(url_map: UrlMap, edge: Edge, names: Names, *, visible: bool) -> None:
    matcher = _ours(url_map, names)
    if matcher is not None:
        said = described(matcher)
        if said is None or not names.owns(said.owner):
            owner = f"belongs to {said.owner}" if said else "does not say whom it belongs to"
            raise NotOwned(f"path matcher {names.path_matcher} of URL map {edge.url_map} {owner}; remove it first")
    for rule in url_map.host_rules if visible else ():
        covering = next((host for host in rule.get("hosts") or () if _covers(host, edge.host)), None)
        if covering is not None and rule.get("pathMatcher") != names.path_matcher:
            by = "" if covering == edge.host else f" (host rule {covering})"
            raise NotOwned(
                f"host {edge.host} of URL map {edge.url_map} is served by path matcher {rule.get('pathMatcher')}{by}; "
                "give this environment another domain or remove that host rule"
            )


def _covers(pattern: str, host: str) -> bool:
    """True if a host rule speaks for the host. `*.example.com` speaks for every host below example.com
    (https://cloud.google.com/load-balancing/docs/url-map-concepts#wildcards); `*` alone is the default of a URL map,
    which every rule takes something away from."""
    wild = pattern[1:] if pattern.startswith("*") else ""
    return pattern == host or (len(wild) > 1 and host.endswith(wild) and host != wild.lstrip(".-"))
