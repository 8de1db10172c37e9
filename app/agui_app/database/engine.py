"""The one pool to PostgreSQL, and what the database says about its schema.

ADK's session service, the event log and the tools share one SQLAlchemy engine, so that an instance's connections are
bounded by one number (Cloud SQL counts connections, not queries).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import URL, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from agui_app.database.passwords import Connector, current_password
from agui_app.settings import DatabaseSettings


def migration_url(settings: DatabaseSettings) -> URL:
    """SQLAlchemy URL for migrations (psycopg); unix sockets go by `host=`. Raises PasswordUnavailable."""
    query: dict[str, str] = {}
    host: str | None = settings.host
    if settings.host.startswith("/"):
        query["host"], host = settings.host, None
    if settings.sslmode:
        query["sslmode"] = settings.sslmode
    return URL.create(
        "postgresql+psycopg",
        username=settings.user,
        password=current_password(settings) or None,
        host=host,
        port=settings.port,
        database=settings.name,
        query=query,
    )


@contextmanager
def migration_engine(settings: DatabaseSettings, timeout_seconds: int = 10) -> Iterator[sa.Engine]:
    """An engine without a pool on psycopg, which is what Alembic speaks. Raises PasswordUnavailable,
    InstanceUnavailable.

    With DB_INSTANCE the connector's own psycopg driver makes the connections: the revisions run as they do on a socket,
    and no second driver is needed.
    """
    if not settings.instance:
        arguments = {"connect_timeout": timeout_seconds}
        engine = sa.create_engine(migration_url(settings), poolclass=sa.NullPool, connect_args=arguments)
        yield engine
        engine.dispose()
        return
    from agui_app.database.cloudsql import SyncCloudSql

    password = current_password(settings)
    cloud_sql = SyncCloudSql(settings)
    try:
        yield sa.create_engine(
            "postgresql+psycopg://", poolclass=sa.NullPool, creator=lambda: cloud_sql.connect(password, timeout_seconds)
        )
    finally:
        cloud_sql.close()


def create_engine(connector: Connector, pool_size: int = 10) -> AsyncEngine:
    """The application's pool. `pool_pre_ping` survives a failover; waiting for a connection ends after 30 s."""
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connector.connect,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=30,
        pool_pre_ping=True,
        pool_recycle=1800,
        hide_parameters=True,  # what users wrote must not end up in a traceback
    )


async def schema_state(connection: AsyncConnection) -> tuple[str | None, str | None]:
    """(revision the database is at, floor: the oldest code schema that may still run). None: not migrated."""
    exists = await connection.scalar(text("SELECT to_regclass('alembic_version') IS NOT NULL"))
    if not exists:
        return None, None
    revision = await connection.scalar(text("SELECT max(version_num) FROM alembic_version"))
    floor = None
    if await connection.scalar(text("SELECT to_regclass('schema_floor') IS NOT NULL")):
        floor = await connection.scalar(text("SELECT revision FROM schema_floor WHERE id = 1"))
    return revision, floor


def schema_problem(required: str, database: str | None, floor: str | None) -> str | None:
    """Why code that needs `required` must not serve on this database, or None.

    Revision ids are zero-padded numbers, so that their order is the order of the chain even for revisions that this
    image does not have: a newer database is fine as long as no contract migration raised the floor above this code.
    """
    if database is None:
        return f"the database has no schema; this code needs {required}: run the migrations"
    if database < required:
        return f"the database is at schema {database}; this code needs {required}: run the migrations"
    if floor is not None and required < floor:
        return f"the database no longer supports code of schema {required} (floor {floor})"
    return None


async def look_at_schema(engine: AsyncEngine) -> dict[str, Any]:
    """`{"revision": ..., "floor": ...}`, or `{"error": ...}` when the database cannot be reached."""
    try:
        async with engine.connect() as connection:
            revision, floor = await schema_state(connection)
    except (SQLAlchemyError, OSError, TimeoutError) as exc:
        return {"error": type(exc).__name__}
    return {"revision": _shown(revision), "floor": _shown(floor)}


def _shown(revision: str | None) -> str | None:
    """A revision as `/version` tells it: names of migrations are short words, anything else is somebody's text."""
    return revision if revision is None or re.fullmatch(r"[0-9A-Za-z_]{1,32}", revision) else "unknown"
