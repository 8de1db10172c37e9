"""Cloud CDN in small: what may be cached, for how long, and a bounded in-memory cache.

Source: https://cloud.google.com/cdn/docs/caching and https://cloud.google.com/cdn/docs/using-ttl-overrides
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from localgcp.edge.urlmap_match import as_maps, as_number

_STATIC_TYPES = re.compile(
    r"(text/css|text/ecmascript|text/javascript|application/(javascript|ecmascript|pdf|postscript|wasm)|font/.+"
    r"|application/(font-.+|x-font-.+|vnd\.ms-fontobject)|image/.+|video/.+|audio/.+)"
)
_CACHEABLE_STATUS = frozenset({200, 203, 204, 206, 300})
_NEGATIVE_TTL = {300: 600, 301: 600, 302: 0, 307: 0, 308: 600, 404: 120, 405: 60, 410: 120, 421: 60, 451: 120, 501: 60}
_CACHEABLE_VARY = frozenset({"accept", "accept-encoding", "origin", "access-control-request-headers"})
_DAY = 86_400

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class CdnPolicy:
    """A backend's `cdnPolicy`; times are seconds. `enabled` False: nothing is cached and no header is changed."""

    enabled: bool = False
    mode: str = "CACHE_ALL_STATIC"
    default_ttl: float = 3600
    max_ttl: float = _DAY
    client_ttl: float = 3600
    negative_ttl: Mapping[int, float] = field(default_factory=dict)
    bypass_headers: tuple[str, ...] = ()


def cdn_policy(backend: Mapping[str, Any]) -> CdnPolicy:
    """From the JSON body of a backend bucket or service, with the API's defaults."""
    policy = backend.get("cdnPolicy")
    policy = policy if isinstance(policy, Mapping) else {}
    negative: dict[int, float] = {}
    if policy.get("negativeCaching") is True:
        own = as_maps(policy.get("negativeCachingPolicy"))
        negative = {int(as_number(p.get("code"), 0)): as_number(p.get("ttl"), 0) for p in own}
        negative = negative or {code: float(ttl) for code, ttl in _NEGATIVE_TTL.items()}
    headers = (p.get("headerName") for p in as_maps(policy.get("bypassCacheOnRequestHeaders")))
    return CdnPolicy(
        enabled=backend.get("enableCdn") is True or backend.get("enableCDN") is True,
        mode=str(policy.get("cacheMode") or "CACHE_ALL_STATIC"),
        default_ttl=as_number(policy.get("defaultTtl"), 3600),
        max_ttl=as_number(policy.get("maxTtl"), _DAY),
        client_ttl=as_number(policy.get("clientTtl"), 3600),
        negative_ttl=negative,
        bypass_headers=tuple(name for name in headers if isinstance(name, str)),
    )


def directives(cache_control: str) -> dict[str, str]:
    """`max-age=60, public` as {"max-age": "60", "public": ""}."""
    pairs = (part.strip().partition("=") for part in cache_control.lower().split(","))
    return {name.strip(): value.strip().strip('"') for name, _, value in pairs if name.strip()}


def time_to_live(policy: CdnPolicy, status: int, headers: Mapping[str, str], *, authorized: bool = False) -> float:
    """Seconds for which the edge may keep a response; 0: not cacheable. `authorized`: the request has credentials."""
    if not policy.enabled or not _may_be_stored(policy, headers):
        return 0
    if status not in _CACHEABLE_STATUS:
        return policy.negative_ttl.get(status, 0)
    if policy.mode == "FORCE_CACHE_ALL":
        return policy.default_ttl
    said = directives(headers.get("Cache-Control", ""))
    if authorized and not said.keys() & {"public", "must-revalidate", "s-maxage"}:
        return 0
    for name in ("s-maxage", "max-age"):
        if name in said:
            age = as_number(said[name], 0)
            return min(age, policy.max_ttl) if policy.mode == "CACHE_ALL_STATIC" else age
    if policy.mode == "CACHE_ALL_STATIC" and _is_static(headers.get("Content-Type", "")):
        return policy.default_ttl
    return 0


def for_client(policy: CdnPolicy, headers: Mapping[str, str], ttl: float) -> str | None:
    """The Cache-Control that the client gets for a response cached with `ttl`: max-age clamped to clientTtl.
    None: leave it as it is."""
    if not policy.enabled or ttl <= 0 or policy.mode == "USE_ORIGIN_HEADERS":
        return None
    present = headers.get("Cache-Control", "")
    if policy.mode == "FORCE_CACHE_ALL" or "max-age" not in directives(present):
        return f"public, max-age={int(min(policy.client_ttl, policy.default_ttl))}"
    age = as_number(directives(present)["max-age"], 0)
    if age <= policy.client_ttl:
        return None
    return re.sub(r"(?i)max-age\s*=\s*\"?\d+\"?", f"max-age={int(policy.client_ttl)}", present)


def _may_be_stored(policy: CdnPolicy, headers: Mapping[str, str]) -> bool:
    if "Set-Cookie" in headers:
        return False
    vary = {name.strip().lower() for name in headers.get("Vary", "").split(",") if name.strip()}
    if vary - _CACHEABLE_VARY:
        return False
    said = directives(headers.get("Cache-Control", ""))
    return policy.mode == "FORCE_CACHE_ALL" or not said.keys() & {"no-store", "private", "no-cache"}


def _is_static(content_type: str) -> bool:
    return _STATIC_TYPES.fullmatch(content_type.partition(";")[0].strip().lower()) is not None


@dataclass(frozen=True, slots=True)
class Entry(Generic[V]):
    value: V
    stored_at: float
    ttl: float
    size: int
    paths: tuple[str, ...]  # as clients asked, and as rewritten: an invalidation may name either

    def age(self, now: float) -> int:
        return int(now - self.stored_at)


class Cache(Generic[V]):
    """Least recently used first out. Times are the caller's clock, in seconds."""

    def __init__(self, most_bytes: int = 128 * 1024 * 1024) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._entries: OrderedDict[tuple[str, ...], Entry[V]] = OrderedDict()

    def get(self, key: tuple[str, ...], now: float) -> Entry[V] | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if now - entry.stored_at >= entry.ttl:
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        return entry

    def put(self, key: tuple[str, ...], entry: Entry[V]) -> None:
        self._remove(key)
        self._entries[key] = entry
        self._bytes += entry.size
        while self._bytes > self._most_bytes:
            self._remove(next(iter(self._entries)))

    def invalidate(self, pattern: str) -> int:
        """Removes what matches a path, or a prefix ending in `*`; returns how many entries went.
        Source: https://cloud.google.com/cdn/docs/invalidating-cached-content"""
        prefix = pattern.removesuffix("*")
        doomed = [
            key
            for key, entry in self._entries.items()
            if any(path.startswith(prefix) if pattern.endswith("*") else path == pattern for path in entry.paths)
        ]
        for key in doomed:
            self._remove(key)
        return len(doomed)

    def _remove(self, key: tuple[str, ...]) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.size
