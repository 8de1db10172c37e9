"""Settings: what is read, and the message for a wrong value."""

from __future__ import annotations

import pytest

from agui_app.database.engine import migration_url, schema_problem
from agui_app.environment import SettingsError
from agui_app.settings import database_settings, migrations_folder, read_settings

BASE = {"DATABASE_URL": "postgresql://app:s3cret@db.example:6432/shop?sslmode=require"}
INSTANCE = {"DB_INSTANCE": "p:us-central1:main", "DB_NAME": "shop", "DB_USER": "app"}


def test_a_url_is_split():
    settings = database_settings(BASE)
    assert (settings.host, settings.port, settings.name, settings.user) == ("db.example", 6432, "shop", "app")
    assert settings.sslmode == "require"
    assert settings.password == "s3cret"


def test_the_password_is_in_no_repr():
    assert "s3cret" not in repr(read_settings(BASE))


def test_a_socket_directory_is_a_host():
    socket = "/cloudsql/p:us-central1:main"
    settings = database_settings({"DB_HOST": socket, "DB_NAME": "shop", "DB_USER": "app", "DB_PASSWORD": "p/w@"})
    url = migration_url(settings)
    assert (url.host, url.query["host"], url.database, url.password) == (None, socket, "shop", "p/w@")
    same = database_settings({"DATABASE_URL": f"postgresql://app:p%2Fw%40@/shop?host={socket}"})
    assert same == settings


def test_an_instance_is_reached_by_its_name():
    iam = {"DB_IAM_AUTH": "True", "DB_IP_TYPE": "private", "AGUI_SQLADMIN_ENDPOINT": "http://127.0.0.1:8085/"}
    settings = database_settings(INSTANCE | {"DB_INSTANCE": "example.com:p:us-central1:main"} | iam)
    assert (settings.instance, settings.iam, settings.ip_type) == ("example.com:p:us-central1:main", True, "PRIVATE")
    assert settings.sqladmin_endpoint == "http://127.0.0.1:8085"
    plain = database_settings(INSTANCE | {"DB_PASSWORD": "pw", "DB_IAM_AUTH": "false"})
    assert (plain.iam, plain.password, plain.ip_type, plain.sqladmin_endpoint) == (False, "pw", "PUBLIC", "")
    assert database_settings(BASE | {"DB_IAM_AUTH": "false"}) == database_settings(BASE)


def test_special_characters_survive_the_url():
    settings = database_settings({"DATABASE_URL": "postgresql://a%40b:p%3A%2F@h/n%20m"})
    assert (settings.user, settings.password, settings.name) == ("a@b", "p:/", "n m")


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({}, "missing: DB_HOST, DB_NAME, DB_USER"),
        ({"DB_HOST": "h", "DB_NAME": "n"}, "missing: DB_USER"),
        ({"DATABASE_URL": "http://h/n"}, "DATABASE_URL must look like"),
        ({"DATABASE_URL": "postgresql://h:x/n"}, "DATABASE_URL is not a URL"),
        (BASE | {"PORT": "eighty"}, "PORT must be a whole number, not 'eighty'"),
        (BASE | {"PORT": "70000"}, "PORT must be between 1 and 65535"),
        (BASE | {"AGUI_SCRIPT": "/none.yaml"}, "AGUI_SCRIPT: there is no file /none.yaml"),
        (BASE | {"AGUI_MIGRATIONS": "/none"}, "AGUI_MIGRATIONS: no migrations in /none"),
        (BASE | {"AGUI_IDENTITY": "trust"}, "AGUI_IDENTITY must be one of development, iap, oidc"),
        (BASE | {"AGUI_IDENTITY": "iap"}, "AGUI_IDENTITY=iap needs AGUI_IDENTITY_AUDIENCE"),
        (BASE | {"AGUI_IDENTITY": "oidc"}, "needs AGUI_IDENTITY_AUDIENCE and AGUI_IDENTITY_ISSUER"),
        (BASE | {"K_SERVICE": "s"}, "AGUI_IDENTITY must be set on Cloud Run"),
        (BASE | {"DB_PASSWORD_SECRET": "db"}, "DB_PASSWORD_SECRET must look like projects/PROJECT/secrets/"),
        (BASE | {"DB_INSTANCE": "p:r:i"}, "set DB_INSTANCE or DATABASE_URL, not both"),
        (INSTANCE | {"DB_HOST": "h"}, "set DB_INSTANCE or DB_HOST, not both"),
        (INSTANCE | {"DB_INSTANCE": "p:i"}, "DB_INSTANCE must look like project:region:instance, not 'p:i'"),
        (INSTANCE | {"DB_USER": ""}, "DB_INSTANCE needs DB_USER"),
        (INSTANCE | {"DB_IAM_AUTH": "yes"}, "DB_IAM_AUTH must be true or false, not 'yes'"),
        (INSTANCE | {"DB_IAM_AUTH": "true", "DB_PASSWORD": "x"}, "DB_IAM_AUTH logs in with a token: unset DB_PASSWORD"),
        (INSTANCE | {"DB_IP_TYPE": "inner"}, "DB_IP_TYPE must be public, private or psc, not 'inner'"),
        (BASE | {"DB_IAM_AUTH": "true"}, "DB_IAM_AUTH needs DB_INSTANCE"),
        (BASE | {"AGUI_TELEMETRY": "otlp,xray"}, "AGUI_TELEMETRY may hold otlp and gcp, not xray"),
        (BASE | {"AGUI_TELEMETRY": "gcp"}, "AGUI_TELEMETRY=gcp needs GOOGLE_CLOUD_PROJECT"),
        (BASE | {"LOG_LEVEL": "loud"}, "LOG_LEVEL must be debug, info, warning or error"),
        (BASE | {"AGUI_WS_PING_SECONDS": "-1"}, "AGUI_WS_PING_SECONDS must be a positive number"),
        (BASE | {"AGUI_WS_PING_SECONDS": "nan"}, "AGUI_WS_PING_SECONDS must be a positive number"),
    ],
)
def test_a_wrong_value_is_named(env, said):
    with pytest.raises(SettingsError) as error:
        read_settings(env)
    assert said in str(error.value)
    assert "s3cret" not in str(error.value)


def test_defaults_are_found():
    settings = read_settings(BASE)
    assert (settings.model, settings.access.identity, settings.port) == ("offline/script", "development", 8080)
    assert (migrations_folder({}) / "env.py").is_file()


@pytest.mark.parametrize(
    ("required", "database", "floor", "problem"),
    [
        ("0001", "0001", "0001", None),
        ("0001", "0007", "0001", None),
        ("0002", "0001", "0001", "at schema 0001; this code needs 0002"),
        ("0001", None, None, "no schema"),
        ("0001", "0007", "0003", "no longer supports code of schema 0001"),
        ("0003", "0007", "0003", None),
        ("0001", "0001", None, None),
    ],
)
def test_which_code_may_run_on_which_schema(required, database, floor, problem):
    found = schema_problem(required, database, floor)
    assert (found is None) == (problem is None)
    assert problem is None or problem in found
