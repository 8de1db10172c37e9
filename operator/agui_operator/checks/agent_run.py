"""What one run of the agent showed: the events of a stream, reduced to what expectations ask about.

https://docs.ag-ui.com/concepts/events lists the events. Everything here is the server's word: it is bounded, and what
may go into a message is of type Words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jsonpatch

from agui_operator.checks import codes
from agui_operator.checks.run_order import RunOrder, name_of
from agui_operator.checks.target import Failed
from agui_operator.core.words import UNSAID, Disclosure, Words

GUARDRAIL_BLOCK = "guardrail.block"  # name of the CUSTOM event by which the application marks a block
_TOKENS = frozenset({"TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_CHUNK", "TOOL_CALL_START", "TOOL_CALL_CHUNK"})
_MALFORMED = (TypeError, ValueError, LookupError, AttributeError, RecursionError)  # patches that are no patches


@dataclass(frozen=True, slots=True)
class Interrupt:
    """A question that the agent waits for, as in RUN_FINISHED.outcome.interrupts."""

    id: str
    reason: Words


@dataclass(slots=True)
class Thread:
    """What lives longer than a run: the messages and the state that a browser would send back, and the tools' names."""

    id: str
    messages: list[Any] = field(default_factory=list)
    state: Any = field(default_factory=dict)
    state_fault: str = ""  # why `state` can't be trusted any more
    tool_names: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Run:
    """One run of a thread."""

    thread: Thread
    order: RunOrder = field(default_factory=RunOrder)
    tools: list[str] = field(default_factory=list)  # names, in order
    calls: set[str] = field(default_factory=set)  # ids of the calls that `tools` counts
    texts: dict[str, str] = field(default_factory=dict)  # message id -> what was said
    blocked: list[Words] = field(default_factory=list)  # rules of guardrails
    interrupts: tuple[Interrupt, ...] = ()
    error_code: Words = UNSAID
    has_spoken: bool = False  # a first token came
    last: str = "nothing"  # type of the last event

    @property
    def text(self) -> str:
        return "\n".join(self.texts.values())

    def outcome(self, disclosure: Disclosure) -> str:
        """How the run ended, for a message: types and documented codes, further words by permission."""
        if self.interrupts:
            reason = self.interrupts[0].reason.among(codes.INTERRUPT_REASONS, disclosure)
            return f"the run ended with an interrupt ({reason})"
        if self.order.ended is None:
            return f"the stream ended after {self.last}"
        code = self.error_code.among(codes.RUN_ERRORS, disclosure)
        return f"the run ended with {self.order.ended}" + (f" (code {code})" if self.error_code else "")

    def take(self, data: str) -> None:
        """Takes the data of one server-sent event. Raises Failed if it is no event or is illegal at this place."""
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            raise Failed(f"expected AG-UI events; after {self.last} came data that is not a JSON object")
        wrong = self.order.see(event)
        if wrong is not None:
            raise Failed(f"expected a legal order of events; {wrong}")
        kind = str(event["type"])
        self.last = name_of(kind)
        self.has_spoken = self.has_spoken or kind in _TOKENS
        self._keep(kind, event)

    def _keep(self, kind: str, event: Mapping[str, Any]) -> None:
        match kind:
            case "TEXT_MESSAGE_CONTENT" | "TEXT_MESSAGE_CHUNK":
                key = str(event.get("messageId"))
                self.texts[key] = self.texts.get(key, "") + str(event.get("delta") or "")
            case "TOOL_CALL_START" | "TOOL_CALL_CHUNK":
                self._called(str(event.get("toolCallId")), event.get("toolCallName"))
            case "TOOL_CALL_RESULT":
                call = str(event.get("toolCallId"))
                self._called(call, self.thread.tool_names.get(call))
            case "STATE_SNAPSHOT":
                self.thread.state, self.thread.state_fault = event.get("snapshot"), ""
            case "STATE_DELTA":
                self._patch(event.get("delta"))
            case "MESSAGES_SNAPSHOT" if isinstance(event.get("messages"), list):
                self.thread.messages = list(event["messages"])
            case "CUSTOM" if event.get("name") == GUARDRAIL_BLOCK and isinstance(event.get("value"), dict):
                self.blocked.append(Words.of_workload(event["value"].get("rule")))
            case "RUN_FINISHED":
                self.interrupts = _interrupts(event.get("outcome"))
            case "RUN_ERROR":
                self.error_code = Words.of_workload(event.get("code"))

    def _called(self, call: str, name: object) -> None:
        """A call counts once in a run, by its start, or by its result if it started in a run before (an approval)."""
        if isinstance(name, str) and call not in self.calls:
            self.calls.add(call)
            self.thread.tool_names[call] = name
            self.tools.append(name)

    def _patch(self, delta: object) -> None:
        if not isinstance(delta, list) or any(not isinstance(op, dict) or op.get("op") == "copy" for op in delta):
            # A copy doubles the state; twenty of them in one stream would be a gigabyte.
            self.thread.state_fault = "a STATE_DELTA is not a list of add, remove, replace, move or test"
            return
        try:
            self.thread.state = jsonpatch.apply_patch(self.thread.state, delta, in_place=True)
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, *_MALFORMED):
            self.thread.state_fault = "a STATE_DELTA does not apply to the state before it"


def _interrupts(outcome: object) -> tuple[Interrupt, ...]:
    if not isinstance(outcome, dict) or outcome.get("type") != "interrupt":
        return ()
    listed = outcome.get("interrupts")
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return tuple(Interrupt(str(entry.get("id")), Words.of_workload(entry.get("reason"))) for entry in entries)
