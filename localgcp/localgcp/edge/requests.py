"""What the edge reads of a request: its host, and its path and query as they were sent."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from localgcp.edge.urlmap_match import Seen
from localgcp.kit.guard import host_name

RUN_SUFFIX = ".run.localhost"
# What the URL map decided on a request, where that was asked before it is served.
DECISION: web.RequestKey[Any] = web.RequestKey("localgcp.decision", object)


def host_of(request: web.BaseRequest) -> str:
    """Without port, in lower case."""
    return host_name(request.headers.get(hdrs.HOST, ""))


def front_end_of(request: web.BaseRequest) -> int:
    """Which front end of the load balancer took the request's connection: by the client's port."""
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return int(peer[1]) if peer else 0


def seen_of(request: web.BaseRequest) -> Seen:
    """What a URL map decides by."""
    path, _, query = origin_form(request).partition("?")
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Seen(request.headers.get(hdrs.HOST, ""), path, query, headers, request.method)


def origin_form(request: web.BaseRequest) -> str:
    """Path and query as sent; a proxy-style absolute target loses its origin."""
    target = request.raw_path
    if target.startswith("/"):
        return target
    parts = urlsplit(target)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
