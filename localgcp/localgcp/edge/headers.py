"""What a proxy does to headers: hop-by-hop ones go, forwarding and trace ones come, a load balancer's edits apply."""

from __future__ import annotations

import random
import re

from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy

from localgcp.edge.urlmap import HeaderEdits

_HOP_BY_HOP = frozenset(
    name.lower()
    for name in (
        "Connection",
        "Keep-Alive",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
    )
)
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_CLOUD_TRACE = re.compile(r"([0-9a-f]{32})(?:/(\d+))?(?:;o=(\d))?")


def end_to_end(headers: CIMultiDictProxy[str], *, upgrade: bool = False) -> CIMultiDict[str]:
    """Headers that travel on. `upgrade` keeps what a WebSocket handshake needs on both hops."""
    dropped = _HOP_BY_HOP
    connection = headers.get(hdrs.CONNECTION)
    if connection:
        named = {token.strip().lower() for token in connection.split(",")}
        if named - {"keep-alive", "close"}:
            dropped = dropped | named
    kept: CIMultiDict[str] = CIMultiDict()
    for name, value in headers.items():
        if name.lower() not in dropped:
            kept.add(name, value)
    if upgrade:
        kept[hdrs.CONNECTION], kept[hdrs.UPGRADE] = "Upgrade", headers.get(hdrs.UPGRADE, "websocket")
    return kept


def add_forwarding(headers: CIMultiDict[str], client: str, scheme: str) -> None:
    """X-Forwarded-For/-Proto and Forwarded as Cloud Run's front end sets them."""
    earlier = headers.get("X-Forwarded-For")
    headers["X-Forwarded-For"] = f"{earlier},{client}" if earlier else client
    headers["X-Forwarded-Proto"] = scheme
    headers["Forwarded"] = f'for="{client}";proto={scheme}'


def add_trace(headers: CIMultiDict[str]) -> None:
    """Both trace headers, agreeing: derived from the one that came, or a new, unsampled trace.
    Source: https://cloud.google.com/trace/docs/trace-context"""
    found = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    if found is not None:
        trace, span, sampled = found[1], int(found[2], 16), int(found[3], 16) & 1
        headers.setdefault("X-Cloud-Trace-Context", f"{trace}/{span};o={sampled}")
        return
    cloud = _CLOUD_TRACE.fullmatch(headers.get("X-Cloud-Trace-Context", ""))
    trace = cloud[1] if cloud else f"{random.getrandbits(128) or 1:032x}"
    span = (int(cloud[2] or 0) if cloud else 0) % 2**64 or random.getrandbits(64) or 1
    sampled = int(cloud[3] or 0) & 1 if cloud else 1
    headers["traceparent"] = f"00-{trace}-{span:016x}-{sampled:02x}"
    headers["X-Cloud-Trace-Context"] = f"{trace}/{span};o={sampled}"


def edit(headers: CIMultiDict[str], edits: HeaderEdits) -> None:
    """Applies a URL map's header action."""
    for name in edits.remove:
        headers.popall(name, None)
    for name, value, replace in edits.add:
        if replace:
            headers[name] = value
        else:
            headers.add(name, value)
