"""What a container of a Cloud Run service gets: environment, secrets, database sockets."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import grpc.aio
import pytest
from google.api_core import exceptions
from google.cloud import run_v2

from agui_dev.testbed.images import SMALL_IMAGES
from agui_dev.testbed.local_cloud import LocalCloud
from run_client import STATES, WEB, Run, host_of

pytestmark = pytest.mark.contract

LOCALGCP_OPTIONS = ("--catalogue", str(SMALL_IMAGES))


@pytest.fixture
async def run(fresh_cloud: LocalCloud) -> AsyncIterator[Run]:
    async with grpc.aio.insecure_channel(fresh_cloud.address) as channel:
        yield Run(fresh_cloud, channel)


def secret_env(name: str, secret: str, version: str = "latest") -> dict[str, Any]:
    return {"name": name, "value_source": {"secret_key_ref": {"secret": secret, "version": version}}}


def add_secret(cloud: LocalCloud, payload: str) -> None:
    base = "/v1/projects/demo/secrets"
    cloud.call(f"{base}?secretId=token", "POST", {"replication": {"automatic": {}}})
    cloud.call(f"{base}/token:addVersion", "POST", {"payload": {"data": base64.b64encode(payload.encode()).decode()}})


async def environment_of(run: Run, created: run_v2.Service) -> dict[str, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{run.cloud.edge}/env", headers={"Host": host_of(created.uri)}) as response,
    ):
        seen: dict[str, str] = await response.json()
        return seen


async def test_secrets_reach_the_container_and_nobody_else(run: Run) -> None:
    add_secret(run.cloud, "s3cr3t-value")
    container = {"image": f"{WEB}:v1", "env": [secret_env("TOKEN", "token"), secret_env("SAME", "token", "1")]}
    operation = await run.services.create_service(
        parent=run.cloud.parent, service_id="web", service={"template": {"containers": [container]}}
    )
    created = await run.ended(operation)
    seen = await environment_of(run, created)
    assert (seen["TOKEN"], seen["SAME"]) == ("s3cr3t-value", "s3cr3t-value")
    shown = json.dumps([run.cloud.admin("status"), run.cloud.ledger()]) + str(created)
    assert "s3cr3t-value" not in shown


@pytest.mark.parametrize("state", ["missing", "disable"])
async def test_a_secret_that_cannot_be_had_stops_the_revision(run: Run, state: str) -> None:
    add_secret(run.cloud, "x")
    version = "1" if state == "disable" else "7"
    if state == "disable":
        run.cloud.call("/v1/projects/demo/secrets/token/versions/1:disable", "POST", {})
    container = {"image": f"{WEB}:v1", "env": [secret_env("TOKEN", "token", version)]}
    operation = await run.services.create_service(
        parent=run.cloud.parent, service_id="web", service={"template": {"containers": [container]}}
    )
    with pytest.raises(exceptions.GoogleAPICallError, match=r"is not ready .*\.env\[0\]\.value_from\.secret_key_ref"):
        await run.ended(operation)
    ready = (await run.get()).terminal_condition
    assert ready.state == STATES.CONDITION_FAILED
    assert ready.reason == run_v2.Condition.CommonReason.SECRETS_ACCESS_CHECK_FAILED


async def test_a_cloud_sql_volume_is_a_real_socket(run: Run) -> None:
    sql = "/v1/projects/demo/instances"
    run.cloud.call(
        sql,
        "POST",
        {
            "name": "main",
            "region": "us-central1",
            "databaseVersion": "POSTGRES_16",
            "settings": {"tier": "db-f1-micro"},
        },
    )
    for _ in range(300):
        if run.cloud.call(f"{sql}/main")["state"] == "RUNNABLE":
            break
        await asyncio.sleep(0.1)
    connection = "demo:us-central1:main"
    wanted = {
        "containers": [{"image": f"{WEB}:v1", "env": [{"name": "DB_HOST", "value": f"/cloudsql/{connection}"}]}],
        "volumes": [{"name": "cloudsql", "cloud_sql_instance": {"instances": [connection]}}],
    }
    operation = await run.services.create_service(
        parent=run.cloud.parent, service_id="web", service={"template": wanted}
    )
    seen = await environment_of(run, await run.ended(operation))
    assert any(name.startswith(".s.PGSQL.") for name in os.listdir(seen["DB_HOST"]))
    missing = {"volumes": [{"name": "cloudsql", "cloud_sql_instance": {"instances": ["demo:us-central1:gone"]}}]}
    with pytest.raises(exceptions.FailedPrecondition, match="demo:us-central1:gone does not exist or is not running"):
        await run.update({"template": {**wanted, **missing}}, "template")


async def test_environment_of_a_container(run: Run) -> None:
    env = [{"name": "GREETING", "value": "hello"}]
    wanted = {"revision": "web-a", "containers": [{"image": f"{WEB}:v1", "env": env}]}
    created = await run.ended(
        await run.services.create_service(parent=run.cloud.parent, service_id="web", service={"template": wanted})
    )
    seen = await environment_of(run, created)
    expected = {
        "K_SERVICE": "web",
        "K_REVISION": "web-a",
        "K_CONFIGURATION": "web",
        "GREETING": "hello",
        "APP_VERSION": "1",
    }
    assert expected.items() <= seen.items()
