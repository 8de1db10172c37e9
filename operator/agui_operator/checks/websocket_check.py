"""WebSocket check: the release upgrades the connection, says what it should first, and keeps it open.

A proxy or a time-out in front of the application often lets the upgrade pass and cuts the connection a moment later;
that is why holding is part of the check.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp

from agui_operator.api.smoke import WebSocketCheck
from agui_operator.checks.guard import Guard
from agui_operator.checks.json_path import within
from agui_operator.checks.target import CheckTarget, Failed, Passed

_GONE = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED)


async def check_websocket(check: WebSocketCheck, target: CheckTarget, guard: Guard, seconds: float) -> Passed:
    """Opens and receives the first frame within `seconds`, then holds. Raises Failed, Unreachable, Refused. The
    latency is the time to the open connection."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    hold = float(check.hold_seconds)
    call = target.call(check.path, headers={"Origin": target.origin}, deadline=seconds + hold + 1.0)  # 1 s to close in
    async with guard.websocket(call) as opened:
        latency = (loop.time() - started) * 1000
        if check.first_frame is not None:
            await _expect_first(check.first_frame, opened, started + seconds - loop.time(), latency)
        await _hold(opened, hold, latency)
    return Passed(f"stayed open for {hold:g} s", 101, latency)


async def _expect_first(want: Any, opened: aiohttp.ClientWebSocketResponse, seconds: float, latency: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            frame = await opened.receive()
    except TimeoutError as late:
        raise Failed("expected a first frame; none came in time", 101, latency) from late
    if frame.type is not aiohttp.WSMsgType.TEXT:
        what = "a binary frame came" if frame.type is aiohttp.WSMsgType.BINARY else _closed(opened)
        raise Failed(f"expected a first frame of text; {what}", 101, latency)
    if not _matches(want, str(frame.data)):
        raise Failed("expected the wanted first frame; another came", 101, latency)


def _matches(want: Any, text: str) -> bool:
    """A string is compared whole; an object is a part that the frame's JSON must have."""
    if isinstance(want, str):
        return text == want
    try:
        return within(want, json.loads(text))
    except (ValueError, RecursionError):
        return False


async def _hold(opened: aiohttp.ClientWebSocketResponse, seconds: float, latency: float) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(seconds):
            while True:
                frame = await opened.receive()
                if frame.type in _GONE or frame.type is aiohttp.WSMsgType.ERROR:
                    after = loop.time() - began
                    raise Failed(
                        f"expected it open for {seconds:g} s; {_closed(opened)} after {after:.1f} s", 101, latency
                    )
    except TimeoutError:
        return


def _closed(opened: aiohttp.ClientWebSocketResponse) -> str:
    code = opened.close_code
    return f"it was closed with code {code}" if code is not None else "the connection broke"
