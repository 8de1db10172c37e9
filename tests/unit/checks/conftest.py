"""Servers that a release could be, on random ports of 127.0.0.1, and the parts of a spec that the checks read."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from agui_operator.api.smoke import SmokeCheck
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


@pytest.fixture
def smoke() -> Callable[..., SmokeCheck]:
    """An entry of `smoke` from what its author writes; tries once within two seconds unless told."""

    def make(spec: Mapping[str, Any], *, attempts: int = 1, timeout: float = 2.0) -> SmokeCheck:
        name = next(iter(spec))
        return SmokeCheck.model_validate(
            {"name": name, "attempts": attempts, "timeout": f"{timeout * 1000:.0f}ms", **spec}
        )

    return make
