"""Guardrail rules as data, and the pure functions that apply them.

The rules live in a YAML file that a reviewer can read; nothing here knows of ADK, so that each rule is tested both for
what it blocks and for what it must let pass. Patterns are bounded; long texts are looked at in overlapping windows, so
that nothing can be hidden behind padding and no pattern runs on an unbounded text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from agui_app.agents.injection import OVERLAP, WINDOW, Classifier, injection_rules
from agui_app.agents.normalise import readings

REDACTED = "[redacted]"
Severity = Literal["NOTICE", "WARNING", "ERROR"]


class GuardrailError(Exception):
    """The rules cannot be used; the message names the file and the place."""


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z][a-z0-9_]{1,62}$")
    severity: Severity = "WARNING"
    reply: str = ""


def _checked(patterns: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in patterns:
        try:
            re.compile(pattern, re.IGNORECASE)
        except re.error as exc:
            raise ValueError(f"{pattern!r} is not a regular expression: {exc}") from None
    return patterns


def _windows(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    for start in range(0, max(1, len(text) - OVERLAP), WINDOW - OVERLAP):
        yield from pattern.finditer(text, start, start + WINDOW)


class PatternRule(_Rule):
    """Blocks or redacts text that matches one of the patterns (and, for `check: luhn`, is a card number)."""

    kind: Literal["pattern"]
    stage: Literal["input", "output"]
    action: Literal["block", "redact"]
    patterns: tuple[str, ...] = Field(min_length=1)
    check: Literal["luhn"] | None = None

    @field_validator("patterns")
    @classmethod
    def _compile(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        return _checked(patterns)

    @model_validator(mode="after")
    def _fits_its_stage(self) -> PatternRule:
        if self.stage == "input" and self.action != "block":
            raise ValueError("input rules block; redaction is for what the agents say")
        if self.stage == "output" and self.action != "redact":
            raise ValueError("output rules redact: a streamed answer cannot be taken back")
        if self.stage == "output" and any(re.search(r" |\\s", pattern) for pattern in self.patterns):
            raise ValueError("output patterns cannot span white space: answers are redacted word by word")
        return self

    @cached_property
    def _compiled(self) -> tuple[re.Pattern[str], ...]:
        return tuple(re.compile(pattern, re.IGNORECASE | re.DOTALL) for pattern in self.patterns)

    def matches(self, text: str) -> Iterator[re.Match[str]]:
        """All places in `text` that this rule is about; one may come twice."""
        for pattern in self._compiled:
            for match in _windows(pattern, text):
                if self.check is None or luhn(match.group()):
                    yield match


class InjectionRule(_Rule):
    """Blocks text that asks a model to leave its instructions: by the lexicon of five languages, by these patterns, and
    by the configured classifier from `threshold` on."""

    kind: Literal["injection"]
    patterns: tuple[str, ...] = ()
    threshold: float = Field(default=0.9, gt=0, le=1)

    @field_validator("patterns")
    @classmethod
    def _compile(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        return _checked(patterns)

    @cached_property
    def _compiled(self) -> tuple[re.Pattern[str], ...]:
        return tuple(re.compile(pattern, re.IGNORECASE | re.DOTALL) for pattern in self.patterns)

    def applies(self, texts: Sequence[str], classifier: Classifier | None) -> bool:
        """Whether one of the readings of a text is an injection."""
        for text in texts:
            if any(next(_windows(pattern, text), None) for pattern in self._compiled):
                return True
            if injection_rules().score(text) >= 1:
                return True
        return classifier is not None and classifier.score(texts[0]) >= self.threshold


class ArgumentLimit(_Rule):
    """A number that a tool's argument may not exceed."""

    kind: Literal["argument_limit"]
    tool: str
    argument: str
    maximum: float


class ApprovalRule(_Rule):
    """A person must agree before a tool runs, once its argument and what the tool paid on the same order within a day
    exceed `above` together, or what it paid the customer without an approval within a day exceeds `per_customer`.
    `approver: another` demands another person than the asker."""

    kind: Literal["approval"]
    tool: str
    argument: str
    above: float = Field(ge=0)
    per_customer: float | None = Field(default=None, ge=0)
    approver: Literal["asker", "another"] = "asker"


class CallBudget(_Rule):
    """Tool calls in one run."""

    kind: Literal["call_budget"]
    maximum: int = Field(ge=1)


class TurnBudget(_Rule):
    """User turns in one session."""

    kind: Literal["turn_budget"]
    maximum: int = Field(ge=1)


