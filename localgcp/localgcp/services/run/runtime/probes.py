"""Startup and liveness probes, sent straight to an instance's port as Cloud Run does (never through the proxy).

Source: https://cloud.google.com/run/docs/configuring/healthchecks
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from localgcp.kit.interfaces import Probe

DEFAULT_STARTUP = Probe(path=None, timeout=240, period=240, failure_threshold=1)  # Cloud Run's own default
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.25  # polling inside the allowed time, so that a fast start is seen at once


async def probe_once(port: int, probe: Probe) -> str:
    """One attempt; returns what is wrong, or "" when the instance answered (HTTP: status 200 to 399)."""
    try:
        async with asyncio.timeout(probe.timeout):
            return await (_tcp(port) if probe.path is None else _http(port, probe.path))
    except TimeoutError:
        return f"no answer within {probe.timeout:g} s"
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
        return str(error) or type(error).__name__


async def wait_until_started(port: int, probe: Probe | None) -> str:
    """Polls until the startup probe passes or its time is over; returns the last failure, or "" when it passed."""
    probe = probe or DEFAULT_STARTUP
    loop = asyncio.get_running_loop()
    await asyncio.sleep(probe.initial_delay)
    deadline = loop.time() + probe.period * probe.failure_threshold
    pause = _FIRST_PAUSE
    while failure := await probe_once(port, probe):
        if loop.time() + pause >= deadline:
            return failure
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    return ""


async def wait_until_dead(port: int, probe: Probe) -> str:
    """Runs the liveness probe for as long as it passes; returns the failure that crossed the threshold."""
    await asyncio.sleep(probe.initial_delay)
    failures = 0
    while True:
        await asyncio.sleep(probe.period)
        failure = await probe_once(port, probe)
        failures = failures + 1 if failure else 0
        if failures >= probe.failure_threshold:
            return failure


async def _tcp(port: int) -> str:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    return ""


async def _http(port: int, path: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: GoogleHC/1.0\r\nAccept: */*\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        status_line = (await reader.readuntil(b"\n")).decode("latin-1")
        status = int(status_line.split(" ", 2)[1])
        return "" if 200 <= status < 400 else f"HTTP {status}"
    except IndexError:
        return "malformed answer"
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
