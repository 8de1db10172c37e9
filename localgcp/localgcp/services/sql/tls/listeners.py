"""Port 3307 of each Cloud SQL instance: where connectors and the Auth Proxy come in, over mutual TLS.

The port is fixed, so every instance has a loopback address of its own, found by binding: several instances, and several
localgcp on one machine, do not meet. The address and the CA are kept in the state directory, because clients remember
both while localgcp restarts.
Source: https://cloud.google.com/sql/docs/postgres/connect-connectors
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import shutil
import socket
import ssl
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localgcp.kit.errors import ApiError
from localgcp.kit.listening import listen_at, serve_tls
from localgcp.services.sql.tls.certificates import Authority, Issued
from localgcp.services.sql.tls.channel import CHUNK, TlsChannel
from localgcp.services.sql.tls.login import IamAccess, Login

if TYPE_CHECKING:
    from localgcp.kit.interfaces import AccessTokens
    from localgcp.kit.settings import Settings
    from localgcp.services.sql.postgres.servers import Postgres

_log = logging.getLogger(__name__)
PORT = 3307
_TRIES = 64
_HANDSHAKE_SECONDS = 10.0
_BACKLOG = 128


class _Listener:
    """Port 3307 of one instance. `bound` is its socket, listening from `open` on."""

    def __init__(self, ports: SqlTls, directory: Path, project: str, instance: str) -> None:
        self._region, self._postgres, self._tokens = ports.region, ports.postgres, ports.tokens
        self._project, self._instance = project, instance
        self._bound = _bind(directory)
        self.address: str = self._bound.getsockname()[0]
        self.authority = Authority.of(directory, f"{project}:{instance}", self.dns_name)
        self._context = self.authority.server_context()
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[Any], TlsChannel] = {}

    @property
    def dns_name(self) -> str:
        """As Google's: a label of the instance's own, its project, its region."""
        label = hashlib.sha256(f"{self._project}:{self._instance}".encode()).hexdigest()[:12]
        return f"{label}.{self._project.replace(':', '-')}.{self._region}.sql.goog"

    async def open(self) -> None:
        if self._server is None:
            self._server = await serve_tls(self._bound, self._context, self._accept, _BACKLOG)

    async def close(self) -> None:
        """Nobody is connected afterwards."""
        if self._server is not None:
            self._server.close()
        self._bound.close()
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        channel = TlsChannel(reader, writer, self._context)
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = channel
        try:
            async with asyncio.timeout(_HANDSHAKE_SECONDS):
                await channel.handshake()
            await self._join(channel)
            await channel.close()
        except ssl.SSLError as error:
            _log.info("%s:%s refused a connection: %s", self._project, self._instance, error.reason)
            await channel.close()
        except (OSError, TimeoutError, ApiError, KeyError) as error:
            _log.info("%s:%s ended a connection: %s", self._project, self._instance, type(error).__name__)
        finally:
            del self._open[task]
            channel.abort()

    async def _join(self, channel: TlsChannel) -> None:
        """Bytes both ways between a client and the instance's PostgreSQL until both have ended."""
        sockets = await self._postgres.socket_dir(self._project, self._instance)
        reader, writer = await asyncio.open_unix_connection(sockets / ".s.PGSQL.5432")
        try:
            if not await Login(channel, reader, writer, self._iam_access()).admit():
                return
            async with asyncio.TaskGroup() as both:
                both.create_task(_outwards(channel, writer))
                both.create_task(_inwards(reader, channel))
        except* (OSError, ssl.SSLError) as errors:
            _log.debug("%s:%s lost a connection: %s", self._project, self._instance, errors.exceptions[0])
        finally:
            writer.transport.abort()

    def _iam_access(self) -> IamAccess:
        postgres, tokens = self._postgres, self._tokens
        of = (self._project, self._instance)

        def principal(token: str) -> str | None:
            grant = tokens.find(token)
            return grant.email if grant is not None else None

        return IamAccess(
            enabled=lambda: iam_enabled(postgres.flags(*of)),
            principal=principal,
            password=lambda role: str(postgres.iam_password(*of, role)),
        )


