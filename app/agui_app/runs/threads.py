"""A user's threads as a page lists them, and for one thread what guardrails blocked and which answers were cut short:
read from what is stored anyway.

Every query names the user first: no thread of somebody else can be seen, whatever a client asks for.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from google.adk.events import Event
from sqlalchemy.ext.asyncio import AsyncEngine

from agui_app.agents.tree import APP_NAME

TITLE_CHARACTERS = 80


class BadCursor(ValueError):
    """This is no cursor of ours."""


@dataclass(frozen=True, slots=True)
class ThreadSummary:
    """One line of the list. `title` is how the conversation began; empty when nobody has said anything."""

    id: str
    title: str
    last_activity: datetime
    waiting: bool
    running: bool
    runs: int  # that it has had; a thread may have only so many

    def public(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "id": self.id,
            "title": self.title,
            "lastActivity": self.last_activity.isoformat(),
            "waitingForApproval": self.waiting,
            "running": self.running,
            "runs": self.runs,
        }


class Threads:
    """Reads only. All methods may raise SQLAlchemyError or OSError when the database is away."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._reader = engine.execution_options(isolation_level="AUTOCOMMIT")  # one statement needs no transaction

    async def page(self, user: str, limit: int, cursor: str = "") -> tuple[list[ThreadSummary], str | None]:
        """At most `limit` threads, the last used first, and the cursor of the next page. Raises BadCursor."""
        at, last = _position(cursor) if cursor else (None, "")
        keys = {"app": APP_NAME, "user": user, "at": at, "last": last, "limit": limit + 1}
        async with self._reader.connect() as connection:
            rows = (await connection.execute(_PAGE, keys)).all()
        found = [
            ThreadSummary(
                id=row.id,
                title=_title(row.words or ""),
                last_activity=row.update_time.replace(tzinfo=UTC),
                waiting=bool(row.waiting) and not row.running,
                running=row.running,
                runs=row.runs,
            )
            for row in rows[:limit]
        ]
        return found, _cursor(found[-1]) if len(rows) > limit else None

    async def blocks(self, user: str, thread: str, events: Sequence[Event]) -> list[dict[str, Any]]:
        """What guardrails blocked in these events: `{rule, stage, agent, turn}`; `turn` counts the user's messages."""
        turns = turns_of(events)
        async with self._reader.connect() as connection:
            rows = await connection.execute(_BLOCKS, {"user": user, "thread": thread})
            return [
                {"rule": row.rule, "stage": row.stage, "agent": row.agent, "turn": turns[row.invocation_id]}
                for row in rows
                if row.invocation_id in turns
            ]

    async def cut_short(self, user: str, thread: str, events: Sequence[Event]) -> list[dict[str, Any]]:
        """Turns whose latest run ended early: `{turn, reason}`; the reason is `stopped` or the code of a failure."""
        turns = turns_of(events)
        asked = [(e.timestamp, turns[e.invocation_id]) for e in events if e.author == "user" and e.content]
        reasons: dict[int, str | None] = {}
        before = 0.0
        async with self._reader.connect() as connection:
            for row in await connection.execute(_ENDED, {"user": user, "thread": thread}):
                # runs of a thread never overlap: what the user said since the run before is what this run answered
                turn = next((turn for at, turn in reversed(asked) if before < at <= row.ended), 0)
                before = row.ended
                if turn:
                    reasons[turn] = row.reason
        return [{"turn": turn, "reason": reason} for turn, reason in reasons.items() if reason]


def turns_of(events: Sequence[Event]) -> dict[str, int]:
    """Which message of the user, counted from 1, each invocation answers. A resumed one keeps its message."""
    turns: dict[str, int] = {}
    count = 0
    for event in events:
        if event.author == "user" and event.content and any(part.text for part in event.content.parts or []):
            count += 1
        turns.setdefault(event.invocation_id, count)
    return turns


def _title(words: str) -> str:
    plain = " ".join(words.split())
    return plain if len(plain) <= TITLE_CHARACTERS else f"{plain[: TITLE_CHARACTERS - 1]}…"


def _cursor(thread: ThreadSummary) -> str:
    text = f"{thread.last_activity.replace(tzinfo=None).isoformat()} {thread.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _position(cursor: str) -> tuple[datetime, str]:
    try:
        at, _, last = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode().partition(" ")
        moment = datetime.fromisoformat(at)
    except (ValueError, binascii.Error):
        raise BadCursor(cursor[:60]) from None
    if moment.tzinfo is not None or "\0" in last:
        raise BadCursor(cursor[:60])
    return moment, last


_PAGE = sa.text("""
SELECT s.id, s.update_time,
  (SELECT jsonb_path_query_first(e.event_data, '$.content.parts[*].text') #>> '{}' FROM events e
   WHERE e.app_name = :app AND e.user_id = :user AND e.session_id = s.id AND e.event_data ->> 'author' = 'user'
     AND jsonb_path_exists(e.event_data, '$.content.parts[*].text') ORDER BY e.timestamp, e.id LIMIT 1) AS words,
  EXISTS (SELECT 1 FROM agent_runs r WHERE r.user_id = :user AND r.thread_id = s.id
          AND r.status = 'running') AS running,
  (SELECT count(*) FROM agent_runs r WHERE r.user_id = :user AND r.thread_id = s.id) AS runs,
  (SELECT r.outcome ->> 'type' = 'interrupt' FROM agent_runs r WHERE r.user_id = :user AND r.thread_id = s.id
   AND r.status IN ('finished', 'interrupted') ORDER BY r.last_seq DESC NULLS LAST LIMIT 1) AS waiting
FROM (
  SELECT id, update_time FROM sessions WHERE app_name = :app AND user_id = :user
    AND (CAST(:at AS timestamp) IS NULL OR (update_time, id) < (CAST(:at AS timestamp), CAST(:last AS text)))
  ORDER BY update_time DESC, id DESC LIMIT :limit
) s ORDER BY s.update_time DESC, s.id DESC
""").bindparams(sa.bindparam("at", type_=sa.DateTime))
_BLOCKS = sa.text("""
SELECT rule, stage, agent, invocation_id FROM audit_events
WHERE user_id = :user AND session_id = :thread AND event = 'guardrail.block' ORDER BY id LIMIT 500
""")
_ENDED = sa.text("""
SELECT CAST(extract(epoch FROM finished_at) AS double precision) AS ended,
  CASE status WHEN 'stopped' THEN coalesce(outcome ->> 'code', 'stopped')
              WHEN 'failed' THEN coalesce(outcome ->> 'code', 'NO_RESULT')
              WHEN 'lost' THEN 'INSTANCE_LOST' END AS reason
FROM agent_runs WHERE user_id = :user AND thread_id = :thread AND finished_at IS NOT NULL ORDER BY finished_at
""")
