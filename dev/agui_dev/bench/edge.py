"""Measures what the edge adds to a request: `python -m agui_dev.bench.edge [requests]` prints one JSON object.

Direct and proxied requests alternate in blocks on one kept-alive connection each, so that the machine's other load
falls on both alike; medians are taken over all blocks. The client is a process of its own: a thread beside the edge
would wait for the interpreter lock and be counted as the proxy's cost.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import tempfile
import time
from pathlib import Path

import psutil

from agui_dev.testbed.data_plane import HOST, data_plane, revision, split

BLOCK = 50


def exchange(connection: socket.socket, host: str, seconds: list[float]) -> None:
    """One request and its whole answer, on a kept-alive connection."""
    began = time.perf_counter()
    connection.sendall(f"GET /status/200 HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n".encode())
    received = b""
    while b"from the app" not in received:
        chunk = connection.recv(65536)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        received += chunk
    seconds.append(time.perf_counter() - began)


def measure(direct_port: int, edge_port: int, requests: int) -> dict[str, float]:
    direct: list[float] = []
    proxied: list[float] = []
    with (
        socket.create_connection(("127.0.0.1", direct_port)) as to_app,
        socket.create_connection(("127.0.0.1", edge_port)) as to_edge,
    ):
        for connection in (to_app, to_edge):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(max(1, requests // BLOCK)):
            for _ in range(BLOCK):
                exchange(to_app, "127.0.0.1", direct)
            for _ in range(BLOCK):
                exchange(to_edge, HOST, proxied)
    direct.sort()
    proxied.sort()

    def at(values: list[float], share: float) -> float:
        return round(values[int(len(values) * share)] * 1e3, 3)

    return {
        "direct_ms_p50": at(direct, 0.5),
        "proxied_ms_p50": at(proxied, 0.5),
        "proxied_ms_p99": at(proxied, 0.99),
        "proxy_added_ms_p50": round(at(proxied, 0.5) - at(direct, 0.5), 3),
    }


async def main(requests: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with data_plane(Path(folder)) as plane:
            began = time.perf_counter()
            await plane.runtime.start(revision(min_instances=1))
            start_seconds = time.perf_counter() - began
            plane.runtime.route(split(("shop-1", 100)))
            port = plane.runtime.describe()[0]["port"]
            assert isinstance(port, int)
            before = psutil.Process().memory_info().rss
            command = [sys.executable, "-m", "agui_dev.bench.edge", str(requests), str(port), str(plane.edge.port)]
            client = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            output, _ = await client.communicate()
            figures = json.loads(output)
            memory = psutil.Process().memory_info().rss
            figures |= {
                "instance_start_s": round(start_seconds, 3),
                "edge_rss_mb": round(memory / 2**20, 1),
                "edge_rss_growth_mb": round((memory - before) / 2**20, 1),
                "requests": requests,
            }
    print(json.dumps(figures))


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    if len(sys.argv) > 3:
        print(json.dumps(measure(int(sys.argv[2]), int(sys.argv[3]), count)))
    else:
        asyncio.run(main(count))
