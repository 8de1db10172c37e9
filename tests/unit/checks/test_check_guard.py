"""What the guard sends, what it keeps to itself, and where it stops reading."""

import asyncio
import gzip
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import agui_operator
from agui_operator.checks.addresses import Refused
from agui_operator.checks.guard import STREAM_LIMIT, CheckRequest, Guard, Reply, TooLarge, Unreachable

Serve = Callable[[web.Application], Awaitable[str]]
TOKEN_HEADERS = ("X-Serverless-Authorization", "X-Agui-Check-Authorization")


def app_of(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.Application:
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", answer)
    return app


async def ask(serve: Serve, guard: Guard, call: dict[str, object]) -> tuple[Reply, web.Request, bytes]:
    seen: list[tuple[web.Request, bytes]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request, await request.read()))
        return web.Response(text="hello", headers={"Set-Cookie": "a=b", "X-Mixed": "1"})

    origin = await serve(app_of(answer))
    reply = await guard.request(CheckRequest(origin, **call))  # type: ignore[arg-type]
    return reply, *seen[0]


async def test_a_request_says_what_was_asked(serve: Serve, guard: Guard) -> None:
    call = {"path": "/p?x=%20y", "method": "POST", "body": {"a": 1}, "headers": {"x-one": "1"}}
    reply, request, body = await ask(serve, guard, call)
    assert (request.method, request.raw_path, body) == ("POST", "/p?x=%20y", b'{"a": 1}')
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["X-One"] == "1"
    assert request.headers["Accept-Encoding"] == "identity"
    assert (reply.code, reply.body, reply.truncated, reply.headers["x-mixed"]) == (200, b"hello", False, "1")
    assert 0 < reply.latency_ms < 5000


async def test_no_cookie_is_kept(serve: Serve, guard: Guard) -> None:
    cookies: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        cookies.append(request.headers.get("Cookie"))
        return web.Response(headers={"Set-Cookie": "a=b; Path=/"})

    origin = await serve(app_of(answer))
    for _ in range(2):
        await guard.request(CheckRequest(origin, "/"))
    assert cookies == [None, None]


@pytest.mark.parametrize("name", ["Host", "authorization", "Cookie", "Metadata-Flavor", *TOKEN_HEADERS])
async def test_some_headers_are_the_guards_own(guard: Guard, name: str) -> None:
    with pytest.raises(Refused, match="not for a check"):
        await guard.request(CheckRequest("http://127.0.0.1:1", "/", headers={name: "x"}))


@pytest.mark.parametrize("method", ["PUT", "DELETE", "CONNECT", "get", "GET /x HTTP/1.1\r\nX:"])
async def test_other_methods_are_refused(guard: Guard, method: str) -> None:
    with pytest.raises(Refused, match="method"):
        await guard.request(CheckRequest("http://127.0.0.1:1", "/", method))


async def test_local_names_need_no_dns(serve: Serve) -> None:
    async def no_dns(host: str, port: int) -> tuple[str, ...]:
        raise AssertionError(f"DNS was asked for {host}")

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=request.host)

    origin = await serve(app_of(answer))
    port = origin.rpartition(":")[2]
    reply = await Guard(allow_loopback=True, resolve=no_dns).request(
        CheckRequest(f"http://r1---shop.run.localhost:{port}", "/")
    )
    assert reply.body == f"r1---shop.run.localhost:{port}".encode()


async def test_a_token_goes_to_its_own_service_only(serve: Serve) -> None:
    asked: list[str] = []

    async def token(audience: str) -> str:
        asked.append(audience)
        return "secret-token"

    guard = Guard(allow_loopback=True, token=token)
    got: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        (value,) = {request.headers.get(name) for name in TOKEN_HEADERS}
        got.append(value)
        assert "Authorization" not in request.headers
        return web.Response()

    port = (await serve(app_of(answer))).rpartition(":")[2]
    service = f"http://shop.run.localhost:{port}"
    await guard.request(CheckRequest(service, "/", audience=service))
    await guard.request(CheckRequest(f"http://r1---shop.run.localhost:{port}", "/", audience=service))
    await guard.request(CheckRequest(service, "/"))
    assert got == ["Bearer secret-token", "Bearer secret-token", None]
    assert asked == [service, service]
    for elsewhere in (
        "http://other.run.localhost",
        "http://shop.run.localhost.evil.localhost",
        "http://x-shop.run.localhost",
    ):
        with pytest.raises(Refused, match="only sent to the service"):
            await guard.request(CheckRequest(f"{elsewhere}:{port}", "/", audience=service))
    assert len(got) == 3
    assert asked == [service, service]


async def test_a_body_is_read_up_to_the_limit(serve: Serve) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * int(request.query["n"]))

    origin = await serve(app_of(answer))
    guard = Guard(allow_loopback=True)
    whole = await guard.request(CheckRequest(origin, "/?n=65536"))
    assert (len(whole.body), whole.truncated) == (65536, False)
    cut = await guard.request(CheckRequest(origin, "/?n=9000000"))
    assert len(cut.body) <= 65536
    assert cut.truncated


