"""Runs Lua as Argo CD does, without Argo CD: the same interpreter and libraries, in a small Go program."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

from agui_dev.go_program import GoProgram
from agui_dev.paths import ROOT

PROGRAM = GoProgram(
    "argocd-lua", "the Lua interpreter of Argo CD", "argocd-lua", ROOT / "dev" / "argocd_lua", ".", cpu_seconds=15.0
)
HEALTH = ("Unknown", "Progressing", "Suspended", "Healthy", "Degraded", "Missing")
Json = dict[str, Any]


class LuaFailed(Exception):
    """The script ended with an error, or returned what Argo CD does not accept."""


class Lua:
    """The running interpreter; each call is a fresh virtual machine."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self._child = child

    def run(self, script: str, obj: Json, parameters: Mapping[str, str] | None = None) -> Any:
        """What the script returns for an object. Raises LuaFailed."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        request = {"script": script, "object": obj, "parameters": dict(parameters or {})}
        self._child.stdin.write(json.dumps(request, default=str) + "\n")
        self._child.stdin.flush()
        answer = json.loads(self._child.stdout.readline())
        if "error" in answer:
            raise LuaFailed(answer["error"])
        return answer["result"]

    def health(self, script: str, obj: Json) -> Json:
        """Status and message, as Argo CD shows them."""
        result = self.run(script, obj)
        if not isinstance(result, dict) or result.get("status") not in HEALTH:
            raise LuaFailed(f"not a health status: {result!r}")
        return dict(result)

    def actions(self, script: str, obj: Json) -> dict[str, Json]:
        """The actions that discovery.lua offers, by name."""
        result = self.run(script, obj)
        if not isinstance(result, dict):
            raise LuaFailed(f"not a table of actions: {result!r}")
        return {name: dict(value) for name, value in result.items()}

    def act(self, script: str, obj: Json, parameters: Mapping[str, str] | None = None) -> Json:
        """The object as an action returns it."""
        result = self.run(script, obj, parameters)
        if not isinstance(result, dict):
            raise LuaFailed(f"not an object: {result!r}")
        return {key: _like(value, obj.get(key)) for key, value in result.items()}


def _like(new: Any, old: Any) -> Any:
    """Lua has one kind of empty table: an empty list where the object had a map is that map (as Argo CD does it)."""
    if isinstance(old, dict) and new == []:
        return {}
    if isinstance(old, dict) and isinstance(new, dict):
        return {key: _like(value, old.get(key)) for key, value in new.items()}
    if isinstance(old, list) and isinstance(new, list):
        return [_like(value, old[at] if at < len(old) else None) for at, value in enumerate(new)]
    return new


@contextlib.contextmanager
def running_lua() -> Iterator[Lua]:
    """The interpreter for the duration of the block, built if need be. Raises NoProgram, StepFailed."""
    program = PROGRAM.build()
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        yield Lua(child)
        assert child.stdin is not None
        child.stdin.close()
