"""Alembic's entry: runs the revisions on a connection that `agui_app.migrate.command` made, or on one of its own.

The target metadata holds ADK's tables too: without them autogenerate would propose to drop the sessions.
"""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import Connection

from agui_app.database.engine import migration_engine
from agui_app.database.schema import metadata
from agui_app.settings import database_settings


def _target_metadata() -> list[Any]:
    if not getattr(context.config.cmd_opts, "autogenerate", False) and not context.config.attributes.get("compare"):
        return [metadata]  # importing ADK costs a second and 60 MB that an upgrade does not need
    from google.adk.sessions.schemas.v1 import Base

    return [metadata, Base.metadata]


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=_target_metadata(),
        transaction_per_migration=True,
        compare_type=True,
        on_version_apply=context.config.attributes.get("on_version_apply"),
    )
    with context.begin_transaction():
        context.run_migrations()


def main() -> None:
    connection = context.config.attributes.get("connection")
    if connection is not None:
        _run(connection)
        return
    with migration_engine(database_settings()) as engine, engine.connect() as own:
        _run(own)


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True, target_metadata=[metadata])
    with context.begin_transaction():
        context.run_migrations()
else:
    main()
