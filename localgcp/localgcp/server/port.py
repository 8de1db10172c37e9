"""One port for both protocols: each connection's first bytes decide.

HTTP/2 with prior knowledge begins with a fixed preface (RFC 9113, 3.4): such connections are piped to the gRPC server's
unix socket; all others are handed, untouched, to the HTTP/1.1 server.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import cast

_PREFACE = b"PRI * HTTP/2.0"
_FIRST_BYTES_SECONDS = 30.0  # an idle connection that never says anything
_POLL_SECONDS = 0.005  # a preface that arrives in pieces


class Port:
    """`http` is the protocol factory of the HTTP/1.1 server, `grpc_path` the unix socket of the gRPC server."""

    def __init__(self, listener: socket.socket, http: Callable[[], asyncio.BaseProtocol], grpc_path: str) -> None:
        self._listener, self._http, self._grpc_path = listener, http, grpc_path
        self._tasks: set[asyncio.Task[None]] = set()
        self._pipes: set[_Pipe] = set()
        self._undecided: set[socket.socket] = set()  # accepted, and not yet handed to a server
        self._closed = False

    def open(self) -> None:
        self._listener.setblocking(False)
        self._listen()

    async def close(self) -> None:
        self._closed = True
        asyncio.get_running_loop().remove_reader(self._listener)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in self._undecided:  # a task that was cancelled before its first step closes nothing
            connection.close()
        self._undecided.clear()
        self._listener.close()
        for pipe in list(self._pipes):
            pipe.abort()

    def _listen(self) -> None:
        if not self._closed:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        """Takes one connection. No task waits for it, so that none can be cancelled with a connection in its hands."""
        loop = asyncio.get_running_loop()
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:  # out of file descriptors: the peer retries, we go on
            loop.remove_reader(self._listener)
            loop.call_later(0.05, self._listen)
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._undecided.add(connection)
        task = loop.create_task(self._dispatch(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _dispatch(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_FIRST_BYTES_SECONDS):
                is_http2 = await _begins_http2(connection)
            self._undecided.discard(connection)
            if is_http2 is None:
                connection.close()
            elif is_http2:
                upstream = _Pipe(self._pipes)
                await loop.create_unix_connection(lambda: upstream, self._grpc_path)
                downstream = _Pipe(self._pipes)
                upstream.peer, downstream.peer = downstream, upstream
                await loop.connect_accepted_socket(lambda: downstream, connection)
            else:
                await loop.connect_accepted_socket(self._http, connection)
        except (OSError, TimeoutError):
            self._undecided.discard(connection)
            connection.close()
        except asyncio.CancelledError:
            self._undecided.discard(connection)
            connection.close()
            raise


async def _begins_http2(connection: socket.socket) -> bool | None:
    """Looks at the first bytes without taking them; None when the peer closed."""
    while True:
        await _readable(connection)
        head = connection.recv(len(_PREFACE), socket.MSG_PEEK)
        if not head:
            return None
        if head == _PREFACE:
            return True
        if not _PREFACE.startswith(head):
            return False
        await asyncio.sleep(_POLL_SECONDS)


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(connection, wake)
    try:
        await ready
    finally:
        with contextlib.suppress(OSError, ValueError):
            loop.remove_reader(connection)


class _Pipe(asyncio.Protocol):
    """One end of a pair; what it receives its peer sends. Back-pressure: a full peer stops our reading."""

    peer: _Pipe | None = None

    def __init__(self, pipes: set[_Pipe]) -> None:
        self._pipes = pipes
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._pipes.add(self)
        for data in self._early:
            self._transport.write(data)
        self._early.clear()

    def data_received(self, data: bytes) -> None:
        if self.peer is not None:
            self.peer.send(data)

    def send(self, data: bytes) -> None:
        if self._transport is None:  # the server may speak before the other end is connected
            self._early.append(data)
        else:
            self._transport.write(data)

    def pause_writing(self) -> None:
        if self.peer is not None and self.peer._transport is not None:
            self.peer._transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and self.peer._transport is not None:
            with contextlib.suppress(RuntimeError):
                self.peer._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._pipes.discard(self)
        if self.peer is not None and self.peer._transport is not None:
            self.peer._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