AnyRule = Annotated[
    PatternRule | InjectionRule | ArgumentLimit | ApprovalRule | CallBudget | TurnBudget, Field(discriminator="kind")
]


class Guardrails(BaseModel):
    """The file. Ids are unique."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1]
    rules: tuple[AnyRule, ...]

    @field_validator("rules")
    @classmethod
    def _unique(cls, rules: tuple[AnyRule, ...]) -> tuple[AnyRule, ...]:
        seen: set[str] = set()
        for rule in rules:
            if rule.id in seen:
                raise ValueError(f"two rules are called {rule.id!r}")
            seen.add(rule.id)
        return rules

    def of(self, stage: Literal["input", "output"]) -> Iterator[PatternRule]:
        """Pattern rules of a stage, in order."""
        for rule in self.rules:
            if isinstance(rule, PatternRule) and rule.stage == stage:
                yield rule


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule applied. `stage` is input, output or tool; `reply` is the text for the user."""

    rule: str
    stage: str
    action: Literal["block", "redact"]
    severity: Severity
    reply: str


def load_guardrails(path: Path) -> Guardrails:
    """Reads and validates the rules. Raises GuardrailError."""
    try:
        return Guardrails.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as exc:
        raise GuardrailError(f"{path}: {exc}") from None


def luhn(text: str) -> bool:
    """Whether the digits of `text` carry a valid check digit, as card numbers do."""
    digits = [int(c) for c in text if c.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    total = 0
    for index, digit in enumerate(reversed(digits)):
        doubled = digit * 2 if index % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def check_input(rules: Guardrails, text: str, classifier: Classifier | None = None) -> Finding | None:
    """The first input rule that blocks `text` in one of its readings, or None."""
    texts = readings(text)
    for rule in rules.rules:
        if isinstance(rule, InjectionRule):
            blocks = rule.applies(texts, classifier)
        elif isinstance(rule, PatternRule) and rule.stage == "input":
            blocks = any(next(rule.matches(reading), None) is not None for reading in texts)
        else:
            continue
        if blocks:
            return Finding(rule.id, "input", "block", rule.severity, rule.reply)
    return None


def approval_of(rules: Guardrails, tool: str) -> ApprovalRule | None:
    """The rule that asks for an approval of this tool."""
    return next((rule for rule in rules.rules if isinstance(rule, ApprovalRule) and rule.tool == tool), None)


def turn_budget(rules: Guardrails) -> int | None:
    """How many user turns a session may have; None if no rule limits them."""
    return min((rule.maximum for rule in rules.rules if isinstance(rule, TurnBudget)), default=None)


def check_turns(rules: Guardrails, turns: int) -> Finding | None:
    """The turn budget, once `turns` user turns exceed it."""
    for rule in rules.rules:
        if isinstance(rule, TurnBudget) and turns > rule.maximum:
            return Finding(rule.id, "input", "block", rule.severity, rule.reply)
    return None


def check_tool(rules: Guardrails, tool: str, arguments: Mapping[str, Any], calls: int) -> Finding | None:
    """The first rule that forbids this tool call; `calls` counts the run's calls, this one included."""
    for rule in rules.rules:
        if isinstance(rule, CallBudget) and calls > rule.maximum:
            return Finding(rule.id, "tool", "block", rule.severity, rule.reply)
        if isinstance(rule, ArgumentLimit) and rule.tool == tool and _exceeds(arguments.get(rule.argument), rule):
            return Finding(rule.id, "tool", "block", rule.severity, rule.reply)
    return None


def _exceeds(value: Any, rule: ArgumentLimit) -> bool:
    try:
        return not float(value) <= rule.maximum  # NaN is not within the limit
    except (TypeError, ValueError):
        return value is not None  # a limit on a number is not passed by something else


def redact(rules: Guardrails, text: str) -> tuple[str, tuple[Finding, ...]]:
    """`text` without what output rules forbid, and which of them applied."""
    findings: list[Finding] = []
    for rule in rules.of("output"):
        spans = sorted(match.span() for match in rule.matches(text))
        if not spans:
            continue
        findings.append(Finding(rule.id, "output", "redact", rule.severity, rule.reply))
        parts, end = [], 0
        for start, stop in spans:
            if start >= end:
                parts += [text[end:start], REDACTED]
            end = max(end, stop)
        text = "".join(parts) + text[end:]
    return text, tuple(findings)
