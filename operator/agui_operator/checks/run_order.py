"""The legal orders of AG-UI events in one run (https://docs.ag-ui.com/concepts/events), as a small automaton.

A client library refuses a stream that breaks these rules and the user sees an error although the server answered 200;
so an agent check has to refuse it too. Unknown event types pass: a newer protocol version is no fault of a release.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agui_operator.checks.codes import EVENT_TYPES

# What a START opens, by the field that names it; its middle events need it open, and its END closes it.
_OPENS = {
    "TEXT_MESSAGE_START": ("text message", "messageId"),
    "TOOL_CALL_START": ("tool call", "toolCallId"),
    "STEP_STARTED": ("step", "stepName"),
    "REASONING_START": ("reasoning", "messageId"),
    "REASONING_MESSAGE_START": ("reasoning message", "messageId"),
}
_NEEDS = {
    "TEXT_MESSAGE_CONTENT": ("text message", "messageId"),
    "TOOL_CALL_ARGS": ("tool call", "toolCallId"),
    "REASONING_MESSAGE_CONTENT": ("reasoning message", "messageId"),
}
_CLOSES = {
    "TEXT_MESSAGE_END": ("text message", "messageId"),
    "TOOL_CALL_END": ("tool call", "toolCallId"),
    "STEP_FINISHED": ("step", "stepName"),
    "REASONING_END": ("reasoning", "messageId"),
    "REASONING_MESSAGE_END": ("reasoning message", "messageId"),
}
ENDS = frozenset({"RUN_FINISHED", "RUN_ERROR"})


class RunOrder:
    """One run. `ended` is the type of the event that ended it."""

    def __init__(self) -> None:
        self.ended: str | None = None
        self._started = False
        self._open: set[tuple[str, str]] = set()

    def see(self, event: Mapping[str, Any]) -> str | None:
        """Takes the next event. Returns what is wrong with it at this place, in words that hold event types only."""
        kind = event.get("type")
        if not isinstance(kind, str) or not kind:
            return "an event has no type"
        if self.ended is not None:
            return f"{name_of(kind)} came after {self.ended}"
        if not self._started:
            if kind not in ("RUN_STARTED", "RUN_ERROR"):
                return f"the first event is {name_of(kind)}, not RUN_STARTED"
            self._started = True
        elif kind == "RUN_STARTED":
            return "RUN_STARTED came twice"
        if kind in ENDS:
            self.ended = kind
            if kind == "RUN_FINISHED" and self._open:
                return f"RUN_FINISHED came while a {min(self._open)[0]} was open"
            return None
        return self._opened_and_closed(kind, event)

    def _opened_and_closed(self, kind: str, event: Mapping[str, Any]) -> str | None:
        if kind in _OPENS:
            what = self._key(_OPENS[kind], event)
            if what in self._open:
                return f"{kind} came for a {what[0]} that was already open"
            self._open.add(what)
        elif kind in _NEEDS or kind in _CLOSES:
            what = self._key(_NEEDS.get(kind) or _CLOSES[kind], event)
            if what not in self._open:
                return f"{kind} came for a {what[0]} that was not open"
            if kind in _CLOSES:
                self._open.discard(what)
        return None

    @staticmethod
    def _key(spec: tuple[str, str], event: Mapping[str, Any]) -> tuple[str, str]:
        return spec[0], str(event.get(spec[1]))


def name_of(kind: object) -> str:
    """An event's type as it may be repeated in a message: one of the protocol, or `an unknown event`. The type is the
    server's text too, and a message must not carry the server's text."""
    return kind if isinstance(kind, str) and kind in EVENT_TYPES else "an unknown event"
