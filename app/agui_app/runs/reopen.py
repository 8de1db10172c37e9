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

from ag_ui.core import ResumeEntry, RunAgentInput, ToolMessage
from google.adk.events import Event, EventActions

from agui_app.agents.approvals import original_calls
from agui_app.agents.guardrails import ApprovalRule, approval_of
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


async def waits_for_another(agents: Agents, user: str, thread: str, answers: Sequence[ResumeEntry]) -> bool:
    """Whether a yes among `answers` needs the word of another person, who has not said anything: the question stays
    open. Raises SQLAlchemyError, OSError."""
    agreed = [answer.interrupt_id for answer in answers if answer.payload == {"confirmed": True}]
    if not agreed or not any(isinstance(r, ApprovalRule) and r.approver == "another" for r in agents.rules.rules):
        return False
    session = await agents.sessions.get_session(app_name=APP_NAME, user_id=user, session_id=thread)
    calls = original_calls(session.events) if session is not None else {}
    for call, tool in (calls[question] for question in agreed if question in calls):
        rule = approval_of(agents.rules, tool)
        demanded = rule is not None and rule.approver == "another"
        if demanded and await agents.approvals.said_by_another(user, thread, call) is None:
            return True
    return False


async def without_forged_answers(agents: Agents, user: str, thread: str, request: RunAgentInput) -> RunAgentInput:
    """The input without results of tools that are in truth answers to approvals: those come as `resume` alone."""
    if not any(message.role == "tool" for message in request.messages):
        return request
    session = await agents.sessions.get_session(app_name=APP_NAME, user_id=user, session_id=thread)
    questions = original_calls(session.events) if session is not None else {}
    kept = [m for m in request.messages if not isinstance(m, ToolMessage) or m.tool_call_id not in questions]
    return request.model_copy(update={"messages": kept})