async def test_a_compressed_bomb_is_not_unpacked(serve: Serve, guard: Guard) -> None:
    bomb = gzip.compress(b"\0" * 20_000_000)

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    reply = await guard.request(CheckRequest(await serve(app_of(answer)), "/"))
    assert reply.body == bomb[:65536]


async def read_on(chunks: AsyncIterator[bytes]) -> None:
    async for _ in chunks:
        pass


async def test_a_stream_is_read_up_to_its_limit(serve: Serve, guard: Guard) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"y" * 10_000)
        except ConnectionError:
            return response

    async with guard.stream(CheckRequest(await serve(app_of(answer)), "/")) as stream:
        with pytest.raises(TooLarge, match="longer than 256 kB"):
            await read_on(stream.chunks())
    assert STREAM_LIMIT < stream.read < 2 * STREAM_LIMIT


async def test_time_is_bounded_also_for_a_body_that_trickles(serve: Serve) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            for _ in range(600):
                await response.write(b".")
                await asyncio.sleep(0.05)
        except ConnectionError:
            pass
        return response

    origin = await serve(app_of(answer))
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(Unreachable, match="no complete answer within"):
        await Guard(allow_loopback=True, deadline=0.3).request(CheckRequest(origin, "/"))
    assert loop.time() - started < 2


async def test_cancelling_is_not_swallowed(serve: Serve, guard: Guard) -> None:
    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    origin = await serve(app_of(answer))
    task = asyncio.create_task(guard.request(CheckRequest(origin, "/")))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("wire", "sentence"),
    [
        pytest.param(b"", "closed the connection without an answer", id="silence"),
        pytest.param(b"SSH-2.0-canary\r\n", "not valid HTTP", id="another-protocol"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\ncanary", "broke", id="cut-off"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"canary" * 5000 + b"\r\n\r\n", "not valid HTTP", id="endless-header"),
    ],
)
async def test_what_a_bad_server_sends_is_not_repeated(guard: Guard, wire: bytes, sentence: str) -> None:
    async def serve_bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(wire)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve_bytes, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unreachable, match=sentence) as caught:
            await guard.request(CheckRequest(f"http://127.0.0.1:{port}", "/"))
    assert "canary" not in str(caught.value)
    assert str(port) not in str(caught.value)


def certificate(folder: Path, name: str) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


async def test_tls_is_for_the_name_although_the_socket_goes_to_the_address(tmp_path: Path) -> None:
    server_tls = certificate(tmp_path, "shop.example")
    names: list[str | None] = []
    server_tls.sni_callback = lambda _socket, name, _context: names.append(name)
    client_tls = ssl.create_default_context(cafile=str(tmp_path / "server.pem"))

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=request.host)

    async def resolve(host: str, port: int) -> tuple[str, ...]:
        return ("127.0.0.1",)

    runner = web.AppRunner(app_of(answer))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_tls).start()
        port = runner.addresses[0][1]
        trusting = Guard(allow_loopback=True, resolve=resolve, tls=client_tls)
        reply = await trusting.request(CheckRequest(f"https://shop.example:{port}", "/"))
        assert reply.body == f"shop.example:{port}".encode()
        assert names == ["shop.example"]
        with pytest.raises(Unreachable, match="TLS"):
            await trusting.request(CheckRequest(f"https://other.example:{port}", "/"))
        with pytest.raises(Unreachable, match="TLS"):
            await Guard(allow_loopback=True, resolve=resolve).request(CheckRequest(f"https://shop.example:{port}", "/"))
    finally:
        await runner.cleanup()


def test_no_other_module_opens_connections_for_checks() -> None:
    """Imports of anything that can open a connection, in the whole operator. The cloud clients of `gcp` talk to
    Google, the engine and `handlers` to the API server; checks have the guard."""
    clients = re.compile(
        r"^\s*(?:import|from)\s+(aiohttp|httpx|requests|urllib3|urllib\.request|http\.client|socket|websockets|ssl)\b",
        re.M,
    )
    package = Path(agui_operator.__file__).parent
    found = {
        (str(path.relative_to(package)), match[1])
        for path in (package / "checks").rglob("*.py")
        for match in clients.finditer(path.read_text())
    }
    assert found == {
        ("checks/guard.py", "aiohttp"),
        ("checks/guard.py", "socket"),
        ("checks/guard.py", "ssl"),
        ("checks/websocket_check.py", "aiohttp"),  # types of frames; the next test holds it to that
    }
    for path in package.rglob("*.py"):
        if path.parent.name != "gcp" and path.name != "guard.py":
            text = path.read_text()
            assert not re.search(
                r"^\s*(?:import|from)\s+(httpx|requests|urllib3|urllib\.request|http\.client)\b", text, re.M
            )
    assert "ClientSession" not in (package / "checks" / "websocket_check.py").read_text()
