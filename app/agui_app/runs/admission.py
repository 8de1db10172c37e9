"""What of a client's input goes on to the agents: a list of what may, for each channel of a RunAgentInput.

A RunAgentInput (https://docs.ag-ui.com/sdk/python/core/types) is an open type: messages of seven roles, media by
address, tools, context, state, properties. Here each channel is either checked, or left out, or refused; what is not
named here does not reach a model.

| channel | what happens |
|---|---|
| `messages`, role user | text; media inline and of an accepted type; everything else is refused |
| `messages`, role assistant | text only, without tool calls: it is the client's word about the past |
| `messages`, role tool | the result of an accepted client tool; else left out |
| `messages`, role system, developer | refused |
| `messages`, role reasoning, activity | left out: a copy of what the agents said |
| `tools` | those whose name is accepted; else left out |
| `context`, `forwardedProps`, `name`, `metadata`, `encryptedValue` | left out |
| `state` | stored and shown, without bookkeeping and pipelines; in no prompt |
| `resume` | an answer to an approval is exactly `{"confirmed": true}`; everything else is a refusal |
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ag_ui.core import AssistantMessage, ResumeEntry, RunAgentInput, TextInputContent, Tool, ToolMessage, UserMessage

from agui_app.agents.approvals import said_yes
from agui_app.agents.stream_shape import client_state
from agui_app.settings import Channels

MOST_TOOLS = 64
MOST_ANSWERS = 32
MOST_STATE = 65_536  # characters of JSON
_LEFT_OUT = frozenset({"reasoning", "activity"})


class InvalidRun(Exception):
    """The input cannot be run; the message says why."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """What may go on, and the client's words in it that no message of a user holds: guardrails look at them too."""

    request: RunAgentInput
    brought: tuple[str, ...]


def admit(request: RunAgentInput, channels: Channels) -> Admitted:
    """The part of the input that may reach the agents. Raises InvalidRun."""
    if len(request.tools or ()) > MOST_TOOLS:
        raise InvalidRun(f"tools may have {MOST_TOOLS} entries")
    if len(request.resume or ()) > MOST_ANSWERS:
        raise InvalidRun(f"resume may have {MOST_ANSWERS} entries")
    tools = [tool for tool in request.tools or () if tool.name in channels.client_tools]
    messages = [kept for n, message in enumerate(request.messages) if (kept := _message(n, message, channels))]
    admitted = request.model_copy(
        update={
            "messages": messages,
            "tools": tools,
            "context": [],
            "state": _state(request.state),
            "forwarded_props": {},
            "parent_run_id": None,
            "resume": [_answer(entry) for entry in request.resume] if request.resume else request.resume,
        }
    )
    return Admitted(admitted, tuple(_brought(tools, messages)))


def _message(number: int, message: Any, channels: Channels) -> Any:
    where = f"messages.{number}"
    if message.role in _LEFT_OUT:
        return None
    if message.role == "user":
        return UserMessage(id=message.id, role="user", content=_content(where, message.content, channels))
    if message.role == "assistant":
        return AssistantMessage(id=message.id, role="assistant", content=message.content) if message.content else None
    if message.role == "tool":
        if not channels.client_tools:
            return None
        text = "".join(_texts(message.content))
        return ToolMessage(id=message.id, role="tool", content=text, tool_call_id=message.tool_call_id)
    raise InvalidRun(f"{where}: role {message.role} is not accepted")


def _content(where: str, content: Any, channels: Channels) -> Any:
    if isinstance(content, str):
        return content
    kept: list[Any] = []
    for part in content:
        if part.type == "text":
            kept.append(TextInputContent(type="text", text=part.text))
            continue
        source = getattr(part, "source", None)
        if source is None or source.type != "data" or source.mime_type not in channels.media:
            raise InvalidRun(f"{where}: content of type {part.type} is not accepted")
        kept.append(part.model_copy(update={"metadata": None}))
    return kept


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    else:
        yield from (part.text for part in content if part.type == "text")


def _state(state: Any) -> Any:
    kept = client_state(state)
    if not isinstance(kept, dict):
        return {}
    if len(json.dumps(kept)) > MOST_STATE:
        raise InvalidRun(f"state may have {MOST_STATE} characters")
    return kept


def _answer(entry: ResumeEntry) -> ResumeEntry:
    """An approval is given only in these exact words; a question that is answered in others is answered with no."""
    agreed = entry.status == "resolved" and said_yes(entry.payload)
    return ResumeEntry(interrupt_id=entry.interrupt_id, status="resolved", payload={"confirmed": agreed})


def _brought(tools: Sequence[Tool], messages: Sequence[Any]) -> Iterator[str]:
    for tool in tools:
        yield tool.description
        yield from _strings(tool.parameters)
    for message in messages:
        if message.role == "tool":
            yield str(message.content)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield str(name)
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
