"""What tests read back from the local cloud: every page of a list, so that nothing left over is missed."""

from __future__ import annotations

import urllib.request

import pytest

from agui_dev.children import ChildFailed
from agui_dev.testbed.belongings import Belongings
from agui_dev.testbed.images import SMALL_IMAGES
from agui_dev.testbed.local_cloud import LocalCloud
from agui_dev.testbed.releases import URL_MAP
from localgcp.cli.init import Plan, create_environment

LOCALGCP_OPTIONS = ("--catalogue", str(SMALL_IMAGES), "--lro-seconds", "0")
IMAGE = "us-central1-docker.pkg.dev/demo/agui/task:v1"
MORE_THAN_A_PAGE = 103


def test_belongings_are_read_from_every_page(fresh_cloud: LocalCloud) -> None:
    create_environment(fresh_cloud.endpoint, Plan(URL_MAP, "t-base", "nobody", domain=fresh_cloud.edge))
    jobs = f"/v2/{fresh_cloud.parent}/jobs"
    names = [f"job-{number:03}" for number in range(MORE_THAN_A_PAGE)]
    for name in names:
        body = {"labels": {"agui-owner": "u1"}, "template": {"template": {"containers": [{"image": IMAGE}]}}}
        fresh_cloud.call(f"{jobs}?jobId={name}", "POST", body)
    assert "nextPageToken" in fresh_cloud.call(jobs), "one page holds them all, so nothing would be proven"
    assert sorted(Belongings.of(fresh_cloud, "t-1", "u1").jobs) == names
    assert Belongings.of(fresh_cloud, "t-1", "u2").is_empty()


def test_a_local_cloud_that_does_not_answer_tells_what_it_is_doing(
    fresh_cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*_: object, **__: object) -> None:
        raise TimeoutError("timed out")

    with monkeypatch.context() as patched:
        patched.setattr(urllib.request, "urlopen", late)
        with pytest.raises(ChildFailed, match=r"(?s)GET /_localgcp/status: no answer.*localgcp/__main__\.py"):
            fresh_cloud.admin("status")
    assert fresh_cloud.admin("status")["project"] == "demo", "and goes on"
