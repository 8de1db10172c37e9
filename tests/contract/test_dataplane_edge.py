"""The load balancer as a browser sees it: URL map, CDN, backend buckets, Cloud Run behind a serverless NEG."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agui_dev.testbed.data_plane import HOST, DataPlane, data_plane, revision, split

pytestmark = pytest.mark.contract

SITE = "app.localhost"
PREFIX = "https://www.googleapis.com/compute/v1/projects/demo"
BUCKET = f"{PREFIX}/global/backendBuckets/assets"
API = f"{PREFIX}/global/backendServices/api"
PAGE = b"<!doctype html><title>release A</title>"


def rewritten_to(release: str) -> list[dict[str, Any]]:
    """A release pointer as the operator writes it: pages of one release, assets of all, the API beside them."""
    folder = f"/releases/{release}"
    return [
        {"priority": 10, "matchRules": [{"prefixMatch": "/copilotkit"}, {"prefixMatch": "/api"}], "service": API},
        {"priority": 20, "matchRules": [{"prefixMatch": "/assets/"}], "service": BUCKET},
        {
            "priority": 30,
            "matchRules": [{"pathTemplateMatch": "/t/{thread=**}"}],
            "service": BUCKET,
            "routeAction": {"urlRewrite": {"pathTemplateRewrite": f"{folder}/index.html"}},
        },
        {
            "priority": 40,
            "matchRules": [{"fullPathMatch": "/"}],
            "service": BUCKET,
            "routeAction": {"urlRewrite": {"pathPrefixRewrite": f"{folder}/index.html"}},
        },
        {
            "priority": 50,
            "matchRules": [{"prefixMatch": "/"}],
            "service": BUCKET,
            "routeAction": {"urlRewrite": {"pathPrefixRewrite": f"{folder}/"}},
        },
    ]


def web_map(release: str, **changes: Any) -> dict[str, Any]:
    matcher = {"name": "all", "defaultService": BUCKET, "routeRules": rewritten_to(release)}
    return {
        "name": "web",
        "defaultService": BUCKET,
        "hostRules": [{"hosts": ["*"], "pathMatcher": "all"}],
        "pathMatchers": [matcher],
        **changes,
    }


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[DataPlane]:
    async with data_plane(tmp_path) as made:
        made.url_maps.map = web_map("a")
        made.url_maps.backends = {
            ("backendBuckets", "assets"): {"name": "assets", "bucketName": "web", "enableCdn": True},
            ("backendServices", "api"): {
                "name": "api",
                "backends": [{"group": f"{PREFIX}/regions/us-central1/networkEndpointGroups/shop-neg"}],
            },
            ("networkEndpointGroups", "shop-neg"): {"name": "shop-neg", "cloudRun": {"service": "shop"}},
        }
        no_cache = "no-cache, max-age=0, must-revalidate"
        made.buckets.put("web", "releases/a/index.html", PAGE, "text/html; charset=utf-8", cache_control=no_cache)
        made.buckets.put(
            "web", "releases/b/index.html", b"release B", "text/html; charset=utf-8", cache_control=no_cache
        )
        forever = "public, max-age=31536000, immutable"
        made.buckets.put("web", "assets/app.js", b"console.log(1)", "text/javascript", cache_control=forever)
        yield made


async def site(plane: DataPlane, path: str, **options: Any) -> tuple[int, Any, Any]:
    return await plane.get(path, host=SITE, **options)


async def test_the_release_pointer_flips_pages_and_keeps_old_assets(plane: DataPlane) -> None:
    for path in ("/", "/t/abc/def"):
        status, body, headers = await site(plane, path)
        assert (status, body) == (200, PAGE.decode())
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert headers["Cache-Control"] == "no-cache, max-age=0, must-revalidate"
        assert headers["X-Cache-Status"] == "uncacheable"
        assert headers["Via"] == "1.1 google"
    plane.url_maps.map = web_map("b")
    assert (await site(plane, "/"))[1] == "release B", "at the next request, without an invalidation"
    assert (await site(plane, "/assets/app.js"))[1] == "console.log(1)"
    plane.url_maps.map = web_map("a")
    assert (await site(plane, "/"))[1] == PAGE.decode()


async def test_assets_are_cached_with_an_age(plane: DataPlane) -> None:
    _, _, first = await site(plane, "/assets/app.js")
    reads = plane.buckets.reads
    status, body, second = await site(plane, "/assets/app.js?v=2")
    assert (status, body, plane.buckets.reads) == (200, "console.log(1)", reads), "the query is no part of the key"
    assert (first["X-Cache-Status"], second["X-Cache-Status"]) == ("miss", "hit")
    assert "Age" not in first
    assert int(second["Age"]) >= 0
    assert second["Cache-Control"] == "public, max-age=3600, immutable", "clamped to clientTtl's default"
    assert second["ETag"] == first["ETag"]


async def test_a_cached_object_stays_until_it_is_invalidated(plane: DataPlane) -> None:
    await site(plane, "/assets/app.js")
    plane.buckets.put("web", "assets/app.js", b"console.log(2)", "text/javascript")
    assert (await site(plane, "/assets/app.js"))[1] == "console.log(1)"
    assert plane.edge.invalidate("/assets/*") == 1
    assert (await site(plane, "/assets/app.js"))[1] == "console.log(2)"


async def test_a_missing_object_is_not_found_and_not_remembered(plane: DataPlane) -> None:
    status, body, headers = await site(plane, "/assets/late.js")
    assert (status, headers["Content-Type"]) == (404, "application/xml; charset=UTF-8")
    assert "<Code>NoSuchKey</Code>" in body
    plane.buckets.put("web", "assets/late.js", b"now", "text/javascript")
    assert (await site(plane, "/assets/late.js"))[0] == 200
    assert (await site(plane, "/assets/late.js", method="PUT", data=b"x"))[0] == 405


@pytest.mark.parametrize(
    ("asked", "status", "body", "content_range"),
    [
        ("bytes=0-6", 206, "console", "bytes 0-6/14"),
        ("bytes=8-", 206, "log(1)", "bytes 8-13/14"),
        ("bytes=-3", 206, "(1)", "bytes 11-13/14"),
        ("bytes=4-100", 206, "ole.log(1)", "bytes 4-13/14"),
        ("bytes=20-", 416, "", "bytes */14"),
        ("bytes=0-1,3-4", 200, "console.log(1)", None),
        ("lines=1-2", 200, "console.log(1)", None),
    ],
)
@pytest.mark.parametrize("warm", [False, True])
async def test_ranges(
    plane: DataPlane, asked: str, status: int, body: str, content_range: str | None, warm: bool
) -> None:
    if warm:
        await site(plane, "/assets/app.js")
    answer = await site(plane, "/assets/app.js", headers={"Range": asked})
    assert answer[:2] == (status, body)
    assert answer[2].get("Content-Range") == content_range


async def test_conditions_and_head(plane: DataPlane) -> None:
    _, _, headers = await site(plane, "/assets/app.js")
    etag, modified = headers["ETag"], headers["Last-Modified"]
    for sent in ({"If-None-Match": etag}, {"If-None-Match": f'"x", W/{etag}'}, {"If-Modified-Since": modified}):
        status, body, answer = await site(plane, "/assets/app.js", headers=sent)
        assert (status, body, answer["ETag"]) == (304, "", etag)
    assert (await site(plane, "/assets/app.js", headers={"If-None-Match": '"other"'}))[0] == 200
    assert (await site(plane, "/assets/app.js", headers={"If-Match": '"other"'}))[0] == 412
    stale = {"Range": "bytes=0-1", "If-Range": '"other"'}
    assert (await site(plane, "/assets/app.js", headers=stale))[0] == 200
    status, body, answer = await site(plane, "/assets/app.js", method="HEAD")
    assert (status, body, answer["Content-Length"]) == (200, "", "14")


async def test_gzip_is_unpacked_for_clients_that_do_not_take_it(plane: DataPlane) -> None:
    packed = gzip.compress(b"body { color: red }")
    plane.buckets.put("web", "assets/app.css", packed, "text/css", content_encoding="gzip")
    for _ in range(2):
        async with plane.client.get(
            f"{plane.address}/assets/app.css", headers={"Host": SITE, "Accept-Encoding": "gzip, br"}
        ) as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            assert await answer.read() == packed
        status, body, headers = await site(plane, "/assets/app.css", headers={"Accept-Encoding": "identity"})
        assert (status, body) == (200, "body { color: red }")
        assert "Content-Encoding" not in headers
        assert headers["Vary"] == "Accept-Encoding"


async def test_a_large_object_streams_from_disk(plane: DataPlane) -> None:
    large = bytes(range(256)) * 40_000
    plane.buckets.put("web", "assets/video.mp4", large, "video/mp4")
    async with plane.client.get(f"{plane.address}/assets/video.mp4", headers={"Host": SITE}) as answer:
        assert (answer.headers["Content-Length"], await answer.read()) == (str(len(large)), large)
    async with plane.client.get(
        f"{plane.address}/assets/video.mp4", headers={"Host": SITE, "Range": "bytes=5000000-5000009"}
    ) as answer:
        assert (answer.status, await answer.read()) == (206, large[5000000:5000010])


async def test_the_api_behind_the_balancer_is_the_service_with_its_split(plane: DataPlane) -> None:
    await plane.runtime.start(revision("shop-1"))
    await plane.runtime.start(revision("shop-2"))
    plane.runtime.route(split(("shop-1", 50), ("shop-2", 50)))
    status, seen, headers = await site(plane, "/copilotkit/info?x=1", headers={"X-Forwarded-For": "10.0.0.9"})
    assert (status, seen["path"], seen["host"]) == (200, "/copilotkit/info?x=1", SITE)
    assert seen["headers"]["x-forwarded-for"] == "10.0.0.9,127.0.0.1"
    assert seen["headers"]["via"] == headers["Via"] == "1.1 google"
    revisions = Counter([(await site(plane, "/api/x"))[1]["revision"] for _ in range(40)])
    assert 18 <= revisions["shop-1"] <= 22
    assert len(plane.requests.seen) == 41, "counted per revision as any request"


async def test_websockets_pass_the_balancer(plane: DataPlane) -> None:
    await plane.runtime.start(revision())
    plane.runtime.route(split(("shop-1", 100)))
    rule = {"priority": 1, "matchRules": [{"prefixMatch": "/ws"}], "service": API}
    plane.url_maps.map = web_map("a")
    plane.url_maps.map["pathMatchers"][0]["routeRules"].append(rule)
    async with plane.client.ws_connect(f"{plane.address}/ws", headers={"Host": SITE}) as ws:
        assert await ws.receive_str() == "shop-1"


async def test_header_actions_and_rewrites_reach_the_container(plane: DataPlane) -> None:
    await plane.runtime.start(revision())
    plane.runtime.route(split(("shop-1", 100)))
    rule = {
        "priority": 1,
        "matchRules": [{"prefixMatch": "/v1/", "headerMatches": [{"headerName": "x-agui-release", "exactMatch": "b"}]}],
        "service": API,
        "routeAction": {"urlRewrite": {"pathPrefixRewrite": "/inner/", "hostRewrite": "inner.example"}},
        "headerAction": {
            "requestHeadersToAdd": [{"headerName": "x-edge", "headerValue": "yes", "replace": True}],
            "requestHeadersToRemove": ["x-secret"],
            "responseHeadersToAdd": [{"headerName": "x-served", "headerValue": "edge"}],
        },
    }
    plane.url_maps.map = web_map("a")
    plane.url_maps.map["pathMatchers"][0]["routeRules"].append(rule)
    sent = {"x-agui-release": "b", "x-secret": "1", "x-edge": "no"}
    _, seen, headers = await site(plane, "/v1/a?b=c", headers=sent)
    assert (seen["path"], seen["host"], seen["headers"]["x-edge"]) == ("/inner/a?b=c", "inner.example", "yes")
    assert "x-secret" not in seen["headers"]
    assert headers["x-served"] == "edge"


async def test_a_redirect_is_answered_at_the_edge(plane: DataPlane) -> None:
    rule = {"priority": 1, "matchRules": [{"prefixMatch": "/old/"}], "urlRedirect": {"prefixRedirect": "/new/"}}
    plane.url_maps.map = web_map("a")
    plane.url_maps.map["pathMatchers"][0]["routeRules"].append(rule)
    status, _, headers = await site(plane, "/old/x?y=1", allow_redirects=False)
    assert (status, headers["Location"]) == (301, f"http://{SITE}/new/x?y=1")


async def test_custom_error_pages_replace_errors_of_buckets_and_services(plane: DataPlane) -> None:
    await plane.runtime.start(revision())
    plane.runtime.route(split(("shop-1", 100)))
    plane.url_maps.map = web_map(
        "a",
        defaultCustomErrorResponsePolicy={
            "errorService": BUCKET,
            "errorResponseRules": [
                {"matchResponseCodes": ["404"], "path": "/releases/a/index.html", "overrideResponseCode": 200},
                {"matchResponseCodes": ["5xx"], "path": "/no-such-page.html", "overrideResponseCode": 503},
            ],
        },
    )
    assert (await site(plane, "/deep/link"))[:2] == (200, PAGE.decode())
    rules = plane.url_maps.map["pathMatchers"][0]["routeRules"]
    rules.append({"priority": 1, "matchRules": [{"prefixMatch": "/status"}], "service": API})
    assert (await site(plane, "/status/404"))[:2] == (200, PAGE.decode())
    assert (await site(plane, "/status/200"))[:2] == (200, "from the app")
    status, body, _ = await site(plane, "/status/500")
    assert status == 503
    assert "custom error page could not be found" in body
    assert [code for _, code in plane.requests.seen] == [404, 200, 500], "metrics tell what the container answered"


async def test_what_is_not_configured_is_said_so(plane: DataPlane) -> None:
    assert (await site(plane, "/api/x"))[0] == 503, "the NEG's service does not exist"
    plane.url_maps.backends.pop(("backendServices", "api"))
    assert (await site(plane, "/api/x"))[0] == 502
    plane.url_maps.map = {"name": "web", "hostRules": "broken", "pathMatchers": 3}
    assert (await site(plane, "/"))[0] == 502
    plane.url_maps.map = None
    status, body, _ = await site(plane, "/")
    assert status == 404
    assert "No forwarding rule" in body
    assert (await plane.get("/", host=HOST))[0] == 404
