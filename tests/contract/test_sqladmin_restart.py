"""A killed localgcp comes back with what it had: a real process, its real PostgreSQL, its objects, secrets and maps."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from typing import Any

import psutil
import psycopg
import pytest

from agui_dev.testbed.local_cloud import LocalCloud, running_local_cloud

pytestmark = pytest.mark.contract
SQL = "/v1/projects/demo"
COMPUTE = "/compute/v1/projects/demo/global"


@pytest.fixture
def cloud() -> Iterator[LocalCloud]:
    # its state directory has a path short enough for sockets
    with running_local_cloud("--lro-seconds", "0") as running:
        yield running


def sql_done(cloud: LocalCloud, path: str, body: Any) -> None:
    operation = cloud.call(SQL + path, "POST", body)
    deadline = time.monotonic() + 120
    while operation["status"] != "DONE":
        assert time.monotonic() < deadline
        time.sleep(0.02)
        operation = cloud.call(f"{SQL}/operations/{operation['name']}")
    assert "error" not in operation, operation


def postmasters(cloud: LocalCloud) -> list[psutil.Process]:
    path = cloud.state_dir / "sql/demo/main/data/postmaster.pid"
    return [psutil.Process(int(path.read_text().splitlines()[0]))]


def query(cloud: LocalCloud, statement: str) -> Any:
    sockets = cloud.state_dir / "sql/sockets/demo/main"
    with psycopg.connect(host=str(sockets), dbname="shop", user="app", password="s3cret") as connection:
        cursor = connection.execute(statement)
        return cursor.fetchone()[0] if cursor.description else None  # type: ignore[index]


def connected(cloud: LocalCloud) -> Any:
    """The answer of the database, as soon as it is back."""
    deadline = time.monotonic() + 120
    while True:
        try:
            return query(cloud, "SELECT n FROM t")
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_everything_is_there_after_a_kill(cloud: LocalCloud) -> None:
    instance = {"name": "main", "databaseVersion": "POSTGRES_17", "settings": {"tier": "db-f1-micro"}}
    sql_done(cloud, "/instances", instance)
    sql_done(cloud, "/instances/main/databases", {"name": "shop"})
    sql_done(cloud, "/instances/main/users", {"name": "app", "password": "s3cret"})
    query(cloud, "CREATE TABLE t AS SELECT 7 AS n")
    cloud.call("/storage/v1/b?project=demo", "POST", {"name": "assets"})
    cloud.call("/upload/storage/v1/b/assets/o?uploadType=media&name=x", "POST", {"content": "x"})
    cloud.call(f"{COMPUTE}/backendBuckets", "POST", {"name": "assets", "bucketName": "assets"})
    cloud.call("/v1/projects/demo/secrets?secretId=s", "POST", {"replication": {"automatic": {}}})
    payload = {"payload": {"data": base64.b64encode(b"kept").decode()}}
    cloud.call("/v1/projects/demo/secrets/s:addVersion", "POST", payload)
    (before,) = postmasters(cloud)

    cloud.restart(kill=True)

    assert connected(cloud) == 7
    assert not before.is_running() or before.pid not in [p.pid for p in postmasters(cloud)]
    assert cloud.call("/storage/v1/b/assets/o/x?alt=media") == {"content": "x"}
    assert cloud.call(f"{COMPUTE}/backendBuckets/assets")["bucketName"] == "assets"
    seen = cloud.call("/v1/projects/demo/secrets/s/versions/latest:access")
    assert base64.b64decode(seen["payload"]["data"]) == b"kept"
    (after,) = postmasters(cloud)

    cloud.stop()

    assert not after.is_running()


def test_reset_empties_all_of_it(cloud: LocalCloud) -> None:
    instance = {"name": "main", "databaseVersion": "POSTGRES_17", "settings": {"tier": "db-f1-micro"}}
    sql_done(cloud, "/instances", instance)
    cloud.call("/storage/v1/b?project=demo", "POST", {"name": "assets"})
    cloud.call("/upload/storage/v1/b/assets/o?uploadType=media&name=x", "POST", {})
    cloud.call(f"{COMPUTE}/backendBuckets", "POST", {"name": "assets", "bucketName": "assets"})
    (server,) = postmasters(cloud)
    cloud.admin("reset", "POST")
    assert not server.is_running()
    assert "items" not in cloud.call(f"{SQL}/instances")
    assert cloud.call("/storage/v1/b?project=demo")["items"] == []
    assert "items" not in cloud.call(f"{COMPUTE}/backendBuckets")
    assert [path for path in (cloud.state_dir / "storage").rglob("*") if path.is_file()] == []
    sql_done(cloud, "/instances", instance)
    assert cloud.call(f"{SQL}/instances/main")["state"] == "RUNNABLE"
