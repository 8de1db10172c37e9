"""The PostgreSQL behind Cloud SQL: real servers, so each test pays for one or two starts."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import psycopg
import pytest

from localgcp.kit.errors import ApiError
from localgcp.services.sql.postgres.installation import PostgresError
from localgcp.services.sql.postgres.quoting import identifier, literal
from localgcp.services.sql.postgres.servers import Postgres


@pytest.fixture
async def postgres(tmp_path: Path) -> AsyncIterator[Postgres]:
    servers = Postgres(tmp_path / "sql")
    try:
        yield servers
    finally:
        await servers.close()


async def _login(servers: Postgres, name: str) -> None:
    await servers.sql("demo", name, f"CREATE ROLE app LOGIN PASSWORD {literal(chr(39) + 'pw')};")


async def _read(servers: Postgres, name: str, statement: str, *, tcp: bool = False) -> object:
    host, port = servers.address("demo", name)
    where = {"host": host, "port": port} if tcp else {"host": str(await servers.socket_dir("demo", name))}
    with psycopg.connect(dbname="postgres", user="app", password="'pw", **where) as connection:
        row = connection.execute(statement).fetchone()
        assert row is not None
        return row[0]


async def test_a_new_instance_is_ready_and_asks_for_passwords(postgres: Postgres) -> None:
    await postgres.create("demo", "main")
    await _login(postgres, "main")
    assert await _read(postgres, "main", "SELECT 1") == 1
    assert await _read(postgres, "main", "SELECT 2", tcp=True) == 2
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(
            host=str(await postgres.socket_dir("demo", "main")), user="app", password="no", dbname="postgres"
        )


async def test_data_survives_a_restart_on_the_same_port(tmp_path: Path) -> None:
    first = Postgres(tmp_path / "sql")
    await first.create("demo", "main")
    await _login(first, "main")
    await first.sql("demo", "main", "CREATE TABLE t AS SELECT 7 AS n; GRANT SELECT ON t TO app;")
    address = first.address("demo", "main")
    await first.close()
    second = Postgres(tmp_path / "sql")
    try:
        await second.open()
        await second.ensure("demo", "main")
        assert second.address("demo", "main") == address
        assert await _read(second, "main", "SELECT n FROM t") == 7
    finally:
        await second.close()


async def test_backup_restore_and_clone_are_real_copies(postgres: Postgres) -> None:
    await postgres.create("demo", "main")
    await _login(postgres, "main")
    await postgres.sql("demo", "main", "CREATE TABLE t AS SELECT 1 AS n; GRANT SELECT ON t TO app;")
    assert await postgres.back_up("demo", "main", "17") > 1_000_000
    await postgres.sql("demo", "main", "UPDATE t SET n = 2;")
    await postgres.clone("demo", "main", "rehearsal")
    await postgres.sql("demo", "rehearsal", "UPDATE t SET n = 3;")
    assert await _read(postgres, "rehearsal", "SELECT n FROM t") == 3
    assert await _read(postgres, "main", "SELECT n FROM t") == 2
    await postgres.restore("demo", "main", "demo", "17")
    assert await _read(postgres, "main", "SELECT n FROM t") == 1


async def test_a_restore_that_was_cut_off_can_be_repeated(postgres: Postgres, tmp_path: Path) -> None:
    await postgres.create("demo", "main")
    await _login(postgres, "main")
    await postgres.back_up("demo", "main", "17")
    await postgres.sql("demo", "main", "CREATE TABLE t AS SELECT 2 AS n;")
    await postgres.configure("demo", "main", flags={}, stopped=True)
    directory = tmp_path / "sql/demo/main"  # as after a kill between the two renames
    (directory / "data").rename(directory / "data.old")
    await postgres.restore("demo", "main", "demo", "17")
    assert await postgres.sql("demo", "main", "SELECT to_regclass('t') IS NULL") == "t\n"
    assert sorted(path.name for path in directory.iterdir() if path.is_dir()) == ["data"]


async def test_an_error_is_the_servers_and_has_no_statement_in_the_log(postgres: Postgres, tmp_path: Path) -> None:
    await postgres.create("demo", "main")
    with pytest.raises(PostgresError, match="already exists"):
        await postgres.sql("demo", "main", "CREATE ROLE postgres PASSWORD 'hunter2';")
    assert "hunter2" not in (tmp_path / "sql/demo/main/postgres.log").read_text()
    with pytest.raises(KeyError, match="no Cloud SQL instance"):
        await postgres.sql("demo", "other", "SELECT 1")


async def test_flags_and_activation_policy_are_applied(postgres: Postgres) -> None:
    await postgres.create("demo", "main")
    await _login(postgres, "main")
    await postgres.configure("demo", "main", flags={"work_mem": "5MB"}, stopped=False)
    assert await _read(postgres, "main", "SHOW work_mem") == "5MB"
    await postgres.configure("demo", "main", flags={"work_mem": "5MB"}, stopped=True)
    with pytest.raises(ApiError, match="stopped"):
        await _read(postgres, "main", "SELECT 1")


async def test_the_server_dies_with_its_parent(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys, pathlib\n"
        "from localgcp.services.sql.postgres.servers import Postgres\n"
        "async def main():\n"
        "    p = Postgres(pathlib.Path(sys.argv[1])); await p.create('demo', 'main')\n"
        "    print(open(sys.argv[1] + '/demo/main/data/postmaster.pid').readline().strip(), flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    parent = psutil.Popen(  # not asyncio's: the parent must be killable at once
        [sys.executable, "-c", script, str(tmp_path / "sql")], stdout=-1, env=dict(os.environ)
    )
    try:
        postmaster = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
        parent.wait(5)
        postmaster.wait(10)
        assert not postmaster.is_running()
    finally:
        parent.stdout.close()
        if parent.poll() is None:
            parent.kill()
            parent.wait(5)


@pytest.mark.parametrize(
    ("quoted", "expected"),
    [(identifier('a"b'), '"a""b"'), (literal("it's"), "'it''s'"), (literal("a\\b"), "'a\\b'")],
)
def test_quoting(quoted: str, expected: str) -> None:
    assert quoted == expected
