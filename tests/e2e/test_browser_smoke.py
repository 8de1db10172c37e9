"""A release has to convince a real browser: Playwright as a Cloud Run job, before users meet it and when they do."""

from __future__ import annotations

import hashlib
import re

import pytest
import yaml

from agui_dev.testbed.demo_stage import DemoStage, missing_browser
from agui_dev.testbed.kube_api import condition
from agui_dev.testbed.world import NAME, NAMESPACE
from bundle_archives import listed, packed, sha384, unpacked

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(missing_browser()), reason=missing_browser() or "a browser is here"),
]


@pytest.fixture(scope="module")
def stable(demo_stage: DemoStage) -> str:
    """The id of a release that users have."""
    demo_stage.apply(demo_stage.document("v2"))
    return str(demo_stage.settle("Healthy")["status"]["stable"]["id"])


def browser_check(stage: DemoStage) -> list[object]:
    """The sample's own check, and nothing beside it."""
    smoke = yaml.safe_load(stage.world.release("browser"))["spec"]["smoke"]
    return [check for check in smoke if "job" in check]


def executions(stage: DemoStage, since: int) -> list[str]:
    """How each run of the browser job ended, oldest first."""
    found = [e for e in stage.world.cloud.ledger(since) if e["kind"] == "effect" and "/executions/" in e["resource"]]
    return [e["effect"] for e in found if "-c-" in e["resource"] and e["effect"] in ("complete", "fail")]


def test_a_good_release_convinces_the_browser_twice(demo_stage: DemoStage, stable: str) -> None:
    since, before = demo_stage.world.cloud.last, float(demo_stage.ask("/api/orders/42")["refunded"])
    demo_stage.apply(demo_stage.document("browser", smoke=browser_check(demo_stage)))
    found = demo_stage.settle("Healthy")
    assert found["status"]["stable"]["id"] != stable
    assert executions(demo_stage, since) == ["complete", "complete"]
    assert float(demo_stage.ask("/api/orders/42")["refunded"]) == before + 160, "each run refunds 80"


@pytest.mark.usefixtures("stable")
def test_a_page_that_does_not_start_never_becomes_public(demo_stage: DemoStage) -> None:
    """All of its files are served as promised, so only a browser can tell."""
    before = demo_stage.api.get(NAMESPACE, NAME)["status"]["stable"]
    since = demo_stage.world.cloud.last
    broken = with_broken_script(demo_stage.archive("v5"))
    environment = yaml.safe_load(demo_stage.world.release("v5"))["spec"]["environmentRef"]["name"]
    name = "bundles/concierge-broken.tar.gz"
    digest = demo_stage.world.cloud.upload(f"{environment}-artifacts", name, broken)
    bundle = {"object": name, "sha256": digest}
    assets = {"name": "assets", "assets": {"integrity": "sha384", "runtimeUrl": True}}
    smoke = [assets, *browser_check(demo_stage)]
    demo_stage.apply(demo_stage.document("v5", smoke=smoke, frontend={"bundle": bundle}))
    found = demo_stage.settle("RolledBack")
    status = found["status"]
    assert executions(demo_stage, since) == ["fail"]
    assert (status["stable"], status["rejected"]["reason"]) == (before, "SmokeFailed")
    assert 'Check "browser"' in condition(found, "SmokePassed")["message"]


def with_broken_script(archive: bytes) -> bytes:
    """The same bundle, but its entry throws; everything that can be checked without running it is right."""
    files, manifest = unpacked(archive)
    html = files["index.html"].decode()
    found = re.search(r'<script[^>]*src="/(assets/[^"]+)"[^>]*integrity="(sha384-[^"]+)"', html)
    assert found is not None
    data = b'throw new Error("broken on purpose");\n' + files.pop(found[1])
    name = f"assets/index-{hashlib.sha256(data).hexdigest()[:8]}.js"
    files[name] = data
    html = html.replace(found[1], name).replace(found[2], f"sha384-{sha384(data)}")
    files["index.html"] = html.encode()
    types = {entry["path"]: entry["contentType"] for entry in manifest["files"]} | {name: "text/javascript"}
    manifest["files"] = [listed(path, content, types[path]) for path, content in sorted(files.items())]
    return packed(files, manifest)
