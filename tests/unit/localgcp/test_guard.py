"""Which requests a web page may have sent, and that no port of localgcp can be opened without asking."""

from __future__ import annotations

import ast
import asyncio
import socket
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localgcp.kit.guard import Guard, allowed_origin, host_name, is_link, is_loopback
from localgcp.kit.listening import serve_tls
from localgcp.kit.settings import Settings
from localgcp.services import secretmanager
from localgcp_thread import localgcp_thread

PACKAGES = Path(__file__).parents[3] / "localgcp" / "localgcp"
LISTENING = "kit/listening.py"
# What opens a port: calls by their last name, and where one may stand.
OPENERS = {
    "TCPSite",
    "UnixSite",
    "NamedPipeSite",
    "SockSite",
    "AppRunner",
    "ServerRunner",
    "Server",
    "run_app",
    "make_handler",
    "start_server",
    "start_unix_server",
    "create_server",
    "create_unix_server",
    "listen",
    "add_insecure_port",
    "add_secure_port",
    "HTTPServer",
    "ThreadingHTTPServer",
    "TCPServer",
}
ELSEWHERE = {
    ("server/grpc.py", "add_insecure_port"),  # a unix socket in a folder of its own; asserted below
    ("server/server.py", "Server"),  # localgcp's own class
    ("cli/serve.py", "listen"),  # kit.listening's
    ("services/sql/connect.py", "listen"),  # SqlTls.listen, which ends in kit.listening
    ("services/sql/tls/listeners.py", "listen"),
}


def openers() -> Iterator[tuple[str, str, ast.Call]]:
    for path in sorted(PACKAGES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if name in OPENERS:
                    yield path.relative_to(PACKAGES).as_posix(), name, node


def test_one_module_opens_ports() -> None:
    found = {(path, name) for path, name, _ in openers() if path != LISTENING}
    assert found == ELSEWHERE, "open a port with localgcp.kit.listening, so that the guard stands in front of it"
    assert {name for path, name, _ in openers() if path == LISTENING} >= {"TCPSite", "AppRunner", "start_server"}


def test_others_make_sockets_only_to_look_for_a_free_port() -> None:
    makers = {
        path.relative_to(PACKAGES).as_posix()
        for path in PACKAGES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("socket.socket", "socket.create_server")
    }
    assert makers == {LISTENING, "services/run/runtime/instances.py", "services/sql/postgres/server.py"}
    for path in makers - {LISTENING}:
        assert ".listen(" not in (PACKAGES / path).read_text()


def test_grpc_listens_on_a_unix_socket_only() -> None:
    (call,) = (node for path, _, node in openers() if path == "server/grpc.py")
    assert ast.unparse(call.args[0]) == "f'unix:{path}'"


async def test_a_port_without_http_asks_for_a_client_certificate() -> None:
    async def accept(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        raise AssertionError("nobody connects")

    with socket.socket() as listener, pytest.raises(ValueError, match="CERT_REQUIRED"):
        await serve_tls(listener, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), accept, 1)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.8.7", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("web-1.us-central1.run.localhost", True),
        ("", False),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("evil-localhost", False),
        ("2130706433", False),
        ("127.1", False),
    ],
)
def test_what_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("LOCALHOST:8085", "localhost"),
        ("localhost.", "localhost"),
        ("[::1]:8085", "::1"),
        ("[::1]", "::1"),
        (" a.example ", "a.example"),
        ("a.example:1:2", "a.example"),
        ("[::1].evil.example", "::1"),
        ("", ""),
    ],
)
def test_the_name_of_a_host_header(header: str, name: str) -> None:
    assert host_name(header) == name


def refused(guard: Guard, host: str, *served: str) -> str:
    return guard.wrong_host(host, served.__contains__)


def test_hosts_that_are_served() -> None:
    guard = Guard(names=frozenset({"host.docker.internal"}))
    for host in ("127.0.0.1:8085", "localhost", "x.localhost:1", "host.docker.internal:8085", "shop.example"):
        assert refused(guard, host, "shop.example") == ""
    for host in ("evil.example", "host.docker.internal.evil.example", "192.0.2.7", ""):
        assert "--allow-host" in refused(guard, host, "shop.example")


