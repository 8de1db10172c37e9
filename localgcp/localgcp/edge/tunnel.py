"""A WebSocket through the proxy: after the handshake, bytes both ways, untouched.

Frames are not parsed, so extensions, pings and close codes stay between client and container, as on Cloud Run.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from aiohttp import ClientResponse, web
from multidict import CIMultiDict

_BUFFERED_AT_MOST = 256 * 1024  # bytes read from one side and not yet taken by the other


class _Pump:
    """Reads as an aiohttp "payload parser" on one connection, writes to the other's transport."""

    def __init__(self, source: asyncio.Transport) -> None:
        self._source = source
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._paused = False
        self._wake = asyncio.Event()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        if data:
            self._chunks.append(data)
            self._size += len(data)
            if self._size > _BUFFERED_AT_MOST and not self._paused:
                self._paused = True
                self._source.pause_reading()
            self._wake.set()
        return False, b""

    def feed_eof(self) -> None:
        self._ended = True
        self._wake.set()

    def set_exception(self, *_: object) -> None:
        self.feed_eof()

    async def run(self, sink: asyncio.Transport, protocol: Any) -> None:
        """Until the source ends or the sink is gone. `protocol` knows when the sink's buffer has drained."""
        while not sink.is_closing():
            if not self._chunks:
                if self._ended:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            chunk = self._chunks.popleft()
            self._size -= len(chunk)
            sink.write(chunk)
            await protocol._drain_helper()
            if self._paused and self._size < _BUFFERED_AT_MOST // 2:
                self._paused = False
                if not self._source.is_closing():
                    self._source.resume_reading()


class _Switched(web.StreamResponse):
    """The 101 answer: headers as the container sent them, and no HTTP body after them."""

    _length_check = False

    async def write_eof(self, data: bytes = b"") -> None:
        self._eof_sent = True


async def tunnel(request: web.BaseRequest, upstream: ClientResponse, headers: CIMultiDict[str]) -> web.StreamResponse:
    """Answers 101 to the client, then copies both ways until either side ends; both connections are closed after it."""
    connection = upstream.connection
    client, client_protocol = request.transport, request.protocol
    if connection is None or connection.transport is None or connection.protocol is None or client is None:
        raise ConnectionResetError("the connection ended during the WebSocket handshake")
    response = _Switched(status=101, reason=upstream.reason, headers=headers)
    response.force_close()
    await response.prepare(request)
    server: Any = connection.transport
    server_protocol: Any = connection.protocol
    from_client, from_server = _Pump(client), _Pump(server)
    request.protocol.set_parser(from_client)  # type: ignore[arg-type]
    server_protocol.set_parser(from_server, from_server)
    copying = {
        asyncio.ensure_future(from_client.run(server, server_protocol)),
        asyncio.ensure_future(from_server.run(client, client_protocol)),
    }
    try:
        await asyncio.wait(copying, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in copying:
            task.cancel()
        await asyncio.gather(*copying, return_exceptions=True)
        connection.close()
        client.close()
    return response
