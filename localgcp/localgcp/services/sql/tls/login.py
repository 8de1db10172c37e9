"""The login of IAM users on port 3307: a token, or the certificate that was issued for one, stands for their password.

PostgreSQL asks a client for a cleartext password only where its role is an IAM user (see pg_hba.conf); that request is
what the gate acts on. All other bytes pass unread and unchanged, so password logins stay PostgreSQL's own.
Source: https://cloud.google.com/sql/docs/postgres/iam-logins and
https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass

from localgcp.services.sql.tls.channel import TlsChannel

_LOGIN_SECONDS = 60.0  # PostgreSQL's authentication_timeout
_LONGEST_STARTUP = 10_000  # bytes, PostgreSQL's own limit
_LONGEST_PASSWORD = 65_535
_ENCRYPTION_REQUESTS = (80877103, 80877104)  # SSLRequest, GSSENCRequest: answered with one byte
_PROTOCOL_3 = 3
_ASKS_FOR_CLEARTEXT = b"R" + struct.pack(">ii", 8, 3)
_NEGOTIATE = b"v"
_PASSWORD = b"p"
_SERVICE_ACCOUNT_SUFFIX = ".gserviceaccount.com"


def database_role(email: str) -> str:
    """The PostgreSQL role of an IAM principal: a service account's e-mail loses its `.gserviceaccount.com`.
    https://cloud.google.com/sql/docs/postgres/iam-logins"""
    return email.removesuffix(_SERVICE_ACCOUNT_SUFFIX)


@dataclass(frozen=True, slots=True)
class IamAccess:
    """What the gate asks of an instance: whether IAM logins are on, whose a token is, which password a role has."""

    enabled: Callable[[], bool]
    principal: Callable[[str], str | None]
    password: Callable[[str], str]


class _Ended(Exception):
    """The client sends no more, or sends what is no PostgreSQL login; what was read is in `rest`."""


class Login:
    """One connection's way to PostgreSQL, up to the point where bytes need no more looking at."""

    def __init__(
        self, channel: TlsChannel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, access: IamAccess
    ) -> None:
        self._channel, self._reader, self._writer, self._access = channel, reader, writer, access
        self._rest = b""

    async def admit(self) -> bool:
        """False when an IAM user was refused (and told so). Raises TimeoutError, OSError, ssl.SSLError."""
        try:
            async with asyncio.timeout(_LOGIN_SECONDS):
                admitted = await self._admit()
        except _Ended:
            admitted = True  # PostgreSQL says what it thinks of it
        except asyncio.IncompleteReadError as ended:
            await self._channel.write(ended.partial)
            admitted = True
        self._writer.write(self._rest)
        return admitted

    async def _admit(self) -> bool:
        user = await self._startup()
        head = await self._reader.readexactly(5)
        while head[:1] == _NEGOTIATE:
            await self._channel.write(head + await self._reader.readexactly(struct.unpack(">i", head[1:])[0] - 4))
            head = await self._reader.readexactly(5)
        head += await self._reader.readexactly(4)  # every answer to a start-up message is at least that long
        if head != _ASKS_FOR_CLEARTEXT:
            await self._channel.write(head)
            return True
        email = self._channel.peer_subject().get("userId") or await self._token_owner()
        if email is None or database_role(email) != user or not self._access.enabled():
            await self._channel.write(_refusal(user))
            return False
        password = self._access.password(user).encode() + b"\0"
        self._writer.write(_PASSWORD + struct.pack(">i", 4 + len(password)) + password)
        return True

    async def _startup(self) -> str:
        """Passes on what comes first; returns the user it names."""
        while True:
            await self._fill(8)
            length, code = struct.unpack(">ii", self._rest[:8])
            if not 8 <= length <= _LONGEST_STARTUP:
                raise _Ended
            if code in _ENCRYPTION_REQUESTS:
                self._writer.write(self._take(8))
                await self._channel.write(await self._reader.readexactly(1))
                continue
            if code >> 16 != _PROTOCOL_3:  # such as a request to cancel
                raise _Ended
            await self._fill(length)
            message = self._take(length)
            self._writer.write(message)
            words = message[8:].split(b"\0")
            return dict(zip(words[::2], words[1::2], strict=False)).get(b"user", b"").decode(errors="replace")

    async def _token_owner(self) -> str | None:
        """Asks the client for its token, as PostgreSQL asks for a password."""
        await self._channel.write(_ASKS_FOR_CLEARTEXT)
        await self._fill(5)
        length = struct.unpack(">i", self._rest[1:5])[0]
        if self._rest[:1] != _PASSWORD or not 5 <= length <= _LONGEST_PASSWORD:
            return None
        await self._fill(1 + length)
        return self._access.principal(self._take(1 + length)[5:-1].decode(errors="replace"))

    async def _fill(self, size: int) -> None:
        while len(self._rest) < size:
            data = await self._channel.read()
            if not data:
                raise _Ended
            self._rest += data

    def _take(self, size: int) -> bytes:
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def _refusal(user: str) -> bytes:
    kind = "service account" if user.endswith((".iam", "@developer")) else "user"
    message = f'Cloud SQL IAM {kind} authentication failed for user "{user}"'
    fields = {"S": "FATAL", "V": "FATAL", "C": "28000", "M": message}
    body = b"".join(f"{field}{value}\0".encode() for field, value in fields.items()) + b"\0"
    return b"E" + struct.pack(">i", 4 + len(body)) + body
