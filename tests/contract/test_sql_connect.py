"""Cloud SQL's port 3307 through Google's own connectors: the Python connector and the Auth Proxy, unchanged."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import stat
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import psycopg
import pytest
from cryptography import x509
from google.cloud.sql.connector import Connector

from agui_dev.authproxy.build import PROGRAM
from agui_dev.go_program import NoProgram
from agui_dev.ports import free_port
from agui_dev.testbed.local_cloud import running_local_cloud
from localgcp.server.server import Server
from localgcp.services import metadata, sql
from localgcp.services.sql.tls.listeners import _bind
from localgcp_thread import localgcp_thread
from sql_connect import (
    ANYBODY,
    PASSWORD,
    ApiRefusal,
    ClientKey,
    SqlApi,
    certificates_asked,
    running_proxy,
    served_certificate,
    tls_answer,
    weak_public_pem,
)

pytestmark = pytest.mark.contract
SERVICES = (metadata.SERVICE, sql.SERVICE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Instances `main` and `other`."""
    with localgcp_thread(tmp_path_factory.mktemp("sql"), SERVICES) as running:
        for name in ("main", "other"):
            SqlApi(running.cloud.settings.endpoint).create(name)
        yield running


@pytest.fixture
def api(server: Server) -> SqlApi:
    return SqlApi(server.cloud.settings.endpoint)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> ClientKey:
    return ClientKey(tmp_path_factory.mktemp("key"))


@pytest.fixture(scope="module")
def auth_proxy() -> Path:
    """The real Cloud SQL Auth Proxy, built if need be."""
    try:
        return PROGRAM.build()
    except NoProgram as reason:
        pytest.skip(str(reason))


@asynccontextmanager
async def connector(endpoint: str, **options: Any) -> AsyncIterator[Connector]:
    """The Python connector on the running loop."""
    made = Connector(
        credentials=ANYBODY, sqladmin_api_endpoint=endpoint, loop=asyncio.get_running_loop(), timeout=60, **options
    )
    try:
        yield made
    finally:
        await made.close_async()


async def opened(made: Connector, instance: str = "main") -> Any:
    name = f"demo:us-central1:{instance}"
    return await made.connect_async(name, "asyncpg", user="app", password=PASSWORD, db="postgres")


async def reopened(made: Connector, instance: str = "main") -> Any:
    """A connection as soon as the instance is back."""
    deadline = time.monotonic() + 120
    while True:
        try:
            return await opened(made, instance)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


def test_the_python_connector_runs_sql_on_two_instances_at_once(server: Server) -> None:
    before = certificates_asked(server)

    async def both() -> None:
        async with connector(server.cloud.settings.endpoint) as made:
            first, second = await asyncio.gather(opened(made), opened(made, "other"))
            await first.execute("CREATE TABLE here AS SELECT 7 AS n")
            assert await first.fetchval("SELECT n FROM here") == 7
            with pytest.raises(asyncpg.UndefinedTableError):
                await second.fetchval("SELECT n FROM here")
            big = await first.fetchval("SELECT repeat('x', 8000000)")
            assert len(big) == 8_000_000
            assert await first.fetchval("SELECT length($1::text)", big) == 8_000_000
            again = await opened(made)
            for connection in (first, second, again):
                await connection.close()

    asyncio.run(both())
    assert certificates_asked(server) - before == 2, "one certificate an instance serves all its connections"


def test_a_wrong_password_is_postgresqls_to_refuse(server: Server) -> None:
    async def refused() -> None:
        async with connector(server.cloud.settings.endpoint) as made:
            with pytest.raises(asyncpg.InvalidPasswordError):
                await made.connect_async("demo:us-central1:main", "asyncpg", user="app", password="no", db="postgres")

    asyncio.run(refused())


def test_the_auth_proxy_serves_both_instances(api: SqlApi, auth_proxy: Path) -> None:
    ports = {"main": free_port(), "other": free_port()}
    named = [f"demo:us-central1:{name}?port={port}" for name, port in ports.items()]
    with running_proxy(auth_proxy, api.endpoint, *named):
        for name, port in ports.items():
            with psycopg.connect(
                host="127.0.0.1", port=port, user="app", password=PASSWORD, dbname="postgres"
            ) as connection:
                connection.execute(psycopg.sql.SQL("CREATE TABLE {} ()").format(psycopg.sql.Identifier(f"at_{name}")))
                rows = connection.execute(
                    "SELECT relname FROM pg_class WHERE relkind = 'r' AND starts_with(relname, 'at_')"
                ).fetchall()
                assert rows == [(f"at_{name}",)]


def test_each_instance_has_an_address_and_an_authority_of_its_own(api: SqlApi) -> None:
    main, other = api.connect_settings(), SqlApi(api.endpoint, "/v1").connect_settings("other")
    assert main["ipAddresses"] != other["ipAddresses"]
    assert main["serverCaCert"]["cert"] != other["serverCaCert"]["cert"]
    assert api.call("/instances/main")["ipAddresses"] == main["ipAddresses"]


