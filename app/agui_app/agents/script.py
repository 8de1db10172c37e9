"""The script of the offline model: a readable YAML file that says which words lead to which answer.

It stands in for a model in tests, demos and smoke checks, so it is deterministic: the same conversation gives the same
calls and the same words. The file is validated when the process starts; what the agents can do with it (do the tools
exist?) shows only when they talk, exactly as with a real model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator


class ScriptError(Exception):
    """The script cannot be used; the message names the file and the place."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rule(_Strict):
    """When the user's words match `when`: say something, call a tool with arguments, or hand over to an agent."""

    when: str = Field(description="Regular expression, case-insensitive; its named groups fill the templates.")
    say: str | None = None
    call: str | None = None
    arguments: dict[str, Any] = Field(default_factory=dict, alias="with")
    transfer: str | None = None

    @field_validator("when")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value, re.IGNORECASE)
        except re.error as exc:
            raise ValueError(f"not a regular expression: {exc}") from None
        return value

    @model_validator(mode="after")
    def _one_reaction(self) -> Rule:
        if sum(value is not None for value in (self.say, self.call, self.transfer)) != 1:
            raise ValueError("a rule has exactly one of say, call, transfer")
        return self


class Answer(_Strict):
    """What to say once the tool `after` has answered; `having` must equal fields of the tool's result."""

    after: str
    having: dict[str, Any] = Field(default_factory=dict)
    say: str


class AgentScript(_Strict):
    """One agent's part."""

    rules: tuple[Rule, ...] = ()
    answers: tuple[Answer, ...] = ()
    otherwise: str = "I did not understand that."


class Script(_Strict):
    """The whole file. `words_per_chunk` and `pause_ms` shape the streaming of an answer."""

    version: int = Field(ge=1, le=1)
    words_per_chunk: int = Field(default=3, ge=1)
    pause_ms: int = Field(default=0, ge=0, le=10_000)
    agents: dict[str, AgentScript]


@dataclass(frozen=True, slots=True)
class Say:
    text: str


@dataclass(frozen=True, slots=True)
class Call:
    tool: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """A tool's result in the conversation, after the user's last words."""

    tool: str
    result: Mapping[str, Any] = field(default_factory=dict)


def load_script(path: Path) -> Script:
    """Reads and validates a script. Raises ScriptError."""
    try:
        return Script.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as exc:
        raise ScriptError(f"{path}: {exc}") from None


def _fill(template: Any, values: Mapping[str, Any]) -> Any:
    """`{name}` in strings is replaced. A string that is one placeholder becomes a number if it reads as one."""
    if not isinstance(template, str):
        return template
    lone = re.fullmatch(r"\{(\w+)\}", template)
    text = re.sub(r"\{(\w+)\}", lambda m: str(values.get(m[1], m[0])), template)
    if lone and re.fullmatch(r"\d+", text):
        return int(text)
    if lone and re.fullmatch(r"\d+\.\d+", text):
        return float(text)
    return text


def react(script: Script, agent: str, words: str, answers: Sequence[ToolAnswer]) -> Say | Call:
    """What the model says next: the answer to the last tool result, else the first rule that matches the words.

    Raises ScriptError when the script has no part for this agent.
    """
    part = script.agents.get(agent)
    if part is None:
        raise ScriptError(f"the script has no part for agent {agent!r}")
    if answers:
        last = answers[-1]
        error = last.result.get("error")
        for answer in part.answers:
            fits = answer.after == last.tool and all(last.result.get(k) == v for k, v in answer.having.items())
            if fits and (not error or "error" in answer.having):
                return Say(str(_fill(answer.say, last.result)))
        return Say(f"That did not work: {error}" if error else f"Done: {last.tool}.")
    for rule in part.rules:
        match = re.search(rule.when, words, re.IGNORECASE)
        if match is None:
            continue
        values = {name: value for name, value in match.groupdict().items() if value is not None}
        if rule.transfer is not None:
            return Call("transfer_to_agent", {"agent_name": rule.transfer})
        if rule.call is not None:
            return Call(rule.call, {name: _fill(value, values) for name, value in rule.arguments.items()})
        return Say(str(_fill(rule.say, values)))
    return Say(part.otherwise)
