"""Storage, load balancer and edge together: a release is flipped by one PATCH, and the cache forgets on demand."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from agui_dev.testbed.local_cloud import LocalCloud, running_local_cloud

pytestmark = pytest.mark.contract
GLOBAL = "/compute/v1/projects/demo/global"


@pytest.fixture
def cloud() -> Iterator[LocalCloud]:
    with running_local_cloud("--lro-seconds", "0") as running:
        yield running


def matchers(release: str) -> list[dict[str, Any]]:
    rewrite = {"urlRewrite": {"pathPrefixRewrite": f"/releases/{release}/"}}
    bucket = "global/backendBuckets/site"
    rules = [
        {"priority": 1, "matchRules": [{"prefixMatch": "/assets/"}], "service": bucket},
        {"priority": 2, "matchRules": [{"prefixMatch": "/"}], "service": bucket, "routeAction": rewrite},
    ]
    return [{"name": "all", "defaultService": bucket, "routeRules": rules}]


def upload(cloud: LocalCloud, name: str, text: str, cache_control: str) -> None:
    path = f"/upload/storage/v1/b/site/o?uploadType=media&name={name}"
    request = urllib.request.Request(cloud.endpoint + path, text.encode(), {"Content-Type": "text/plain"})
    urllib.request.urlopen(request, timeout=60).close()
    encoded = name.replace("/", "%2F")
    cloud.call(f"/storage/v1/b/site/o/{encoded}", "PATCH", {"cacheControl": cache_control})


def page(cloud: LocalCloud, path: str) -> str:
    with urllib.request.urlopen(cloud.edge + path, timeout=60) as reply:
        return str(reply.read().decode())


def test_a_release_is_flipped_and_old_assets_stay(cloud: LocalCloud) -> None:
    cloud.call("/storage/v1/b?project=demo", "POST", {"name": "site"})
    for release in ("r1", "r2"):
        upload(cloud, f"releases/{release}/index.html", f"page {release}", "no-cache, max-age=0, must-revalidate")
        upload(cloud, f"assets/{release}.js", f"code {release}", "public, max-age=31536000, immutable")
    cloud.call(f"{GLOBAL}/backendBuckets", "POST", {"name": "site", "bucketName": "site", "enableCdn": True})
    body = {
        "name": "site",
        "defaultService": "global/backendBuckets/site",
        "hostRules": [{"hosts": ["*"], "pathMatcher": "all"}],
        "pathMatchers": matchers("r1"),
    }
    cloud.call(f"{GLOBAL}/urlMaps", "POST", body)
    cloud.call(f"{GLOBAL}/targetHttpProxies", "POST", {"name": "site", "urlMap": "global/urlMaps/site"})
    rule = {"name": "site", "target": "global/targetHttpProxies/site"}
    cloud.call(f"{GLOBAL}/forwardingRules", "POST", rule)
    assert page(cloud, "/index.html") == "page r1"
    assert page(cloud, "/assets/r1.js") == "code r1"

    fingerprint = cloud.call(f"{GLOBAL}/urlMaps/site")["fingerprint"]
    flip = {"fingerprint": fingerprint, "pathMatchers": matchers("r2")}
    cloud.call(f"{GLOBAL}/urlMaps/site", "PATCH", flip)
    assert page(cloud, "/index.html") == "page r2"
    assert [page(cloud, f"/assets/{release}.js") for release in ("r1", "r2")] == ["code r1", "code r2"]

    upload(cloud, "assets/r1.js", "changed", "public, max-age=31536000, immutable")
    assert page(cloud, "/assets/r1.js") == "code r1"  # immutable: the cache has it
    cloud.call(f"{GLOBAL}/urlMaps/site/invalidateCache", "POST", {"path": "/assets/*"})
    assert page(cloud, "/assets/r1.js") == "changed"
