"""What a person decided about a tool call: the asker's answer, and where a rule demands it the word of another person.

Every word is a row of its own in `approvals`: the question and its answer belong to the asker; what another person says
about it is stored under that person's name, with a key that is made from the question's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

Decision = Literal["granted", "denied"]
CONFIRMATION = "adk_request_confirmation"


class Approvals:
    """Reads and writes decisions. All methods may raise SQLAlchemyError or OSError when the database is away."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def ask(self, user: str, thread: str, call: str, tool: str, arguments: Mapping[str, Any]) -> None:
        """Records that `user` was asked."""
        async with self._engine.begin() as connection:
            await connection.execute(
                _ASKED,
                {
                    "id": call,
                    "user": user,
                    "session": thread,
                    "tool": tool,
                    "arguments": json.dumps(dict(arguments), default=str),
                },
            )

    async def decide(self, user: str, thread: str, call: str, decision: Decision) -> bool:
        """Records the asker's answer; False when it was answered before."""
        async with self._engine.begin() as connection:
            changed = await connection.execute(
                _DECIDED, {"id": call, "status": decision, "user": user, "session": thread}
            )
        return bool(changed.rowcount)

    async def endorse(self, approver: str, user: str, thread: str, call: str, decision: Decision) -> bool:
        """Records what another person says about the open question of `user`; False when there is no such question,
        it is the approver's own, or this person has answered it before."""
        keys = {"approver": approver, "user": user, "session": thread, "id": call, "status": decision}
        async with self._engine.begin() as connection:
            made = await connection.execute(_ENDORSED, keys | {"key": _key(user, thread, call)})
        return bool(made.rowcount)

    async def said_by_another(self, user: str, thread: str, call: str) -> Decision | None:
        """What another person said about the question of `user`: one denial outweighs every grant."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(
                _ENDORSEMENTS, {"user": user, "session": thread, "key": _key(user, thread, call)}
            )
            said = {row.status for row in rows}
        if not said:
            return None
        return "granted" if said == {"granted"} else "denied"

    async def waiting(self, approver: str, tools: Sequence[str], limit: int = 100) -> list[dict[str, Any]]:
        """Open questions of other people about these tools that `approver` has not answered, the oldest first."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(_WAITING, {"approver": approver, "tools": list(tools), "limit": limit})
            return [
                {
                    "user": row.user_id,
                    "thread": row.session_id,
                    "call": row.function_call_id,
                    "tool": row.tool,
                    "arguments": row.arguments,
                    "requestedAt": row.requested_at.isoformat(),
                }
                for row in rows
            ]


def said_yes(payload: Any) -> bool:
    """Whether an answer is exactly `{"confirmed": true}`. Everything else is a refusal."""
    return isinstance(payload, dict) and set(payload) == {"confirmed"} and payload["confirmed"] is True


def original_calls(events: Sequence[Any]) -> dict[str, tuple[str, str]]:
    """(id of the call, tool) that each question of a session is about, by the question's id."""
    found: dict[str, tuple[str, str]] = {}
    for event in events:
        for call in event.get_function_calls():
            original = (call.args or {}).get("originalFunctionCall") if call.name == CONFIRMATION else None
            if isinstance(original, Mapping):
                found[str(call.id)] = (str(original.get("id")), str(original.get("name")))
    return found


def _key(user: str, thread: str, call: str) -> str:
    return "for:" + hashlib.sha256("\n".join((user, thread, call)).encode()).hexdigest()[:48]


_ASKED = text(
    "INSERT INTO approvals (function_call_id, user_id, session_id, tool, arguments)"
    " VALUES (:id, :user, :session, :tool, CAST(:arguments AS jsonb)) ON CONFLICT DO NOTHING"
)
_DECIDED = text(
    "UPDATE approvals SET status = :status, decided_at = now() WHERE user_id = :user AND session_id = :session"
    " AND function_call_id = :id AND status = 'requested'"
)
_ENDORSED = text(
    "INSERT INTO approvals (function_call_id, user_id, session_id, tool, arguments, status, decided_at)"
    " SELECT :key, :approver, session_id, tool, jsonb_build_object('user', user_id, 'call', function_call_id),"
    " :status, now() FROM approvals"
    " WHERE user_id = :user AND session_id = :session AND function_call_id = :id AND status = 'requested'"
    " AND user_id <> CAST(:approver AS text) ON CONFLICT DO NOTHING"
)
_ENDORSEMENTS = text(
    "SELECT status FROM approvals WHERE session_id = :session AND function_call_id = :key AND user_id <> :user"
)
_WAITING = text(
    "SELECT user_id, session_id, function_call_id, tool, arguments, requested_at FROM approvals AS asked"
    " WHERE status = 'requested' AND user_id <> :approver AND tool = ANY(:tools)"
    " AND NOT EXISTS (SELECT FROM approvals AS said"
    " WHERE said.user_id = :approver AND said.session_id = asked.session_id"
    " AND said.function_call_id = 'for:' || left(encode(sha256(convert_to("
    "  concat_ws(chr(10), asked.user_id, asked.session_id, asked.function_call_id), 'UTF8')), 'hex'), 48))"
    " ORDER BY requested_at LIMIT :limit"
)
