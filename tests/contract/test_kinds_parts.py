"""Backup, assets, pointer, alerts, resolving and time series of the operator against the local cloud."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import io
import json
import tarfile
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from google.cloud import monitoring_v3

from agui_dev.testbed.images import SMALL_IMAGES
from agui_dev.testbed.kube_api import PATIENCE
from agui_dev.testbed.local_cloud import LocalCloud
from agui_operator.api.conditions import Reason
from agui_operator.api.deployment import AgUiDeploymentSpec
from agui_operator.api.environment import AgUiEnvironmentSpec
from agui_operator.core import alerts, metric_filters
from agui_operator.core.actions import (
    AssetsPublished,
    BackupTaken,
    Bundle,
    ContainerTemplate,
    Pointer,
    PointerSet,
    RevisionStaged,
    RevisionTemplate,
)
from agui_operator.core.analysis import Sample
from agui_operator.core.environment import Edge, Place
from agui_operator.core.errors import CloudError, NotOwned, UserError
from agui_operator.core.names import Names
from agui_operator.core.release import frontend_id
from agui_operator.core.traffic import Target
from agui_operator.engine.environment import presence
from agui_operator.gcp.kinds.edge import url_map
from agui_operator.gcp.kinds.monitoring import alert_policy, timeseries
from agui_operator.gcp.kinds.run import service as run_service
from agui_operator.gcp.kinds.run.inventory import Inventory
from agui_operator.gcp.kinds.sql import backup as sql_backup
from agui_operator.gcp.kinds.storage import objects, release_assets
from agui_operator.gcp.kinds.storage.bundle import BundleRefused
from agui_operator.gcp.kinds.storage.page_inventory import PageInventory
from agui_operator.gcp.pinning import resolve
from agui_operator.gcp.transport.clients import Cloud
from cloud_calls import finished, make

pytestmark = pytest.mark.contract

LOCALGCP_OPTIONS = ("--catalogue", str(SMALL_IMAGES))
WEB = "us-central1-docker.pkg.dev/demo/agui/web"
NAMES = Names("shop", "concierge", "uid-1", "demo", "us-central1")
EDGE = Edge("http://127.0.0.1:1", "site", "site-assets", "site-api", ("/copilotkit", "/api"))
PLACE = Place("demo", "us-central1", "assets", "artifacts", "main", EDGE)
HTML = b"<!doctype html><script src=/assets/app-1.js></script>"


# --- backup ----------------------------------------------------------------------------------------------------------


async def test_a_backup_is_found_by_its_description(cloud: Cloud, fresh_cloud: LocalCloud) -> None:
    instance = {
        "name": "main",
        "region": NAMES.region,
        "databaseVersion": "POSTGRES_16",
        "settings": {"tier": "db-custom-1-3840"},
    }
    await asyncio.to_thread(make, fresh_cloud, "/v1/projects/demo/instances", instance)
    wanted = NAMES.backup_description("r1")
    assert await sql_backup.observe(cloud, NAMES, "main", wanted) is None
    outcome = await sql_backup.apply(cloud, NAMES, BackupTaken("main", wanted))
    assert outcome.operation is not None
    seen = await sql_backup.observe(cloud, NAMES, "main", wanted)
    assert seen is not None
    with pytest.raises(CloudError) as caught:
        await sql_backup.apply(cloud, NAMES, BackupTaken("main", NAMES.backup_description("r2")))
    assert (caught.value.code, caught.value.status) == (409, "operationInProgress")
    await finished(cloud, outcome)
    seen = await sql_backup.observe(cloud, NAMES, "main", wanted)
    assert seen is not None
    assert seen.succeeded is True
    assert await sql_backup.observe(cloud, NAMES, "main", NAMES.backup_description("r2")) is None


# --- assets ----------------------------------------------------------------------------------------------------------


def archive(files: Mapping[str, bytes], runtime_url: str = "/copilotkit") -> bytes:
    types = {"html": "text/html", "js": "text/javascript", "svg": "image/svg+xml"}
    listed = [
        {
            "path": path,
            "sha384": base64.b64encode(hashlib.sha384(data).digest()).decode(),
            "size": len(data),
            "contentType": types[path.rpartition(".")[2]],
        }
        for path, data in files.items()
    ]
    manifest = {"schemaVersion": 1, "entrypoint": "index.html", "runtimeUrl": runtime_url, "files": listed}
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for path, data in {**files, "manifest.json": json.dumps(manifest).encode()}.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return gzip.compress(raw.getvalue(), mtime=0)


def upload(fresh: LocalCloud, data: bytes, name: str = "b.tar.gz") -> Bundle:
    import urllib.request

    url = f"{fresh.endpoint}/upload/storage/v1/b/artifacts/o?uploadType=media&name={name}"
    headers = {"Content-Type": "application/gzip"}
    with urllib.request.urlopen(urllib.request.Request(url, data, headers, method="POST")) as reply:
        assert reply.status == 200
    return Bundle("artifacts", name, hashlib.sha256(data).hexdigest())


@pytest.fixture
def buckets(fresh_cloud: LocalCloud) -> LocalCloud:
    for name in ("assets", "artifacts"):
        fresh_cloud.call("/storage/v1/b?project=demo", "POST", {"name": name})
    return fresh_cloud


def published(bundle: Bundle) -> AssetsPublished:
    return AssetsPublished(bundle, frontend_id(bundle.sha256), "assets", "/copilotkit")


async def test_a_bundle_is_published_with_its_page_last(cloud: Cloud, buckets: LocalCloud) -> None:
    files = {f"assets/app-{n}.js": b"%d" % n for n in range(12)} | {"index.html": HTML, "favicon.svg": b"<svg/>"}
    action = published(upload(buckets, archive(files)))
    assert await release_assets.observe(cloud, "assets", action.frontend, (NAMES.owner,)) is False
    since = buckets.last
    steps: list[tuple[int, int]] = []
    await release_assets.apply(cloud, action, NAMES.owner, lambda done, total: steps.append((done, total)))
    written = [resource.rpartition("/o/")[2] or resource for _, resource in buckets.effects(since)]
    assert len(written) == len(files) + 2
    assert written[0].endswith(f"/.claims/{NAMES.owner}"), "the claim is there before any file is relied on"
    assert written[-1].endswith(f"releases/{action.frontend}/index.html")
    assert written[-2].endswith("manifest.json")
    assert steps[-1] == (len(files) + 1, len(files) + 1)
    assert await release_assets.observe(cloud, "assets", action.frontend, (NAMES.owner,)) is True
    page = buckets.call(f"/storage/v1/b/assets/o/releases%2F{action.frontend}%2Findex.html")
    assert (page["contentType"], page["cacheControl"]) == ("text/html", release_assets.NEVER)
    script = buckets.call("/storage/v1/b/assets/o/assets%2Fapp-3.js")
    assert (script["contentType"], script["cacheControl"]) == ("text/javascript", release_assets.FOREVER)
    since = buckets.last
    await release_assets.apply(cloud, action, NAMES.owner)
    assert buckets.effects(since) == []


async def test_a_second_release_uploads_only_what_is_new(cloud: Cloud, buckets: LocalCloud) -> None:
    first = published(upload(buckets, archive({"assets/a-1.js": b"1", "index.html": HTML})))
    await release_assets.apply(cloud, first, NAMES.owner)
    files = {"assets/a-1.js": b"1", "assets/b-2.js": b"2", "index.html": HTML + b"2"}
    action = published(upload(buckets, archive(files), "c.tar.gz"))
    since = buckets.last
    await release_assets.apply(cloud, action, NAMES.owner)
    names = sorted(resource.rpartition("/")[2] for _, resource in buckets.effects(since))
    assert names == sorted(["b-2.js", "index.html", "manifest.json", NAMES.owner])


async def test_an_interrupted_upload_is_no_release_and_is_taken_up(cloud: Cloud, buckets: LocalCloud) -> None:
    action = published(upload(buckets, archive({"assets/a-1.js": b"1", "index.html": HTML})))
    # The first file's write has its effect and its reply is lost.
    buckets.fault(method="storage.objects.insert", when="after", skip=1, count=1, code="UNAVAILABLE", message="lost")
    with pytest.raises(CloudError, match="lost"):
        await release_assets.apply(cloud, action, NAMES.owner)
    assert await release_assets.observe(cloud, "assets", action.frontend, (NAMES.owner,)) is False
    since = buckets.last
    await release_assets.apply(cloud, action, NAMES.owner)
    assert await release_assets.observe(cloud, "assets", action.frontend, (NAMES.owner,)) is True
    assert not [r for _, r in buckets.effects(since) if r.endswith("a-1.js")]


async def test_missing_files_of_a_page_are_named_and_come_from_its_bundle_again(
    cloud: Cloud, buckets: LocalCloud
) -> None:
    files = {"assets/a-1.js": b"1", "assets/b-2.js": b"2", "index.html": HTML, "favicon.svg": b"<svg/>"}
    action = replace(published(upload(buckets, archive(files))), runtime_url=None, restores="v1 (1)")
    folder, claim = f"releases/{action.frontend}/", f"releases/{action.frontend}/.claims/{NAMES.owner}"

    async def missing() -> tuple[str, ...]:
        return await PageInventory(cloud).missing("assets", action.frontend, NAMES.owner, 0)

    assert await missing() == (f"{folder}index.html", f"{folder}manifest.json", claim)
    await release_assets.apply(cloud, action, NAMES.owner)
    assert await missing() == ()
    for gone in (
        ("assets/b-2.js",),
        (f"{folder}favicon.svg",),
        ("assets/a-1.js", f"{folder}favicon.svg", claim),
        (f"{folder}manifest.json",),
    ):
        for name in gone:
            buckets.call(f"/storage/v1/b/assets/o/{quote(name, safe='')}", "DELETE")
        assert await missing() == gone
        await release_assets.apply(cloud, action, NAMES.owner)
        assert await missing() == ()


async def test_a_manifest_that_somebody_replaced_tells_nothing(cloud: Cloud, buckets: LocalCloud) -> None:
    buckets.upload("assets", "releases/f1/index.html", b"x")
    buckets.upload("assets", "releases/f1/manifest.json", b"[]")
    await objects.create(cloud, "assets", release_assets.claim("f1", NAMES.owner))
    assert await PageInventory(cloud).missing("assets", "f1", NAMES.owner, 0) == ()


async def test_a_bundle_that_is_gone_is_told_with_the_release_that_needs_it(cloud: Cloud, buckets: LocalCloud) -> None:
    action = replace(published(Bundle("artifacts", "gone.tar.gz", "0" * 64)), restores="v1 (1)")
    text = r"missing files of the page of release v1 \(1\) can't be published again: .*gone.tar.gz does not exist"
    with pytest.raises(UserError, match=text) as told:
        await release_assets.apply(cloud, action, NAMES.owner)
    assert told.value.reason is Reason.BUNDLE_NOT_FOUND


async def test_what_is_refused_uploads_nothing(cloud: Cloud, buckets: LocalCloud) -> None:
    good = upload(buckets, archive({"assets/a-1.js": b"1", "index.html": HTML}))
    since = buckets.last
    for action, message in (
        (replace(published(good), bundle=replace(good, sha256="0" * 64)), "spec.frontend.bundle.sha256"),
        (replace(published(good), runtime_url="/other"), "runtimeUrl"),
        (replace(published(good), bundle=replace(good, object="missing.tar.gz")), "does not exist"),
    ):
        with pytest.raises(UserError, match=message):
            await release_assets.apply(cloud, action, NAMES.owner)
    assert buckets.effects(since) == []


async def test_other_bytes_under_a_pool_name_are_never_overwritten(cloud: Cloud, buckets: LocalCloud) -> None:
    first = published(upload(buckets, archive({"assets/a-1.js": b"1", "index.html": HTML})))
    await release_assets.apply(cloud, first, NAMES.owner)
    action = published(upload(buckets, archive({"assets/a-1.js": b"CHANGED", "index.html": HTML}), "c.tar.gz"))
    with pytest.raises(BundleRefused, match=r"assets/a-1\.js is published with another content"):
        await release_assets.apply(cloud, action, NAMES.owner)


# --- pointer ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def balancer(buckets: LocalCloud) -> LocalCloud:
    base = "/compute/v1/projects/demo/global"
    link = f"https://www.googleapis.com{base}"
    make(buckets, f"{base}/backendBuckets", {"name": "site-assets", "bucketName": "assets", "enableCdn": True})
    make(
        buckets,
        "/compute/v1/projects/demo/regions/us-central1/networkEndpointGroups",
        {"name": "site", "networkEndpointType": "SERVERLESS", "cloudRun": {"service": NAMES.service}},
    )
    group = "https://www.googleapis.com/compute/v1/projects/demo/regions/us-central1/networkEndpointGroups/site"
    service = {"name": "site-api", "protocol": "HTTPS", "loadBalancingScheme": "EXTERNAL_MANAGED"}
    make(buckets, f"{base}/backendServices", {**service, "backends": [{"group": group}]})
    bucket = f"{link}/backendBuckets/site-assets"
    foreign = {"hosts": ["other.example"], "pathMatcher": "other"}
    matcher = {"name": "other", "defaultService": bucket}
    body = {"name": "site", "defaultService": bucket, "hostRules": [foreign], "pathMatchers": [matcher]}
    make(buckets, f"{base}/urlMaps", body)
    make(buckets, f"{base}/targetHttpProxies", {"name": "site", "urlMap": f"{link}/urlMaps/site"})
    rule = {"name": "site", "target": f"{link}/targetHttpProxies/site", "portRange": "80"}
    make(buckets, f"{base}/forwardingRules", {**rule, "loadBalancingScheme": "EXTERNAL_MANAGED"})
    return buckets


async def point(cloud: Cloud, pointer: Pointer | None, candidate: Pointer | None = None) -> None:
    await finished(cloud, await url_map.apply(cloud, NAMES, PLACE, PointerSet(pointer, candidate)))


async def pointed(cloud: Cloud, names: Names = NAMES) -> Pointer | None:
    return (await url_map.observe(cloud, names, PLACE))[0].pointer


async def test_the_pointer_moves_back_and_goes(cloud: Cloud, balancer: LocalCloud) -> None:
    foreign = balancer.call("/compute/v1/projects/demo/global/urlMaps/site")["hostRules"]
    seen, read = await url_map.observe(cloud, NAMES, PLACE)
    assert seen == url_map.Routing(None)
    assert read.fingerprint
    first, second = Pointer("aaa111", "r1"), Pointer("bbb222", "r2")
    for pointer in (first, second, first):
        since = balancer.last
        await point(cloud, pointer)
        assert await pointed(cloud) == pointer
        assert [m for m, _ in balancer.effects(since)] == ["update"]
    since = balancer.last
    await point(cloud, first)
    assert balancer.effects(since) == []
    await point(cloud, None)
    assert await pointed(cloud) is None
    assert balancer.call("/compute/v1/projects/demo/global/urlMaps/site")["hostRules"] == foreign


async def test_the_edge_serves_what_the_pointer_says(cloud: Cloud, balancer: LocalCloud) -> None:
    files = {"assets/app-1.js": b"1", "index.html": HTML, "favicon.svg": b"<svg/>"}
    action = published(upload(balancer, archive(files)))
    neighbours = published(upload(balancer, archive({"assets/app-1.js": b"1", "index.html": HTML + b"theirs"}), "n"))
    for published_, owner in ((action, NAMES.owner), (neighbours, "neighbour")):
        await release_assets.apply(cloud, published_, owner)
    await point(cloud, Pointer(action.frontend, "r1"))
    async with aiohttp.ClientSession(base_url=balancer.edge) as browser:
        for path, code, body in (
            ("/", 200, HTML),
            ("/t/123/details", 200, HTML),
            ("/anything", 200, HTML),
            ("/assets/app-1.js", 200, b"1"),
            ("/favicon.svg", 200, b"<svg/>"),
            (f"/releases/{action.frontend}/index.html", 200, HTML),
            (f"/releases/{neighbours.frontend}/index.html", 200, HTML),  # its own page, as under any unknown path
            ("/assets/gone.js", 404, None),
        ):
            async with browser.get(path) as reply:
                assert reply.status == code, path
                assert body is None or await reply.read() == body, path


async def test_the_edge_shows_a_candidate_to_requests_that_name_it(cloud: Cloud, balancer: LocalCloud) -> None:
    folders = []
    for number in (b"1", b"2"):
        page = HTML + b"<!-- " + number + b" -->"
        action = published(upload(balancer, archive({"assets/app-1.js": b"1", "index.html": page})))
        await release_assets.apply(cloud, action, NAMES.owner)
        folders.append((action.frontend, page))
    (old, old_page), (new, new_page) = folders
    since = balancer.last
    await point(cloud, None, Pointer(new, "r2"))
    await meets(balancer, {"x-agui-release": "r2"}, 200, new_page)
    await meets(balancer, {}, 404, None)
    await point(cloud, Pointer(old, "r1"), Pointer(new, "r2"))
    await meets(balancer, {"x-agui-release": "r2"}, 200, new_page)
    await meets(balancer, {"x-agui-release": "r3"}, 200, old_page)
    await meets(balancer, {}, 200, old_page)
    await point(cloud, Pointer(new, "r2"))
    await meets(balancer, {}, 200, new_page)
    assert (await url_map.observe(cloud, NAMES, PLACE))[0] == url_map.Routing(Pointer(new, "r2"))
    assert [m for m, _ in balancer.effects(since)] == ["update"] * 3


async def meets(balancer: LocalCloud, headers: dict[str, str], code: int, page: bytes | None) -> None:
    async with aiohttp.ClientSession(base_url=balancer.edge, headers=headers) as browser:
        for path in ("/", "/t/1"):
            async with browser.get(path) as reply:
                assert reply.status == code, path
                assert page is None or await reply.read() == page


async def test_rules_changed_by_hand_are_no_release_and_are_put_right(cloud: Cloud, balancer: LocalCloud) -> None:
    pointer = Pointer("aaa111", "r1")
    await point(cloud, pointer)
    path = "/compute/v1/projects/demo/global/urlMaps/site"
    body = balancer.call(path)
    text = json.dumps(body["pathMatchers"]).replace("/releases/aaa111/index.html", "/releases/evil/index.html")
    balancer.call(path, "PATCH", {"fingerprint": body["fingerprint"], "pathMatchers": json.loads(text)})
    seen = await pointed(cloud)
    assert seen is not None
    assert seen.frontend == url_map.CHANGED_BY_HAND
    await point(cloud, pointer)
    assert await pointed(cloud) == pointer


async def test_a_stale_fingerprint_is_looked_up_again(cloud: Cloud, balancer: LocalCloud) -> None:
    pointer = Pointer("aaa111", "r1")
    stale = url_map.UrlMap("c3RhbGU=", (), ())
    await finished(cloud, await url_map.apply(cloud, NAMES, PLACE, PointerSet(pointer), stale))
    assert await pointed(cloud) == pointer
    hosts = [h for r in balancer.call("/compute/v1/projects/demo/global/urlMaps/site")["hostRules"] for h in r["hosts"]]
    assert sorted(hosts) == ["127.0.0.1", "other.example"]


async def test_a_strangers_rules_are_left_alone(cloud: Cloud, balancer: LocalCloud) -> None:
    await point(cloud, Pointer("aaa111", "r1"))
    since = balancer.last
    stranger = replace(NAMES, uid="uid-2", cluster="other")
    with pytest.raises(NotOwned, match=f"belongs to {NAMES.owner}"):
        await url_map.apply(cloud, stranger, PLACE, PointerSet(Pointer("bbb222", "r9")))
    assert await pointed(cloud, stranger) is None
    taken = replace(PLACE, edge=replace(EDGE, domain="other.example"))
    with pytest.raises(NotOwned, match=r"other\.example .* is served by path matcher other"):
        await url_map.apply(cloud, replace(NAMES, name="second"), taken, PointerSet(Pointer("bbb222", "r9")))
    assert balancer.effects(since) == []


# --- alerts ----------------------------------------------------------------------------------------------------------

LIMITS = {
    "latency_p95_ms": 2000,
    "error_rate": 0.01,
    "guardrail_failure_rate": 0.01,
    "websocket_failure_rate": 0.02,
    "availability_objective": 0.999,
}


async def test_alerts_converge_and_go(cloud: Cloud, fresh_cloud: LocalCloud) -> None:
    want = alerts.desired(NAMES, PLACE.channels, LIMITS, "r1")
    for _ in range(2):
        actions = alerts.plan(want, await alert_policy.observe(cloud, NAMES))
        for action in actions:
            await alert_policy.apply(cloud, NAMES, action)  # type: ignore[arg-type]
    assert actions == ()
    since = fresh_cloud.last
    want = alerts.desired(NAMES, PLACE.channels, {**LIMITS, "error_rate": 0.05}, "r2")
    for action in alerts.plan(want, await alert_policy.observe(cloud, NAMES)):
        await alert_policy.apply(cloud, NAMES, action)  # type: ignore[arg-type]
    assert [e for e, _ in fresh_cloud.effects(since)] == ["update"]
    have = await alert_policy.observe(cloud, NAMES)
    assert alerts.plan(want, have) == ()
    assert await alert_policy.observe(cloud, replace(NAMES, uid="uid-2", cluster="other")) == ()
    for action in (*alerts.plan((), have), *alerts.plan((), have)):
        await alert_policy.apply(cloud, NAMES, action)  # type: ignore[arg-type]
    assert await alert_policy.observe(cloud, NAMES) == ()


# --- resolving -------------------------------------------------------------------------------------------------------


def spec(**backend: Any) -> AgUiDeploymentSpec:
    body = {"image": f"{WEB}:v1", "serviceAccount": "runtime", **backend}
    return AgUiDeploymentSpec.model_validate({"environmentRef": {"name": "prod"}, "backend": body})


def add_secret(fresh: LocalCloud, name: str = "db") -> None:
    fresh.call(f"/v1/projects/demo/secrets?secretId={name}", "POST", {"replication": {"automatic": {}}})
    for _ in range(2):
        payload = {"payload": {"data": base64.b64encode(b"hidden").decode()}}
        fresh.call(f"/v1/projects/demo/secrets/{name}:addVersion", "POST", payload)


async def test_what_can_move_is_pinned(cloud: Cloud, fresh_cloud: LocalCloud) -> None:
    add_secret(fresh_cloud)
    secrets = [{"env": "DB", "secret": "db"}, {"env": "OLD", "secret": "db", "version": "1"}]
    resolved = await resolve.resolve(cloud, NAMES, spec(secrets=secrets), PLACE)
    repository, _, digest = resolved.image.partition("@sha256:")
    assert (repository, len(digest)) == (WEB, 64)
    assert resolved.secrets == {"DB": "2", "OLD": "1"}
    assert resolved.migration_image is None
    since = fresh_cloud.last
    pinned = [{"env": "DB", "secret": "db", "version": "1"}]
    again = await resolve.resolve(cloud, NAMES, spec(image=resolved.image, secrets=pinned), PLACE)
    assert again.image == resolved.image
    assert len(fresh_cloud.ledger(since, kind="call")) == 2, "one look each: what is pinned may be gone"


async def test_what_is_missing_is_named_by_its_field(cloud: Cloud, fresh_cloud: LocalCloud) -> None:
    with pytest.raises(UserError, match=r"spec\.backend\.image: image .*:v99 does not exist"):
        await resolve.resolve(cloud, NAMES, spec(image=f"{WEB}:v99"), PLACE)
    with pytest.raises(UserError, match=r"spec\.backend\.secrets\[0\]: secret none does not exist"):
        await resolve.resolve(cloud, NAMES, spec(secrets=[{"env": "DB", "secret": "none"}]), PLACE)
    add_secret(fresh_cloud)
    fresh_cloud.call("/v1/projects/demo/secrets/db/versions/2:disable", "POST", {})
    with pytest.raises(UserError, match=r"version 2 of secret db is not enabled"):
        await resolve.resolve(cloud, NAMES, spec(secrets=[{"env": "DB", "secret": "db"}]), PLACE)
    pinned = [{"env": "DB", "secret": "db", "version": "2"}]
    with pytest.raises(UserError, match=r"\]: version 2 of secret db is not enabled"):
        await resolve.resolve(cloud, NAMES, spec(secrets=pinned), PLACE)
    with pytest.raises(UserError, match=r"secret db version 9 does not exist"):
        await resolve.resolve(cloud, NAMES, spec(secrets=[{**pinned[0], "version": "9"}]), PLACE)
    with pytest.raises(UserError, match=r"image .*@sha256:0+ does not exist"):
        await resolve.resolve(cloud, NAMES, spec(image=f"{WEB}@sha256:{'0' * 64}"), PLACE)


# --- time series, inventory, environment -----------------------------------------------------------------------------


async def test_requests_are_measured_by_revision(cloud: Cloud, fresh_cloud: LocalCloud) -> None:
    revision = NAMES.revision("r1")
    template = RevisionTemplate(revision, "r1", ContainerTemplate(f"{WEB}:v1", "sa@demo.iam.gserviceaccount.com"))
    outcome = await run_service.apply(cloud, NAMES, RevisionStaged(template, (Target(revision, 100),)), None)
    await finished(cloud, outcome)
    inventory = Inventory(cloud)
    since = fresh_cloud.last
    seen, *_ = await asyncio.gather(*(inventory.look(NAMES, 60) for _ in range(5)))
    assert len(fresh_cloud.ledger(since, kind="call")) == 1
    assert seen == await run_service.observe(cloud, NAMES)
    assert seen is not None
    assert await inventory.look(replace(NAMES, name="none"), 60) is None
    start = datetime.now(UTC)
    await asyncio.sleep(1.0)
    async with aiohttp.ClientSession() as browser:
        for _ in range(20):
            async with browser.get(
                f"{fresh_cloud.edge}/whoami", headers={"Host": seen.uri.partition("//")[2]}
            ) as reply:
                assert reply.status == 200
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        await asyncio.sleep(0.1)
        since = fresh_cloud.last
        samples = await timeseries.read(cloud, NAMES, [revision, "other"], start, datetime.now(UTC))
        assert len(fresh_cloud.ledger(since, kind="call")) == 1
        if samples[revision].requests == 20:
            break
    sample = samples[revision]
    assert (sample.requests, sample.errors) == (20, 0)
    assert sample.latency_p50_ms is not None
    assert 0 < sample.latency_p50_ms <= (sample.latency_p95_ms or 0) <= (sample.latency_p99_ms or 0)
    assert samples["other"] == Sample()


def counter(metric: str, task: str, revision: str, began: datetime, ended: datetime, value: int) -> dict[str, Any]:
    """A point as OpenTelemetry's exporter writes it: the total since the process began."""
    labels = {"project_id": "demo", "location": "us-central1", "namespace": "", "job": NAMES.service, "task_id": task}
    return {
        "metric": {"type": metric, "labels": {"revision": revision}},
        "resource": {"type": "generic_task", "labels": labels},
        "metric_kind": "CUMULATIVE",
        "points": [{"interval": {"start_time": began, "end_time": ended}, "value": {"int64_value": value}}],
    }


