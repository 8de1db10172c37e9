"""Connections that are held open: half requests, idle ones, clients that do not read, tokens that end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time

import httpx
import pytest
import uvicorn
import websockets
import yaml
from tests.support.token_issuer import token_issuer

from agui_app.access import Connections
from agui_app.http.connections import protocols
from agui_app.http.keys import LEEWAY
from agui_dev.paths import ROOT
from agui_dev.testbed.app_instance import said, text_of, types_of

QUICK = {"AGUI_REQUEST_SECONDS": "1", "AGUI_STALLED_SECONDS": "1"}
HALF_HEADERS = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
HALF_BODY = b"POST /agent HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
WHOLE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def slow_script(tmp_path):
    """The packaged script, spoken so slowly that an answer takes some seconds."""
    script = yaml.safe_load((ROOT / "app/agui_app/data/script.yaml").read_text())
    path = tmp_path / "slow.yaml"
    path.write_text(yaml.safe_dump(script | {"pause_ms": 300, "words_per_chunk": 1}))
    return path


def connect(app) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", app.port), timeout=10)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def seconds_until_closed(open_socket: socket.socket, drip: bytes = b"", most: float = 8) -> float:
    """How long the server keeps it open, while `drip` is sent again and again. Raises AssertionError after `most`."""
    began = time.monotonic()
    open_socket.settimeout(0.2)
    while time.monotonic() - began < most:
        try:
            if drip:
                open_socket.sendall(drip)
            if not open_socket.recv(65536):
                return time.monotonic() - began
        except TimeoutError:
            continue
        except ConnectionError:
            return time.monotonic() - began
    raise AssertionError(f"still open after {most:g} s")


@pytest.mark.parametrize(
    ("sent", "drip"),
    [
        (b"", b""),
        (HALF_HEADERS, b""),
        (HALF_HEADERS, b"a"),
        (b"\r\n", b"\r\n"),
        (HALF_BODY, b""),
        (HALF_BODY, b" "),
        (WHOLE + HALF_HEADERS, b""),
        (WHOLE + HALF_HEADERS, b"a"),
        (WHOLE + HALF_BODY, b" "),
    ],
    ids=["silent", "headers", "dripping", "newlines", "body", "dripping body", "second", "dripping second", "third"],
)
def test_a_request_that_does_not_come_to_its_end_is_given_up(start_app, seeded_url, sent, drip):
    app = start_app(seeded_url, **QUICK)
    with connect(app) as slow:
        slow.sendall(sent)
        assert seconds_until_closed(slow, drip) < 4
    time.sleep(0.5)  # an error would be logged after the end of the connection
    assert [line for line in app.log() if line["severity"] == "ERROR"] == []


def answer(connection: socket.socket) -> bytes:
    """A whole answer of /healthz: head and body may come apart."""
    received = b""
    while not received.endswith(b"}"):
        part = connection.recv(65536)
        assert part, f"the connection ended after {received!r}"
        received += part
    return received


def test_an_idle_connection_that_has_been_served_stays(start_app, seeded_url):
    """A load balancer keeps connections for ten minutes: closing them earlier would lose its next request."""
    app = start_app(seeded_url, **QUICK)
    with connect(app) as kept:
        for _ in range(2):
            kept.sendall(WHOLE)
            assert answer(kept).startswith(b"HTTP/1.1 200")
            time.sleep(2)
        kept.sendall(WHOLE)
        assert answer(kept).startswith(b"HTTP/1.1 200")


def test_idle_connections_do_not_keep_others_out(start_app, seeded_url):
    """The one that has waited longest makes room; a request that is being answered does not."""
    app = start_app(seeded_url, AGUI_MAX_IDLE_CONNECTIONS="20")
    idle = [connect(app) for _ in range(60)]
    try:
        assert httpx.get(f"{app.url}/readyz").status_code == 200
        time.sleep(0.3)
        still_open = 0
        for one in idle:
            one.setblocking(False)
            try:
                one.recv(1)
            except BlockingIOError:
                still_open += 1
            except ConnectionError:
                pass
        assert 10 <= still_open <= 20
    finally:
        for one in idle:
            one.close()


def test_a_client_that_does_not_read_is_cut_off(start_app, seeded_url):
    """An answer waits for its reader, but not for ever."""
    app = start_app(seeded_url, **QUICK)
    size = len(httpx.get(f"{app.url}/openapi.json").content)
    asked = 30_000_000 // size
    with socket.socket() as dead:
        dead.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        dead.connect(("127.0.0.1", app.port))
        dead.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * asked)
        time.sleep(4)
        dead.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        dead.settimeout(3)
        received = 0
        with contextlib.suppress(ConnectionError):
            while data := dead.recv(1 << 20):
                received += len(data)
        assert 0 < received < asked * size


async def test_a_socket_whose_client_does_not_read_is_cut_off():
    class Transport(asyncio.Transport):
        aborted = False

        def abort(self) -> None:
            self.aborted = True

    _, websocket = protocols(Connections(stalled_seconds=0.05))
    made = websocket(uvicorn.Config(lambda: None, log_config=None), uvicorn.server.ServerState(), {})
    transport = Transport()
    made.connection_made(transport)
    made.pause_writing()
    made.resume_writing()
    await asyncio.sleep(0.1)
    assert not transport.aborted
    made.pause_writing()
    await asyncio.sleep(0.1)
    assert transport.aborted


async def test_a_socket_ends_when_its_token_ends(start_app, seeded_url):
    with token_issuer() as issuer:
        app = start_app(seeded_url, **issuer.settings)
        headers = {"Authorization": f"Bearer {issuer.token(sub='ann', exp=int(time.time()) + 3 - LEEWAY)}"}
        frames = []
        async with (
            asyncio.timeout(10),
            websockets.connect(f"{app.ws_url}/ws/t1", additional_headers=headers) as opened,
        ):
            with contextlib.suppress(websockets.ConnectionClosed):
                while True:
                    frames.append(json.loads(await opened.recv()))
        assert frames[-1] == {"type": "reconnect", "reason": "token_expired"}
        assert opened.close_code == 1012


@pytest.mark.parametrize("path", ["/agent", "/copilotkit/agent/default/run"])
def test_a_stream_ends_when_its_token_ends_and_another_goes_on(start_app, seeded_url, slow_script, path):
    """The run goes on: whoever comes back with a new token sees the rest of it."""
    with token_issuer() as issuer:
        app = start_app(seeded_url, **issuer.settings, AGUI_SCRIPT=str(slow_script))
        token = issuer.token(sub="ann", customer="acme-hotels", exp=int(time.time()) + 2 - LEEWAY)
        short = {"Authorization": f"Bearer {token}"}
        events = app.run(said("t1", "where is order 42"), path, headers=short)
        assert events[-1]["type"] == "RUN_ERROR"
        assert events[-1]["code"] == "TOKEN_EXPIRED"
        assert "RUN_STARTED" in types_of(events)
        again = {"threadId": "t1", "runId": "r", "messages": [], "tools": [], "context": [], "forwardedProps": {}}
        refused = app.post("/copilotkit/agent/default/connect", again, headers=short | {"Authorization": "Bearer x"})
        assert refused.status_code == 401
        rest = app.run(again, "/copilotkit/agent/default/connect", headers=issuer.user("ann", "acme-hotels"))
        assert rest[-1]["type"] == "RUN_FINISHED"
        assert "Order 42" in text_of(rest)