def test_the_server_proves_that_it_is_the_instance(api: SqlApi, key: ClientKey) -> None:
    context = key.context(api, key.certificate(api))
    assert tls_answer(context, api.address()) == b"N", "PostgreSQL itself answers: there is no TLS within TLS"
    with pytest.raises(ssl.SSLCertVerificationError):
        tls_answer(context, api.address("other"))
    certificate = served_certificate(context, api.address())
    assert certificate.subject.rfc4514_string() == "CN=demo:main"
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [api.connect_settings()["dnsName"]]


def test_without_a_certificate_nobody_comes_in(api: SqlApi, key: ClientKey) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError), match=r"(?i)certificate required|reset"):
        tls_answer(key.context(api, None), api.address())


def test_a_certificate_of_another_instance_is_refused(api: SqlApi, key: ClientKey) -> None:
    foreign = key.context(api, key.certificate(api, "other"))
    with pytest.raises((ssl.SSLError, ConnectionError), match=r"(?i)unknown ca|reset"):
        tls_answer(foreign, api.address())


def test_an_expired_certificate_is_refused(api: SqlApi, key: ClientKey) -> None:
    context = key.context(api, key.certificate(api, validDuration="5s"))
    assert tls_answer(context, api.address()) == b"N"
    time.sleep(6.1)
    with pytest.raises((ssl.SSLError, ConnectionError), match=r"(?i)certificate expired|reset"):
        tls_answer(context, api.address())


def test_tls_1_2_is_refused(api: SqlApi, key: ClientKey) -> None:
    context = key.context(api, key.certificate(api))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError), match=r"(?i)protocol version|reset"):
        tls_answer(context, api.address())


def test_each_direction_ends_by_itself(api: SqlApi, key: ClientKey) -> None:
    """A client that says at once that it sends no more still gets the whole answer."""
    context = key.context(api, key.certificate(api))
    startup = struct.pack(">ii", 8 + 12, 196608) + b"user\0nobody\0"
    startup = struct.pack(">i", len(startup) + 1) + startup[4:] + b"\0"
    with socket.create_connection((api.address(), 3307), timeout=60) as plain:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing)
        _until_done(tls.do_handshake, plain, incoming, outgoing)
        tls.write(startup)
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.unwrap()
        answer = _until_done(lambda: tls.read(100), plain, incoming, outgoing)
    assert answer[:1] in (b"R", b"E"), answer


