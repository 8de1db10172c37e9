"""Cloud CDN's rules as tables, and the bounded cache."""

from __future__ import annotations

from typing import Any

import pytest
from multidict import CIMultiDict

from localgcp.edge.cdn import Cache, CdnPolicy, Entry, cdn_policy, for_client, time_to_live

STATIC = cdn_policy({"enableCdn": True})
ORIGIN = cdn_policy({"enableCdn": True, "cdnPolicy": {"cacheMode": "USE_ORIGIN_HEADERS"}})
FORCED = cdn_policy({"enableCdn": True, "cdnPolicy": {"cacheMode": "FORCE_CACHE_ALL", "defaultTtl": 60}})


def headers(cache_control: str = "", content_type: str = "text/javascript", **more: str) -> CIMultiDict[str]:
    made: CIMultiDict[str] = CIMultiDict({"Content-Type": content_type, **more})
    if cache_control:
        made["Cache-Control"] = cache_control
    return made


@pytest.mark.parametrize(
    ("policy", "sent", "ttl"),
    [
        pytest.param(cdn_policy({}), headers("public, max-age=60"), 0, id="cdn-off"),
        pytest.param(STATIC, headers(), 3600, id="static-type-gets-the-default"),
        pytest.param(STATIC, headers(content_type="text/html; charset=utf-8"), 0, id="html-is-dynamic"),
        pytest.param(STATIC, headers("public, max-age=60", "text/html"), 60, id="html-that-says-so"),
        pytest.param(STATIC, headers("public, max-age=31536000, immutable"), 86400, id="max-ttl-clamps"),
        pytest.param(STATIC, headers("max-age=60, s-maxage=5"), 5, id="shared-age-wins"),
        pytest.param(STATIC, headers("no-cache, max-age=0, must-revalidate"), 0, id="no-cache"),
        pytest.param(STATIC, headers("private, max-age=60"), 0, id="private"),
        pytest.param(STATIC, headers(**{"Set-Cookie": "a=1"}), 0, id="cookie"),
        pytest.param(STATIC, headers(Vary="Accept-Encoding"), 3600, id="vary-encoding"),
        pytest.param(STATIC, headers(Vary="Cookie"), 0, id="vary-cookie"),
        pytest.param(STATIC, headers("max-age=nonsense"), 0, id="malformed-age"),
        pytest.param(ORIGIN, headers(), 0, id="origin-says-nothing"),
        pytest.param(ORIGIN, headers("public, max-age=31536000"), 31536000, id="origin-is-not-clamped"),
        pytest.param(FORCED, headers("no-store", "text/html"), 60, id="forced"),
    ],
)
def test_time_to_live_of_a_success(policy: CdnPolicy, sent: CIMultiDict[str], ttl: float) -> None:
    assert time_to_live(policy, 200, sent) == ttl


@pytest.mark.parametrize(
    ("policy", "status", "ttl"),
    [
        ({}, 404, 0),
        ({"negativeCaching": True}, 404, 120),
        ({"negativeCaching": True}, 403, 0),
        ({"negativeCaching": True, "negativeCachingPolicy": [{"code": 404, "ttl": 7}]}, 404, 7),
    ],
)
def test_errors_are_kept_only_by_negative_caching(policy: dict[str, Any], status: int, ttl: float) -> None:
    assert time_to_live(cdn_policy({"enableCdn": True, "cdnPolicy": policy}), status, headers()) == ttl


def test_requests_with_credentials_need_an_answer_that_is_public() -> None:
    assert time_to_live(STATIC, 200, headers("max-age=60"), authorized=True) == 0
    assert time_to_live(STATIC, 200, headers("public, max-age=60"), authorized=True) == 60


@pytest.mark.parametrize(
    ("policy", "sent", "client"),
    [
        (STATIC, "public, max-age=31536000, immutable", "public, max-age=3600, immutable"),
        (STATIC, "public, max-age=60", None),
        (STATIC, "", "public, max-age=3600"),
        (ORIGIN, "public, max-age=31536000", None),
        (FORCED, "no-store", "public, max-age=60"),
        (cdn_policy({"enableCdn": True, "cdnPolicy": {"clientTtl": 31536000}}), "public, max-age=31536000", None),
    ],
)
def test_the_client_gets_an_age_clamped_to_client_ttl(policy: CdnPolicy, sent: str, client: str | None) -> None:
    assert for_client(policy, headers(sent), 60) == client


@pytest.mark.parametrize(
    "body", [{"cdnPolicy": None}, {"enableCdn": True, "cdnPolicy": {"maxTtl": "x", "cacheMode": 3}}]
)
def test_a_malformed_policy_is_no_error(body: dict[str, Any]) -> None:
    assert time_to_live(cdn_policy(body), 200, headers("max-age=1")) in (0, 1)


def entry(value: str, *paths: str, ttl: float = 10, size: int = 10) -> Entry[str]:
    return Entry(value, 100.0, ttl, size, paths)


def test_an_entry_lives_for_its_ttl() -> None:
    cache: Cache[str] = Cache()
    cache.put(("k",), entry("v", "/a"))
    found = cache.get(("k",), 109.9)
    assert found is not None
    assert (found.value, found.age(109.9)) == ("v", 9)
    assert cache.get(("k",), 110.0) is None
    assert cache.get(("other",), 100) is None


def test_the_least_recently_used_goes_first_and_bytes_are_bounded() -> None:
    cache: Cache[str] = Cache(most_bytes=25)
    for name in ("a", "b"):
        cache.put((name,), entry(name, f"/{name}"))
    assert cache.get(("a",), 100) is not None
    cache.put(("c",), entry("c", "/c"))
    assert [cache.get((name,), 100) is not None for name in "abc"] == [True, False, True]
    cache.put(("huge",), entry("h", "/h", size=1000))
    assert cache.get(("huge",), 100) is None


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("/assets/a.js", {"b", "c"}),
        ("/assets/*", {"c"}),
        ("/r/7/*", {"a", "c"}),
        ("/*", set()),
        ("/x", {"a", "b", "c"}),
    ],
)
def test_invalidation_by_path_or_prefix_as_asked_or_as_rewritten(pattern: str, left: set[str]) -> None:
    cache: Cache[str] = Cache()
    cache.put(("a",), entry("a", "/assets/a.js"))
    cache.put(("b",), entry("b", "/assets/b.js", "/r/7/b.js"))
    cache.put(("c",), entry("c", "/index.html"))
    assert cache.invalidate(pattern) == 3 - len(left)
    assert {name for name in "abc" if cache.get((name,), 100)} == left