def test_an_exposed_port_answers_to_addresses_and_not_to_names() -> None:
    guard = Guard(host="0.0.0.0")
    for host in ("192.0.2.7:8085", "[2001:db8::1]:8085", "127.0.0.1"):
        assert refused(guard, host) == ""
    assert "--allow-host evil.example" in refused(guard, "evil.example:8085")


OWN = {"host": "127.0.0.1:8085"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "same-origin"},
        {"origin": "http://127.0.0.1:8085", "sec-fetch-site": "same-origin"},
        {"origin": "https://127.0.0.1:8085"},  # a proxy in front speaks TLS
        {"origin": "http://127.0.0.1:3000", "sec-fetch-site": "cross-site"},  # allowed by name
        {"origin": "HTTP://127.0.0.1:3000"},
    ],
)
def test_clients_own_pages_and_allowed_origins_pass(headers: dict[str, str]) -> None:
    assert Guard(origins=frozenset({"http://127.0.0.1:3000"})).foreign_page(OWN | headers) == ""


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": ""},
        {"sec-fetch-site": "surprise"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "127.0.0.1:8085"},
        {"origin": "http://127.0.0.1:8085", "sec-fetch-site": "cross-site"},
        {"origin": "http://127.0.0.1:8085@evil.example"},
        {"origin": "http://127.0.0.1"},
        {"origin": "http://127.0.0.1:3000"},
    ],
)
def test_foreign_pages_do_not(headers: dict[str, str]) -> None:
    assert "--allow-origin" in Guard().foreign_page(OWN | headers)


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=20))
def test_only_known_values_pass(host: str, origin: str, site: str) -> None:
    """Whatever is sent, nothing raises, and what passes is one of the known forms."""
    sent = {"host": host, "origin": origin, "sec-fetch-site": site}
    if Guard().foreign_page(sent) == "":
        assert site.strip().lower() in ("none", "same-origin")
        netloc = origin.strip().lower().partition("//")[2].partition("/")[0]
        assert not origin.strip() or netloc == host.strip().lower() != ""
    if Guard().wrong_host(host, lambda _: False) == "":
        assert is_loopback(host_name(host)) or host_name(host) == "127.0.0.1"


@pytest.mark.parametrize(
    ("method", "headers", "link"),
    [
        ("GET", {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, True),
        ("GET", {"sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, False),
        ("GET", {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, False),
        ("POST", {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, False),
        ("GET", {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document", "origin": "null"}, False),
        ("GET", {}, False),
    ],
)
def test_a_link_is_a_navigation_of_the_whole_page(method: str, headers: Mapping[str, str], link: bool) -> None:
    assert is_link(method, headers) is link


@pytest.mark.parametrize("text", ["", "*", "evil.example", "ftp://a", "http://", "http://a/path", "http://u@a"])
def test_what_is_no_origin(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="is no origin"):
        allowed_origin(text)
    with pytest.raises(ValueError, match="is no origin"):
        Settings(tmp_path, allow_origins=(text,))


def test_settings_refuse_a_host_that_others_reach(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--expose"):
        Settings(tmp_path, host="0.0.0.0")
    exposed = Settings(tmp_path, host="0.0.0.0", expose=True)
    assert (exposed.exposed, exposed.endpoint) == (True, "http://127.0.0.1:8085")
    assert not Settings(tmp_path, host="::1", expose=True).exposed


def test_grpc_refuses_the_headers_of_a_page(tmp_path: Path) -> None:
    """No browser sends HTTP/2 without TLS; a proxy in between might."""
    method = "/google.cloud.secretmanager.v1.SecretManagerService/ListSecrets"
    with localgcp_thread(tmp_path / "state", (secretmanager.SERVICE,)) as server:
        address = server.cloud.settings.endpoint.removeprefix("http://")
        with grpc.insecure_channel(address) as channel:
            call = channel.unary_unary(method)
            call(b"\x0a\x0dprojects/demo")
            for metadata in (("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")):
                with pytest.raises(grpc.RpcError) as caught:
                    call(b"\x0a\x0dprojects/demo", metadata=(metadata,))
                assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
                assert "--allow-origin" in caught.value.details()
        assert len(server.cloud.ledger.query(kind="call")) == 1
