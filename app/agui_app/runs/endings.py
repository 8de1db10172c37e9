"""How a run ends on the wire: a fixed set of codes, each with its sentence.

Nothing of an exception, a model's error or a tool reaches a client, a check of a release or the status of a deployment
by way of a run's error: a code that is not in CODES becomes AGENT_ERROR, and the sentence is always ours.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from agui_app.agents.stream_shape import Event

logger = logging.getLogger("agui_app.runs")

AGENT_ERROR = "AGENT_ERROR"
_FAILED = "The agent failed."
CODES: dict[str, str] = {
    AGENT_ERROR: _FAILED,
    "APPROVAL_PENDING": "Another person has to approve this first.",
    "BACKGROUND_EXECUTION_ERROR": _FAILED,
    "EXECUTION_ERROR": _FAILED,
    "EXECUTION_TIMEOUT": "The run took too long.",
    "INSTANCE_LOST": "The instance that ran this was lost.",
    "INSTANCE_STOPPING": "The instance is stopping; ask again.",
    "INTERRUPT_RESUME_REQUIRED": "An approval is open in this thread; answer it first.",
    "NO_RESULT": "The run ended without a result.",
    "NO_TOOL_RESULTS": "The answer to a tool call is missing.",
    "PENDING_TOOL_CALLS": "A tool call is open in this thread.",
    "RUN_TIMEOUT": "The run took too long.",
    "SESSION_LOOKUP_ERROR": "The thread cannot be read.",
    "TOOL_RESULT_BUFFER_ERROR": _FAILED,
    "TOOL_RESULT_PROCESSING_ERROR": _FAILED,
    "UNKNOWN_INTERRUPT": "This question is not open.",
}


def failed(code: str) -> Event:
    """The RUN_ERROR with this code."""
    return {"type": "RUN_ERROR", "message": CODES[code], "code": code}


def worded(last: Event) -> Event:
    """The last event as it is shown. What an error said is logged: it may quote a query or an address."""
    if last["type"] != "RUN_ERROR":
        return last
    code = last.get("code")
    known = code if isinstance(code, str) and code in CODES else AGENT_ERROR
    if CODES[known] == _FAILED:  # reported as an error, with its trace, where it was caught
        logger.warning("run failed: %s: %s", code, last.get("message"))
    return {k: v for k, v in last.items() if k == "timestamp"} | failed(known)


def ending(stopping: str, thread_id: str, run_id: str) -> Event:
    """The last event of a run that was cancelled for the reason `stopping`, or came to nothing."""
    if stopping == "stop":
        return {"type": "RUN_FINISHED", "threadId": thread_id, "runId": run_id}
    return failed("INSTANCE_STOPPING" if stopping == "shutdown" else "NO_RESULT")


def status_of(stopping: str, last: Event) -> tuple[str, dict[str, Any] | None]:
    """(status, outcome) of a run as they are stored."""
    if stopping:
        return "stopped", {"code": last["code"]} if last["type"] == "RUN_ERROR" else None
    if last["type"] == "RUN_ERROR":
        return "failed", {"code": last.get("code")}
    outcome = last.get("outcome")
    if isinstance(outcome, dict) and outcome.get("type") == "interrupt":
        return "interrupted", outcome
    return "finished", None


def cut_short(stopping: str, events: Sequence[Event], last: Event) -> list[Event]:
    """Tells everybody who follows the run that its answer is not complete; `connect` tells it again later."""
    status, outcome = status_of(stopping, last)
    if status not in ("stopped", "failed") or not events:
        return []  # a run that was refused before it began cut nothing short, and its error must come first
    reason = (outcome or {}).get("code") or ("stopped" if status == "stopped" else "NO_RESULT")
    return [{"type": "CUSTOM", "name": "run.cut_short", "value": {"reason": reason}}]
