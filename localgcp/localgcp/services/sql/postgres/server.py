"""One PostgreSQL server: started, asked and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import socket
from pathlib import Path
from typing import Any

import psutil

from localgcp.services.sql.postgres import installation as pg
from localgcp.services.sql.postgres.installation import PostgresError

_log = logging.getLogger(__name__)
HOST = "127.0.0.1"
_READY_SECONDS = 30.0
_POLL_SECONDS = 0.02
_STOP_SECONDS = 5.0
_SETTINGS = {
    "listen_addresses": HOST,
    "fsync": "off",  # a crash of localgcp loses nothing; only one of the machine could
    "shared_buffers": "32MB",
    "min_wal_size": "4MB",
    "max_wal_size": "128MB",
    "huge_pages": "off",
    "log_min_error_statement": "panic",  # statements hold passwords
    "unix_socket_permissions": "0777",
    "password_encryption": "scram-sha-256",
}


class PostgresServer:
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
            probe.bind((HOST, wanted))
        except OSError:
            return 0
        return int(probe.getsockname()[1])
