"""One TLS connection, read and written apart: each direction ends on its own, like the plain socket behind it.

asyncio's own TLS transport closes as soon as the peer has said that it sends no more; what the database still had to
say would be lost. Here a TLS `close_notify` ends one direction only (RFC 8446, section 6.1).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any

CHUNK = 64 * 1024  # bytes


class TlsChannel:
    """The server's side of TLS over a pair of streams. Not for more than one reader and one writer at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext) -> None:
        self._reader, self._writer = reader, writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._ended = False

    async def handshake(self) -> None:
        """Raises ssl.SSLError when the client shows no good certificate (it gets the alert), ConnectionError."""
        try:
            while True:
                try:
                    self._tls.do_handshake()
                    return
                except ssl.SSLWantReadError:
                    await self._send()
                    await self._receive()
        finally:
            await self._send()

    def peer_subject(self) -> dict[str, str]:
        """The attributes of the client certificate's subject, by their names in OpenSSL (`commonName`, `userId`)."""
        certificate: Any = self._tls.getpeercert() or {}
        return {name: value for part in certificate.get("subject", ()) for name, value in part}

    async def read(self, most: int = CHUNK) -> bytes:
        """Up to `most` bytes; none when the client has ended its direction. Raises ConnectionError, ssl.SSLError."""
        while True:
            try:
                return self._tls.read(most)
            except ssl.SSLWantReadError:
                if self._ended:
                    return b""
                await self._send()  # answers to key updates
                await self._receive()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    async def write(self, data: bytes) -> None:
        """Returns when the client has taken enough of it for more to be sent."""
        self._tls.write(data)
        await self._send()

    async def write_eof(self) -> None:
        """Tells the client that nothing more comes; it may go on sending."""
        with contextlib.suppress(ssl.SSLError):  # it wants the client's own end, which has no hurry
            self._tls.unwrap()
        await self._send()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await self._writer.wait_closed()

    def abort(self) -> None:
        """Ends it at once, whatever is under way."""
        self._writer.transport.abort()

    async def _receive(self) -> None:
        data = await self._reader.read(CHUNK)
        if data:
            self._incoming.write(data)
        else:
            self._ended = True
            self._incoming.write_eof()

    async def _send(self) -> None:
        if data := self._outgoing.read():
            self._writer.write(data)
        await self._writer.drain()