def _until_done(step: Any, plain: socket.socket, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> Any:
    while True:
        try:
            return step()
        except ssl.SSLWantReadError:
            plain.sendall(outgoing.read())
            received = plain.recv(65536)
            assert received, "the server hung up"
            incoming.write(received)
        finally:
            plain.sendall(outgoing.read())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "public_key"),
        ({"public_key": "no key"}, "PEM"),
        ({"public_key": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"}, "PEM"),
        ({"public_key": "WEAK"}, "1024 bits"),
        ({"public_key": "GOOD", "validDuration": "86401s"}, "validDuration"),
        ({"public_key": "GOOD", "validDuration": "a day"}, "validDuration"),
        ({"publicKey": "GOOD"}, "publicKey"),
        ({"public_key": "GOOD", "access_token": "ya29.x"}, "invalid or has expired"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(api: SqlApi, key: ClientKey, body: dict[str, Any], message: str) -> None:
    keys = {"GOOD": key.public_pem, "WEAK": weak_public_pem()}
    sent = {name: keys.get(value, value) for name, value in body.items()}
    with pytest.raises(ApiRefusal) as refused:
        api.call("/instances/main:generateEphemeralCert", sent)
    assert refused.value.code == 400
    assert message in refused.value.error["message"]
    assert refused.value.error["errors"][0]["domain"] == "global"


@pytest.mark.parametrize("path", ["/connectSettings", ":generateEphemeralCert"])
def test_an_instance_that_does_not_exist_is_a_404(api: SqlApi, key: ClientKey, path: str) -> None:
    with pytest.raises(ApiRefusal) as refused:
        api.call(f"/instances/nowhere{path}", {"public_key": key.public_pem} if path.startswith(":") else None)
    assert refused.value.code == 404
    assert refused.value.error["errors"][0]["reason"] == "instanceDoesNotExist"


def test_a_certificate_lasts_an_hour_unless_told_otherwise(api: SqlApi, key: ClientKey) -> None:
    def lasts(**body: Any) -> timedelta:
        certificate = x509.load_pem_x509_certificate(key.certificate(api, **body).encode())
        return certificate.not_valid_after_utc - datetime.now(UTC)

    assert timedelta(minutes=59) < lasts() <= timedelta(hours=1)
    assert timedelta(hours=23) < lasts(validDuration="86400s") <= timedelta(days=1)


async def test_connections_end_with_the_instance_and_come_back_with_it(server: Server, api: SqlApi) -> None:
    before = certificates_asked(server)
    async with connector(api.endpoint) as made:
        connection = await opened(made)
        await asyncio.to_thread(api.done, "/instances/main/restart")
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await connection.fetchval("SELECT 1")
        again = await reopened(made)
        assert await again.fetchval("SELECT 1") == 1
        await again.close()
    assert certificates_asked(server) - before <= 2, "the certificate outlives a restart"


def test_a_connector_renews_its_certificate_before_it_expires(tmp_path: Path) -> None:
    """The connector asks four minutes before the end, so three seconds after the start of these."""

    async def renewed(server: Server, api: SqlApi) -> None:
        async with connector(api.endpoint) as made:
            connection = await opened(made)
            deadline = time.monotonic() + 120
            while certificates_asked(server) < 2:
                assert time.monotonic() < deadline, "no second certificate"
                await asyncio.sleep(0.1)
            assert await connection.fetchval("SELECT 1") == 1, "an open connection keeps its certificate"
            fresh = await opened(made)
            await fresh.close()
            await connection.close()

    with localgcp_thread(tmp_path, SERVICES, sql_certificate_seconds=243.0) as server:
        api = SqlApi(server.cloud.settings.endpoint)
        api.create("main")
        asyncio.run(renewed(server, api))


async def test_a_connector_finds_everything_again_after_localgcp_was_killed(tmp_path: Path) -> None:
    with running_local_cloud("--lro-seconds", "0") as cloud:
        api = SqlApi(cloud.endpoint)
        api.create("main")
        address, authority = api.address(), api.connect_settings()["serverCaCert"]["cert"]
        async with connector(api.endpoint, refresh_strategy="LAZY") as made:
            await (await opened(made)).close()
            await asyncio.to_thread(cloud.restart, kill=True)
            again = await reopened(made)
            assert await again.fetchval("SELECT 1") == 1
            await again.close()
        assert (api.address(), api.connect_settings()["serverCaCert"]["cert"]) == (address, authority)
        assert len([entry for entry in cloud.ledger(method="*generateEphemeralCert")]) == 1
        for file in ("authority.pem", "server.pem"):
            mode = (cloud.state_dir / "sql-tls" / "demo" / "main" / file).stat().st_mode
            assert stat.S_IMODE(mode) == 0o600


def test_a_stopped_instance_lets_nobody_in_and_a_deleted_one_is_gone(tmp_path: Path, key: ClientKey) -> None:
    with localgcp_thread(tmp_path, SERVICES) as server:
        api = SqlApi(server.cloud.settings.endpoint)
        api.create("main")
        context, address = key.context(api, key.certificate(api)), api.address()
        api.done("/instances/main", {"settings": {"activationPolicy": "NEVER"}}, "PATCH")
        assert tls_answer(context, address) == b""
        with pytest.raises(ApiRefusal, match="not running"):
            key.certificate(api)
        api.done("/instances/main", method="DELETE")
        with pytest.raises(ConnectionRefusedError):
            tls_answer(context, address)
        assert not (tmp_path / "sql-tls" / "demo" / "main").exists()
        api.create("main")
        with pytest.raises(ssl.SSLError):
            tls_answer(context, api.address())


def test_parallel_clouds_with_the_same_state_path_do_not_collide(tmp_path: Path) -> None:
    """The address is found by binding: what is taken is passed over."""
    first = _bind(tmp_path / "one")
    wanted = first.getsockname()[0]
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "address").write_text(wanted)
    second = _bind(tmp_path / "two")
    try:
        assert second.getsockname()[0] != wanted
        assert second.getsockname()[1] == first.getsockname()[1] == 3307
    finally:
        first.close()
        second.close()


def test_where_no_address_is_free_only_connectors_are_refused(
    server: Server, api: SqlApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localgcp.services.sql.tls.listeners.listen_at", lambda *_: None)
    api.create("third")
    assert api.call("/instances/third")["ipAddresses"] == [{"type": "PRIMARY", "ipAddress": "127.0.0.1"}]
    with pytest.raises(ApiRefusal, match="no free loopback address") as refused:
        api.connect_settings("third")
    assert refused.value.code == 503
    api.done("/instances/third", method="DELETE")


def test_no_log_line_holds_a_password_or_a_key(
    server: Server, api: SqlApi, key: ClientKey, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):

        async def once() -> None:
            async with connector(api.endpoint) as made:
                await (await opened(made)).close()

        asyncio.run(once())
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            tls_answer(key.context(api, None), api.address())
        deadline = time.monotonic() + 120
        while "refused a connection" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.02)
    ledger = (server.cloud.settings.state_dir / "ledger.jsonl").read_text()
    ours = " ".join(record.getMessage() for record in caplog.records if record.name.startswith("localgcp"))
    assert "refused a connection" in ours
    for text in (ours, ledger):
        assert PASSWORD not in text
        assert "PRIVATE KEY" not in text
