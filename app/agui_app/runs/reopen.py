"""An approval that was given and then lost with its instance can be given again.

ag-ui-adk takes an answer off the list of open questions before the approved tool runs. If the instance dies in between,
the question looks answered although nothing came of it, and a second answer would be refused as unknown. Here such a
question is put back on the list, in the session's own way (an event with a state delta), so that replaying the deltas
still gives the state. A tool that had run already is not run twice: its effects are keyed by the function call.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from google.adk.events import Event, EventActions

from agui_app.agents.tree import APP_NAME, Agents
from agui_app.telemetry.logs import log

logger = logging.getLogger("agui_app.reopen")
PENDING = "pending_tool_calls"
_LEDGER = "_ag_ui_processed_message:"


def came_to_nothing(events: Sequence[Any], question: str) -> bool:
    """Whether `question` was answered and nobody has said anything since: the run that the answer began was lost."""
    answered = False
    for event in events:
        if event.partial:
            continue
        if event.author == "user" and any(answer.id == question for answer in event.get_function_responses()):
            answered = True
        elif answered and any(part.text for part in (event.content.parts if event.content else None) or []):
            return False
    return answered


async def reopen(agents: Agents, user: str, thread: str, questions: Sequence[str]) -> None:
    """Puts those of `questions` back on the list that were answered in vain. The caller holds the thread.

    Raises SQLAlchemyError, OSError.
    """
    session = await agents.sessions.get_session(app_name=APP_NAME, user_id=user, session_id=thread)
    if session is None:
        return
    pending = list(session.state.get(PENDING) or [])
    lost = [q for q in questions if q not in pending and came_to_nothing(session.events, q)]
    if not lost:
        return
    answers = [name for question in lost for name in (f"resume-{question}", f"resume-call-{question}")]
    delta: dict[str, Any] = {_LEDGER + name: None for name in answers if _LEDGER + name in session.state}
    delta[PENDING] = pending + lost
    await agents.sessions.append_event(
        session,
        Event(
            author="user",
            invocation_id=f"state_update_{int(time.time())}",
            timestamp=time.time(),
            actions=EventActions(state_delta=delta),
        ),
    )
    seen = agents.adk._session_manager._processed_message_ids.get((APP_NAME, user, thread))
    if seen is not None:
        seen.difference_update(answers)
    log(logger, logging.WARNING, "approval_reopened", session_id=thread, user_id=user, count=len(lost))
