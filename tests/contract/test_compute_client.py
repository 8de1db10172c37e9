"""Compute Engine's load balancing through Google's discovery client."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from localgcp.kit.interfaces import CDN_CACHE, URL_MAPS
from localgcp.server.server import Server
from localgcp.services import compute
from localgcp_thread import localgcp_thread

pytestmark = pytest.mark.contract
SERVICES = (compute.SERVICE,)
GLOBAL = "https://www.googleapis.com/compute/v1/projects/demo/global"
REGION = "https://www.googleapis.com/compute/v1/projects/demo/regions/us-central1"


class Invalidations:
    """Stands for the edge: notes what is to be forgotten."""

    def __init__(self) -> None:
        self.patterns: list[str] = []

    def invalidate(self, pattern: str) -> int:
        self.patterns.append(pattern)
        return 0


class Compute:
    def __init__(self, server: Server) -> None:
        self.server = server
        self.api = build(
            "compute",
            "v1",
            credentials=AnonymousCredentials(),
            client_options=ClientOptions(api_endpoint=server.cloud.settings.endpoint + "/compute/v1/"),
            static_discovery=True,
            cache_discovery=False,
        )

    def call(self, resource: str, method: str, **arguments: Any) -> dict[str, Any]:
        return dict(getattr(getattr(self.api, resource)(), method)(project="demo", **arguments).execute())

    def done(self, resource: str, method: str, **arguments: Any) -> dict[str, Any]:
        operation = self.call(resource, method, **arguments)
        where = {"region": "us-central1"} if "region" in operation else {}
        waited = self.call(
            "regionOperations" if where else "globalOperations", "wait", operation=operation["name"], **where
        )
        assert waited["status"] == "DONE"
        return waited


@pytest.fixture
def edge() -> Invalidations:
    return Invalidations()


@pytest.fixture
def compute(tmp_path: Path, edge: Invalidations) -> Iterator[Compute]:
    with localgcp_thread(tmp_path, SERVICES, parts={CDN_CACHE: edge}) as server:
        made = Compute(server)
        yield made
        made.api.close()


@pytest.fixture
def site(compute: Compute) -> Compute:
    """All that a site needs: a bucket and a Cloud Run service behind one URL map."""
    compute.done("backendBuckets", "insert", body={"name": "assets", "bucketName": "assets-demo", "enableCdn": True})
    group = {"name": "shop", "networkEndpointType": "SERVERLESS", "cloudRun": {"service": "shop"}}
    compute.done("regionNetworkEndpointGroups", "insert", region="us-central1", body=group)
    backends = [{"group": f"{REGION}/networkEndpointGroups/shop"}]
    compute.done("backendServices", "insert", body={"name": "api", "protocol": "HTTPS", "backends": backends})
    compute.done("urlMaps", "insert", body=url_map("r1"))
    compute.done("targetHttpProxies", "insert", body={"name": "proxy", "urlMap": "global/urlMaps/site"})
    target = {"name": "rule", "target": f"{GLOBAL}/targetHttpProxies/proxy", "portRange": "80"}
    compute.done("globalForwardingRules", "insert", body=target)
    return compute


def url_map(release: str, **more: Any) -> dict[str, Any]:
    rewrite = {"urlRewrite": {"pathPrefixRewrite": f"/releases/{release}/"}}
    bucket = "projects/demo/global/backendBuckets/assets"
    rules = [
        {"priority": 10, "matchRules": [{"prefixMatch": "/api"}], "service": "global/backendServices/api"},
        {"priority": 20, "matchRules": [{"prefixMatch": "/"}], "service": bucket, "routeAction": rewrite},
    ]
    return {
        "name": "site",
        "defaultService": bucket,
        "hostRules": [{"hosts": ["*"], "pathMatcher": "all"}],
        "pathMatchers": [{"name": "all", "defaultService": bucket, "routeRules": rules}],
        **more,
    }


def reason(error: pytest.ExceptionInfo[HttpError]) -> tuple[int, str]:
    return error.value.status_code, error.value.error_details[0]["reason"]


def test_a_site_is_built_and_the_edge_finds_it(site: Compute) -> None:
    seen = site.call("urlMaps", "get", urlMap="site")
    assert seen["pathMatchers"][0]["routeRules"][0]["service"] == f"{GLOBAL}/backendServices/api"
    assert seen["selfLink"] == f"{GLOBAL}/urlMaps/site"
    maps = site.server.cloud.part(URL_MAPS)
    assert maps.edge_url_map() == ("demo", "site")
    assert maps.url_map("demo", "site", 0) == seen
    bucket = maps.backend("demo", "backendBuckets", "assets")
    assert bucket is not None
    assert bucket["cdnPolicy"]["cacheMode"] == "CACHE_ALL_STATIC"  # type: ignore[index]
    group = maps.backend("demo", "networkEndpointGroups", "shop")
    assert group is not None
    assert (group["cloudRun"], group["region"]) == ({"service": "shop"}, REGION)
    assert [m["name"] for m in site.call("urlMaps", "list")["items"]] == ["site"]
    assert "items" not in site.call("urlMaps", "list", filter="name=other")
    effects = [e["effect"] for e in site.server.cloud.ledger.query(kind="effect")]
    assert effects == ["create"] * 6


def test_a_patch_needs_the_present_fingerprint(site: Compute) -> None:
    before = site.call("urlMaps", "get", urlMap="site")
    flip = {"pathMatchers": url_map("r2")["pathMatchers"]}
    with pytest.raises(HttpError) as caught:
        site.call("urlMaps", "patch", urlMap="site", body=flip)
    assert reason(caught) == (400, "required")
    site.done("urlMaps", "patch", urlMap="site", body={**flip, "fingerprint": before["fingerprint"]})
    after = site.call("urlMaps", "get", urlMap="site")
    assert after["fingerprint"] != before["fingerprint"]
    assert after["hostRules"] == before["hostRules"]
    assert "/releases/r2/" in str(after["pathMatchers"])
    with pytest.raises(HttpError) as caught:
        site.call("urlMaps", "patch", urlMap="site", body={**flip, "fingerprint": before["fingerprint"]})
    assert reason(caught) == (412, "conditionNotMet")
    site.done("urlMaps", "update", urlMap="site", body={**after, "description": "whole"})
    assert site.call("urlMaps", "get", urlMap="site")["description"] == "whole"


def test_a_read_modify_write_of_a_bucket(site: Compute) -> None:
    body = site.call("backendBuckets", "get", backendBucket="assets")
    body["customResponseHeaders"] = ["x-a: b"]
    site.done("backendBuckets", "update", backendBucket="assets", body=body)
    changed = site.call("backendBuckets", "get", backendBucket="assets")
    assert (changed["customResponseHeaders"], changed["id"]) == (["x-a: b"], body["id"])
    site.done("backendBuckets", "patch", backendBucket="assets", body={"customResponseHeaders": None})
    assert "customResponseHeaders" not in site.call("backendBuckets", "get", backendBucket="assets")


def test_what_is_in_use_is_not_deleted(site: Compute) -> None:
    for resource, arguments in (
        ("backendBuckets", {"backendBucket": "assets"}),
        ("backendServices", {"backendService": "api"}),
        ("urlMaps", {"urlMap": "site"}),
        ("targetHttpProxies", {"targetHttpProxy": "proxy"}),
    ):
        with pytest.raises(HttpError) as caught:
            site.call(resource, "delete", **arguments)
        assert reason(caught) == (400, "resourceInUseByAnotherResource")
    site.done("globalForwardingRules", "delete", forwardingRule="rule")
    assert site.server.cloud.part(URL_MAPS).edge_url_map() is None
    site.done("targetHttpProxies", "delete", targetHttpProxy="proxy")
    site.done("urlMaps", "delete", urlMap="site")
    with pytest.raises(HttpError) as caught:
        site.call("urlMaps", "get", urlMap="site")
    assert reason(caught) == (404, "notFound")


DEFAULT = {"name": "m", "defaultService": "global/backendBuckets/assets"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"name": "Bad"}, "Must be a match of regex"),
        ({}, "Required field 'resource.name'"),
        ({"name": "m"}, "one of defaultService"),
        ({"name": "m", "defaultService": "global/backendBuckets/no"}, "was not found"),
        ({"name": "m", "defaultServise": "x"}, 'Unknown name "defaultServise"'),
        (
            {**DEFAULT, "pathMatchers": [{"name": "a", "routRules": []}]},
            "Unknown name \"routRules\" at 'pathMatchers[0]'",
        ),
        ({**DEFAULT, "hostRules": [{"hosts": ["*"], "pathMatcher": "x"}]}, "path matcher 'x' does not exist"),
    ],
)
def test_bad_maps_are_refused(site: Compute, body: dict[str, Any], message: str) -> None:
    with pytest.raises(HttpError) as caught:
        site.call("urlMaps", "insert", body=body)
    assert message in caught.value.reason


def test_buckets_can_not_be_weighted_and_priorities_ascend(site: Compute) -> None:
    weighted = {"weightedBackendServices": [{"backendService": f"{GLOBAL}/backendBuckets/assets", "weight": 10}]}
    for change, message in (
        ({"routeAction": weighted, "service": None}, "only backend services can be weighted"),
        ({"priority": 10}, "ascending"),
        ({"matchRules": []}, "at least one match rule"),
        ({"matchRules": [{"prefixMatch": "/", "fullPathMatch": "/"}]}, "exactly one of"),
    ):
        wanted = url_map("r1", name="other")
        wanted["pathMatchers"][0]["routeRules"][1] |= change
        with pytest.raises(HttpError, match=message):
            site.call("urlMaps", "insert", body=json.loads(json.dumps(wanted)))


def test_tests_of_a_map_are_run(site: Compute) -> None:
    good = {"host": "a", "path": "/x.js", "service": "global/backendBuckets/assets"}
    good["expectedOutputUrl"] = "http://a/releases/r1/x.js"
    wrong = {"host": "a", "path": "/api/x", "service": "global/backendBuckets/assets"}
    result = site.call("urlMaps", "validate", urlMap="site", body={"resource": url_map("r1", tests=[good])})["result"]
    assert result == {"loadSucceeded": True, "testPassed": True}
    both = {"resource": url_map("r1", tests=[good, wrong])}
    result = site.call("urlMaps", "validate", urlMap="site", body=both)["result"]
    assert result["testPassed"] is False
    assert [f["actualService"] for f in result["testFailures"]] == [f"{GLOBAL}/backendServices/api"]
    broken = {"resource": {**url_map("r1"), "pathMatchers": []}}
    result = site.call("urlMaps", "validate", urlMap="site", body=broken)["result"]
    assert (result["loadSucceeded"], len(result["loadErrors"])) == (False, 1)
    with pytest.raises(HttpError, match="Test failure"):
        site.call("urlMaps", "insert", body=url_map("r1", name="other", tests=[wrong]))


def test_the_cache_is_invalidated_at_the_edge(site: Compute, edge: Invalidations) -> None:
    done = site.done("urlMaps", "invalidateCache", urlMap="site", body={"path": "/releases/*"})
    assert done["operationType"] == "invalidateCache"
    assert edge.patterns == ["/releases/*"]
    with pytest.raises(HttpError, match="Invalid value for field 'path'"):
        site.call("urlMaps", "invalidateCache", urlMap="site", body={"path": "/*/x"})


def test_proxies_addresses_and_certificates(site: Compute) -> None:
    certificate = {"name": "cert", "certificate": "PEM", "privateKey": "SECRET"}
    site.done("sslCertificates", "insert", body=certificate)
    assert "privateKey" not in site.call("sslCertificates", "get", sslCertificate="cert")
    site.done("sslCertificates", "insert", body={"name": "managed", "managed": {"domains": ["a.example"]}})
    https = {"name": "https", "urlMap": "global/urlMaps/site", "sslCertificates": [f"{GLOBAL}/sslCertificates/cert"]}
    site.done("targetHttpsProxies", "insert", body=https)
    wanted = {"sslCertificates": [f"{GLOBAL}/sslCertificates/managed"]}
    site.done("targetHttpsProxies", "setSslCertificates", targetHttpsProxy="https", body=wanted)
    assert (
        site.call("targetHttpsProxies", "get", targetHttpsProxy="https")["sslCertificates"] == wanted["sslCertificates"]
    )
    site.done("urlMaps", "insert", body=url_map("r1", name="second"))
    site.done("targetHttpProxies", "setUrlMap", targetHttpProxy="proxy", body={"urlMap": f"{GLOBAL}/urlMaps/second"})
    assert site.server.cloud.part(URL_MAPS).edge_url_map() == ("demo", "second")
    site.done(
        "globalForwardingRules",
        "setTarget",
        forwardingRule="rule",
        body={"target": f"{GLOBAL}/targetHttpsProxies/https"},
    )
    assert site.server.cloud.part(URL_MAPS).edge_url_map() == ("demo", "site")
    site.done("globalAddresses", "insert", body={"name": "ip"})
    assert site.call("globalAddresses", "get", address="ip")["status"] == "RESERVED"


def test_operations_take_their_time_and_can_be_asked(tmp_path: Path) -> None:
    with localgcp_thread(tmp_path, SERVICES, lro_seconds=0.3) as server:
        compute = Compute(server)
        begun = compute.call("backendBuckets", "insert", body={"name": "b", "bucketName": "x"})
        assert (begun["status"], begun["targetLink"]) == ("RUNNING", f"{GLOBAL}/backendBuckets/b")
        assert compute.call("globalOperations", "wait", operation=begun["name"])["status"] == "DONE"
        assert compute.call("globalOperations", "list")["items"][0]["name"] == begun["name"]
        compute.api.globalOperations().delete(project="demo", operation=begun["name"]).execute()
        with pytest.raises(HttpError) as caught:
            compute.call("globalOperations", "get", operation=begun["name"])
        assert caught.value.status_code == 404
        compute.api.close()


def test_a_request_id_makes_an_insert_idempotent(compute: Compute) -> None:
    body, request = {"name": "b", "bucketName": "x"}, "6f9619ff-8b86-d011-b42d-00cf4fc964ff"
    first = compute.call("backendBuckets", "insert", body=body, requestId=request)
    assert compute.call("backendBuckets", "insert", body=body, requestId=request)["name"] == first["name"]
    with pytest.raises(HttpError) as caught:
        compute.call("backendBuckets", "insert", body=body)
    assert reason(caught) == (409, "alreadyExists")
    assert len(compute.server.cloud.ledger.query(kind="effect")) == 1


def test_resources_survive_a_restart(tmp_path: Path) -> None:
    body = json.dumps({"name": "b", "bucketName": "x"}).encode()
    for attempt in range(2):
        with localgcp_thread(tmp_path, SERVICES) as server:
            url = f"{server.cloud.settings.endpoint}/compute/v1/projects/demo/global/backendBuckets"
            if attempt == 0:
                urllib.request.urlopen(urllib.request.Request(url, body), timeout=60).close()
            with urllib.request.urlopen(f"{url}/b", timeout=60) as reply:
                assert json.load(reply)["bucketName"] == "x"
