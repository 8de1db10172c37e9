"""Fault injection: failures, delays and lost replies at a chosen call.

A rule picks calls by method and resource and lets its `count` next matches fail, wait or lose their caller, either
before the method changes anything or after it has (the reply is lost, the effect stays).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from localgcp.kit.errors import ApiError, from_code_name, from_http, invalid
from localgcp.kit.ledger import matches

_ids = itertools.count(1)
_FLAGS = ("hang", "writes_only")
_TYPES: dict[str, tuple[type, ...]] = {
    "count": (int,),
    "skip": (int,),
    "kill_pid": (int,),
    "code": (str, int),
    "delay_ms": (int, float),
    **dict.fromkeys(_FLAGS, (bool,)),
}
_BLOCKED_SECONDS = 3600.0  # a call that never answers: longer than any client waits


@dataclass(slots=True)
class Fault:
    """`method` is a glob (see ledger.matches). `code` is a google.rpc.Code name, or an HTTP status. `match` is a
    substring of the resource. `kill_pid` is sent SIGKILL; with `hang` the call then never answers."""

    method: str = "*"
    when: Literal["before", "after"] = "before"
    count: int = 1
    code: str | int = ""
    message: str = "injected fault"
    delay_ms: float = 0
    match: str = ""
    kill_pid: int = 0
    hang: bool = False
    writes_only: bool = False
    skip: int = 0  # let so many matches pass first
    id: int = field(default_factory=lambda: next(_ids))
    hits: int = 0

    @classmethod
    def parse(cls, rule: Mapping[str, Any]) -> Fault:
        """Raises ApiError INVALID_ARGUMENT that names an unknown field or an invalid value."""
        known = {f.name for f in fields(cls)} - {"id", "hits"}
        if unknown := sorted(set(rule) - known):
            raise invalid(f"unknown field {unknown[0]!r} in a fault; known: {', '.join(sorted(known))}")
        for name, value in rule.items():
            if not isinstance(value, _TYPES.get(name, str)) or (isinstance(value, bool) and name not in _FLAGS):
                raise invalid(f"a fault's {name} cannot be {value!r}", name)
        fault = cls(**rule)
        if fault.when not in ("before", "after"):
            raise invalid("a fault's `when` must be before or after", "when")
        fault.error()
        return fault

    def error(self) -> ApiError | None:
        if not self.code:
            return None
        try:
            if str(self.code).isdigit():
                return from_http(int(self.code), self.message)
            return from_code_name(str(self.code), self.message)
        except KeyError as error:
            raise invalid(f"a fault's code {self.code!r} is neither a google.rpc.Code nor an HTTP status") from error

    async def strike(self) -> None:
        """Makes the fault happen: waits, kills, raises."""
        if self.delay_ms:
            await asyncio.sleep(self.delay_ms / 1000)
        if self.kill_pid:
            try:
                os.kill(self.kill_pid, signal.SIGKILL)
            except ProcessLookupError as error:
                raise invalid(f"a fault's kill_pid {self.kill_pid} is not running") from error
        if self.hang:
            await asyncio.sleep(_BLOCKED_SECONDS)
        if (outcome := self.error()) is not None:
            raise outcome


class Faults:
    """The rules in force, oldest first; a rule is used up after `count` hits (count 0: never)."""

    def __init__(self) -> None:
        self._rules: list[Fault] = []

    def add(self, rule: Mapping[str, Any]) -> Fault:
        fault = Fault.parse(rule)
        self._rules.append(fault)
        return fault

    def list(self) -> list[dict[str, Any]]:
        return [asdict(rule) for rule in self._rules]

    def clear(self) -> None:
        self._rules.clear()

    async def point(self, when: str, api: str, method: str, resource: str, write: bool) -> None:
        """Called by the server before and after each method. Raises what the first matching rule says."""
        if not self._rules:
            return
        for rule in self._rules:
            if rule.when != when or rule.match not in resource or (rule.writes_only and not write):
                continue
            if not matches(rule.method, api, method) or (rule.count and rule.hits >= rule.skip + rule.count):
                continue
            rule.hits += 1
            if rule.hits > rule.skip:
                await rule.strike()
                return
