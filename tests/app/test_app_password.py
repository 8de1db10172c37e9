"""A database password that is rotated in Secret Manager while the application serves."""

from __future__ import annotations

import base64
import os
import time

import psycopg
import pytest

from agui_dev.testbed.app_instance import json_lines, migrate, text_of

FIRST, SECOND = "pw-walnut-1", "pw-linen-2"
SECRET = "projects/demo/secrets/concierge-db/versions/latest"


def add_version(cloud, value: str) -> None:
    data = base64.b64encode(value.encode()).decode()
    cloud.call("/v1/projects/demo/secrets/concierge-db:addVersion", "POST", {"payload": {"data": data}})


@pytest.fixture
def account(postgres_server, postgres_url, fresh_cloud):
    """A role that needs its password, which is in Secret Manager. Gives (url without password, set_password)."""
    name = f"app_{postgres_url.rsplit('/', 1)[1]}"
    rules = postgres_server.folder / "data" / "pg_hba.conf"
    before, owner = rules.read_text(), rules.stat()
    rules.write_text(f"host all {name} 127.0.0.1/32 scram-sha-256\n{before}")
    os.chown(rules, owner.st_uid, owner.st_gid)

    def set_password(value: str) -> None:
        with psycopg.connect(postgres_url) as connection:
            connection.execute(psycopg.sql.SQL("ALTER ROLE {} PASSWORD {}").format(psycopg.sql.Identifier(name), value))

    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(f"CREATE ROLE {name} LOGIN SUPERUSER")
        set_password(FIRST)
        fresh_cloud.call("/v1/projects/demo/secrets?secretId=concierge-db", "POST", {"replication": {"automatic": {}}})
        add_version(fresh_cloud, FIRST)
        yield postgres_url.replace("postgres@", f"{name}@"), set_password
        rules.write_text(before)
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(f"REASSIGN OWNED BY {name} TO postgres")
        connection.execute(f"DROP ROLE {name}")


def end_connections(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name LIKE 'agui-app%'"
        )


def test_a_rotation_needs_no_restart(account, start_app, postgres_url, fresh_cloud):
    url, set_password = account
    secret = {"DB_PASSWORD_SECRET": SECRET, "AGUI_SECRETMANAGER_ENDPOINT": fresh_cloud.endpoint}
    assert migrate(url, "upgrade", "head", "--seeds", **secret).returncode == 0
    app = start_app(url, **secret)
    assert app.get("/api/orders/42").status_code == 200

    set_password(SECOND)
    end_connections(postgres_url)
    assert app.get("/readyz").status_code == 503  # between the two halves of a rotation nobody gets in
    add_version(fresh_cloud, SECOND)
    time.sleep(2.1)
    app.wait("/readyz")
    assert text_of(app.say("t", "where is order 42")).startswith("Order 42")
    rotated = [line for line in app.log() if line.get("event") == "password_rotated"]
    assert [line["secret"] for line in rotated] == [SECRET]
    text = app.log_path.read_text()
    assert FIRST not in text
    assert SECOND not in text


def test_a_missing_secret_is_named(account, start_app, fresh_cloud):
    url, _ = account
    secret = {
        "DB_PASSWORD_SECRET": "projects/demo/secrets/none/versions/latest",
        "AGUI_SECRETMANAGER_ENDPOINT": fresh_cloud.endpoint,
    }
    (line,) = json_lines(migrate(url, "upgrade", "head", **secret).stdout)
    assert line["message"] == "secret projects/demo/secrets/none/versions/latest: HTTP 404"
    app = start_app(url, ready=False, **secret)
    app.wait("/health")
    app.wait("/readyz", 503)
