"""The dashboard's server: what it shows, whom it answers, and that nothing in an object acts on the page."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import aiohttp
import pytest

from agui_operator.core.analysis import Limit, Sample, Window
from agui_operator.core.waiting import NO_ACTION
from agui_operator.dashboard import live
from agui_operator.dashboard import site as sites
from agui_operator.dashboard.board import Board
from agui_operator.dashboard.pages import ROWS, Presence
from agui_operator.dashboard.site import HEADERS, Site
from dashboard_objects import NOW, body, status

UID = "uid-demo-shop"
ATTACK = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>"


class Served:
    """A board, its site, and a client beside it."""

    def __init__(self, names: tuple[str, ...] = ()) -> None:
        self.board, self.presence = Board(), Presence.ACTIVE
        self.site = Site(self.board, lambda: self.presence, names)
        self.port = 0

    async def get(self, path: str, **headers: str) -> tuple[int, str, Any]:
        url = f"http://127.0.0.1:{self.port}{path}"
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
            return answer.status, await answer.text(), answer.headers


class Reader:
    """Reads a stream event by event."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def next(self, seconds: float = 3) -> tuple[str, Any, str]:
        """Name, content and id of the next event that is about the board."""
        async with asyncio.timeout(seconds):
            while True:
                fields: dict[str, str] = {}
                while (line := (await self.answer.content.readline()).decode().rstrip("\n")) != "":
                    name, _, value = line.partition(": ")
                    fields[name] = value
                if fields.get("event") not in (None, "presence"):
                    return fields["event"], json.loads(fields["data"]), fields.get("id", "")

    async def rest(self, seconds: float = 0.5) -> list[Any]:
        """The contents of all events until it is quiet."""
        seen = []
        while True:
            try:
                seen.append((await self.next(seconds))[1])
            except TimeoutError:
                return seen


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    stage = Served(names=("rollouts.example.com",))
    stage.port = await stage.site.start("127.0.0.1", 0)
    yield stage
    await stage.site.stop()


@asynccontextmanager
async def reading(served: Served, path: str, **headers: str) -> AsyncIterator[Reader]:
    url = f"http://127.0.0.1:{served.port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        yield Reader(answer)


async def test_the_list_shows_problems_first(served: Served) -> None:
    phases = {"good": "Healthy", "moving": "Progressing", "held": "Paused", "broken": "RolledBack"}
    for name, phase in phases.items():
        served.board.seen(body(name))
        served.board.status_written("demo", name, f"uid-demo-{name}", status(phase))
    code, page, _ = await served.get("/")
    assert code == 200
    order = sorted(phases, key=lambda name: page.index(f'href="/d/demo/{name}"'))
    assert order == ["broken", "held", "moving", "good"]


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        pytest.param("?q=SHOP+1.1", {"shop"}, id="text-in-any-case"),
        pytest.param("?phase=Paused", {"cart"}, id="phase"),
        pytest.param("?namespace=other", {"cart"}, id="namespace"),
        pytest.param("?namespace=other&phase=Healthy", set(), id="both"),
    ],
)
async def test_the_filter_lets_through_what_is_asked_for(served: Served, query: str, shown: set[str]) -> None:
    served.board.seen(body("shop"))
    served.board.status_written("demo", "shop", UID, status("Healthy"))
    served.board.seen(body("cart", "other"))
    served.board.status_written("other", "cart", "uid-other-cart", status("Paused"))
    _, page, _ = await served.get("/" + query)
    assert {name for name in ("shop", "cart") if f'/{name}"' in page} == shown


async def test_a_page_of_very_many_is_bounded(served: Served) -> None:
    for number in range(ROWS + 7):
        served.board.seen(body(f"app-{number}"))
    _, page, _ = await served.get("/")
    assert page.count('<th scope="row">') == ROWS
    assert "7 more not shown" in page


async def test_an_object_has_a_page_with_all_of_its_parts(served: Served) -> None:
    served.board.seen(body(smoke=[{"name": "ready", "http": {"path": "/"}}]))
    analysed = {"step": 1, "weight": 10, "analysis": {"verdict": "Inconclusive", "message": "3 of 10"}}
    served.board.status_written("demo", "shop", UID, status("Progressing", rollout=analysed))
    limits = (Limit("error-rate", max=0.05), Limit("latency-p95", max_above_stable=100))
    for second, errors in enumerate((0, 1, 9)):
        window = Window(Sample(90, errors, None, 300.0), Sample(900, 0, None, 250.0), 10, limits)
        served.board.measured(UID, "bbbb2222", NOW + timedelta(seconds=second), window)
    served.board.noted(UID, NOW, "Normal", "Progressing", "Release 1.1.0: canary step 1 passed")
    code, page, _ = await served.get("/d/demo/shop")
    assert code == 200
    for text in ("Inconclusive", "canary step 1 passed", "kubectl -n demo annotate agd shop agui.dev/abort=true"):
        assert text in page
    assert "error-rate: candidate 10 %, stable 0 %, limit 5 %, over the limit" in page
    assert "latency-p95: candidate 300 ms, stable 250 ms, limit 350 ms" in page
    assert "TOKEN: version 3" in page


