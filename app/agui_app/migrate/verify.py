"""Looks for records that a migration, a crash or a bug left inconsistent. Reads only, in the one transaction that
`command.run_checks` opens, so that a customer who writes meanwhile is no finding.

Three checks, run before and after a release: `schema` (the tables are what the code expects), `session-state` (ADK's
session state equals the replay of its events), `pipelines` (every research run ended with a complete record).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from agui_app.database.schema import REQUIRED_SCHEMA

Finding = dict[str, Any]
_INITIAL_STATE = ("_ag_ui_thread_id", "_ag_ui_app_name", "_ag_ui_user_id")


def verify(name: str, connection: sa.Connection, migrations: Path) -> Iterator[Finding]:
    """Findings of one check; nothing when all is well. `name` is a key of CHECKS."""
    yield from CHECKS[name](connection, migrations)


def verify_schema(connection: sa.Connection, migrations: Path) -> Iterator[Finding]:
    """The revision is enough for this code, ADK's version row is there, and no table, column or index is missing."""
    inspector = sa.inspect(connection)
    tables = set(inspector.get_table_names())
    if "alembic_version" not in tables:
        yield {"finding": "not_migrated", "message": "the database has no schema"}
        return
    revision = connection.scalar(sa.text("SELECT max(version_num) FROM alembic_version"))
    if not revision or revision < REQUIRED_SCHEMA:
        yield {"finding": "behind", "database": revision, "required": REQUIRED_SCHEMA}
    version = None
    if "adk_internal_metadata" in tables:
        version = connection.scalar(sa.text("SELECT value FROM adk_internal_metadata WHERE key = 'schema_version'"))
    if version != "1":
        yield {"finding": "adk_schema_version", "value": version, "expected": "1"}
    yield from _differences(connection, migrations, revision or "")


def _differences(connection: sa.Connection, migrations: Path, revision: str) -> Iterator[Finding]:
    """What a fresh migration to the same revision has and this database lacks or has in another type."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from google.adk.sessions.schemas.v1 import Base

    from agui_app.database.schema import metadata

    newest = max((path.name[:4] for path in (migrations / "versions").glob("[0-9]*.py")), default="")
    if revision != newest:
        return  # the metadata describes the newest schema of this image; another one cannot be compared with it
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    for difference in compare_metadata(context, _merged(metadata, Base.metadata)):
        yield {"finding": "schema_differs", "difference": _describe(difference)}


def _merged(*parts: sa.MetaData) -> sa.MetaData:
    merged = sa.MetaData()
    for part in parts:
        for table in part.tables.values():
            table.to_metadata(merged)
    return merged


def _describe(difference: Any) -> str:
    first = difference[0] if isinstance(difference, list) else difference
    return " ".join(str(getattr(part, "name", part)) for part in first if part is not None)[:300]


def verify_session_state(connection: sa.Connection, migrations: Path) -> Iterator[Finding]:
    """Replaying each session's state deltas gives its state; calls and answers match; each event moved the session."""
    sessions = connection.execution_options(stream_results=True, yield_per=50).execute(
        sa.text("SELECT app_name, user_id, id, state, update_time FROM sessions ORDER BY app_name, user_id, id")
    )
    for app_name, user_id, session_id, state, update_time in sessions:
        where = {"session": session_id, "user": user_id}
        if not isinstance(state, dict):
            yield {"finding": "state_is_not_an_object", **where}
            continue
        events = connection.execute(
            sa.text(
                "SELECT id, invocation_id, timestamp, event_data FROM events"
                " WHERE app_name = :app AND user_id = :user AND session_id = :session ORDER BY timestamp, id"
            ),
            {"app": app_name, "user": user_id, "session": session_id},
        ).all()
        for finding in _check_session(state, update_time, events):
            yield finding | where


def _check_session(state: dict[str, Any], update_time: Any, events: Any) -> Iterator[Finding]:
    for key in state:
        if key.startswith(("app:", "user:", "temp:")):
            yield {"finding": "scoped_key_in_session_state", "key": key}
    replayed: dict[str, Any] = {}
    calls: set[str] = set()
    answered: set[str] = set()
    for event_id, invocation_id, _, data in events:
        data = data or {}
        if data.get("id", event_id) != event_id or data.get("invocation_id", invocation_id) != invocation_id:
            yield {"finding": "event_columns_differ_from_data", "event": event_id}
        delta = (data.get("actions") or {}).get("state_delta") or {}
        replayed |= {k: v for k, v in delta.items() if not k.startswith(("app:", "user:", "temp:"))}
        for part in (data.get("content") or {}).get("parts") or []:
            if call := part.get("function_call"):
                calls.add(str(call.get("id")))
            if answer := part.get("function_response"):
                answered.add(str(answer.get("id")))
    for key in sorted(replayed.keys() | state.keys()):
        if key not in replayed and key in _INITIAL_STATE:
            continue
        if replayed.get(key) != state.get(key):
            yield {"finding": "state_differs_from_replay", "key": key}
    pending = {str(call) for call in state.get("pending_tool_calls") or []}
    for call_id in sorted(pending - calls):
        yield {"finding": "pending_call_is_unknown", "call": call_id}
    for call_id in sorted(answered - calls):
        yield {"finding": "answer_without_call", "call": call_id}
    # ADK sets it to the time of the event that it appends, which need not be the newest: agents work side by side,
    # and instances have clocks of their own.
    times = {event[2] for event in events}
    if times and update_time < max(times) and update_time not in times:
        yield {"finding": "updated_before_last_event"}


def verify_pipelines(connection: sa.Connection, migrations: Path) -> Iterator[Finding]:
    """Each research brief is complete: findings and a text, or failed with a reason; none is stuck; refunds add up."""
    stuck = sa.text(
        "SELECT id, status, topic FROM briefs WHERE"
        " (status = 'running' AND created_at < now() - interval '15 minutes')"
        " OR (status = 'complete' AND (text IS NULL OR text = '' OR jsonb_array_length(findings) = 0"
        "                             OR completed_at IS NULL))"
        " OR status NOT IN ('running', 'complete', 'failed') ORDER BY id"
    )
    for brief, status, topic in connection.execute(stuck):
        yield {"finding": "brief_incomplete", "brief": brief, "status": status, "topic": topic}
    over = sa.text(
        "SELECT o.id, o.amount, sum(r.amount) FROM orders o JOIN refunds r ON r.order_id = o.id"
        " GROUP BY o.id, o.amount HAVING sum(r.amount) > o.amount ORDER BY o.id"
    )
    for order, amount, refunded in connection.execute(over):
        yield {"finding": "refunded_more_than_paid", "order": order, "amount": amount, "refunded": refunded}


CHECKS: dict[str, Callable[[sa.Connection, Path], Iterator[Finding]]] = {
    "schema": verify_schema,
    "session-state": verify_session_state,
    "pipelines": verify_pipelines,
}
