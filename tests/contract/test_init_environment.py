"""`localgcp init` makes what an environment stands on, with everything in working order, and can be repeated."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from typing import Any

import pytest
import yaml

from agui_dev.testbed.local_cloud import LocalCloud

pytestmark = pytest.mark.contract


def init(cloud: LocalCloud, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "LOCALGCP_ENDPOINT": cloud.endpoint}
    command = [sys.executable, "-m", "localgcp", "init", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


def environment(cloud: LocalCloud, *words: str) -> dict[str, Any]:
    done = init(cloud, *words)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = yaml.safe_load(done.stdout)
    return document


def test_everything_named_in_the_environment_exists(fresh_cloud: LocalCloud) -> None:
    document = environment(fresh_cloud, "--environment", "prod", "--namespace", "shop", "--service", "shop-web")
    assert document["kind"] == "AgUiEnvironment"
    assert document["metadata"] == {"name": "prod", "namespace": "shop"}
    spec = document["spec"]
    call = fresh_cloud.call
    sql = f"/v1/projects/demo/instances/{spec['database']['instance']}"
    assert call(sql)["state"] == "RUNNABLE"
    (user,) = spec["database"]["users"]
    assert user["name"] in [known["name"] for known in call(f"{sql}/users")["items"]]
    assert call(f"/v1/projects/demo/secrets/{user['secret']}/versions/latest")["state"] == "ENABLED"
    for bucket in spec["storage"].values():
        assert call(f"/storage/v1/b/{bucket['bucket']}")["name"] == bucket["bucket"]
    compute, edge = "/compute/v1/projects/demo", spec["edge"]
    assert edge["domain"] == fresh_cloud.edge
    backend_bucket = call(f"{compute}/global/backendBuckets/{edge['backendBucket']}")
    assert backend_bucket["bucketName"] == spec["storage"]["assets"]["bucket"]
    assert call(f"{compute}/global/urlMaps/{edge['urlMap']}")["defaultService"] == backend_bucket["selfLink"]
    (backend,) = call(f"{compute}/global/backendServices/{edge['backendService']}")["backends"]
    group = call(f"{compute}/regions/us-central1/networkEndpointGroups/{backend['group'].rpartition('/')[2]}")
    assert group["cloudRun"]["service"] == "shop-web"
    (channel,) = spec["observability"]["channels"]
    assert call(f"/v3/{channel['resource']}")["displayName"] == channel["name"]


def test_repeating_changes_nothing(fresh_cloud: LocalCloud) -> None:
    first = environment(fresh_cloud)
    since = fresh_cloud.last
    assert environment(fresh_cloud) == first
    assert fresh_cloud.effects(since) == []
    assert fresh_cloud.ledger(since, kind="call", write="true") == []


def test_it_goes_on_after_an_interruption(fresh_cloud: LocalCloud) -> None:
    fresh_cloud.fault(method="sqladmin.users.insert", code=503, message="come back later")
    failed = init(fresh_cloud)
    assert failed.returncode == 1
    assert "Secret Manager and the database user: come back later" in failed.stderr
    environment(fresh_cloud)
    versions = fresh_cloud.call("/v1/projects/demo/secrets/concierge-db/versions")["versions"]
    assert len(versions) == 1, "the password that was made first is kept"


def test_no_cloud_is_told(local_cloud: LocalCloud) -> None:
    done = init(local_cloud, "--endpoint", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "no local cloud answers at http://127.0.0.1:9" in done.stderr


def test_no_secret_is_told_to_anybody(fresh_cloud: LocalCloud) -> None:
    printed = init(fresh_cloud).stdout
    access = fresh_cloud.call("/v1/projects/demo/secrets/concierge-db/versions/latest:access")
    password = base64.b64decode(access["payload"]["data"]).decode()
    assert password not in printed
    assert password not in (fresh_cloud.state_dir / "ledger.jsonl").read_text()
