"""The durable log of AG-UI events: what makes a dropped client or a killed instance harmless.

One row per event, numbered per thread without gaps by the only run that may be live in that thread. A client that
comes back on any instance asks for what it has not seen; a run whose instance died is closed by another one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from agui_app.agents.stream_shape import closing_events
from agui_app.runs.endings import failed

EVENTS_CHANNEL = "agui_events"
STOP_CHANNEL = "agui_stop"
STALE_AFTER_SECONDS = 20


class ThreadBusy(Exception):
    """Another run is live in this thread, here or on another instance."""


class RunExists(Exception):
    """This run id was used in this thread before."""


class ThreadFull(Exception):
    """The thread has had as many runs as a thread may have."""


class TooManyRuns(Exception):
    """The user has as many live runs as allowed."""


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A run that has not ended, as the database knows it."""

    run_id: str
    first_seq: int
    instance: str
    started_at: float  # seconds since the epoch


class EventLog:
    """Reads and writes the log. All methods may raise SQLAlchemyError or OSError when the database is away."""

    def __init__(self, engine: AsyncEngine, instance: str) -> None:
        self._engine = engine
        self._single = engine.execution_options(isolation_level="AUTOCOMMIT")  # one statement needs no transaction
        self.instance = instance

    async def claim(self, user: str, thread: str, run_id: str, runs_per_user: int, runs_per_thread: int) -> int:
        """Makes this run the thread's live one; returns its first sequence number.

        Raises ThreadBusy, RunExists, ThreadFull, TooManyRuns.
        """
        keys = {"user": user, "thread": thread, "run": run_id, "instance": self.instance}
        async with self._single.connect() as connection:
            first = await connection.scalar(_CLAIM, keys | {"most": runs_per_user, "whole": runs_per_thread})
            if first is not None:
                return int(first)
            row = (await connection.execute(_WHY_NOT, keys | {"whole": runs_per_thread})).one()
        if row.run_known:
            raise RunExists(run_id)
        if row.busy and await self.reap(user, thread):
            return await self.claim(user, thread, run_id, runs_per_user, runs_per_thread)
        if row.busy:
            raise ThreadBusy(thread)
        if row.whole:
            raise ThreadFull(thread)
        raise TooManyRuns(user)

    async def append(self, user: str, thread: str, run_id: str, first: int, events: Sequence[str]) -> None:
        """Adds events numbered from `first` and wakes the listeners of all instances, in one statement."""
        async with self._single.connect() as connection:
            await self._write(connection, user, thread, run_id, first, events)

    async def finish(
        self,
        user: str,
        thread: str,
        run_id: str,
        first: int,
        events: Sequence[str],
        status: str,
        outcome: dict[str, Any] | None,
    ) -> None:
        """Adds the last events and ends the run, so that nobody sees its end while the thread is still taken."""
        async with self._engine.begin() as connection:
            await self._write(connection, user, thread, run_id, first, events)
            await connection.execute(
                _FINISH,
                {
                    "user": user,
                    "thread": thread,
                    "run": run_id,
                    "status": status,
                    "last": first + len(events) - 1,
                    "outcome": None if outcome is None else json.dumps(outcome),
                },
            )

    async def _write(
        self, connection: AsyncConnection, user: str, thread: str, run_id: str, first: int, events: Sequence[str]
    ) -> None:
        if not events:
            return
        keys = {"user": user, "thread": thread, "run": run_id}
        note = {"channel": EVENTS_CHANNEL, "note": json.dumps({"user": user, "thread": thread})}
        await connection.execute(_APPEND, keys | note | {"first": first, "events": list(events)})

    async def read(self, user: str, thread: str, after: int, limit: int = 500) -> list[tuple[int, str]]:
        """Events with a sequence number above `after`, in order, at most `limit`."""
        async with self._single.connect() as connection:
            rows = await connection.execute(_READ, {"user": user, "thread": thread, "after": after, "limit": limit})
            return [(row.seq, row.event) for row in rows]

    async def last_seq(self, user: str, thread: str) -> int:
        """Sequence number of the thread's newest event; 0 when it has none."""
        async with self._single.connect() as connection:
            return int(await connection.scalar(_LAST, {"user": user, "thread": thread}) or 0)

    async def live_run(self, user: str, thread: str) -> LiveRun | None:
        """The thread's live run on any instance."""
        async with self._single.connect() as connection:
            row = (await connection.execute(_LIVE, {"user": user, "thread": thread})).one_or_none()
        return None if row is None else LiveRun(row.run_id, row.first_seq, row.instance, float(row.started))

    async def last_outcome(self, user: str, thread: str) -> dict[str, Any] | None:
        """Outcome of the thread's latest run that came to an end: open interrupts, if it waits for a person. A failed
        run (a wrong answer, say) changes nothing about that."""
        async with self._single.connect() as connection:
            outcome = await connection.scalar(_OUTCOME, {"user": user, "thread": thread})
        return outcome if isinstance(outcome, dict) else None

    async def ask_to_stop(self, user: str, thread: str) -> None:
        """Tells all instances to stop the thread's live run."""
        note = json.dumps({"user": user, "thread": thread})
        async with self._single.connect() as connection:
            await connection.execute(_NOTIFY, {"channel": STOP_CHANNEL, "note": note})

    async def heartbeat(self) -> None:
        """Says that this instance's runs are alive."""
        async with self._single.connect() as connection:
            await connection.execute(_HEARTBEAT, {"instance": self.instance})

    async def reap(self, user: str | None = None, thread: str | None = None) -> int:
        """Ends runs whose instance has not given a heartbeat for STALE_AFTER_SECONDS; returns how many.

        Their open messages and tool calls are closed and the client is told that it may ask again.
        """
        async with self._engine.begin() as connection:
            stale = await connection.execute(_STALE, {"user": user, "thread": thread, "age": STALE_AFTER_SECONDS})
            lost = stale.all()
            for row in lost:
                rows = await connection.execute(
                    _READ, {"user": row.user_id, "thread": row.thread_id, "after": row.first_seq - 1, "limit": 100_000}
                )
                seen = rows.all()
                cut_short = {"type": "CUSTOM", "name": "run.cut_short", "value": {"reason": "INSTANCE_LOST"}}
                events = [
                    *([cut_short] if seen else []),  # nothing may come before RUN_STARTED but an error
                    *closing_events([json.loads(event.event) for event in seen], row.thread_id, row.run_id),
                    failed("INSTANCE_LOST"),
                ]
                first = (seen[-1].seq if seen else row.first_seq - 1) + 1
                lines = [json.dumps(event) for event in events]
                await self._write(connection, row.user_id, row.thread_id, row.run_id, first, lines)
                await connection.execute(
                    _FINISH,
                    {
                        "user": row.user_id,
                        "thread": row.thread_id,
                        "run": row.run_id,
                        "status": "lost",
                        "last": first + len(lines) - 1,
                        "outcome": None,
                    },
                )
                await connection.execute(_ABANDON, {"user": row.user_id, "thread": row.thread_id})
        return len(lost)

    async def prune(self, older_than_seconds: int) -> int:
        """Deletes events of ended runs older than that; run rows stay, because they hold the counter."""
        async with self._engine.begin() as connection:
            result = await connection.execute(_PRUNE, {"age": older_than_seconds})
        return int(result.rowcount)


