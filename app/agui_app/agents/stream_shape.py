"""Pure functions on AG-UI event streams: what must be closed, what clients may see, and redaction while streaming.

Event reference: https://docs.ag-ui.com/concepts/events
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agui_app.agents.guardrails import Guardrails, redact

Event = dict[str, Any]
TERMINAL = frozenset({"RUN_FINISHED", "RUN_ERROR"})
PIPELINES = "pipelines"  # state that says how far pipelines have come: progress.py
_PRIVATE_KEYS = ("_ag_ui_", "_adk", "app:", "user:", "temp:")


def closing_events(events: Iterable[Mapping[str, Any]], thread_id: str, run_id: str) -> list[Event]:
    """Ends for every message and tool call that is still open; clients refuse a finished run with open ones."""
    messages: dict[str, None] = {}
    calls: dict[str, None] = {}
    for event in events:
        match event.get("type"):
            case "TEXT_MESSAGE_START":
                messages[event["messageId"]] = None
            case "TEXT_MESSAGE_END":
                messages.pop(event["messageId"], None)
            case "TOOL_CALL_START":
                calls[event["toolCallId"]] = None
            case "TOOL_CALL_END":
                calls.pop(event["toolCallId"], None)
    closers: list[Event] = [{"type": "TEXT_MESSAGE_END", "messageId": message} for message in messages]
    return closers + [{"type": "TOOL_CALL_END", "toolCallId": call} for call in calls]


def opening_events(events: Sequence[Event], last: Event, thread_id: str, run_id: str) -> list[Event]:
    """The start of a run that is stopped before its first event: clients refuse an end without one, but an error."""
    if events or last["type"] != "RUN_FINISHED":
        return []
    return [{"type": "RUN_STARTED", "threadId": thread_id, "runId": run_id}]


def public_state(state: Any) -> Any:
    """State without the bookkeeping of ADK and ag-ui-adk: a client must neither see nor set it."""
    if not isinstance(state, Mapping):
        return state
    return {k: v for k, v in state.items() if not k.startswith(_PRIVATE_KEYS) and k != "pending_tool_calls"}


def client_state(state: Any) -> Any:
    """What a client may set: public state without what only pipelines write."""
    seen = public_state(state)
    return {k: v for k, v in seen.items() if k != PIPELINES} if isinstance(seen, Mapping) else seen


class StreamRedactor:
    """Applies output rules to streamed text, word by word: a word is sent once the next one has begun.

    Output patterns cannot span white space (checked when the rules are loaded), so no match is ever split.
    """

    def __init__(self, rules: Guardrails) -> None:
        self._rules = rules
        self._held: dict[str, str] = {}

    def pass_on(self, event: Event) -> list[Event]:
        """The events to send instead of `event`."""
        kind = event.get("type")
        if kind == "TEXT_MESSAGE_CONTENT":
            message = event["messageId"]
            text = self._held.pop(message, "") + event["delta"]
            cut = max((match.end() for match in re.finditer(r"\s", text)), default=0)
            self._held[message] = text[cut:]
            clean = redact(self._rules, text[:cut])[0]
            return [event | {"delta": clean}] if clean else []
        if kind == "TEXT_MESSAGE_END":
            rest = redact(self._rules, self._held.pop(event["messageId"], ""))[0]
            start = [{"type": "TEXT_MESSAGE_CONTENT", "messageId": event["messageId"], "delta": rest}] if rest else []
            return [*start, event]
        if kind == "STATE_SNAPSHOT":
            return [event | {"snapshot": public_state(event.get("snapshot"))}]
        return [event]

    def drain(self) -> list[Event]:
        """What is still held back, when a run ends without closing its messages."""
        held, self._held = self._held, {}
        return [
            {"type": "TEXT_MESSAGE_CONTENT", "messageId": message, "delta": clean}
            for message, text in held.items()
            if (clean := redact(self._rules, text)[0])
        ]