def iam_enabled(flags: Mapping[str, str]) -> bool:
    """Whether an instance with these database flags lets IAM users in."""
    return flags.get("cloudsql.iam_authentication") == "on"


async def _outwards(channel: TlsChannel, writer: asyncio.StreamWriter) -> None:
    while data := await channel.read():
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def _inwards(reader: asyncio.StreamReader, channel: TlsChannel) -> None:
    while data := await reader.read(CHUNK):
        await channel.write(data)
    await channel.write_eof()


class SqlTls:
    """The mTLS ports of all instances, by project and instance."""

    def __init__(self, settings: Settings, postgres: Postgres, tokens: AccessTokens) -> None:
        self.region, self.postgres, self.tokens = settings.region, postgres, tokens
        self._root = settings.state_dir / "sql-tls"
        self._listeners: dict[tuple[str, str], _Listener] = {}

    async def open(self) -> None:
        """Listens again where an earlier localgcp did: clients come back to the address that they know."""
        for directory in self._root.glob("*/*/address"):
            try:
                await self.listen(directory.parent.parent.name, directory.parent.name)
            except OSError as error:  # connectors get the error when they ask; nothing else needs the port
                _log.warning("%s: %s", directory.parent.name, error)

    async def close(self) -> None:
        await asyncio.gather(*(listener.close() for listener in self._listeners.values()))
        self._listeners.clear()

    async def reset(self) -> None:
        await self.close()
        await asyncio.to_thread(shutil.rmtree, self._root, True)

    def address(self, project: str, instance: str) -> str:
        """The instance's own loopback address. Raises OSError when there is none free."""
        return self._listener(project, instance).address

    def dns_name(self, project: str, instance: str) -> str:
        return self._listener(project, instance).dns_name

    def authority(self, project: str, instance: str) -> Authority:
        return self._listener(project, instance).authority

    async def listen(self, project: str, instance: str) -> None:
        """Clients can connect when this returns."""
        await self._listener(project, instance).open()

    def issue(self, project: str, instance: str, public_key: str, lifetime: timedelta, principal: str = "") -> Issued:
        """A client certificate for an instance. Raises BadPublicKey."""
        return self.authority(project, instance).issue(public_key, lifetime, principal)

    async def forget(self, project: str, instance: str) -> None:
        """Closes the port and drops the CA: an instance of the same name later is another one."""
        if (listener := self._listeners.pop((project, instance), None)) is not None:
            await listener.close()
        await asyncio.to_thread(shutil.rmtree, self._root / project / instance, True)

    def _listener(self, project: str, instance: str) -> _Listener:
        key = (project, instance)
        if key not in self._listeners:
            self._listeners[key] = _Listener(self, self._root / project / instance, project, instance)
        return self._listeners[key]


def _bind(directory: Path) -> socket.socket:
    """A socket on port 3307 of a loopback address that is not in use: the previous one if it is still free.
    Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    noted = directory / "address"
    with contextlib.suppress(OSError):
        if (bound := listen_at(noted.read_text().strip(), PORT, _BACKLOG)) is not None:
            return bound
    for attempt in range(_TRIES):
        digest = hashlib.sha256(f"{directory}/{attempt}".encode()).digest()
        address = f"127.{1 + digest[0] % 254}.{digest[1]}.{1 + digest[2] % 254}"
        if (bound := listen_at(address, PORT, _BACKLOG)) is not None:
            noted.write_text(address)
            return bound
    if (
        bound := listen_at("127.0.0.1", PORT, _BACKLOG)
    ) is not None:  # macOS has this one only, unless others are configured
        noted.write_text("127.0.0.1")
        return bound
    raise OSError(f"no free loopback address for port {PORT}: on macOS add one, `sudo ifconfig lo0 alias 127.0.0.2`")
