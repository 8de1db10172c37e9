"""HTTP checks, red and green, and what every kind shares: attempts, sentences, and no word of a body."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from agui_operator.checks.guard import Guard
from agui_operator.checks.run import CheckTarget, reported_schema, run_check
from agui_operator.core.snapshot import SchemaReport

Serve = Callable[[web.Application], Awaitable[str]]
Make = Callable[..., Any]
BODY = {"status": "canary-body", "list": [{"n": 1}, {"n": True}], "odd key": "y", "deep": {"a": "x"}}


@pytest.fixture
async def origin(serve: Serve) -> str:
    async def ready(request: web.Request) -> web.Response:
        return web.json_response(BODY, status=int(request.query.get("code", 200)))

    async def echo(request: web.Request) -> web.Response:
        return web.json_response({"got": await request.json(), "label": request.headers.get("x-agui-synthetic")})

    async def text(request: web.Request) -> web.Response:
        return web.Response(text="canary-body")

    async def huge(request: web.Request) -> web.Response:
        return web.Response(text='{"status": "' + "x" * 70_000 + '"}', content_type="application/json")

    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    app = web.Application()
    app.router.add_get("/readyz", ready)  # answers HEAD too
    app.router.add_post("/echo", echo)
    app.router.add_get("/text", text)
    app.router.add_get("/huge", huge)
    app.router.add_get("/slow", slow)
    return await serve(app)


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"path": "/readyz"}, id="status"),
        pytest.param({"path": "/readyz", "method": "HEAD"}, id="head"),
        pytest.param({"path": "/readyz?code=503", "status": 503}, id="another-status-is-wanted"),
        pytest.param({"path": "/readyz", "jsonPath": "$.status", "equals": "canary-body"}, id="value"),
        pytest.param({"path": "/readyz", "jsonPath": "$.list[-1].n", "equals": True}, id="value-by-index"),
        pytest.param({"path": "/readyz", "jsonPath": "$['odd key']", "equals": "y"}, id="quoted-name"),
        pytest.param({"path": "/readyz", "jsonPath": "$.deep", "equals": {"a": "x"}}, id="object"),
        pytest.param(
            {"path": "/echo", "method": "POST", "body": {"a": [1]}, "jsonPath": "$.got", "equals": {"a": [1]}},
            id="post",
        ),
        pytest.param(
            {"path": "/echo", "method": "POST", "body": {}, "jsonPath": "$.label", "equals": "smoke"}, id="labelled"
        ),
    ],
)
async def test_green(origin: str, guard: Guard, smoke: Make, target_of: Make, spec: dict[str, Any]) -> None:
    result = await run_check(smoke({"http": spec}), target_of(origin), guard)
    assert result.passed is True, result.message
    assert result.code == spec.get("status", 200)
    assert result.latency_ms is not None
    assert 0 < result.latency_ms < 2000


@pytest.mark.parametrize(
    ("spec", "message", "code"),
    [
        pytest.param({"path": "/none"}, "expected status 200; the server answered 404", 404, id="missing"),
        pytest.param({"path": "/readyz?code=503"}, "expected status 200; the server answered 503", 503, id="not-ready"),
        pytest.param(
            {"path": "/readyz", "jsonPath": "$.status", "equals": "ok"},
            "expected $.status to have the wanted value; it has another",
            200,
            id="another-value",
        ),
        pytest.param(
            {"path": "/readyz", "jsonPath": "$.list[0].n", "equals": True},
            "expected $.list[0].n to have the wanted value; it has another",
            200,
            id="one-is-not-true",
        ),
        pytest.param(
            {"path": "/readyz", "jsonPath": "$.list[9]", "equals": 1},
            "expected $.list[9] in the answer; it is not there",
            200,
            id="no-value",
        ),
        pytest.param(
            {"path": "/text", "jsonPath": "$.a", "equals": 1},
            "expected $.a in the answer; the answer is not JSON",
            200,
            id="no-json",
        ),
        pytest.param(
            {"path": "/huge", "jsonPath": "$.status", "equals": 1},
            "expected $.status in the answer; the answer is too long to be read as JSON",
            200,
            id="too-long",
        ),
        pytest.param({"path": "/slow"}, "no complete answer within 0.3 s", None, id="slow"),
    ],
)
async def test_red(
    origin: str, guard: Guard, smoke: Make, target_of: Make, spec: dict[str, Any], message: str, code: int | None
) -> None:
    timeout = 0.3 if spec["path"] == "/slow" else 2.0
    result = await run_check(smoke({"http": spec}, timeout=timeout), target_of(origin), guard)
    assert result.passed is False
    assert result.message == message
    assert result.code == code
    assert "canary" not in result.message


async def test_nobody_listens(guard: Guard, smoke: Make, target_of: Make) -> None:
    result = await run_check(smoke({"http": {"path": "/"}}), target_of("http://127.0.0.1:1"), guard)
    assert (result.passed, result.message) == (False, "the connection was refused")


async def test_a_check_is_tried_again_and_says_how_often(
    serve: Serve, guard: Guard, smoke: Make, target_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agui_operator.checks.run._BACK_OFF", (0.01, 0.02))
    answers = iter([500, 503, 200] + [500] * 4)

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=next(answers))

    app = web.Application()
    app.router.add_get("/", answer)
    target = target_of(await serve(app))
    check = smoke({"http": {"path": "/"}}, attempts=3)
    assert (await run_check(check, target, guard)).passed is True
    failed = await run_check(smoke({"http": {"path": "/"}}, attempts=4), target, guard)
    assert failed.passed is False
    assert failed.message == "expected status 200; the server answered 500 (4 attempts)"
    assert next(answers, None) is None


async def test_what_the_guard_refuses_is_not_tried_again(smoke: Make, target_of: Make) -> None:
    asked: list[str] = []

    async def resolve(host: str, port: int) -> tuple[str, ...]:
        asked.append(host)
        return ("10.0.0.1",)

    check = smoke({"http": {"path": "/"}}, attempts=3)
    result = await run_check(check, target_of("https://shop.example"), Guard(resolve=resolve))
    assert result.passed is False
    assert result.message == "refused: the host has an address that is not on the public internet"
    assert asked == ["shop.example"]


async def test_an_error_of_our_own_is_a_failed_check(smoke: Make, target_of: Make) -> None:
    async def resolve(host: str, port: int) -> tuple[str, ...]:
        raise ZeroDivisionError("canary")

    guard = Guard(allow_loopback=True, resolve=resolve)
    result = await run_check(smoke({"http": {"path": "/"}}), target_of("http://shop.example"), guard)
    assert (result.passed, result.message) == (False, "the check itself failed (ZeroDivisionError)")


async def test_cancelling_ends_a_check_at_once(origin: str, guard: Guard, smoke: Make, target_of: Make) -> None:
    check = smoke({"http": {"path": "/slow"}}, attempts=5, timeout=30)
    task = asyncio.create_task(run_check(check, target_of(origin), guard))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 2)


@pytest.mark.parametrize(
    ("body", "want"),
    [
        ({"schema": {"database": "0002", "required": "0001"}}, SchemaReport("0002", "0001")),
        ({"schema": {"database": "3", "required": "2", "floor": "1"}}, SchemaReport("3", "2", "1")),
        ({"schema": {"database": "3", "floor": {}}}, SchemaReport("3")),
        ({"schema": {"database": None, "required": "0001"}}, SchemaReport("0001", "0001")),
        ({"schema": {"database": "<b>no head</b>"}}, None),
        ({"schema": {"database": 7}}, None),
        ({"schema": []}, None),
        ({}, None),
        (["schema"], None),
    ],
)
async def test_the_schema_head_is_read_from_the_version(
    serve: Serve, guard: Guard, body: Any, want: SchemaReport | None
) -> None:
    async def version(request: web.Request) -> web.Response:
        return web.json_response(body)

    app = web.Application()
    app.router.add_get("/version", version)
    assert await reported_schema(guard, await serve(app)) == want
    assert await reported_schema(guard, "http://127.0.0.1:1") is None
    assert await reported_schema(guard, "not an origin") is None


async def test_jobs_are_not_run_here(guard: Guard, smoke: Make, target_of: Make) -> None:
    check = smoke({"sql": {"check": "session-state"}})
    result = await run_check(check, target_of("http://127.0.0.1:1"), guard)
    assert result.passed is False
    assert "run as jobs" in result.message


def test_a_target_is_a_value() -> None:
    assert CheckTarget("https://a.example", True, "r1") == CheckTarget("https://a.example", True, "r1")