async def test_what_is_not_there_is_not_found(served: Served) -> None:
    code, page, headers = await served.get("/d/demo/%3Cscript%3Ealert(1)%3C%2Fscript%3E")
    assert code == 404
    assert "<script>alert" not in page
    assert headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]


class Tags(HTMLParser):
    """What a browser would make of a page: elements and attributes that can act."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str | None] = []
        self.acting: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self.scripts.append(dict(attrs).get("src"))
        if tag in ("img", "iframe", "object", "embed", "style", "base"):
            self.acting.append((tag, ""))
        for name, value in attrs:
            if name.startswith("on") or name == "style" or (value or "").lower().startswith("javascript:"):
                self.acting.append((tag, name))


def poisoned(value: Any) -> Any:
    """The same document with every string an attack, except where the page's logic needs a word."""
    if isinstance(value, dict):
        return {key: v if key in ("phase", "type", "status") else poisoned(v) for key, v in value.items()}
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    return ATTACK if isinstance(value, str) else value


@pytest.mark.parametrize("phase", ["Progressing", "RolledBack", "Healthy", "NoSuchPhase"])
async def test_nothing_in_an_object_acts_on_the_page(served: Served, phase: str) -> None:
    document = body(smoke=[{"name": "ready", "http": {}}])
    document["spec"] = poisoned(document["spec"])
    served.board.seen(document)
    past = {"release": {"id": "i", "version": "v"}, "outcome": "o", "reason": "r", "at": "a", "seconds": 3}
    full = status(
        phase,
        url="x",
        waitingFor={"what": "w", "since": "s", "until": "u", "unblockWith": "b"},
        history=[past],
        lastRequest={"message": "m", "at": "t", "accepted": True},
        rollout={"cause": {"phase": "Smoking", "message": "m", "reason": "r"}, "progress": "1/4", "verdicts": {}},
    )
    full["url"] = "javascript:alert(1)"
    written = poisoned(full) | {"url": "javascript:alert(1)"}
    written["rollout"]["verdicts"] = {ATTACK: {"passed": False, "message": ATTACK}}
    served.board.status_written("demo", "shop", UID, written)
    window = Window(Sample(9, 1), None, 1, (Limit("error-rate", max=0.1),))
    served.board.measured(UID, ATTACK, NOW, window)
    served.board.noted(UID, NOW, "Warning", ATTACK, ATTACK)
    for path in ("/", "/d/demo/shop", f"/?q={ATTACK}&namespace={ATTACK}&phase={ATTACK}".replace(" ", "%20")):
        _, page, _ = await served.get(path)
        tags = Tags()
        tags.feed(page)
        assert tags.scripts == ["/static/dashboard.js"], path
        assert tags.acting == [], path
        assert ATTACK not in page


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("localhost", 200),
        ("LOCALHOST:9", 200),
        ("127.0.0.1:8081", 200),
        ("[::1]:8081", 200),
        ("rollouts.example.com", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("10.0.0.1", 421),
        ("localhost.evil.example:8081", 421),
    ],
)
async def test_only_known_names_are_answered(served: Served, host: str, code: int) -> None:
    served.board.seen(body())
    for path in ("/", "/d/demo/shop", "/static/dashboard.css"):
        got, page, _ = await served.get(path, Host=host)
        assert got == code, path
        assert code == 200 or "shop" not in page


async def test_every_answer_has_the_headers_that_keep_others_out(served: Served) -> None:
    for path in ("/", "/d/demo/none", "/static/dashboard.js", "/static/none", "/none"):
        _, _, headers = await served.get(path, Origin="https://evil.example")
        assert {name: headers.get(name) for name in HEADERS} == HEADERS, path
        assert "Access-Control-Allow-Origin" not in headers
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_nothing_can_be_changed(served: Served, method: str) -> None:
    served.board.seen(body())
    async with aiohttp.ClientSession() as session:
        for path in ("/", "/d/demo/shop", "/live"):
            async with session.request(method, f"http://127.0.0.1:{served.port}{path}") as answer:
                assert answer.status == 405


async def test_a_stream_is_refused_to_another_site(served: Served) -> None:
    code, _, _ = await served.get("/live", **{"Sec-Fetch-Site": "cross-site"})
    assert code == 403


async def test_a_replica_that_stands_by_says_so(served: Served) -> None:
    served.presence = Presence.STANDBY
    assert "This replica stands by" in (await served.get("/"))[1]
    served.presence = Presence.ADRIFT
    assert "The lease is not held" in (await served.get("/"))[1]
    served.presence = Presence.ACTIVE
    assert 'role="alert"' not in (await served.get("/"))[1]


