"""The data plane as a client of Cloud Run sees it: real containers (processes), real connections."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from agui_dev.testbed.data_plane import HOST, DataPlane, data_plane, revision, split, workload
from agui_dev.testbed.kube_api import PATIENCE

pytestmark = pytest.mark.contract


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[DataPlane]:
    async with data_plane(tmp_path) as made:
        yield made


@pytest.fixture
async def shop(plane: DataPlane) -> DataPlane:
    """A service with one revision that has all traffic."""
    await plane.runtime.start(revision())
    plane.runtime.route(split(("shop-1", 100)))
    return plane


async def test_a_request_arrives_with_cloud_runs_headers(shop: DataPlane) -> None:
    status, seen, headers = await shop.get("/a/b?c=%20d", headers={"X-Own": "1", "Connection": "x-hop", "X-Hop": "1"})
    assert (status, seen["revision"], seen["path"], seen["host"]) == (200, "shop-1", "/a/b?c=%20d", HOST)
    assert seen["headers"]["x-own"] == "1"
    assert "x-hop" not in seen["headers"], "named in Connection, so it belongs to one hop"
    assert seen["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert seen["headers"]["x-forwarded-proto"] == "http"
    trace, span = re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-01", seen["headers"]["traceparent"]).groups()
    assert seen["headers"]["x-cloud-trace-context"] == f"{trace}/{int(span, 16)};o=1"
    assert headers["Server"] == "Google Frontend"
    assert shop.requests.seen == [("shop-1", 200)]


async def test_a_trace_that_came_is_kept(shop: DataPlane) -> None:
    sent = f"00-{'a' * 32}-{'b' * 16}-00"
    _, seen, _ = await shop.get("/", headers={"traceparent": sent})
    assert seen["headers"]["traceparent"] == sent
    _, seen, _ = await shop.get("/", headers={"X-Cloud-Trace-Context": f"{'c' * 32}/17;o=0"})
    assert seen["headers"]["traceparent"] == f"00-{'c' * 32}-{17:016x}-00"


async def test_status_and_repeated_headers_pass(shop: DataPlane) -> None:
    status, body, headers = await shop.get("/status/418")
    assert (status, body) == (418, "from the app")
    assert headers.getall("Set-Cookie") == ["a=1", "b=2"]  # type: ignore[attr-defined]
    assert shop.requests.seen == [("shop-1", 418)]


@pytest.mark.parametrize("path", ["/healthz", "/healthz?x=1"])
async def test_healthz_is_googles_not_the_apps(shop: DataPlane, path: str) -> None:
    status, body, _ = await shop.get(path)
    assert status == 404
    assert "/healthz was not found on this server" in body
    assert shop.requests.seen == [], "Cloud Run does not log it either"
    assert (await shop.get("/healthz/"))[0] == 200


@pytest.mark.parametrize("host", ["other-1.us-central1.run.localhost", f"nosuchtag---{HOST}"])
async def test_unknown_hosts_and_tags_are_not_found(shop: DataPlane, host: str) -> None:
    status, body, headers = await shop.get("/", host=host)
    assert (status, headers["Content-Type"]) == (404, "text/html; charset=UTF-8")
    assert "Page not found" in body


async def test_bodies_stream_in_both_directions(shop: DataPlane) -> None:
    sent = asyncio.Queue[bytes | None]()

    async def body() -> AsyncIterator[bytes]:
        while (chunk := await sent.get()) is not None:
            yield chunk

    await sent.put(b"one")
    async with shop.client.post(f"{shop.address}/echo", data=body(), headers={"Host": HOST}) as answer:
        assert await answer.content.readany() == b"one", "the answer starts before the request has ended"
        await sent.put(b"two")
        assert await answer.content.readany() == b"two"
        await sent.put(None)
        assert await answer.read() == b""


async def test_a_large_body_passes_unchanged(shop: DataPlane) -> None:
    body = bytes(range(256)) * 40_000
    async with shop.client.post(f"{shop.address}/echo", data=io.BytesIO(body), headers={"Host": HOST}) as answer:
        assert await answer.read() == body


async def test_an_expected_continue_is_answered(shop: DataPlane) -> None:
    async with shop.client.post(
        f"{shop.address}/echo", data=b"x" * 10, expect100=True, headers={"Host": HOST}
    ) as answer:
        assert await answer.read() == b"x" * 10


async def test_server_sent_events_are_flushed_one_by_one(shop: DataPlane) -> None:
    async with shop.client.get(f"{shop.address}/events?count=4&pause=0.15", headers={"Host": HOST}) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        arrived = [time.monotonic() async for _ in answer.content.iter_any()]
    assert len(arrived) == 4
    assert all(later - earlier > 0.05 for earlier, later in itertools.pairwise(arrived))


async def test_a_client_that_leaves_ends_the_request_in_the_container(shop: DataPlane) -> None:
    async with shop.client.get(f"{shop.address}/events?count=100&pause=0.05", headers={"Host": HOST}) as answer:
        await answer.content.readany()
    await until(lambda: "client left" in log_of(shop, "shop-1"))
    await until(lambda: shop.requests.seen == [("shop-1", 200)])


async def test_a_client_that_leaves_before_the_answer_is_reported_as_such(shop: DataPlane) -> None:
    with pytest.raises(asyncio.TimeoutError):
        await shop.get("/sleep/5", timeout=aiohttp.ClientTimeout(total=0.2))
    await until(lambda: shop.requests.seen == [("shop-1", 499)])
    assert shop.runtime.describe()[0]["in_flight"] == 0


async def test_websockets_are_tunnelled(shop: DataPlane) -> None:
    async with shop.client.ws_connect(f"{shop.address}/ws", headers={"Host": HOST}, protocols=("agui",)) as ws:
        assert ws.protocol == "agui"
        assert await ws.receive_str() == "shop-1"
        await ws.send_str("hello")
        assert await ws.receive_str() == "hello"
        large = bytes(range(256)) * 8192
        await ws.send_bytes(large)
        assert (await ws.receive_bytes()) == large
        await ws.ping(b"are you there")
        assert shop.runtime.describe()[0]["in_flight"] == 1, "an open socket is a request in flight"
        await ws.send_str("bye")
        end = await ws.receive()
        assert (end.type, ws.close_code) == (aiohttp.WSMsgType.CLOSE, 4001)
    await until(lambda: shop.requests.seen == [("shop-1", 101)])
    assert shop.runtime.describe()[0]["in_flight"] == 0


async def test_a_refused_websocket_shows_the_containers_answer(shop: DataPlane) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await shop.client.ws_connect(f"{shop.address}/status/403", headers={"Host": HOST})
    assert refused.value.status == 403


async def test_a_split_is_kept_to_the_percent(plane: DataPlane) -> None:
    await asyncio.gather(plane.runtime.start(revision("shop-1")), plane.runtime.start(revision("shop-2")))
    plane.runtime.route(split(("shop-1", 90), ("shop-2", 10, "canary")))
    answers = Counter([(await plane.get("/"))[1]["revision"] for _ in range(200)])
    assert 18 <= answers["shop-2"] <= 22
    _, seen, _ = await plane.get("/", host=f"canary---{HOST}")
    assert seen["revision"] == "shop-2"
    plane.runtime.route(split(("shop-1", 100), ("shop-2", 0, "canary")))
    assert {(await plane.get("/"))[1]["revision"] for _ in range(50)} == {"shop-1"}
    assert (await plane.get("/", host=f"canary---{HOST}"))[1]["revision"] == "shop-2", "a tag works at 0 %"


async def test_a_session_stays_with_its_revision_while_that_has_traffic(plane: DataPlane) -> None:
    for name in ("shop-1", "shop-2"):
        await plane.runtime.start(revision(name, session_affinity=True))
    plane.runtime.route(split(("shop-1", 50), ("shop-2", 50)))
    _, first, headers = await plane.get("/")
    cookie = headers["Set-Cookie"].partition(";")[0]
    assert cookie.startswith("GAESA=")
    again = {(await plane.get("/", headers={"Cookie": cookie}))[1]["revision"] for _ in range(20)}
    assert again == {first["revision"]}
    other = "shop-2" if first["revision"] == "shop-1" else "shop-1"
    plane.runtime.route(split((other, 100), (first["revision"], 0, "old")))
    assert (await plane.get("/", headers={"Cookie": cookie}))[1]["revision"] == other
    assert (await plane.get("/", headers={"Cookie": "GAESA=broken!"}))[0] == 200


async def test_a_request_past_its_timeout_is_ended(plane: DataPlane) -> None:
    await plane.runtime.start(revision(timeout=0.3))
    plane.runtime.route(split(("shop-1", 100)))
    assert (await plane.get("/sleep/5"))[0] == 504
    with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, ConnectionError)):
        await plane.get("/events?count=50&pause=0.05")
    await until(lambda: [code for _, code in plane.requests.seen] == [504, 504])


async def test_a_crash_during_an_answer_is_no_clean_end(shop: DataPlane) -> None:
    with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, ConnectionError)):
        await shop.get("/cut")


async def test_a_crash_before_the_answer_is_503_and_the_next_request_is_served(shop: DataPlane) -> None:
    assert (await shop.get("/crash"))[0] == 503
    assert (await shop.get("/"))[0] == 200, "waits in the queue while a new instance starts"
    assert [code for _, code in shop.requests.seen] == [503, 200]


async def test_open_answers_survive_the_stop_of_their_revision(plane: DataPlane) -> None:
    await asyncio.gather(plane.runtime.start(revision("shop-1")), plane.runtime.start(revision("shop-2")))
    plane.runtime.route(split(("shop-1", 100)))
    slow = asyncio.ensure_future(plane.get("/sleep/0.8"))
    await until(lambda: any(row["in_flight"] for row in plane.runtime.describe()))
    plane.runtime.route(split(("shop-2", 100)))
    await plane.runtime.stop(workload())
    assert (await slow)[:2] == (200, "shop-1")
    assert (await plane.get("/"))[1]["revision"] == "shop-2"


async def test_a_rollout_under_load_loses_no_request(plane: DataPlane) -> None:
    await asyncio.gather(plane.runtime.start(revision("shop-1")), plane.runtime.start(revision("shop-2")))
    plane.runtime.route(split(("shop-1", 100)))
    statuses: Counter[int] = Counter()
    ended = asyncio.Event()

    async def visitor(number: int) -> None:
        while not ended.is_set():
            path = "/sleep/0.05" if number % 4 == 0 else "/"
            statuses[(await plane.get(path))[0]] += 1

    visitors = [asyncio.ensure_future(visitor(number)) for number in range(12)]

    async def further() -> None:
        reached = statuses.total() + 30
        await until(lambda: statuses.total() >= reached)

    for percent in (10, 50, 90, 100):
        await further()
        plane.runtime.route(split(("shop-1", 100 - percent), ("shop-2", percent)))
    await plane.runtime.stop(workload())
    await further()
    ended.set()
    await asyncio.gather(*visitors)
    assert set(statuses) == {200}
    assert statuses[200] > 100
    assert len(plane.requests.seen) == statuses[200], "each request is reported once"


async def test_a_stream_gets_its_grace_when_the_edge_stops(tmp_path: Path) -> None:
    async with data_plane(tmp_path) as plane:
        await plane.runtime.start(revision())
        plane.runtime.route(split(("shop-1", 100)))
        async with plane.client.get(f"{plane.address}/events?count=8&pause=0.1", headers={"Host": HOST}) as answer:
            await answer.content.readany()
            stopping = asyncio.ensure_future(plane.edge.close())
            assert (await answer.read()).endswith(b"data: 7\n\n")
            await stopping
        assert plane.runtime.describe() == []


def log_of(plane: DataPlane, revision_name: str) -> str:
    return "".join(path.read_text() for path in plane.runtime.logs(workload(revision_name)))


async def until(condition: object, seconds: float = PATIENCE) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


def json_lines(text: str) -> Iterator[object]:
    return (json.loads(line) for line in text.splitlines())


async def test_json_lines_reach_the_log_as_they_are(shop: DataPlane) -> None:
    assert {"severity": "INFO", "event": "listening"} in list(json_lines(log_of(shop, "shop-1")))
