"""The PostgreSQL servers behind Cloud SQL: one real server per instance.

Each has a data directory in the state directory, a Unix socket (what Cloud Run mounts at /cloudsql/<connection name>)
and a loopback port of its own. Servers end with localgcp and start with it, on the same port if it is free.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from localgcp.kit.errors import failed_precondition
from localgcp.services.sql.postgres import installation as pg
from localgcp.services.sql.postgres.installation import PostgresError

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

__all__ = ["Postgres", "PostgresError", "create_postgres", "identifier", "literal"]

_log = logging.getLogger(__name__)
_HOST = "127.0.0.1"
_READY_SECONDS = 30.0
_POLL_SECONDS = 0.02
_STOP_SECONDS = 5.0
_LONGEST_SOCKET_PATH = 103  # of sockaddr_un on the strictest system (macOS), without the final NUL
_SETTINGS = {
    "listen_addresses": _HOST,
    "fsync": "off",  # a crash of localgcp loses nothing; only one of the machine could
    "shared_buffers": "32MB",
    "min_wal_size": "4MB",
    "max_wal_size": "128MB",
    "huge_pages": "off",
    "log_min_error_statement": "panic",  # statements hold passwords
    "unix_socket_permissions": "0777",
    "password_encryption": "scram-sha-256",
}


def create_postgres(cloud: Cloud) -> Postgres:
    return Postgres(cloud.settings.state_dir / "sql")


def identifier(name: str) -> str:
    """`name` as a quoted SQL identifier."""
    return '"' + name.replace("\0", "").replace('"', '""') + '"'


def literal(value: str) -> str:
    """`value` as a quoted SQL literal (standard_conforming_strings is on)."""
    return "'" + value.replace("\0", "").replace("'", "''") + "'"


class _Server:
    """One server: `directory` holds `data`, the admin's password, `server.json` (port, flags, stopped), the log."""

    def __init__(self, directory: Path, sockets: Path) -> None:
        self.directory, self.sockets = directory, sockets
        self.data = directory / "data"
        self.lock = asyncio.Lock()
        self._child: asyncio.subprocess.Process | None = None
        self._record = directory / "server.json"

    @property
    def exists(self) -> bool:
        return self._record.exists()

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.returncode is None

    def settings(self) -> dict[str, Any]:
        return dict(json.loads(self._record.read_text()))

    def note(self, **changes: Any) -> None:
        known = self.settings() if self.exists else {"port": 0, "flags": {}, "stopped": False}
        self._record.write_text(json.dumps({**known, **changes}))

    async def ensure(self) -> None:
        """Starts the server unless it runs. Raises PostgresError with the end of its log."""
        async with self.lock:
            if self.running:
                return
            await _stop_leftover(self.data)
            wanted = self.settings()["port"]
            for port in (wanted, 0, 0):
                chosen = _free_port(port)
                if chosen and await self._started(chosen):
                    self.note(port=chosen)
                    return
            raise PostgresError(f"PostgreSQL did not start: {self._log_tail()}")

    async def _started(self, port: int) -> bool:
        self.sockets.mkdir(parents=True, exist_ok=True)
        pg.write_access_rules(self.data)
        pg.own(self.sockets)
        found = pg.installation()
        settings = _SETTINGS | self.settings()["flags"]
        settings |= {"port": str(port), "unix_socket_directories": str(self.sockets)}
        if found.major >= 18:
            settings.setdefault("io_method", "sync")  # no extra worker processes
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.directory / "postgres.log").open("ab") as log:
            self._child = await asyncio.create_subprocess_exec(
                *(*pg.command_prefix(tethered=True), found.program("postgres"), "-D", str(self.data), *options),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=pg.environment(),
                cwd="/",
                start_new_session=True,  # a Ctrl-C at the terminal is ours to pass on
            )
        if not await self._ready():
            return False
        link = self.sockets / ".s.PGSQL.5432"  # clients of a mounted socket expect the default port's name
        link.unlink(missing_ok=True)
        link.symlink_to(f".s.PGSQL.{port}")
        return True

    async def _ready(self) -> bool:
        """Waits for `ready` in postmaster.pid; False if the server ended first."""
        async with asyncio.timeout(_READY_SECONDS):
            while self.running:
                with contextlib.suppress(OSError, IndexError):
                    lines = (self.data / "postmaster.pid").read_text().splitlines()
                    if lines[7].strip() == "ready" and self._child is not None and int(lines[0]) == self._child.pid:
                        return True
                await asyncio.sleep(_POLL_SECONDS)
        return False

    async def stop(self) -> None:
        async with self.lock:
            await self._stopped()

    async def replace_data(self, fresh: Path) -> None:
        """Stops the server and puts another cluster in its place; it cannot be started in between. May be repeated
        after a crash at any point."""
        old = self.directory / "data.old"
        async with self.lock:
            await self._stopped()
            await asyncio.to_thread(shutil.rmtree, old, True)
            if self.data.exists():
                self.data.rename(old)
            os.rename(fresh, self.data)
        await asyncio.to_thread(shutil.rmtree, old, True)

    async def _stopped(self) -> None:
        """Fast shutdown, immediate after 5 seconds, SIGKILL after 10."""
        child = self._child
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if child is None or child.returncode is not None:
                break
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.wait(), _STOP_SECONDS)
        self._child = None
        if self.data.exists():
            await _stop_leftover(self.data)

    async def sql(self, script: str, database: str = "postgres") -> str:
        """Runs statements as the admin; returns unaligned output. Raises PostgresError with the server's message."""
        await self.ensure()
        psql = [pg.installation().program("psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", *self._login(), "-d", database]
        return await pg.run([*psql, "-f", "-"], stdin=script, env=self._credentials())

    async def base_backup(self, target: Path) -> None:
        """Copies the running cluster, consistent at the end of the copy, to a directory that does not exist."""
        await self.ensure()
        program = [*pg.command_prefix(), pg.installation().program("pg_basebackup"), *self._login()]
        options = ["-D", str(target), "-X", "stream", "-c", "fast", "--no-sync", "--no-manifest"]
        await pg.run([*program, *options], env=self._credentials())

    def _login(self) -> list[str]:
        return ["-h", str(self.sockets), "-p", str(self.settings()["port"]), "-U", pg.ADMIN]

    def _credentials(self) -> dict[str, str]:
        return pg.environment(PGPASSWORD=(self.directory / pg.PASSWORD_FILE).read_text())

    def _log_tail(self) -> str:
        with contextlib.suppress(OSError):
            lines = (self.directory / "postgres.log").read_text(errors="replace").splitlines()
            return "; ".join(lines[-3:])
        return "no log"


class Postgres:
    """All servers, by project and instance. Methods raise PostgresError when PostgreSQL does, KeyError for an instance
    that does not exist."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._servers: dict[tuple[str, str], _Server] = {}
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
        return _HOST, int(self._existing(project, instance).settings()["port"])

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

    def _server(self, project: str, instance: str) -> _Server:
        key = (project, instance)
        if key not in self._servers:
            self._servers[key] = _Server(self._root / project / instance, self._sockets(project, instance))
        return self._servers[key]

    def _existing(self, project: str, instance: str) -> _Server:
        server = self._server(project, instance)
        if not server.exists:
            raise KeyError(f"no Cloud SQL instance {project}:{instance}")
        return server

    def _backup(self, project: str, backup: str) -> Path:
        return self._root / "backups" / project / backup

    async def _start_quietly(self, server: _Server) -> None:
        try:
            await server.ensure()
        except (PostgresError, TimeoutError, OSError):
            _log.exception("PostgreSQL in %s did not start", server.directory)


async def _stop_leftover(data: Path) -> None:
    """Ends a server that an earlier localgcp left on this data directory (such a server ends by itself soon)."""
    try:
        process = psutil.Process(int((data / "postmaster.pid").read_text().splitlines()[0]))
        if str(data) not in process.cmdline():  # the pid came again
            return
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            process.send_signal(number)
            with contextlib.suppress(psutil.TimeoutExpired):
                await asyncio.to_thread(process.wait, _STOP_SECONDS)
                return
    except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
        return


def _free_port(wanted: int) -> int:
    """`wanted` if it can be bound (0: any), else 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, wanted))
        except OSError:
            return 0
        return int(probe.getsockname()[1])


def _size(directory: Path) -> int:
    return sum(path.lstat().st_size for path in directory.rglob("*") if path.is_file())
