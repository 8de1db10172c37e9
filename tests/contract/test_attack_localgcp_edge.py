"""Web pages of other origins against the load balancer of the edge: hosts, private and public services, buckets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agui_dev.testbed.data_plane import DataPlane, data_plane, revision, split

pytestmark = pytest.mark.contract

SITE = "shop.example"
PREFIX = "https://www.googleapis.com/compute/v1/projects/demo"
BUCKET = f"{PREFIX}/global/backendBuckets/assets"
CROSS = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[DataPlane]:
    """`shop` gets /api/ with all of its traffic, and one half of /mixed/; `other` gets the other half."""
    async with data_plane(tmp_path) as made:
        api = f"{PREFIX}/global/backendServices"
        halves = [{"backendService": f"{api}/{name}", "weight": 50} for name in ("shop", "other")]
        rules = [
            {"priority": 1, "matchRules": [{"prefixMatch": "/api/"}], "service": f"{api}/shop"},
            {
                "priority": 2,
                "matchRules": [{"prefixMatch": "/mixed/"}],
                "routeAction": {"weightedBackendServices": halves},
            },
        ]
        made.url_maps.map = {
            "name": "web",
            "defaultService": BUCKET,
            "hostRules": [{"hosts": [SITE, "*.shop.example"], "pathMatcher": "all"}, *_everything_else()],
            "pathMatchers": [{"name": "all", "defaultService": BUCKET, "routeRules": rules}],
        }
        made.url_maps.backends = {("backendBuckets", "assets"): {"name": "assets", "bucketName": "web"}}
        for name in ("shop", "other"):
            group = f"{PREFIX}/regions/us-central1/networkEndpointGroups/{name}"
            made.url_maps.backends["backendServices", name] = {"name": name, "backends": [{"group": group}]}
            made.url_maps.backends["networkEndpointGroups", name] = {"name": name, "cloudRun": {"service": name}}
            await made.runtime.start(revision(f"{name}-1", service=name))
            made.runtime.route(split((f"{name}-1", 100), service=name, host=f"{name}-1.run.localhost"))
        made.buckets.put("web", "assets/app.js", b"console.log(1)", "text/javascript")
        yield made


def _everything_else() -> list[dict[str, Any]]:
    return [{"hosts": ["*"], "pathMatcher": "all"}]


@pytest.mark.parametrize("host", ["evil.example", "shop.example.evil.example", "evilshop.example", "192.0.2.7"])
async def test_a_wildcard_for_every_host_serves_no_rebound_name(plane: DataPlane, host: str) -> None:
    status, body, _ = await plane.get("/assets/app.js", host=host)
    assert (status, "--allow-host" in body) == (403, True)


@pytest.mark.parametrize(
    "host", [SITE, "a.shop.example", "SHOP.example", "shop.example:8086", "127.0.0.1", "localhost"]
)
async def test_hosts_that_a_rule_names_are_served(plane: DataPlane, host: str) -> None:
    assert (await plane.get("/assets/app.js", host=host))[:2] == (200, "console.log(1)")


async def test_a_page_of_another_origin_reads_buckets_and_no_private_service(plane: DataPlane) -> None:
    assert (await plane.get("/assets/app.js", host=SITE, headers=CROSS))[0] == 200
    for method in ("GET", "POST", "PUT", "OPTIONS"):
        status, body, _ = await plane.get("/api/orders", host=SITE, headers=CROSS, method=method)
        assert (status, "roles/run.invoker" in body) == (403, True)
    own = {"Origin": f"http://{SITE}", "Sec-Fetch-Site": "same-origin"}
    assert (await plane.get("/api/orders", host=SITE, headers=own, method="POST"))[0] == 200
    assert (await plane.get("/api/orders", host=SITE, method="POST"))[0] == 200, "a client that is no browser"


async def test_a_socket_of_another_origin_is_refused(plane: DataPlane) -> None:
    url = f"{plane.address}/api/ws"
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await plane.client.ws_connect(url, headers={"Host": SITE, "Origin": "https://evil.example"})
    assert refused.value.status == 403


async def test_a_public_service_gets_the_request_as_it_came(plane: DataPlane) -> None:
    plane.invokers.public.add("shop")
    status, seen, _ = await plane.get("/api/orders", host=SITE, headers=CROSS, method="POST")
    assert status == 200
    sent = {name.lower(): value for name, value in CROSS.items()}
    assert sent.items() <= seen["headers"].items()


async def test_a_weighted_split_is_judged_by_where_the_request_goes(plane: DataPlane) -> None:
    plane.invokers.public.add("shop")
    answers = [await plane.get("/mixed/x", host=SITE, headers=CROSS) for _ in range(60)]
    assert {status for status, _, _ in answers} == {200, 403}
    assert {body["service"] for status, body, _ in answers if status == 200} == {"shop"}
