"""The application and its migrations on a Cloud SQL instance that is named and not addressed: through the connector."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
import time

import pytest

from agui_app.database.cloudsql import InstanceUnavailable
from agui_app.database.passwords import Connector
from agui_app.settings import database_settings
from agui_dev.testbed.app_instance import json_lines, migrate, text_of
from sql_connect import PASSWORD, SqlApi

ROTATED = "pw-linen-2"
SECRET = "projects/demo/secrets/concierge-db"


@pytest.fixture(scope="module")
def unchanged(local_cloud):
    """The instance for tests that only look at it; the last ones of this file, because others empty the cloud."""
    local_cloud.reset()
    return create_instance(local_cloud)


@pytest.fixture
def cloud_sql(fresh_cloud):
    """The instance for one test."""
    return create_instance(fresh_cloud)


def create_instance(cloud):
    """Instance `main` with database `shop` and user `app`. Gives (its API, environment of the application)."""
    api = SqlApi(cloud.endpoint)
    api.create("main")
    api.done("/instances/main/databases", {"name": "shop"})
    named = {"DATABASE_URL": "", "DB_INSTANCE": "demo:us-central1:main", "DB_NAME": "shop", "DB_USER": "app"}
    return api, named | {"DB_PASSWORD": PASSWORD, "AGUI_SQLADMIN_ENDPOINT": api.endpoint}


def test_it_migrates_serves_and_outlives_a_restart_of_the_instance(cloud_sql, start_app):
    api, env = cloud_sql
    done = migrate("", "upgrade", "head", "--seeds", "--verify", "schema", **env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert json_lines(done.stdout)[-1]["event"] == "migrated"
    app = start_app("", **env)
    assert text_of(app.say("t", "where is order 42")).startswith("Order 42")
    api.done("/instances/main/restart")
    app.wait("/readyz")
    assert text_of(app.say("u", "where is order 42")).startswith("Order 42")
    assert app.stop() == 0
    assert PASSWORD not in app.log_path.read_text()


def test_a_rotated_password_is_read_again(cloud_sql, start_app, fresh_cloud):
    api, env = cloud_sql
    fresh_cloud.call("/v1/projects/demo/secrets?secretId=concierge-db", "POST", {"replication": {"automatic": {}}})
    add_version(fresh_cloud, PASSWORD)
    secret = {"DB_PASSWORD_SECRET": f"{SECRET}/versions/latest", "AGUI_SECRETMANAGER_ENDPOINT": api.endpoint}
    env = env | {"DB_PASSWORD": ""} | secret
    assert migrate("", "upgrade", "head", "--seeds", **env).returncode == 0
    app = start_app("", **env)
    assert app.get("/api/orders/42").status_code == 200

    api.done("/instances/main/users?name=app", {"password": ROTATED}, "PUT")
    api.done("/instances/main/restart")  # ends the open connections
    app.wait("/readyz", 503)
    add_version(fresh_cloud, ROTATED)
    time.sleep(2.1)
    app.wait("/readyz")
    assert [line["secret"] for line in app.log() if line.get("event") == "password_rotated"] == [
        f"{SECRET}/versions/latest"
    ]
    assert ROTATED not in app.log_path.read_text()


def test_it_logs_in_as_the_iam_user_that_it_runs_as(cloud_sql, start_app):
    api, env = cloud_sql
    api.done(
        "/instances/main",
        {"settings": {"databaseFlags": [{"name": "cloudsql.iam_authentication", "value": "on"}]}},
        "PATCH",
    )
    role = {"name": "runtime@demo.iam", "type": "CLOUD_IAM_SERVICE_ACCOUNT", "databaseRoles": ["cloudsqlsuperuser"]}
    api.done("/instances/main/users", role)
    api.done("/instances/main/users", role | {"name": "job@demo.iam"})
    host = api.endpoint.removeprefix("http://")
    env = env | {"DB_PASSWORD": "", "DB_IAM_AUTH": "true", "DB_USER": role["name"]}
    env |= {"GCE_METADATA_HOST": host, "GCE_METADATA_IP": host}
    done = migrate("", "upgrade", "head", "--seeds", "--verify", "schema", **env)
    assert done.returncode == 0, done.stdout + done.stderr
    app = start_app("", **env)
    app.wait("/readyz")
    assert text_of(app.say("t", "where is order 42")).startswith("Order 42")
    assert app.stop() == 0
    assert "ya29." not in app.log_path.read_text() + done.stdout + done.stderr
    refused = migrate("", "current", **env | {"DB_USER": "job@demo.iam"})
    assert refused.returncode == 1
    assert "IAM service account authentication failed" in refused.stdout


def add_version(cloud, value: str) -> None:
    data = base64.b64encode(value.encode()).decode()
    cloud.call("/v1/projects/demo/secrets/concierge-db:addVersion", "POST", {"payload": {"data": data}})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"DB_INSTANCE": "demo:us-central1:none"}, "answers 404: The Cloud SQL instance does not exist."),
        ({"DB_INSTANCE": "demo:europe-west1:main"}, "Provided region was mismatched"),
        ({"DB_IP_TYPE": "private"}, "the kind that DB_IP_TYPE=PRIVATE asks for"),
        ({"AGUI_SQLADMIN_ENDPOINT": "http://127.0.0.1:1"}, "the Cloud SQL Admin API cannot be reached"),
    ],
)
def test_what_cannot_be_reached_names_the_setting(unchanged, changed, said):
    _, env = unchanged
    env = env | changed

    async def connect() -> None:
        connector = Connector(database_settings(env))
        try:
            await connector.connect()
        finally:
            await connector.close()

    with pytest.raises(InstanceUnavailable, match=f"^DB_INSTANCE {env['DB_INSTANCE']}: ") as refused:
        asyncio.run(connect())
    assert said in str(refused.value)


def test_a_failed_migration_names_the_setting(unchanged):
    _, env = unchanged
    done = migrate("", "current", **env | {"DB_INSTANCE": "demo:us-central1:none"})
    assert done.returncode == 1
    (line,) = json_lines(done.stdout)
    assert line["message"].startswith("DB_INSTANCE demo:us-central1:none: the Cloud SQL Admin API answers 404")
    assert "Traceback" not in done.stderr


def test_who_names_no_instance_does_not_pay_for_the_connector():
    code = "import sys, agui_app.services, agui_app.migrate.command; print('google.cloud.sql.connector' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
