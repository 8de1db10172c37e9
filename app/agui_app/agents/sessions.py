"""ADK's sessions in PostgreSQL, read once: the same tables and rules as ADK's own service, without reading a whole
conversation nine times a turn.

A turn asks for its session again and again, mostly for one state value, and each time ADK loads and validates every
event. Events never change, so they are kept per process; each call still asks the database for the state and for what
is new, so that another instance's work is seen at once. Writing is ADK's own code.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from google.adk.events import Event
from google.adk.sessions import DatabaseSessionService, Session
from google.adk.sessions.base_session_service import GetSessionConfig
from google.adk.sessions.schemas.v1 import StorageEvent
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

MOST_SESSIONS = 128
MOST_EVENTS = 3_000  # about 4 KB each
Key = tuple[str, str, str]


@dataclass(slots=True)
class _Known:
    """Events of one session as the database had them; `last_at` and `last_id` are the newest one's."""

    events: list[Event]
    last_at: datetime | None = None
    last_id: str = ""


class SessionStore(DatabaseSessionService):  # type: ignore[misc]
    """Drop-in for DatabaseSessionService on PostgreSQL."""

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(db_engine=engine)
        self._reader = engine.execution_options(isolation_level="AUTOCOMMIT")  # one statement needs no transaction
        self._known: OrderedDict[Key, _Known] = OrderedDict()

    async def get_session(
        self, *, app_name: str, user_id: str, session_id: str, config: GetSessionConfig | None = None
    ) -> Session | None:
        """The session with its events, or None. A `config` that limits the events is ADK's own business."""
        if config is not None and (config.num_recent_events is not None or config.after_timestamp is not None):
            return await super().get_session(app_name=app_name, user_id=user_id, session_id=session_id, config=config)
        await self.prepare_tables()
        key = (app_name, user_id, session_id)
        async with self._reader.connect() as connection:
            row = (await connection.execute(_SESSION, _names(key))).one_or_none()
            if row is None:
                self._known.pop(key, None)
                return None
            events = await self._events(connection, key, row.events, row.last_id)
        state = dict(row.state)
        state |= {f"app:{name}": value for name, value in (row.app_state or {}).items()}
        state |= {f"user:{name}": value for name, value in (row.user_state or {}).items()}
        session = Session(
            app_name=app_name,
            user_id=user_id,
            id=session_id,
            state=state,
            last_update_time=row.update_time.replace(tzinfo=UTC).timestamp(),
        )
        session.events = list(events)  # assigned: the constructor would validate and copy each event again
        session._storage_update_marker = row.update_time.isoformat(timespec="microseconds")
        return session

    async def delete_session(self, *, app_name: str, user_id: str, session_id: str) -> None:
        """As ADK's; forgets the events."""
        self._known.pop((app_name, user_id, session_id), None)
        await super().delete_session(app_name=app_name, user_id=user_id, session_id=session_id)

    async def _events(self, connection: AsyncConnection, key: Key, count: int, last_id: str | None) -> list[Event]:
        known = self._known.get(key) or _Known([])
        if len(known.events) != count or known.last_id != (last_id or ""):
            fresh = _Known(known.events.copy(), known.last_at, known.last_id)
            await _extend(connection, key, fresh)
            if len(fresh.events) < count:  # an event with an older time came in between: another instance's clock
                fresh = _Known([])
                await _extend(connection, key, fresh)
            known = fresh
        self._remember(key, known)
        return known.events

    def _remember(self, key: Key, known: _Known) -> None:
        self._known[key] = known
        self._known.move_to_end(key)
        total = sum(len(other.events) for other in self._known.values())
        while len(self._known) > 1 and (len(self._known) > MOST_SESSIONS or total > MOST_EVENTS):
            _, dropped = self._known.popitem(last=False)
            total -= len(dropped.events)


async def _extend(connection: AsyncConnection, key: Key, known: _Known) -> None:
    """Adds the events after the newest known one, in ADK's order."""
    rows = await connection.execute(_EVENTS, _names(key) | {"last_at": known.last_at, "last_id": known.last_id})
    for row in rows:
        stored = StorageEvent(
            id=row.id, invocation_id=row.invocation_id, timestamp=row.timestamp, event_data=row.event_data
        )
        known.events.append(stored.to_event())
        known.last_at, known.last_id = row.timestamp, row.id


def _names(key: Key) -> dict[str, Any]:
    return {"app": key[0], "user": key[1], "session": key[2]}


_SESSION = sa.text("""
SELECT s.state, s.update_time,
       (SELECT state FROM app_states WHERE app_name = :app) AS app_state,
       (SELECT state FROM user_states WHERE app_name = :app AND user_id = :user) AS user_state,
       (SELECT count(*) FROM events WHERE app_name = :app AND user_id = :user AND session_id = :session) AS events,
       (SELECT id FROM events WHERE app_name = :app AND user_id = :user AND session_id = :session
        ORDER BY timestamp DESC, id DESC LIMIT 1) AS last_id
FROM sessions s WHERE s.app_name = :app AND s.user_id = :user AND s.id = :session
""").columns(
    state=JSONB, update_time=sa.DateTime, app_state=JSONB, user_state=JSONB, events=sa.BigInteger, last_id=sa.Text
)
_EVENTS = (
    sa.text("""
SELECT id, invocation_id, timestamp, event_data FROM events
WHERE app_name = :app AND user_id = :user AND session_id = :session
  AND (CAST(:last_at AS timestamp) IS NULL OR (timestamp, id) > (CAST(:last_at AS timestamp), CAST(:last_id AS text)))
ORDER BY timestamp, id
""")
    .bindparams(sa.bindparam("last_at", type_=sa.DateTime))
    .columns(id=sa.Text, invocation_id=sa.Text, timestamp=sa.DateTime, event_data=JSONB)
)
