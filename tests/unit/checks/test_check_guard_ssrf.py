"""Whatever a spec or DNS says, the guard connects to nothing but the permitted address. Two oracles: listeners on
every local address count connections, and the interpreter's audit events record every `connect`, also to where nobody
listens."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from agui_operator.checks.addresses import Refused, parse_origin
from agui_operator.checks.guard import CheckRequest, Guard, Unreachable

# "{p}" is the sinkhole's port.
HOSTS_IN_DISGUISE = [
    *("127.0.0.2", "127.1", "127.0.1", "127.255.255.254", "0.0.0.0", "0", "0.0.0.1", "2130706434", "0x7f000002"),
    *("0x7f.0.0.2", "0x7F.1", "0177.0.0.2", "017700000002", "0x7f.0x0.0x0.0x2", "127.0.0.02", "127.000.000.002"),
    *("00000177.0.0.2", "127.0.0.2.", "①②⑦.⓪.⓪.②", "127。0。0。2", "127.0.0.2%00", "１２７.0.0.2"),
    *("[::]", "[::2]", "[::ffff:127.0.0.2]", "[::ffff:7f00:2]", "[0:0:0:0:0:ffff:127.0.0.2]", "[::127.0.0.2]"),
    *("[64:ff9b::7f00:2]", "[64:ff9b:1::7f00:2]", "[2002:7f00:2::]", "[2001::7f00:2]", "[fe80::1]", "[fe80::1%25lo]"),
    *("[::1%25lo]", "[fc00::1]", "[fd00:ec2::254]", "[fd20:ce::254]", "[fec0::1]", "[ff02::1]", "[100::1]"),
    *("[2001:db8::1]", "[3fff::1]", "[0000::1]", "[0:0:0:0:0:0:0:1]", "::1", "[::1", "::1]"),
    *(
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "[::ffff:169.254.169.254]",
    ),
    *("[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::]", "100.100.100.200", "168.63.129.16", "192.0.0.192", "34.118.224.1"),
    *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "198.18.0.1", "224.0.0.1", "240.0.0.1"),
    *("255.255.255.255", "192.0.2.1", "192.88.99.1", "203.0.113.9", "good.example@127.0.0.2", "127.0.0.2#good.example"),
    *("127.0.0.2?good.example", "good.example:80@127.0.0.2", "127.0.0.2\\good.example", "good.example\\@127.0.0.2"),
    *("good.example\r\nHost: x", "good.example%0d%0aHost:%20x", "good example", "", "-good.example", "good..example"),
    *("metadata.google.internal", "metadata", "kubernetes.default.svc", "kubernetes", "x.localhost", "localhost"),
    *("db.prod.svc.cluster.local", "printer.local", "router.home.arpa", "ⓛocalhost", "lоcalhost", "a.test"),
]
PATHS = [
    *("//127.0.0.2:{p}/", "///127.0.0.2:{p}/", "/\\127.0.0.2:{p}/", "\\\\127.0.0.2:{p}/", "http://127.0.0.2:{p}/"),
    *("@127.0.0.2:{p}/", ":{p}/", ":80@127.0.0.2:{p}/", ".127.0.0.2:{p}/", "/@127.0.0.2:{p}/", "/#@127.0.0.2:{p}/"),
    *("/%2f127.0.0.2:{p}/", "/%2F%2F127.0.0.2:{p}", "/..//127.0.0.2:{p}/", "/%2e%2e//127.0.0.2:{p}/", "/.", "/a/../b"),
    *(
        "/\r\nHost: 127.0.0.2",
        "/%0d%0aHost:%20127.0.0.2",
        "/\t/127.0.0.2:{p}",
        "/ http://127.0.0.2:{p}/",
        "/\x00",
        "/%00",
    ),
    *(
        "",
        "x",
        "?x=1",
        "#x",
        "ftp://127.0.0.2:{p}/",
        "gopher://127.0.0.2:{p}/_x",
        "file:///etc/passwd",
        "/ä",
        "/\u202e",
    ),
    *(
        "/%",
        "/%zz",
        "/%5c%5c127.0.0.2:{p}",
        "/a%5c..",
        "/;@127.0.0.2:{p}/",
        "/" + "a" * 300,
        "/[::1]",
        "/{{p}}",
        "/`id`",
    ),
]
DNS_ANSWERS = [
    *("127.0.0.2", "169.254.169.254", "10.1.2.3", "172.20.0.1", "192.168.1.1", "100.64.9.9", "0.0.0.0", "34.118.230.7"),
    *(
        "::",
        "::2",
        "::ffff:127.0.0.2",
        "64:ff9b::7f00:2",
        "2002:7f00:2::1",
        "fe80::1",
        "fe80::1%lo",
        "fd20:ce::254",
        "ff02::1",
    ),
    *("224.0.0.251", "255.255.255.255", "168.63.129.16", "not-an-address", "2130706434", "2001:0:7f00:2::", "::7f00:2"),
]
ORIGINS = [
    *("http://good.example", "https://good.example:8443", "https://good.example/", "https://good.example/path"),
    *("https://good.example?x", "https://u:p@good.example", "ws://good.example", "good.example", "//good.example"),
    *(
        "https://1.1.1.1",
        "https://[2606:4700::1111]",
        "https:good.example",
        "https:///good.example",
        "HTTPS://x.example",
    ),
    *(
        "https://good.example:99999",
        "https://good.example:0",
        "https://good.example:",
        " https://good.example",
        "https://",
    ),
]
SCHEMES = ("http://{host}:{p}", "https://{host}")


@dataclass
class Sinkhole:
    port: int
    connections: list[object] = field(default_factory=list)
    attempts: list[object] = field(default_factory=list)


_watching: list[list[object]] = []


def _audit(event: str, args: tuple[object, ...]) -> None:
    if event == "socket.connect" and _watching:
        _watching[-1].append(args[1])


sys.addaudithook(_audit)


@pytest.fixture
async def sinkhole() -> AsyncIterator[Sinkhole]:
    """Listens on every local IPv4 and IPv6 address."""
    hole = Sinkhole(0)

    async def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hole.connections.append(writer.get_extra_info("sockname"))
        writer.close()

    v4 = await asyncio.start_server(accepted, "0.0.0.0", 0)
    hole.port = v4.sockets[0].getsockname()[1]
    servers = [v4]
    if socket.has_ipv6:
        with suppress(OSError):  # a machine without IPv6: the audit events still see every attempt
            servers.append(await asyncio.start_server(accepted, "::", hole.port))
    _watching.append(hole.attempts)
    try:
        yield hole
    finally:
        _watching.pop()
        for server in servers:
            server.close()
            await server.wait_closed()


def resolver(*answers: str) -> object:
    async def resolve(host: str, port: int) -> tuple[str, ...]:
        return answers

    return resolve


async def refused(guard: Guard, call: CheckRequest) -> str:
    with pytest.raises((Refused, Unreachable)) as caught:
        await guard.request(call)
    return str(caught.value)


def test_there_are_enough_payloads() -> None:
    assert len(HOSTS_IN_DISGUISE) + len(PATHS) + len(DNS_ANSWERS) + len(ORIGINS) >= 120
    assert all(len(table) == len(set(table)) for table in (HOSTS_IN_DISGUISE, PATHS, DNS_ANSWERS, ORIGINS))


async def test_the_oracles_see_a_connection(sinkhole: Sinkhole) -> None:
    with pytest.raises(Unreachable):
        await Guard(allow_loopback=True).request(CheckRequest(f"http://127.0.0.1:{sinkhole.port}", "/", "POST"))
    _, writer = await asyncio.open_connection("127.0.0.2", sinkhole.port)
    writer.close()
    await writer.wait_closed()
    assert len(sinkhole.connections) == 2
    assert sinkhole.attempts == [("127.0.0.1", sinkhole.port), ("127.0.0.2", sinkhole.port)]


@pytest.mark.parametrize("host", HOSTS_IN_DISGUISE)
@pytest.mark.parametrize("origin", SCHEMES)
async def test_no_host_leads_inside(sinkhole: Sinkhole, host: str, origin: str) -> None:
    text = origin.format(host=host, p=sinkhole.port)
    # DNS would say yes to everything: only the guard's own judgement of the host can refuse.
    await refused(Guard(resolve=resolver("127.0.0.1")), CheckRequest(text, "/"))
    if host not in ("localhost", "x.localhost"):
        await refused(Guard(allow_loopback=True, resolve=resolver("127.0.0.2")), CheckRequest(text, "/"))
    assert sinkhole.connections == []
    assert sinkhole.attempts == []


@pytest.mark.parametrize("path", PATHS)
async def test_no_path_leaves_the_host(sinkhole: Sinkhole, path: str) -> None:
    call = CheckRequest("http://127.0.0.1:1", path.replace("{p}", str(sinkhole.port)))
    guard = Guard(allow_loopback=True)
    with pytest.raises(Refused):
        await guard.request(call)
    with pytest.raises(Refused):
        async with guard.websocket(call):
            raise AssertionError("a connection was opened")
    assert sinkhole.connections == []
    assert sinkhole.attempts == []


@pytest.mark.parametrize("answer", DNS_ANSWERS)
async def test_no_dns_answer_leads_inside(sinkhole: Sinkhole, answer: str) -> None:
    for answers in ((answer,), ("127.0.0.1", answer), (answer, "127.0.0.1")):
        guard = Guard(allow_loopback=True, resolve=resolver(*answers))
        message = await refused(guard, CheckRequest(f"http://good.example:{sinkhole.port}", "/"))
        assert answer not in message
    public = Guard(resolve=resolver("93.184.216.34", answer))
    await refused(public, CheckRequest("https://good.example", "/"))
    assert sinkhole.connections == []
    assert sinkhole.attempts == []


@pytest.mark.parametrize("origin", ORIGINS)
async def test_in_the_cloud_an_origin_is_https_and_a_public_name(sinkhole: Sinkhole, origin: str) -> None:
    with pytest.raises(Refused):
        await Guard(resolve=resolver("93.184.216.34")).request(CheckRequest(origin, "/"))
    assert sinkhole.attempts == []


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_loopback_is_refused_unless_it_is_allowed(sinkhole: Sinkhole, address: str) -> None:
    await refused(Guard(resolve=resolver(address)), CheckRequest("https://good.example", "/"))
    assert sinkhole.attempts == []


async def test_a_name_is_resolved_once_and_the_socket_goes_to_that_address(sinkhole: Sinkhole) -> None:
    """DNS rebinding: the second answer, which nobody looked at, is never used."""
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> tuple[str, ...]:
        asked.append(host)
        return ("127.0.0.1",) if len(asked) == 1 else ("127.0.0.2",)

    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.host)
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        reply = await Guard(allow_loopback=True, resolve=rebinding).request(
            CheckRequest(f"http://good.example:{port}", "/")
        )
    finally:
        await runner.cleanup()
    assert reply.code == 200
    assert asked == ["good.example"]
    assert seen == [f"good.example:{port}"]
    assert sinkhole.attempts == [("127.0.0.1", port)]


async def test_a_public_address_is_what_the_guard_connects_to(
    sinkhole: Sinkhole, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Green side of the table: a public answer is not refused, and its socket goes exactly there."""
    loop = asyncio.get_running_loop()
    wanted: list[object] = []

    async def no_network(sock: socket.socket, address: object) -> None:
        wanted.append(address)
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(loop, "sock_connect", no_network)
    for answer in ("93.184.216.34", "2600:1901:0:8f1c::", "216.239.32.53"):
        with pytest.raises(Unreachable, match="refused"):
            await Guard(resolve=resolver(answer)).request(CheckRequest("https://r-1---shop-x-uc.a.run.app", "/"))
    assert [address[0] for address in wanted if isinstance(address, tuple)] == [
        "93.184.216.34",
        "2600:1901:0:8f1c::",
        "216.239.32.53",
    ]
    assert sinkhole.attempts == []


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("where", ["http://127.0.0.2:{p}/", "//127.0.0.2:{p}/", "http://127.0.0.1:{p}/", "/elsewhere"])
async def test_a_redirect_is_an_answer_and_is_not_followed(sinkhole: Sinkhole, code: int, where: str) -> None:
    paths: list[str] = []

    async def redirect(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.Response(status=code, headers={"Location": where.format(p=sinkhole.port)})

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", redirect)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
        guard = Guard(allow_loopback=True)
        assert (await guard.request(CheckRequest(origin, "/a"))).code == code
        with pytest.raises(Unreachable, match=f"answered {code} instead"):
            async with guard.websocket(CheckRequest(origin, "/b")):
                raise AssertionError("a connection was opened")
    finally:
        await runner.cleanup()
    assert paths == ["/a", "/b"]
    assert sinkhole.connections == []


async def test_proxy_variables_are_not_read(sinkhole: Sinkhole, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.2:{sinkhole.port}")
    await refused(Guard(allow_loopback=True), CheckRequest("http://127.0.0.1:1", "/"))
    assert sinkhole.connections == []
    assert sinkhole.attempts == [("127.0.0.1", 1)]


@pytest.mark.parametrize("host", HOSTS_IN_DISGUISE)
def test_no_disguised_host_is_an_origin_in_the_cloud(host: str) -> None:
    """Judged by its spelling alone, before any resolver reads `0x7f.1` as an address."""
    with pytest.raises(Refused):
        parse_origin(f"https://{host}")
