"""WebSocket checks, red and green."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import WSCloseCode, web

from agui_operator.checks.guard import Guard
from agui_operator.checks.run import run_check

Serve = Callable[[web.Application], Awaitable[str]]
Make = Callable[..., Any]


@pytest.fixture
async def origin(serve: Serve) -> str:
    async def socket(request: web.Request) -> web.WebSocketResponse:
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        what = request.match_info["what"]
        if what in ("hello", "talks"):
            await opened.send_json({"type": "ready", "seq": 0, "origin": request.headers["Origin"]})
        if what == "binary":
            await opened.send_bytes(b"canary")
        if what == "closes":
            await asyncio.sleep(0.1)
            await opened.close(code=WSCloseCode.INTERNAL_ERROR, message=b"canary")
        if what == "aborts":
            assert request.transport is not None
            request.transport.abort()
        if what == "huge":
            await opened.send_str("x" * 100_000)
        if what == "talks":
            for _ in range(20):
                await opened.send_str("chatter")
                await asyncio.sleep(0.01)
        async for _ in opened:
            pass
        return opened

    async def page(request: web.Request) -> web.Response:
        return web.Response(text="canary", status=int(request.match_info["code"]))

    app = web.Application()
    app.router.add_get("/ws/{what}", socket)
    app.router.add_get("/http/{code}", page)
    return await serve(app)


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"path": "/ws/quiet", "holdSeconds": 1}, id="stays-open"),
        pytest.param({"path": "/ws/talks", "holdSeconds": 1}, id="frames-while-held"),
        pytest.param({"path": "/ws/hello", "holdSeconds": 0, "firstFrame": {"type": "ready"}}, id="first-frame"),
    ],
)
async def test_green(origin: str, guard: Guard, smoke: Make, target_of: Make, spec: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    result = await run_check(smoke({"websocket": spec}), target_of(origin), guard)
    assert result.passed is True, result.message
    assert (result.code, result.message) == (101, f"stayed open for {spec['holdSeconds']:g} s")
    assert loop.time() - started >= spec["holdSeconds"]


async def test_the_origin_header_is_the_targets(origin: str, guard: Guard, smoke: Make, target_of: Make) -> None:
    spec = {"path": "/ws/hello", "holdSeconds": 0, "firstFrame": {"origin": origin}}
    assert (await run_check(smoke({"websocket": spec}), target_of(origin), guard)).passed is True


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param(
            {"path": "/ws/closes", "holdSeconds": 2},
            "expected it open for 2 s; it was closed with code 1011",
            id="closed",
        ),
        pytest.param(
            {"path": "/ws/aborts", "holdSeconds": 2}, "expected it open for 2 s; it was closed with code 1006", id="cut"
        ),
        pytest.param(
            {"path": "/ws/huge", "holdSeconds": 2}, "expected it open for 2 s; it was closed with code 1009", id="huge"
        ),
        pytest.param(
            {"path": "/ws/quiet", "holdSeconds": 0, "firstFrame": {"type": "ready"}},
            "expected a first frame; none came in time",
            id="no-first-frame",
        ),
        pytest.param(
            {"path": "/ws/hello", "holdSeconds": 0, "firstFrame": {"type": "other"}},
            "expected the wanted first frame; another came",
            id="another-first-frame",
        ),
        pytest.param(
            {"path": "/ws/binary", "holdSeconds": 0, "firstFrame": {"type": "ready"}},
            "expected a first frame of text; a binary frame came",
            id="binary-first-frame",
        ),
        pytest.param(
            {"path": "/ws/closes", "holdSeconds": 0, "firstFrame": {"type": "ready"}},
            "expected a first frame of text; it was closed with code 1011",
            id="closed-at-once",
        ),
        pytest.param(
            {"path": "/http/200", "holdSeconds": 0}, "the server answered 200 instead of opening", id="no-upgrade"
        ),
        pytest.param(
            {"path": "/http/403", "holdSeconds": 0}, "the server answered 403 instead of opening", id="forbidden"
        ),
    ],
)
async def test_red(origin: str, guard: Guard, smoke: Make, target_of: Make, spec: dict[str, Any], message: str) -> None:
    result = await run_check(smoke({"websocket": spec}, timeout=0.5), target_of(origin), guard)
    assert result.passed is False
    assert result.message.startswith(message)
    assert "canary" not in result.message
