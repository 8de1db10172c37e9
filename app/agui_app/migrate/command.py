"""Moves the database schema, as a job of a release: `python -m agui_app.migrate upgrade head`.

Runs before the new revision starts, under an advisory lock so that two jobs never migrate at once, with a lock timeout
so that a busy table fails the job instead of the users. It speaks JSON lines; the last one is the result, and on
failure its `message` is one sentence that says what to look at. A database that is ahead of this image is left alone:
schemas only move forward, so that is what a rollback to an older release finds.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from agui_app.database.engine import migration_engine
from agui_app.environment import SettingsError
from agui_app.migrate.lint import lint
from agui_app.migrate.verify import CHECKS, verify
from agui_app.settings import database_settings, migrations_folder

ADVISORY_LOCK = 0x6167_7569  # "agui"
_PRIVATE = ("finding", "user", "topic")
MOST_NAMED = 5  # findings that the last line names


class MigrationFailed(Exception):
    """The schema was not moved; the message is one sentence for the person who reads the job's log."""


def say(severity: str, event: str, **fields: Any) -> None:
    """One JSON line on stdout."""
    print(json.dumps({"severity": severity, "event": event, **fields}, default=str), flush=True)


def alembic_config(folder: Path) -> Config:
    """Alembic's configuration for `folder`; no ini file is needed."""
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def image_head(folder: Path) -> str:
    """Newest revision this image may migrate to: AGUI_SCHEMA_HEAD when the image was built with it, else the newest
    in `folder`. Raises MigrationFailed when it is not one of the image's revisions."""
    scripts = ScriptDirectory.from_config(alembic_config(folder))
    wanted = os.environ.get("AGUI_SCHEMA_HEAD", "head")
    known = [script.revision for script in scripts.walk_revisions()]
    if not known:
        raise MigrationFailed(f"there is no migration in {folder}")
    if wanted == "head":
        return max(known)
    if wanted not in known:
        raise MigrationFailed(f"AGUI_SCHEMA_HEAD is {wanted!r}; this image has {', '.join(sorted(known))}")
    return wanted


def current_revision(connection: sa.Connection) -> str | None:
    """What `alembic_version` says, or None on an empty database."""
    if not connection.scalar(sa.text("SELECT to_regclass('alembic_version') IS NOT NULL")):
        return None
    revision: str | None = connection.scalar(sa.text("SELECT max(version_num) FROM alembic_version"))
    return revision


def _seconds(name: str, default: float) -> float:
    try:
        value = float(os.environ.get(name) or default)
    except ValueError:
        raise SettingsError(f"{name} must be a number of seconds, not {os.environ[name]!r}") from None
    if value <= 0:
        raise SettingsError(f"{name} must be more than 0, not {value}")
    return value


@contextmanager
def migration_connection() -> Iterator[sa.Connection]:
    """The only migrating connection to this database; waits AGUI_MIGRATION_WAIT_SECONDS for another to end."""
    wait = _seconds("AGUI_MIGRATION_WAIT_SECONDS", 60)
    lock, statement = _seconds("AGUI_LOCK_TIMEOUT_SECONDS", 5), _seconds("AGUI_STATEMENT_TIMEOUT_SECONDS", 60)
    with migration_engine(database_settings()) as engine, engine.connect() as connection:
        connection.execute(sa.text("SELECT set_config('application_name', 'agui-migrate', false)"))
        deadline = time.monotonic() + wait
        while not connection.scalar(sa.text("SELECT pg_try_advisory_lock(:key)"), {"key": ADVISORY_LOCK}):
            if time.monotonic() > deadline:
                raise MigrationFailed(f"another migration has been running for more than {wait:g} s")
            time.sleep(0.2)
        for name, value in (("lock_timeout", lock), ("statement_timeout", statement)):
            connection.execute(
                sa.text("SELECT set_config(:name, :value, false)"), {"name": name, "value": f"{int(value * 1000)}ms"}
            )
        connection.commit()
        try:
            yield connection
        finally:
            connection.rollback()
            connection.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": ADVISORY_LOCK})
            connection.commit()


def upgrade(target: str) -> tuple[str | None, str]:
    """Migrates to `target` (`head` or a revision id); returns (from, to). Raises MigrationFailed, SQLAlchemyError."""
    folder = migrations_folder()
    wanted = image_head(folder) if target == "head" else target
    config = alembic_config(folder)
    with migration_connection() as connection:
        before = current_revision(connection)
        connection.rollback()
        if before is not None and before >= wanted:
            if before > wanted:
                say("NOTICE", "database_is_ahead", database=before, image=wanted)
            return before, before
        config.attributes["connection"] = connection
        config.attributes["on_version_apply"] = _report_step
        command.upgrade(config, wanted)
        connection.commit()
        after = current_revision(connection)
    if after is None:
        raise MigrationFailed(f"alembic left no revision behind on the way to {wanted}")
    return before, after