async def test_a_change_reaches_an_open_list(served: Served) -> None:
    served.board.seen(body())
    async with reading(served, "/live") as reader:
        name, first, _ = await reader.next()
        assert (name, list(first["lines"])) == ("lines", ["1"])
        served.board.status_written("demo", "shop", UID, status("Smoking"))
        _, content, mark = await reader.next()
        assert "Smoking" in content["lines"]["1"]
        assert "order" not in content
        assert mark == f"{served.board.epoch}-{served.board.revision}"
        served.board.gone(UID)
        _, content, _ = await reader.next()
        assert content["order"] == []


async def test_a_storm_of_changes_is_combined(served: Served) -> None:
    served.board.seen(body())
    async with reading(served, "/live") as reader:
        await reader.next()
        for number in range(500):
            served.board.status_written("demo", "shop", UID, status("Progressing", rollout={"weight": number % 100}))
            if number % 100 == 0:
                await asyncio.sleep(0)
        seen = await reader.rest()
        assert "99 %" in seen[-1]["lines"]["1"]
        assert len(seen) <= 3


async def test_a_page_that_comes_back_gets_what_changed_since(served: Served) -> None:
    served.board.seen(body("one"))
    served.board.seen(body("two"))
    async with reading(served, "/live") as reader:
        _, _, mark = await reader.next()
    served.board.status_written("demo", "two", "uid-demo-two", status("Healthy"))
    async with reading(served, "/live", **{"Last-Event-ID": mark}) as reader:
        _, content, _ = await reader.next()
        assert list(content["lines"]) == ["2"]
        assert content["order"] == [1, 2]
    async with reading(served, "/live", **{"Last-Event-ID": "another-7"}) as reader:
        _, content, _ = await reader.next()
        assert list(content["lines"]) == ["1", "2"]


async def test_a_change_reaches_an_open_page_part_by_part(served: Served) -> None:
    served.board.seen(body())
    served.board.status_written("demo", "shop", UID, status("Smoking"))
    entry = served.board.find("demo", "shop")
    assert entry is not None
    async with reading(served, f"/d/demo/shop/live?since={served.board.epoch}-{entry.revision}") as reader:
        await asyncio.sleep(0.05)
        served.board.noted(UID, NOW, "Normal", "Smoking", "a sentence")
        name, content, _ = await reader.next()
        assert name == "parts"
        assert list(content["parts"]) == ["progress"]
        served.board.gone(UID)
        assert (await reader.next())[0] == "gone"


async def test_there_are_only_so_many_streams(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sites, "STREAMS", 1)
    async with reading(served, "/live"):
        code, _, headers = await served.get("/live")
        assert code == 503
        assert headers["Retry-After"] == "10"
    await until(lambda: not served.board.listeners)
    async with reading(served, "/live"):
        pass


async def test_a_reader_that_takes_nothing_holds_nobody_up_and_is_let_go(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "WRITE_SECONDS", 0.3)
    monkeypatch.setattr(live, "CALM", 0.0)
    served.board.seen(body())
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1024)
    writer.write(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await writer.drain()
    await until(lambda: served.board.listeners == 1)
    slowest = 0.0
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 15
    number = 0
    while served.board.listeners and loop.time() < deadline:
        number += 1
        began = loop.time()
        served.board.status_written("demo", "shop", UID, status("Failed", message=f"{number} " + "x" * 500_000))
        slowest = max(slowest, loop.time() - began)
        await asyncio.sleep(0.001)
    writer.close()
    assert served.board.listeners == 0, "the reader was not let go"
    assert slowest < 0.05
    del reader


async def until(true: Callable[[], bool], seconds: float = 3) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - what is waited for is the product's, which has no event for it
            await asyncio.sleep(0.01)


async def test_a_quiet_stream_is_kept_alive_and_says_when_the_lease_is_lost(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "HEARTBEAT", 0.05)
    async with reading(served, "/live") as reader, asyncio.timeout(3):
        while await reader.answer.content.readline() != b": still here\n":
            pass
        served.presence = Presence.ADRIFT
        while b"The lease is not held" not in await reader.answer.content.readline():
            pass


async def test_a_wait_says_what_happens_when_and_each_moment_once(served: Served) -> None:
    waiting = {"what": "BackingUp to end", "since": "2026-11-23T07:59:00Z", "until": "2026-11-23T08:29:00Z"}
    rollout = {"deadline": waiting["until"], "since": "2026-11-23T07:59:00.250000Z"}
    served.board.seen(body())
    written = status("BackingUp", rollout=rollout, waitingFor=waiting | {"unblockWith": NO_ACTION})
    served.board.status_written("demo", "shop", UID, written)
    _, page, _ = await served.get("/d/demo/shop")
    headline = page.partition('id="part-headline"')[2].partition("</section>")[0]
    words = " ".join(re.sub(r"<[^>]+>", " ", headline).split())
    assert "Rolled back automatically if not complete by 2026-11-23 08:29:00 UTC" in words
    assert words.count("2026-11-23 07:59:00 UTC") == 1
    assert NO_ACTION not in words
    assert "by itself" not in page
