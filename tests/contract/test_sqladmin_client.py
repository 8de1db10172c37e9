"""Cloud SQL through Google's discovery client, with a real PostgreSQL behind it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from localgcp.server.server import Server
from localgcp.services import metadata, sql
from localgcp.services.sql.parts import POSTGRES
from localgcp_thread import localgcp_thread

pytestmark = pytest.mark.contract
SERVICES = (metadata.SERVICE, sql.SERVICE)
SETTINGS = {"tier": "db-f1-micro", "userLabels": {"app": "shop"}}


def connect(server: Server, version: str = "v1") -> Any:
    options = ClientOptions(api_endpoint=server.cloud.settings.endpoint + "/")
    credentials = AnonymousCredentials()
    return build(
        "sqladmin",
        version,
        credentials=credentials,
        client_options=options,
        static_discovery=True,
        cache_discovery=False,
    )


class Sql:
    """The client with the project filled in; `done` waits for an operation and returns it."""

    def __init__(self, server: Server, api: Any) -> None:
        self.server, self.api = server, api

    def call(self, resource: str, method: str, **arguments: Any) -> dict[str, Any]:
        return dict(getattr(getattr(self.api, resource)(), method)(project="demo", **arguments).execute())

    def done(self, resource: str, method: str, **arguments: Any) -> dict[str, Any]:
        operation = self.call(resource, method, **arguments)
        deadline = time.monotonic() + 120
        while operation["status"] != "DONE":
            assert time.monotonic() < deadline
            time.sleep(0.02)
            operation = self.call("operations", "get", operation=operation["name"])
        return operation

    def ok(self, resource: str, method: str, **arguments: Any) -> dict[str, Any]:
        operation = self.done(resource, method, **arguments)
        assert "error" not in operation, operation["error"]
        return operation

    def query(self, statement: str, instance: str = "main", user: str = "app", database: str = "shop") -> Any:
        host, port = self.server.cloud.part(POSTGRES).address("demo", instance)
        with psycopg.connect(host=host, port=port, user=user, password="s3cret", dbname=database) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None  # type: ignore[index]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sql]:
    """One instance `main` with database `shop` and user `app`, for tests that leave it as it is."""
    with localgcp_thread(tmp_path_factory.mktemp("sql"), SERVICES) as server:
        api = connect(server)
        sql = Sql(server, api)
        create(sql)
        yield sql
        api.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Sql]]:
    """Starts a localgcp of the test's own."""
    open_ones: list[tuple[Any, Any]] = []

    def begin(**options: Any) -> Sql:
        context = localgcp_thread(tmp_path, SERVICES, **options)
        server = context.__enter__()
        api = connect(server)
        open_ones.append((context, api))
        return Sql(server, api)

    yield begin
    for context, api in open_ones:
        api.close()
        context.__exit__(None, None, None)


def create(sql: Sql) -> None:
    body = {"name": "main", "databaseVersion": "POSTGRES_17", "settings": SETTINGS, "rootPassword": "s3cret"}
    sql.ok("instances", "insert", body=body)
    sql.ok("databases", "insert", instance="main", body={"name": "shop"})
    sql.ok("users", "insert", instance="main", body={"name": "app", "password": "s3cret"})


def reason(error: pytest.ExceptionInfo[HttpError]) -> tuple[int, str]:
    return error.value.status_code, error.value.error_details[0]["reason"]


def test_an_instance_is_a_server_one_can_use(shared: Sql) -> None:
    seen = shared.call("instances", "get", instance="main")
    assert (seen["state"], seen["connectionName"]) == ("RUNNABLE", "demo:us-central1:main")
    assert seen["settings"]["settingsVersion"] == "1"
    assert "rootPassword" not in seen
    shared.query("CREATE TABLE IF NOT EXISTS orders (id int)")
    assert shared.query("SELECT count(*) FROM orders") == 0
    assert shared.query("SELECT current_user", user="postgres", database="postgres") == "postgres"
    assert [i["name"] for i in shared.call("instances", "list")["items"]] == ["main"]


def test_both_paths_show_the_same(shared: Sql) -> None:
    old = connect(shared.server, "v1beta4")
    try:
        seen = old.instances().get(project="demo", instance="main").execute()
    finally:
        old.close()
    assert "/sql/v1beta4/" in seen["selfLink"]
    assert {**seen, "selfLink": ""} == {**shared.call("instances", "get", instance="main"), "selfLink": ""}


