"""Logins to Cloud SQL with IAM tokens: the metadata server that gives them, and who comes in with one."""

from __future__ import annotations

import asyncio
import calendar
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import psycopg
import pytest
from google.auth import jwt
from google.auth.compute_engine import _metadata
from google.auth.compute_engine.credentials import Credentials as MachineCredentials
from google.auth.transport.requests import Request
from google.cloud.sql.connector import Connector

from agui_dev.authproxy.build import PROGRAM
from agui_dev.go_program import NoProgram
from agui_dev.ports import free_port
from localgcp.kit.interfaces import ACCESS_TOKENS
from localgcp.server.server import Server
from localgcp.services import metadata, sql
from localgcp.services.sql.parts import POSTGRES
from localgcp_thread import localgcp_thread
from sql_connect import ANYBODY, PASSWORD, ApiRefusal, ClientKey, SqlApi, running_proxy

pytestmark = pytest.mark.contract
SERVICES = (metadata.SERVICE, sql.SERVICE)
EMAIL, ROLE = "runtime@demo.iam.gserviceaccount.com", "runtime@demo.iam"
OTHER_EMAIL, OTHER_ROLE = "job@demo.iam.gserviceaccount.com", "job@demo.iam"
FLAG = {"name": "cloudsql.iam_authentication", "value": "on"}
ON = {"databaseFlags": [FLAG]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`main` lets IAM users in and has two; `other` does not."""
    with localgcp_thread(tmp_path_factory.mktemp("iam"), SERVICES) as running:
        api = SqlApi(running.cloud.settings.endpoint)
        api.create("main", **ON)
        for role in (ROLE, OTHER_ROLE):
            api.done("/instances/main/users", {"name": role, "type": "CLOUD_IAM_SERVICE_ACCOUNT"})
        api.create("other")
        yield running


@pytest.fixture
def api(server: Server) -> SqlApi:
    return SqlApi(server.cloud.settings.endpoint)


@pytest.fixture
def machine(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """google-auth as on a machine of this cloud (it reads the variables when it is imported); gives `host:port`."""
    host = server.cloud.settings.endpoint.removeprefix("http://")
    monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", host)
    monkeypatch.setenv("GCE_METADATA_IP", host)
    return host


def metadata(server: Server, path: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    request = urllib.request.Request(f"{server.cloud.settings.endpoint}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), dict(error.headers)


def token_of(server: Server, email: str = EMAIL, seconds: float = 3600) -> str:
    return str(server.cloud.part(ACCESS_TOKENS).issue(email, seconds))


async def whoami(endpoint: str, credentials: Any, user: str = ROLE, **options: Any) -> str:
    """The role that the Python connector logs in as."""
    iam = options.pop("iam", True)
    loop = asyncio.get_running_loop()
    made = Connector(
        credentials=credentials, sqladmin_api_endpoint=endpoint, loop=loop, enable_iam_auth=iam, refresh_strategy="LAZY"
    )
    try:
        connection = await made.connect_async("demo:us-central1:main", "asyncpg", user=user, db="postgres", **options)
        try:
            return str(await connection.fetchval("SELECT current_user"))
        finally:
            await connection.close()
    finally:
        await made.close_async()


def test_the_metadata_server_speaks_only_to_who_asks_properly(server: Server) -> None:
    path = "/computeMetadata/v1/instance/service-accounts/default/"
    status, body, headers = metadata(server, path + "token")
    assert (status, headers["Metadata-Flavor"]) == (403, "Google")
    assert "ya29" not in body
    proxied = {"Metadata-Flavor": "Google", "X-Forwarded-For": "10.0.0.1"}
    assert metadata(server, path + "token", **proxied)[0] == 403
    flavor = {"Metadata-Flavor": "Google"}
    assert metadata(server, path + "email", **flavor)[:2] == (200, EMAIL)
    assert "cloud-platform" in metadata(server, path + "scopes", **flavor)[1]
    assert json.loads(metadata(server, path + "?recursive=true", **flavor)[1])["email"] == EMAIL
    assert metadata(server, "/computeMetadata/v1/project/project-id", **flavor)[1] == "demo"
    assert metadata(server, "/computeMetadata/v1/instance/nothing", **flavor)[0] == 404
    assert metadata(server, path + "identity", **flavor)[0] == 400
    assert metadata(server, "/")[0] == 404


def test_google_auth_finds_the_machine_and_gets_tokens_that_differ(server: Server, machine: str) -> None:
    request = Request()
    assert _metadata.ping(request)
    assert _metadata.get_project_id(request) == "demo"
    tokens = set()
    for _ in range(2):
        credentials: Any = MachineCredentials()
        credentials.refresh(request)
        assert credentials.service_account_email == EMAIL
        assert credentials.valid
        tokens.add(credentials.token)
    assert len(tokens) == 2
    assert {server.cloud.part(ACCESS_TOKENS).find(token).email for token in tokens} == {EMAIL}
    ledger = (server.cloud.settings.state_dir / "ledger.jsonl").read_text()
    assert not any(token in ledger for token in tokens)


def test_an_identity_token_is_signed_for_its_audience(server: Server) -> None:
    path = "/computeMetadata/v1/instance/service-accounts/default/identity?audience=https://shop"
    token = metadata(server, path, **{"Metadata-Flavor": "Google"})[1]
    keys = json.loads(metadata(server, "/oauth2/v1/certs")[1])
    claims: Any = jwt.decode(token, certs=keys, audience="https://shop")
    assert claims["email"] == EMAIL
    with pytest.raises(ValueError, match="audience"):
        jwt.decode(token, certs=keys, audience="https://other")


def test_the_connector_logs_in_with_the_machines_identity(server: Server, api: SqlApi, machine: str) -> None:
    async def both() -> list[str]:
        return await asyncio.gather(*(whoami(api.endpoint, MachineCredentials()) for _ in range(2)))

    assert asyncio.run(both()) == [ROLE, ROLE]


def test_each_live_token_is_a_password_by_itself(server: Server, api: SqlApi) -> None:
    for token in (token_of(server), token_of(server)):
        assert asyncio.run(whoami(api.endpoint, ANYBODY, iam=False, password=token)) == ROLE


@pytest.mark.parametrize("wrong", ["unknown", "expired", "of another", "password"])
def test_a_wrong_token_is_refused(server: Server, api: SqlApi, wrong: str) -> None:
    given = {"unknown": "ya29.made-up", "password": PASSWORD}.get(wrong, "")
    if wrong == "expired":
        given = token_of(server, seconds=0)
    elif wrong == "of another":
        given = token_of(server, OTHER_EMAIL)
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="IAM service account authentication"):
        asyncio.run(whoami(api.endpoint, ANYBODY, iam=False, password=given))


def test_without_the_gate_no_token_opens_anything(server: Server, api: SqlApi) -> None:
    """PostgreSQL's own port knows no token."""
    host, port = server.cloud.part(POSTGRES).address("demo", "main")
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(host=host, port=port, user=ROLE, password=token_of(server), dbname="postgres")


@pytest.mark.parametrize(
    ("email", "seconds", "instance", "code"),
    [(EMAIL, 0, "main", 400), ("stranger@demo.iam.gserviceaccount.com", 60, "main", 403), (EMAIL, 60, "other", 400)],
)
def test_no_certificate_for_who_may_not_log_in(
    server: Server, api: SqlApi, tmp_path: Path, email: str, seconds: float, instance: str, code: int
) -> None:
    with pytest.raises(ApiRefusal) as refused:
        ClientKey(tmp_path).certificate(api, instance, access_token=token_of(server, email, seconds))
    assert refused.value.code == code


def test_a_certificate_ends_with_its_token(server: Server, api: SqlApi, tmp_path: Path) -> None:
    answer = api.call(
        "/instances/main:generateEphemeralCert",
        {"public_key": ClientKey(tmp_path).public_pem, "access_token": token_of(server, seconds=90)},
    )
    end = time.strptime(answer["ephemeralCert"]["expirationTime"][:19], "%Y-%m-%dT%H:%M:%S")
    assert 0 < calendar.timegm(end) - time.time() <= 90


def test_the_auth_proxy_logs_in_by_itself_and_as_nobody_else(server: Server, api: SqlApi) -> None:
    try:
        program = PROGRAM.build()
    except NoProgram as reason:
        pytest.skip(str(reason))
    port = free_port()
    machine = api.endpoint.removeprefix("http://")
    options = ("--auto-iam-authn", f"demo:us-central1:main?port={port}")
    with running_proxy(program, api.endpoint, *options, machine=machine):
        login: dict[str, Any] = {"host": "127.0.0.1", "port": port, "dbname": "postgres"}
        with psycopg.connect(**login, user=ROLE) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (ROLE,)
        with pytest.raises(psycopg.OperationalError, match="IAM service account authentication failed"):
            psycopg.connect(**login, user=OTHER_ROLE)
        with psycopg.connect(**login, user="app", password=PASSWORD) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("app",)


@pytest.mark.parametrize(
    ("instance", "user", "said"),
    [
        ("other", {"name": ROLE, "type": "CLOUD_IAM_SERVICE_ACCOUNT"}, "not enabled"),
        ("main", {"name": EMAIL, "type": "CLOUD_IAM_SERVICE_ACCOUNT"}, "without the suffix"),
        ("main", {"name": "nobody", "type": "CLOUD_IAM_USER"}, "e-mail"),
        ("main", {"name": "a@b.c", "type": "CLOUD_IAM_USER", "password": "x"}, "no password"),
        ("main", {"name": "g@b.c", "type": "CLOUD_IAM_GROUP"}, "not CLOUD_IAM_GROUP"),
        ("main", {"name": "sly", "password": "x", "databaseRoles": ["cloudsqliamuser"]}, "can't be granted"),
    ],
)
def test_a_user_that_cannot_be_is_refused(api: SqlApi, instance: str, user: dict[str, Any], said: str) -> None:
    with pytest.raises(ApiRefusal, match=said) as refused:
        api.call(f"/instances/{instance}/users", user)
    assert refused.value.code == 400


def test_a_person_is_a_user_too_until_iam_logins_are_turned_off(server: Server, api: SqlApi) -> None:
    api.create("third", **ON)
    api.done("/instances/third/users", {"name": "ann@example.com", "type": "CLOUD_IAM_USER"})
    types = {user["name"]: user["type"] for user in api.call("/instances/third/users")["items"]}
    assert types == {"ann@example.com": "CLOUD_IAM_USER", "app": "BUILT_IN", "postgres": "BUILT_IN"}

    async def login() -> str:
        made = Connector(
            credentials=ANYBODY, sqladmin_api_endpoint=api.endpoint, loop=asyncio.get_running_loop(), timeout=60
        )
        try:
            name, password = "demo:us-central1:third", token_of(server, "ann@example.com")
            connection = await made.connect_async(
                name, "asyncpg", user="ann@example.com", password=password, db="postgres"
            )
            await connection.close()
            return "in"
        finally:
            await made.close_async()

    assert asyncio.run(login()) == "in"
    api.done("/instances/third", {"settings": {"databaseFlags": []}}, "PATCH")
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="IAM user authentication failed"):
        asyncio.run(login())
    api.done("/instances/third", method="DELETE")
