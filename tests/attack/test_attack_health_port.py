"""Connections to the operator's health port that are held open: by silence, by half a request, by their number."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import aiohttp
import pytest

from agui_operator.handlers import health as health_module
from agui_operator.handlers.health import Health
from agui_operator.handlers.short_lived import MOST, keep_short

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
HALF = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch, request: Any) -> AsyncIterator[int]:
    """A health server whose connections live for half a second, or as long as the test says."""
    bounds = {"longest": getattr(request, "param", 0.5), "every": 0.05}
    monkeypatch.setattr(health_module, "keep_short", partial(keep_short, **bounds))
    health = Health("127.0.0.1", 0)
    yield await health.start()
    await health.stop()


async def answers(port: int) -> bool:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/metrics", timeout=aiohttp.ClientTimeout(5)) as answer,
    ):
        return answer.status == 200


@pytest.mark.parametrize("sent", [b"", HALF, b"\r\n"], ids=["silent", "half", "newline"])
async def test_a_connection_without_a_whole_request_is_closed(port: int, sent: bytes) -> None:
    opened: list[Streams] = [await asyncio.open_connection("127.0.0.1", port) for _ in range(50)]
    for _, writer in opened:
        writer.write(sent)
    assert await answers(port)
    async with asyncio.timeout(5):
        for reader, writer in opened:
            assert await reader.read() == b""
            writer.close()
    assert await answers(port)


@pytest.mark.parametrize("port", [60.0], indirect=True)
async def test_many_connections_close_the_oldest_and_keep_nobody_out(port: int) -> None:
    opened: list[Streams] = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MOST + 100)]
    assert await answers(port)
    async with asyncio.timeout(5):
        while sum(reader.at_eof() for reader, _ in opened) < 100:
            await asyncio.sleep(0.05)
            assert await answers(port)
    closed = [reader.at_eof() for reader, _ in opened]
    assert all(closed[:100])
    assert not any(closed[110:])
    for _, writer in opened:
        writer.close()