def test_databases_and_users_are_those_of_postgresql(shared: Sql) -> None:
    names = [d["name"] for d in shared.call("databases", "list", instance="main")["items"]]
    assert names == ["postgres", "shop"]
    assert shared.call("databases", "get", instance="main", database="shop")["charset"] == "UTF8"
    with pytest.raises(HttpError, match="already exists") as caught:
        shared.call("databases", "insert", instance="main", body={"name": "shop"})
    assert reason(caught) == (400, "invalid")
    assert [u["name"] for u in shared.call("users", "list", instance="main")["items"]] == ["app", "postgres"]
    shared.ok("users", "insert", instance="main", body={"name": "o'x\"y", "password": "a'b"})
    shared.ok("users", "update", instance="main", name="o'x\"y", body={"password": "s3cret"})
    assert shared.query("SELECT 1", user="o'x\"y") == 1
    shared.ok("users", "delete", instance="main", name="o'x\"y")
    with pytest.raises(psycopg.OperationalError):
        shared.query("SELECT 1", user="o'x\"y")
    shared.query("CREATE TABLE IF NOT EXISTS mine (id int)")
    failed = shared.done("users", "delete", instance="main", name="app")
    assert "cannot be dropped" in failed["error"]["errors"][0]["message"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"name": "main", "databaseVersion": "POSTGRES_17", "settings": SETTINGS}, (409, "instanceAlreadyExists")),
        ({"name": "Main", "databaseVersion": "POSTGRES_17", "settings": SETTINGS}, (400, "invalidInstanceName")),
        ({"name": "other", "databaseVersion": "MYSQL_8_0", "settings": SETTINGS}, (400, "invalid")),
        ({"name": "other", "databaseVersion": "POSTGRES_17", "settings": {}}, (400, "invalid")),
        ({"name": "other", "databaseVersion": "POSTGRES_17", "settings": {"tierr": 1}}, (400, "invalid")),
        ({"name": "other", "databaseVersion": "POSTGRES_99", "settings": SETTINGS}, (400, "invalid")),
    ],
    ids=["exists", "name", "mysql", "no-tier", "unknown-field", "unknown-version"],
)
def test_what_google_refuses_is_refused(shared: Sql, body: dict[str, Any], expected: tuple[int, str]) -> None:
    with pytest.raises(HttpError) as caught:
        shared.call("instances", "insert", body=body)
    assert reason(caught) == expected


def test_absent_things_are_404(shared: Sql) -> None:
    for resource, arguments in (
        ("instances", {"instance": "no"}),
        ("databases", {"instance": "main", "database": "no"}),
        ("users", {"instance": "main", "name": "no"}),
        ("backupRuns", {"instance": "main", "id": 1}),
        ("operations", {"operation": "no"}),
    ):
        with pytest.raises(HttpError) as caught:
            shared.call(resource, "get", **arguments)
        assert caught.value.status_code == 404


def test_backup_restore_and_clone(shared: Sql) -> None:
    shared.query("CREATE TABLE state AS SELECT 'before' AS v")
    operation = shared.ok("backupRuns", "insert", instance="main", body={"description": "release r2"})
    backup = operation["backupContext"]["backupId"]
    run = shared.call("backupRuns", "get", instance="main", id=backup)
    assert (run["status"], run["description"], run["type"]) == ("SUCCESSFUL", "release r2", "ON_DEMAND")
    assert shared.call("backupRuns", "list", instance="main")["items"] == [run]
    shared.query("UPDATE state SET v = 'after'")
    shared.ok("instances", "clone", instance="main", body={"cloneContext": {"destinationInstanceName": "copy"}})
    assert shared.query("SELECT v FROM state", "copy") == "after"
    context = {"restoreBackupContext": {"backupRunId": backup, "instanceId": "main", "project": "demo"}}
    shared.ok("instances", "restoreBackup", instance="main", body=context)
    assert shared.query("SELECT v FROM state") == "before"
    assert shared.query("SELECT v FROM state", "copy") == "after"
    shared.ok("backupRuns", "delete", instance="main", id=backup)
    assert "items" not in shared.call("backupRuns", "list", instance="main")
    shared.ok("instances", "delete", instance="copy")
    shared.query("DROP TABLE state")


