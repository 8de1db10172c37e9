"""Connections that ask nothing: the health port answers the kubelet whatever else is open there."""

from __future__ import annotations

import asyncio
import time

import pytest

from agui_operator.handlers.health import Health

HALF = {
    "nothing": b"",
    "half a line": b"GET /healthz HT",
    "half the headers": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: ",
    "a body that never comes": b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}
MANY = 200


async def answer(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    line = await reader.readline()
    writer.close()
    return line


@pytest.mark.parametrize("half", HALF.values(), ids=HALF)
async def test_the_health_port_answers_beside_connections_that_hang(half: bytes) -> None:
    health = Health("127.0.0.1", 0, require_lease=False)
    health.ready = True
    port = await health.start()
    held = []
    try:
        for _ in range(MANY):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(half)
            held.append(writer)
        began = time.monotonic()
        for path in ("healthz", "readyz", "metrics"):
            line = await asyncio.wait_for(answer(port, f"GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()), 10)
            assert line.startswith(b"HTTP/1.1 200"), path
        assert time.monotonic() - began < 10, "the kubelet's patience"
    finally:
        for writer in held:
            writer.close()
        await health.stop()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x00" * 1000 + b"\r\n\r\n",
        b"GET http://169.254.169.254/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["large header", "long path", "no HTTP", "absolute address", "DELETE", "POST"],
)
async def test_a_bad_request_is_refused_and_the_next_one_answered(request_: bytes) -> None:
    health = Health("127.0.0.1", 0, require_lease=False)
    port = await health.start()
    try:
        assert (await asyncio.wait_for(answer(port, request_), 10)).split(b" ")[1][:1] == b"4"
        assert b"200" in await answer(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    finally:
        await health.stop()
