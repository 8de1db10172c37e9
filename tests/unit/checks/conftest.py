"""Servers that a release could be, on random ports of 127.0.0.1, and the parts of a spec that the checks read."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from agui_operator.checks.guard import Guard
from agui_operator.checks.run import CheckTarget

Serve = Callable[[web.Application], Awaitable[str]]


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`await serve(app)` gives the origin at which an aiohttp application answers until the test ends."""
    async with AsyncExitStack() as stack:

        async def start(app: web.Application) -> str:
            return await stack.enter_async_context(served(app))

        yield start


@pytest.fixture
def guard() -> Guard:
    return Guard(allow_loopback=True)


@pytest.fixture
def target_of() -> Callable[..., CheckTarget]:
    def make(origin: str, **more: Any) -> CheckTarget:
        return CheckTarget(**{"origin": origin, "public": False, "release": "r1", **more})

    return make


_DEFAULTS: dict[str, dict[str, Any]] = {
    "http": {"method": "GET", "status": 200, "body": None, "json_path": None, "equals": None},
    "websocket": {"hold_seconds": 5, "first_frame": None},
    "agent": {"path": "/agent", "expect": [], "first_token_within": None},
    "assets": {"integrity": "sha384", "runtime_url": False},
}
_EXPECT = dict.fromkeys(("text", "tool", "interrupt", "resume", "blocked", "finished", "state"))


@pytest.fixture
def smoke() -> Callable[..., Any]:
    """An entry of `smoke` from what its author writes; tries once within two seconds unless told."""

    def make(spec: Mapping[str, Any], *, attempts: int = 1, timeout: float = 2.0) -> Any:
        (kind, raw), *_ = spec.items()
        given = {re.sub("[A-Z]", lambda m: "_" + m[0].lower(), k): v for k, v in raw.items()}
        if "expect" in given:
            given["expect"] = [SimpleNamespace(**{**_EXPECT, **e}) for e in given["expect"]]
        if "first_token_within" in given:
            given["first_token_within"] = timedelta(seconds=float(given["first_token_within"].rstrip("s")))
        check = SimpleNamespace(**{**_DEFAULTS[kind], **given})
        kinds: dict[str, Any] = dict.fromkeys(("http", "websocket", "agent", "assets", "sql", "job"))
        return SimpleNamespace(
            name=kind, attempts=attempts, timeout=timedelta(seconds=timeout), **{**kinds, kind: check}
        )

    return make