def _report_step(*, step: Any, **_: Any) -> None:
    up, down = step.up_revision_id, step.down_revision_ids
    say("INFO", "migration_applied", revision=up, **{"from": ",".join(down) or None})


def apply_seeds() -> None:
    """Runs seeds/*.sql in order, each in a transaction; they are written to be safe to repeat."""
    with migration_connection() as connection:
        for path in sorted((migrations_folder() / "seeds").glob("*.sql")):
            result = connection.exec_driver_sql(path.read_text(encoding="utf-8").replace("%", "%%"))
            connection.commit()
            say("INFO", "seeded", file=path.name, rows=result.rowcount)


def run_checks(names: Sequence[str]) -> list[str]:
    """Runs verification checks and prints their findings; returns each in a few words.

    All statements of all checks read in one REPEATABLE READ READ ONLY transaction: customers write meanwhile, and
    what belongs together (a session and its events) is only consistent at one moment.
    """
    found: list[str] = []
    with (
        migration_engine(database_settings()) as engine,
        engine.connect().execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True) as connection,
    ):
        for name in names:
            before = len(found)
            for finding in verify(name, connection, migrations_folder()):
                say("ERROR", "finding", check=name, **finding)
                found.append(_in_words(name, finding))
            count = len(found) - before
            say("ERROR" if count else "INFO", "verified", check=name, findings=count)
    return found


def run_lint() -> list[str]:
    """Lints the image's migrations and prints the findings; returns each in a few words."""
    findings = list(lint(alembic_config(migrations_folder())))
    for finding in findings:
        say("ERROR", "finding", check="lint", **finding)
    say("ERROR" if findings else "INFO", "linted", findings=len(findings))
    return [_in_words("lint", finding) for finding in findings]


def _in_words(check: str, finding: Mapping[str, Any]) -> str:
    """`session-state: state_differs_from_replay (key turn, session s1)`; not who the user is or what they wrote."""
    details = ", ".join(f"{key} {value}" for key, value in finding.items() if key not in _PRIVATE)
    return f"{check}: {finding['finding']}" + (f" ({details})" if details else "")


def summary(found: Sequence[str], when: str = "") -> str:
    """One sentence about findings: how many, and the first ones."""
    more = f"; and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    count = f"{len(found)} finding{'' if len(found) == 1 else 's'}"
    return f"{count}{when}: {'; '.join(found[:MOST_NAMED])}{more}"


def _checks(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in CHECKS]:
        raise argparse.ArgumentTypeError(f"no such check: {', '.join(unknown)}; there are {', '.join(CHECKS)}")
    return names


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m agui_app.migrate", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("upgrade", help="move the schema forward")
    up.add_argument("target", nargs="?", default="head")
    up.add_argument("--seeds", action="store_true", help="then run seeds/*.sql")
    up.add_argument("--verify", type=_checks, default=[], help=f"then verify: {','.join(CHECKS)}")
    check = commands.add_parser("verify", help="look for broken records; exits 1 on any finding")
    check.add_argument("checks", type=_checks)
    commands.add_parser("lint", help="check that expand migrations are backward compatible; needs no database")
    commands.add_parser("current", help="print the database's revision and the image's head")
    return parser.parse_args(argv)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command in ("verify", "lint"):
        if found := run_lint() if arguments.command == "lint" else run_checks(arguments.checks):
            raise MigrationFailed(summary(found))
        return 0
    if arguments.command == "current":
        with migration_connection() as connection:
            say("INFO", "current", database=current_revision(connection), image=image_head(migrations_folder()))
        return 0
    started = time.monotonic()
    before, after = upgrade(arguments.target)
    if arguments.seeds:
        apply_seeds()
    if arguments.verify and (found := run_checks(arguments.verify)):
        raise MigrationFailed(summary(found, f" after migrating to {after}"))
    say("INFO", "migrated", **{"from": before, "to": after}, seconds=round(time.monotonic() - started, 3))
    return 0


def _reason(exc: BaseException) -> str:
    cause = getattr(exc, "orig", None) or exc
    return " ".join(str(cause).split())[:1000]


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 failed or findings (the last line says why in one sentence), 2 wrong arguments."""
    arguments = _arguments(argv)
    try:
        return _run(arguments)
    except (SettingsError, MigrationFailed, CommandError, sa.exc.SQLAlchemyError, OSError) as exc:
        say("ERROR", "migration_failed", command=arguments.command, error=type(exc).__name__, message=_reason(exc))
        return 1
