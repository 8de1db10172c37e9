"""The PostgreSQL servers behind Cloud SQL: one real server per instance.

Each has a data directory in the state directory, a Unix socket (what Cloud Run mounts at /cloudsql/<connection name>)
and a loopback port of its own. Servers end with localgcp and start with it, on the same port if it is free.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from localgcp.kit.errors import failed_precondition
from localgcp.services.sql.postgres import installation as pg
from localgcp.services.sql.postgres.installation import PostgresError
from localgcp.services.sql.postgres.server import HOST, PostgresServer

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud


_log = logging.getLogger(__name__)
_LONGEST_SOCKET_PATH = 103  # of sockaddr_un on the strictest system (macOS), without the final NUL


def create_postgres(cloud: Cloud) -> Postgres:
    return Postgres(cloud.settings.state_dir / "sql")


class Postgres:
    """All servers, by project and instance. Methods raise PostgresError when PostgreSQL does, KeyError for an instance
    that does not exist."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._servers: dict[tuple[str, str], PostgresServer] = {}
        self._starting: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Starts what ran before in the background: `ensure` waits for it."""
        for directory in self._root.glob("*/*/server.json"):
            server = self._server(directory.parent.parent.name, directory.parent.name)
            if not server.settings()["stopped"]:
                task = asyncio.create_task(self._start_quietly(server))
                self._starting.add(task)
                task.add_done_callback(self._starting.discard)

    async def close(self) -> None:
        for task in self._starting:
            task.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        await asyncio.gather(*(server.stop() for server in self._servers.values()))

    async def reset(self) -> None:
        """Stops all servers and removes all data and backups."""
        await self.close()
        sockets = [server.sockets for server in self._servers.values()]
        self._servers.clear()
        for path in (self._root, *sockets):
            await asyncio.to_thread(shutil.rmtree, path, True)

    def exists(self, project: str, instance: str) -> bool:
        return self._server(project, instance).exists

    async def socket_dir(self, project: str, instance: str) -> Path:
        """Directory with `.s.PGSQL.5432`, once the server is ready; a client uses it as its host. Raises ApiError
        FAILED_PRECONDITION when the server is stopped or can't start."""
        server = self._existing(project, instance)
        if server.settings()["stopped"]:
            raise failed_precondition(f"the Cloud SQL instance {instance} is stopped (activationPolicy NEVER)")
        try:
            await server.ensure()
        except (PostgresError, TimeoutError) as error:
            raise failed_precondition(f"the Cloud SQL instance {instance} does not start: {error}") from error
        return server.sockets

    def _sockets(self, project: str, instance: str) -> Path:
        name = f"{project}/{instance}"
        plain = self._root / "sockets" / name
        if len(str(plain)) + len("/.s.PGSQL.65535") <= _LONGEST_SOCKET_PATH:
            return plain
        digest = hashlib.sha256(f"{self._root}/{name}".encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"localgcp-{digest}"

    def address(self, project: str, instance: str) -> tuple[str, int]:
        """Host and TCP port. Raises KeyError; the port is 0 before the first start."""
        return HOST, int(self._existing(project, instance).settings()["port"])

    def flags(self, project: str, instance: str) -> dict[str, str]:
        """The database flags in force."""
        return dict(self._existing(project, instance).settings()["flags"])

    def iam_password(self, project: str, instance: str, role: str) -> str:
        """The password of an IAM user's role. It follows from the admin's, so that it goes with a clone or a backup."""
        key = (self._existing(project, instance).directory / pg.PASSWORD_FILE).read_bytes()
        return hmac.new(key, b"iam:" + role.encode(), hashlib.sha256).hexdigest()

    def version(self) -> str:
        """What really runs, in Cloud SQL's spelling: POSTGRES_18_6."""
        return "POSTGRES_" + pg.installation().version.replace(".", "_")

    async def create(self, project: str, instance: str, flags: Mapping[str, str] | None = None) -> None:
        """A new, running server. Only starts it when it exists (an operation may be resumed)."""
        server = self._server(project, instance)
        if not server.exists:
            await asyncio.to_thread(shutil.rmtree, server.directory, True)
            await pg.new_cluster(server.directory)
            server.note(flags=dict(flags or {}))
        await server.ensure()

    async def ensure(self, project: str, instance: str) -> None:
        """Waits until the server accepts connections; starts it where necessary."""
        await self._existing(project, instance).ensure()

    async def configure(self, project: str, instance: str, *, flags: Mapping[str, str], stopped: bool) -> None:
        """Applies database flags and the activation policy; restarts only when something changed."""
        server = self._existing(project, instance)
        changed = server.settings()["flags"] != dict(flags)
        server.note(flags=dict(flags), stopped=stopped)
        if stopped or changed:
            await server.stop()
        if not stopped:
            await server.ensure()

    async def sql(self, project: str, instance: str, script: str, database: str = "postgres") -> str:
        return await self._existing(project, instance).sql(script, database)

    async def delete(self, project: str, instance: str) -> None:
        server = self._servers.pop((project, instance), None) or self._server(project, instance)
        await server.stop()
        self._servers.pop((project, instance), None)
        for path in (server.directory, server.sockets):
            await asyncio.to_thread(shutil.rmtree, path, True)

    async def back_up(self, project: str, instance: str, backup: str) -> int:
        """An online copy of the whole cluster, kept as `backup`; returns its size in bytes."""
        server, target = self._existing(project, instance), self._backup(project, backup)
        await asyncio.to_thread(shutil.rmtree, target, True)
        target.mkdir(parents=True)
        await server.base_backup(target / "data")
        shutil.copy2(server.directory / pg.PASSWORD_FILE, target / pg.PASSWORD_FILE)
        return await asyncio.to_thread(_size, target)

    async def restore(self, project: str, instance: str, source_project: str, backup: str) -> None:
        """Replaces an instance's whole cluster by a backup."""
        server, source = self._existing(project, instance), self._backup(source_project, backup)
        fresh = server.directory / "data.new"
        await asyncio.to_thread(shutil.rmtree, fresh, True)
        await pg.copy_tree(source / "data", fresh)
        await server.replace_data(fresh)
        shutil.copy2(source / pg.PASSWORD_FILE, server.directory / pg.PASSWORD_FILE)
        await server.ensure()

    async def clone(self, project: str, instance: str, target: str) -> None:
        """A new server with a copy of everything that is committed now."""
        server, copy = self._existing(project, instance), self._server(project, target)
        await copy.stop()  # of an earlier run that was killed
        await asyncio.to_thread(shutil.rmtree, copy.directory, True)
        copy.directory.mkdir(parents=True)
        await server.base_backup(copy.data)
        shutil.copy2(server.directory / pg.PASSWORD_FILE, copy.directory / pg.PASSWORD_FILE)
        copy.note(flags=server.settings()["flags"])
        await copy.ensure()

    async def delete_backup(self, project: str, backup: str) -> None:
        await asyncio.to_thread(shutil.rmtree, self._backup(project, backup), True)

    def _server(self, project: str, instance: str) -> PostgresServer:
        key = (project, instance)
        if key not in self._servers:
            self._servers[key] = PostgresServer(self._root / project / instance, self._sockets(project, instance))
        return self._servers[key]

    def _existing(self, project: str, instance: str) -> PostgresServer:
        server = self._server(project, instance)
        if not server.exists:
            raise KeyError(f"no Cloud SQL instance {project}:{instance}")
        return server

    def _backup(self, project: str, backup: str) -> Path:
        return self._root / "backups" / project / backup

    async def _start_quietly(self, server: PostgresServer) -> None:
        try:
            await server.ensure()
        except (PostgresError, TimeoutError, OSError):
            _log.exception("PostgreSQL in %s did not start", server.directory)


def _size(directory: Path) -> int:
    return sum(path.lstat().st_size for path in directory.rglob("*") if path.is_file())
