"""The rules of a deployment in a URL map: built from the release pointer, read back from their description, compared.

Assets are never rewritten, so that a tab that is still open finds its files; html is rewritten to the release's folder.
While a candidate is checked, only requests that carry its id in the header x-agui-release get its page. Of the release
folders in the bucket, which others may publish into, a host serves its own releases' alone.
Source: https://cloud.google.com/compute/docs/reference/rest/v1/urlMaps
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agui_operator.core.actions import Pointer
from agui_operator.core.environment import Edge
from agui_operator.core.names import OWNER_LABEL, RELEASE_HEADER, Names

Json = dict[str, Any]
# Files that browsers ask for at the root; everything else that is neither API nor asset is a page of the application.
ROOT_FILES = ("/favicon.", "/apple-touch-icon", "/robots.txt", "/site.webmanifest", "/manifest.webmanifest")
_LINK = "https://www.googleapis.com/compute/v1/projects/{}/global/{}/{}"
_DESCRIPTION = re.compile(rf"{OWNER_LABEL}=(\S*) release=(\S*) frontend=(\S*)(?: candidate=(\S+) shown=(\S+))?")
_NOWHERE = "/.none/"  # no object is called so: while nothing is public the bucket is not served by path
_NOBODY = "none"  # a release in the description: nothing is public yet


@dataclass(frozen=True, slots=True)
class Described:
    """The description of a path matcher. `release` is the public one's name in it, also when there is none."""

    owner: str
    release: str
    pointer: Pointer | None
    candidate: Pointer | None


def rules(
    edge: Edge, names: Names, pointer: Pointer | None, candidate: Pointer | None = None, *, earlier: bool = False
) -> Json:
    """The deployment's path matcher. For a public release: API paths to the service, assets as they are, html from its
    folder; without a frontend everything goes to the service. For a candidate the same, for requests that name it;
    their API calls reach the public release, because a URL map can't choose among Cloud Run's revisions. `earlier`: as
    an earlier version wrote them, with the folders of everybody."""
    service = _LINK.format(names.project, "backendServices", edge.backend_service)
    bucket = _LINK.format(names.project, "backendBuckets", edge.backend_bucket)
    matcher: Json = {
        "name": names.path_matcher,
        "description": _describe(names, pointer, candidate),
        "defaultService": service if pointer is not None and pointer.frontend is None else bucket,
    }
    api = [_api(service, path) for path in edge.api_paths if path != "/"]
    pooled = _route(bucket, {"prefixMatch": "/assets/"}, *([{"prefixMatch": "/releases/"}] if earlier else ()))
    has_pages = pointer is not None and pointer.frontend is not None
    routes = api if pointer is not None else []
    if candidate is not None:
        pages = _pages(bucket, candidate, earlier=earlier)
        shown = [*([] if routes else api), *([] if has_pages else [pooled]), *pages]
        named = [_only_for(route, candidate.release) for route in shown]
        routes = [*routes, *([pooled] if has_pages else []), *named]
    elif has_pages:
        routes = [*routes, pooled]
    if pointer is not None:
        routes = [*routes, *_pages(bucket, pointer, earlier=earlier)]
    elif not earlier:
        routes = [*routes, _route(bucket, {"prefixMatch": "/"}, rewrite={"pathPrefixRewrite": _NOWHERE})]
    if routes:
        matcher["routeRules"] = [{"priority": 10 * (n + 1), **route} for n, route in enumerate(routes)]
    return matcher


def _api(service: str, path: str) -> Json:
    return _route(service, {"fullPathMatch": path}, {"prefixMatch": path.rstrip("/") + "/"})


def _pages(bucket: str, pointer: Pointer, *, earlier: bool) -> list[Json]:
    """Routes to a release's folder; the last one matches every path that is neither the API's nor a file's."""
    if pointer.frontend is None:
        return []
    folder = f"/releases/{pointer.frontend}"
    page = {"pathTemplateRewrite": f"{folder}/index.html"}
    return [
        *([] if earlier else [_route(bucket, {"prefixMatch": f"{folder}/"})]),
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
    """The routing as text that `described` reads back."""
    public = pointer or Pointer(None, _NOBODY)
    text = f"{OWNER_LABEL}={names.owner} release={public.release} frontend={public.frontend or '-'}"
    return f"{text} candidate={candidate.release} shown={candidate.frontend or '-'}" if candidate else text


def described(matcher: Json) -> Described | None:
    """What the description of a path matcher says; None: it is none of ours."""
    found = _DESCRIPTION.search(str(matcher.get("description", "")))
    if found is None:
        return None
    pointer = None if found[2] == _NOBODY else Pointer(None if found[3] == "-" else found[3], found[2])
    candidate = Pointer(None if found[5] == "-" else found[5], found[4]) if found[4] else None
    return Described(found[1], found[2], pointer, candidate)


def relabelled(matcher: Json, label: str, owner: str) -> Json:
    """The path matcher with another owner in its description, if it has this one."""
    said = described(matcher)
    if said is None or said.owner != label:
        return matcher
    text = str(matcher["description"]).replace(f"{OWNER_LABEL}={label} ", f"{OWNER_LABEL}={owner} ", 1)
    return {**matcher, "description": text}


def is_same(matcher: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """True if two path matchers route alike. Only what is set here is compared."""
    return _comparable(matcher) == _comparable(other)


def _route(service: str, *matches: Json, rewrite: Json | None = None) -> Json:
    route: Json = {"matchRules": list(matches), "service": service}
    return route if rewrite is None else {**route, "routeAction": {"urlRewrite": rewrite}}


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
