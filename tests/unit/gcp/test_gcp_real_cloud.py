"""Without an endpoint every client talks TLS to Google with Application Default Credentials, and nothing connects
before the first call."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.credentials import Credentials

from agui_operator.core.errors import CloudError, UserError
from agui_operator.gcp.transport.clients import Cloud, CloudSettings, connect
from agui_operator.gcp.transport.endpoints import SCOPES, Endpoints
from agui_operator.gcp.transport.rest import Rest, RestRequest, Token

_BLOCKED = """
import socket, sys
def refuse(*args, **kwargs): raise AssertionError(f"a connection was opened at import: {args}")
socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse
import importlib, pkgutil
import agui_operator.gcp as package
for module in pkgutil.walk_packages(package.__path__, "agui_operator.gcp."):
    importlib.import_module(module.name)
print(sorted(m for m in sys.modules if m.startswith(("google.cloud.", "grpc", "requests"))))
"""


class StandIn(Credentials):  # type: ignore[misc]
    """Credentials that give `token-1`, `token-2`, ... and count how often they were asked."""

    def __init__(self) -> None:
        super().__init__()
        self.refreshed = 0

    def refresh(self, request: Any) -> None:
        self.refreshed += 1
        self.token = f"token-{self.refreshed}"


def test_importing_opens_no_socket_and_loads_no_heavy_package() -> None:
    done = subprocess.run([sys.executable, "-c", _BLOCKED], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **_: Any) -> None:
        raise AssertionError(f"a connection was opened: {args}")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def channels(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Target -> credentials of every secure channel; an insecure one fails the test."""
    made: dict[str, Any] = {}
    original = grpc.aio.secure_channel

    def secure(target: str, credentials: Any, *args: Any, **kwargs: Any) -> Any:
        made[target] = credentials
        return original(target, credentials, *args, **kwargs)

    def insecure(target: str, *_: Any, **__: Any) -> Any:
        raise AssertionError(f"an insecure channel to {target}")

    monkeypatch.setattr(grpc.aio, "secure_channel", secure)
    monkeypatch.setattr(grpc.aio, "insecure_channel", insecure)
    return made


def key_file(folder: Path) -> Path:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    account = {
        "type": "service_account",
        "project_id": "acme",
        "private_key_id": "1",
        "private_key": pem,
        "client_email": "operator@acme.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    path = folder / "key.json"
    path.write_text(json.dumps(account))
    return path


@pytest.mark.usefixtures("no_network")
async def test_every_client_is_built_with_default_credentials(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, channels: dict[str, Any]
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key_file(tmp_path)))
    found = await Endpoints(None).credentials(None)
    assert found.service_account_email == "operator@acme.iam.gserviceaccount.com"
    assert tuple(found.scopes) == SCOPES == ("https://www.googleapis.com/auth/cloud-platform",)
    cloud = await connect(CloudSettings())
    try:
        hosts = ("run", "monitoring", "secretmanager")
        assert set(channels) == {f"{host}.googleapis.com:443" for host in hosts}
        assert all(isinstance(c, grpc.ChannelCredentials) for c in channels.values())
    finally:
        await cloud.close()


async def test_no_credentials_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "absent.json"))
    with pytest.raises(UserError, match="Workload Identity"):
        await connect(CloudSettings())


REST_HOSTS = [
    ("storage.objects.list", "https://storage.googleapis.com/x"),
    ("compute.urlMaps.patch", "https://compute.googleapis.com/x"),
    ("sqladmin.backupRuns.insert", "https://sqladmin.googleapis.com/x"),
]


@pytest.mark.usefixtures("channels")
@pytest.mark.parametrize(("method", "url"), REST_HOSTS)
async def test_rest_calls_go_to_google_over_tls(monkeypatch: pytest.MonkeyPatch, method: str, url: str) -> None:
    sent: list[str] = []

    async def send(self: Rest, request: RestRequest, to: str, *_: Any) -> dict[str, Any]:
        sent.append(to)
        return {}

    monkeypatch.setattr(Rest, "send", send)
    cloud = await connect(CloudSettings(), credentials=StandIn())
    try:
        await cloud.rest(RestRequest(method, "/x", project="acme"))
    finally:
        await cloud.close()
    assert sent == [url]


@pytest.mark.parametrize("host", ["us-central1-docker.pkg.dev", "europe-docker.pkg.dev", "gcr.io", "eu.gcr.io"])
def test_a_token_goes_to_googles_registries(host: str) -> None:
    assert Endpoints(None).registry(host) == f"https://{host}"


@pytest.mark.parametrize(
    "host",
    [
        "docker.io",
        "evil.example",
        "docker.pkg.dev.evil.example",
        "evilgcr.io",
        "x.y.gcr.io",
        "us-docker.pkg.dev:8443",
        "",
    ],
)
def test_a_token_goes_nowhere_else(host: str) -> None:
    with pytest.raises(UserError, match="pin the image"):
        Endpoints(None).registry(host)


def test_a_local_endpoint_serves_everything() -> None:
    local = Endpoints("http://127.0.0.1:8085")
    assert local.target("run") == "127.0.0.1:8085"
    assert local.base("storage") == local.registry("docker.io") == "http://127.0.0.1:8085"


# --- tokens ----------------------------------------------------------------------------------------------------------


class Server:
    """Answers by what the token is; remembers the tokens it saw."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.accepted: set[str] = set()
        self.url = ""

    async def serve(self, request: web.Request) -> web.Response:
        self.seen.append(request.headers.get("Authorization", ""))
        if self.seen[-1] not in self.accepted:
            return web.json_response({"error": {"code": 401, "message": "expired"}}, status=401)
        return web.json_response({"ok": True})


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", made.serve)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/x"
    yield made
    await runner.cleanup()


@pytest.fixture
async def rest() -> AsyncIterator[tuple[Rest, StandIn]]:
    credentials = StandIn()
    client = Rest(Token(credentials), "test", use_proxy=False)
    yield client, credentials
    await client.close()


async def test_a_refused_token_is_renewed_once(server: Server, rest: tuple[Rest, StandIn]) -> None:
    client, credentials = rest
    server.accepted = {"Bearer token-2"}
    read, write = RestRequest("x.y.get", "/x", "p"), RestRequest("x.y.insert", "/x", "p", "POST", write=True)
    assert await client.send(write, server.url, 5) == {"ok": True}
    assert server.seen == ["Bearer token-1", "Bearer token-2"]
    assert await client.send(read, server.url, 5) == {"ok": True}
    assert credentials.refreshed == 2
    server.accepted = set()
    with pytest.raises(CloudError) as caught:
        await client.send(read, server.url, 5)
    assert caught.value.code == 401
    assert server.seen[3:] == ["Bearer token-2", "Bearer token-3"]


async def test_many_calls_share_one_refresh(server: Server, rest: tuple[Rest, StandIn]) -> None:
    client, credentials = rest
    server.accepted = {"Bearer token-1"}
    read = RestRequest("x.y.get", "/x", "p")
    await asyncio.gather(*(client.send(read, server.url, 5) for _ in range(20)))
    assert credentials.refreshed == 1


async def test_nothing_is_sent_along_without_credentials(server: Server) -> None:
    cloud: Cloud = await connect(CloudSettings(endpoint=server.url.removesuffix("/x")))
    try:
        server.accepted = {""}
        assert await cloud.rest(RestRequest("storage.buckets.get", "/storage/v1/b/x", project="p")) == {"ok": True}
    finally:
        await cloud.close()
    assert server.seen == [""]
