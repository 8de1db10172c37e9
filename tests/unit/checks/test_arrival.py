"""Who answers: a release is checked when it answers itself, several times in a row."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
from aiohttp import web

from agui_operator.checks import arrival
from agui_operator.checks.arrival import IN_A_ROW, arrived
from agui_operator.checks.guard import Guard
from agui_operator.checks.target import CheckTarget

Serve = Callable[[web.Application], Awaitable[str]]
Answer = tuple[int, str | None, bytes]  # status, x-agui-release, body
OWN: Answer = (200, "r2", b"{}")
OLD: Answer = (200, "r1", b"{}")
NOBODY: Answer = (404, None, b"")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "_ASK_AGAIN", 0.01)
    monkeypatch.setattr(arrival, "_UNNAMED", 0.1)


class Server:
    """Answers from a list, the last answer for ever; remembers what was asked, and over how many connections."""

    def __init__(self, *answers: Answer) -> None:
        self.answers, self.asked, self.ports = list(answers), 0, set[int]()

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        assert request.transport is not None
        self.ports.add(request.transport.get_extra_info("peername")[1])
        status, name, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        headers = {"x-agui-release": name} if name else {}
        return web.Response(status=status, body=body, headers=headers)


async def look(serve: Serve, server: Server, propagation: float = 5.0) -> str | None:
    app = web.Application()
    app.router.add_get("/version", server.answer)
    target = CheckTarget(await serve(app), True, "r2", others=frozenset({"r1"}))
    return await arrived(target, Guard(allow_loopback=True), page=False, propagation=propagation)


async def test_it_answers_several_times_in_a_row_over_new_connections(serve: Serve) -> None:
    server = Server(OWN, OWN, OLD, OWN)
    assert await look(serve, server) is None
    assert server.asked == 3 + IN_A_ROW, "an answer of another release begins the count anew"
    assert len(server.ports) == server.asked


@pytest.mark.parametrize(
    ("answers", "who"),
    [
        pytest.param((OWN, OLD), "release r1", id="the release before"),
        pytest.param((OWN, (200, "Pa55word!", b"")), "another release", id="words of an application are not repeated"),
        pytest.param(((200, None, b'{"release": "r1"}'),), "release r1", id="named by /version"),
        pytest.param(((503, "r1", b""),), "release r1", id="whatever the status is"),
    ],
)
async def test_another_release_for_too_long_is_named(serve: Serve, answers: tuple[Answer, ...], who: str) -> None:
    wrong = await look(serve, Server(*answers), propagation=0.2)
    assert wrong == f"expected an answer of release r2; {who} was served for 0.2 s (AGUI_PROPAGATION_SECONDS)"


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param((NOBODY, NOBODY, OWN), id="a new address is not known everywhere at once"),
        pytest.param((NOBODY,), id="an application without a name may answer 404 itself"),
        pytest.param(((200, None, b"words"),), id="no name, no JSON"),
        pytest.param(((200, None, b'{"release": 7}'),), id="no name in it"),
        pytest.param(((500, None, b""),), id="a failure that names nobody: the checks tell it"),
        pytest.param(((500, "r2", b""),), id="its own failure: the checks tell it"),
    ],
)
async def test_the_checks_begin(serve: Serve, answers: tuple[Answer, ...]) -> None:
    assert await look(serve, Server(*answers)) is None


async def test_a_404_of_nobody_is_waited_for_longer_than_other_answers(serve: Serve) -> None:
    server = Server(NOBODY)
    began = asyncio.get_running_loop().time()
    assert await look(serve, server) is None
    assert asyncio.get_running_loop().time() - began >= 0.05
    assert server.asked > 3


async def test_nobody_at_all_is_told_by_the_checks() -> None:
    target = CheckTarget("http://127.0.0.1:9", True, "r2")
    assert await arrived(target, Guard(allow_loopback=True), page=False) is None
    assert await arrived(replace(target, origin="http://example.org"), Guard(), page=False) is None


async def test_a_page_is_known_by_its_bytes(serve: Serve) -> None:
    root = Server((200, None, b"old"), (404, None, b""), (200, None, b"new"), (200, None, b"old"), (200, None, b"new"))
    folder = Server((200, None, b"new"))
    app = web.Application()
    app.router.add_get("/", root.answer)
    app.router.add_get("/releases/f2/index.html", folder.answer)
    target = CheckTarget(await serve(app), True, "r2", frontend="f2")
    guard = Guard(allow_loopback=True)
    assert await arrived(target, guard, page=True, propagation=5.0) is None
    assert root.asked == 4 + IN_A_ROW
    root.answers = [(200, None, b"old")]
    wrong = await arrived(target, guard, page=True, propagation=0.1)
    assert wrong is not None
    assert wrong.startswith("expected release folder f2 at /; another page was served for 0.1 s")
    named = replace(target, public=False, by_name="r2")
    wrong = await arrived(named, guard, page=True, propagation=0.1)
    assert wrong is not None
    assert "at / for requests that name the release" in wrong
    gone = await arrived(replace(target, frontend="gone"), guard, page=True, propagation=0.1)
    assert gone is not None
    assert "status 404 at /releases/gone/index.html was served" in gone
    root.answers = [(503, None, b"")]
    assert "status 503 at / was served" in (await arrived(target, guard, page=True, propagation=0.1) or "")


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(CheckTarget("", True, "r2"), id="no page"),
        pytest.param(CheckTarget("", False, "r2", frontend="f2"), id="not shown by name"),
    ],
)
async def test_a_page_that_can_not_be_compared_is_not_waited_for(serve: Serve, target: CheckTarget) -> None:
    app = web.Application()
    target = replace(target, origin=await serve(app))
    assert await arrived(target, Guard(allow_loopback=True), page=True) is None


async def test_a_fault_of_the_look_itself_lets_the_checks_begin(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Guard):
        async def request(self, *_: object, **__: object) -> object:  # type: ignore[override]
            raise RuntimeError("our own fault")

    assert await arrived(CheckTarget("http://x", True, "r2"), Broken(), page=False) is None
    assert "the look at who answers failed in itself" in caplog.text


async def test_a_longer_propagation_time_is_waited_for(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    class Loop:
        now = 0.0

        def time(self) -> float:
            self.now += 60.0
            return self.now

    loop = Loop()
    monkeypatch.setattr(arrival, "asyncio", SimpleNamespace(get_running_loop=lambda: loop, sleep=asyncio.sleep))
    server = Server(*[OLD] * 9, OWN)
    assert await look(serve, server, propagation=600.0) is None
    assert server.asked == 9 + IN_A_ROW
    wrong = await look(serve, Server(OLD), propagation=600.0)
    assert wrong is not None
    assert "was served for 600 s" in wrong