def test_settings_change_under_their_version(shared: Sql) -> None:
    before = shared.call("instances", "get", instance="main")["settings"]
    flags = [{"name": "work_mem", "value": "6MB"}]
    body = {"settings": {"databaseFlags": flags, "settingsVersion": before["settingsVersion"]}}
    shared.ok("instances", "patch", instance="main", body=body)
    after = shared.call("instances", "get", instance="main")["settings"]
    assert int(after["settingsVersion"]) == int(before["settingsVersion"]) + 1
    assert after["userLabels"] == {"app": "shop"}
    assert shared.query("SHOW work_mem") == "6MB"
    with pytest.raises(HttpError) as caught:
        shared.call("instances", "patch", instance="main", body=body)
    assert reason(caught) == (412, "staleData")
    for name in ("listen_addresses", "archive_command", "port", "Work_Mem"):
        change = {"settings": {"databaseFlags": [{"name": name, "value": "1"}]}}
        with pytest.raises(HttpError) as caught:
            shared.call("instances", "patch", instance="main", body=change)
        assert reason(caught) == (400, "invalidFlagName")
    failed = shared.done(
        "instances",
        "patch",
        instance="main",
        body={"settings": {"databaseFlags": [{"name": "work_mem", "value": "much"}]}},
    )
    assert "work_mem" in failed["error"]["errors"][0]["message"]
    assert shared.query("SHOW work_mem") == "6MB"


def test_one_operation_at_a_time_and_protection(start: Callable[..., Sql]) -> None:
    sql = start(lro_seconds=0.3)
    create(sql)
    operation = sql.call("backupRuns", "insert", instance="main", body={})
    assert operation["status"] == "RUNNING"
    for resource, method, arguments in (
        ("backupRuns", "insert", {"body": {}}),
        ("databases", "insert", {"body": {"name": "other"}}),
        ("instances", "clone", {"body": {"cloneContext": {"destinationInstanceName": "copy"}}}),
        ("instances", "delete", {}),
    ):
        with pytest.raises(HttpError) as caught:
            sql.call(resource, method, instance="main", **arguments)
        assert reason(caught) == (409, "operationInProgress")
    while sql.call("operations", "get", operation=operation["name"])["status"] != "DONE":
        time.sleep(0.05)
    sql.ok("instances", "patch", instance="main", body={"settings": {"deletionProtectionEnabled": True}})
    with pytest.raises(HttpError, match="protected"):
        sql.call("instances", "delete", instance="main")
    sql.ok("instances", "patch", instance="main", body={"settings": {"deletionProtectionEnabled": False}})
    sql.ok("instances", "delete", instance="main")
    assert "items" not in sql.call("instances", "list")
    assert len(sql.call("operations", "list", instance="main")["items"]) == 7
    effects = [
        (e["effect"], e["resource"].rpartition("instances/")[2]) for e in sql.server.cloud.ledger.query(kind="effect")
    ]
    assert effects[:3] == [("create", "main"), ("create", "main/databases/shop"), ("create", "main/users/app")]
    assert effects[-1] == ("delete", "main")


def test_a_restart_finishes_what_was_begun(start: Callable[..., Sql], tmp_path: Path) -> None:
    with localgcp_thread(tmp_path, SERVICES, lro_seconds=30) as server:
        api = connect(server)
        begun = Sql(server, api).call(
            "instances", "insert", body={"name": "main", "databaseVersion": "POSTGRES_17", "settings": SETTINGS}
        )
        api.close()
    sql = start()
    deadline = time.monotonic() + 120
    while sql.call("operations", "get", operation=begun["name"])["status"] != "DONE":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert sql.call("instances", "get", instance="main")["state"] == "RUNNABLE"
    assert "s3cret" not in (tmp_path / "ledger.jsonl").read_text()


def test_no_password_is_written_down(shared: Sql) -> None:
    state_dir = shared.server.cloud.settings.state_dir
    assert b"s3cret" not in (state_dir / "state.sqlite3-wal").read_bytes()
    assert b"s3cret" not in (state_dir / "ledger.jsonl").read_bytes()