_CLAIM = text("""
INSERT INTO agent_runs (user_id, thread_id, run_id, instance, first_seq)
SELECT :user, :thread, :run, :instance,
       1 + coalesce((SELECT max(last_seq) FROM agent_runs WHERE user_id = :user AND thread_id = :thread), 0)
WHERE (SELECT count(*) FROM agent_runs WHERE user_id = :user AND status = 'running') < :most
  AND (SELECT count(*) FROM agent_runs WHERE user_id = :user AND thread_id = :thread) < :whole
ON CONFLICT DO NOTHING RETURNING first_seq
""")
_WHY_NOT = text("""
SELECT EXISTS (SELECT 1 FROM agent_runs WHERE user_id = :user AND thread_id = :thread AND run_id = :run) AS run_known,
       EXISTS (SELECT 1 FROM agent_runs WHERE user_id = :user AND thread_id = :thread AND status = 'running') AS busy,
       (SELECT count(*) FROM agent_runs WHERE user_id = :user AND thread_id = :thread) >= :whole AS whole
""")
_APPEND = text("""
WITH added AS (
INSERT INTO run_events (user_id, thread_id, seq, run_id, event)
SELECT :user, :thread, CAST(:first AS bigint) + n - 1, :run, e
FROM unnest(CAST(:events AS text[])) WITH ORDINALITY AS t(e, n)
ON CONFLICT DO NOTHING
)
SELECT pg_notify(:channel, :note)
""")
_FINISH = text("""
UPDATE agent_runs SET status = :status, last_seq = :last, outcome = CAST(:outcome AS jsonb), finished_at = now()
WHERE user_id = :user AND thread_id = :thread AND run_id = :run AND status = 'running'
""")
_NOTIFY = text("SELECT pg_notify(:channel, :note)")
_READ = text("""
SELECT seq, event FROM run_events WHERE user_id = :user AND thread_id = :thread AND seq > :after
ORDER BY seq LIMIT :limit
""")
_LAST = text("""
SELECT greatest((SELECT max(seq) FROM run_events WHERE user_id = :user AND thread_id = :thread),
                (SELECT max(last_seq) FROM agent_runs WHERE user_id = :user AND thread_id = :thread))
""")
_LIVE = text("""
SELECT run_id, first_seq, instance, extract(epoch FROM started_at) AS started FROM agent_runs
WHERE user_id = :user AND thread_id = :thread AND status = 'running'
""")
_OUTCOME = text("""
SELECT outcome FROM agent_runs WHERE user_id = :user AND thread_id = :thread AND status IN ('finished', 'interrupted')
ORDER BY last_seq DESC NULLS LAST LIMIT 1
""")
_HEARTBEAT = text("UPDATE agent_runs SET heartbeat_at = now() WHERE instance = :instance AND status = 'running'")
_STALE = text("""
SELECT user_id, thread_id, run_id, first_seq FROM agent_runs
WHERE status = 'running' AND heartbeat_at < now() - make_interval(secs => :age)
  AND (CAST(:user AS text) IS NULL OR (user_id = :user AND thread_id = :thread))
FOR UPDATE SKIP LOCKED
""")
# what a lost run's pipelines had opened ends with it
_ABANDON = text("""
UPDATE briefs SET status = 'failed', completed_at = now()
WHERE user_id = :user AND session_id = :thread AND status = 'running'
""")
_PRUNE = text("""
DELETE FROM run_events e USING agent_runs r
WHERE e.at < now() - make_interval(secs => :age)
  AND r.user_id = e.user_id AND r.thread_id = e.thread_id AND r.run_id = e.run_id AND r.status <> 'running'
""")