async def test_counters_of_the_application_are_read_as_differences(cloud: Cloud) -> None:
    revision, now = NAMES.revision("r1"), datetime.now(UTC)
    window = now - timedelta(seconds=90)
    await timeseries.read(cloud, NAMES, [revision], window, now, guardrails=True)  # nobody has written: no data

    async def wrote(task: str, began: int, ended: int, checks: int, failures: int) -> None:
        times = (now + timedelta(seconds=began), now + timedelta(seconds=ended))
        series = [
            counter(metric_filters.GUARDRAIL_CHECKS, task, revision, *times, checks),
            counter(metric_filters.GUARDRAIL_FAILURES, task, revision, *times, failures),
        ]
        request = {"name": "projects/demo", "time_series": series}
        await cloud.rpc(
            "MetricService.CreateTimeSeries", monitoring_v3.CreateTimeSeriesRequest(request), "projects/demo"
        )

    await wrote("old", -600, -100, 1000, 7)  # before the window
    await wrote("old", -600, -40, 1080, 57)
    await wrote("old", -600, -10, 1100, 67)
    for ended in (-50, -30, -5):  # one failure, told three times
        await wrote("young", -60, ended, 20, 1)
    sample = (await timeseries.read(cloud, NAMES, [revision], window, now, guardrails=True))[revision]
    assert (sample.guardrail_checks, sample.guardrail_failures) == (100 + 20, 60 + 1)


async def test_what_an_environment_names_is_looked_at(cloud: Cloud, balancer: LocalCloud) -> None:
    add_secret(balancer)
    body = {
        "projectId": "demo",
        "region": "us-central1",
        "database": {"instance": "main"},
        "storage": {"assets": {"bucket": "assets"}, "artifacts": {"bucket": "artifacts"}},
        "edge": {
            "domain": "app.example",
            "urlMap": "site",
            "backendBucket": "site-assets",
            "backendService": "gone",
        },
        "secrets": [{"name": "db"}, {"name": "gone"}],
        "observability": {"channels": [{"name": "oncall", "resource": "projects/demo/notificationChannels/1"}]},
    }
    rows = await presence.observe(cloud, AgUiEnvironmentSpec.model_validate(body))
    states = [(row["kind"], row["state"]) for row in rows]
    assert states == [
        ("SqlInstance", "Missing"),
        ("Bucket", "Present"),
        ("Bucket", "Present"),
        ("UrlMap", "Present"),
        ("BackendBucket", "Present"),
        ("BackendService", "Missing"),
        ("Secret", "Present"),
        ("Secret", "Missing"),
        ("NotificationChannel", "Missing"),
    ]
