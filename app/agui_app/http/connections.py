"""Connections that end: uvicorn's protocols with a time limit for each thing that a client can leave undone.

uvicorn limits how long a connection may be idle after an answer and nothing else. Here the headers of a request and its
body have to arrive in time, an answer has to be read, and of connections that ask for nothing only so many are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from agui_app.access import Connections

_TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class _Timer:
    """Calls once unless it is stopped."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._handle: asyncio.TimerHandle | None = None

    @property
    def runs(self) -> bool:
        return self._handle is not None

    def start(self, seconds: float) -> None:
        """From now on; what ran before is forgotten."""
        self.stop()
        self._handle = asyncio.get_running_loop().call_later(seconds, self._fire)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        self._handle = None
        self._call()


class _Unread(asyncio.Protocol):
    """What both protocols share: a client that does not read what it asked for is cut off."""

    bounds = Connections()
    transport: Any

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._stalled = _Timer(self._cut)

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._stalled.start(self.bounds.stalled_seconds)

    def resume_writing(self) -> None:
        """It reads again."""
        self._stalled.stop()
        super().resume_writing()

    def _cut(self) -> None:
        self.transport.abort()


class HttpConnection(_Unread, HttpToolsProtocol):
    """`bounds` and `idle`, the connections without a request in the order in which they began to wait, belong to a
    server; see `protocols`."""

    idle: dict[HttpConnection, None]

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._request = _Timer(self._too_late)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A new connection has to send its first request in time."""
        super().connection_made(transport)
        self._request.start(self.bounds.request_seconds)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Also bytes that begin no request start the clock: uvicorn has stopped its own."""
        super().data_received(data)
        unasked = self.cycle is None or self.cycle.response_complete
        if unasked and not self._request.runs and not self.transport.is_closing() and self in self.idle:
            self._request.start(self.bounds.request_seconds)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        if not self._request.runs:
            self._request.start(self.bounds.request_seconds)

    def on_headers_complete(self) -> None:
        """The body has a time of its own."""
        self._request.start(self.bounds.request_seconds)
        self.idle.pop(self, None)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is there."""
        self._request.stop()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Idle until the next request; one that has begun keeps its clock."""
        super().on_response_complete()
        if self.cycle.response_complete:
            self._wait()

    def handle_websocket_upgrade(self) -> None:
        """Another protocol goes on."""
        self._forget()
        super().handle_websocket_upgrade()

    def _wait(self) -> None:
        """Among the idle ones; above their number the one that has waited longest makes room."""
        self.idle.pop(self, None)
        self.idle[self] = None
        if len(self.idle) > self.bounds.idle:
            oldest = next(iter(self.idle))
            del self.idle[oldest]
            oldest.transport.abort()

    def _forget(self) -> None:
        self._request.stop()
        self._stalled.stop()
        self.idle.pop(self, None)

    def _too_late(self) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(_TOO_LATE)
        self.transport.close()
        self._stalled.start(self.bounds.stalled_seconds)


class SocketConnection(_Unread, WebSocketsSansIOProtocol):
    """A WebSocket whose client has to read."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stalled.stop()
        super().connection_lost(exc)


def protocols(bounds: Connections) -> tuple[type[HttpConnection], type[SocketConnection]]:
    """Classes for one server: uvicorn creates an object of them for each connection."""
    http = type("Http", (HttpConnection,), {"bounds": bounds, "idle": {}})
    return http, type("Socket", (SocketConnection,), {"bounds": bounds})
