"""Which run the current task belongs to: who asked, in which thread, and what to tell the client besides ADK's events.

A context variable, because ADK runs agents, plugins and tools in tasks of its own; they inherit it from the task that
drives the run, and nothing has to travel through the client's state, where the client could forge it.
"""

from __future__ import annotations

from collections import deque
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class RunContext:
    """One run. `notes` are AG-UI CUSTOM events (name, value) waiting to be sent."""

    user_id: str
    thread_id: str
    run_id: str
    synthetic: str = ""  # what kind of synthetic user speaks ("smoke"); empty for people
    customer: str = ""  # who owns the orders that this run may see; empty: none
    brought: tuple[str, ...] = ()  # the client's words outside of messages: of its tools and their results
    notes: deque[tuple[str, dict[str, Any]]] = field(default_factory=deque)
    tool_calls: int = 0
    blocks: int = 0
    guarded: bool = False  # guardrails have looked at this run
    guard_failed: bool = False  # ... and one of them could not do its work
    history_passed: bool = False  # what the client brought along as the thread's past has been looked at
    execution: Any = None  # ag-ui-adk's background task that does this run's work
    pipelines: dict[str, Any] = field(default_factory=dict)  # their progress, by tool call; see progress.py

    def note(self, name: str, **value: Any) -> None:
        """Queues a CUSTOM event for the run's stream."""
        self.notes.append((name, value))


_CURRENT: ContextVar[RunContext | None] = ContextVar("agui_run", default=None)


def enter_run(context: RunContext) -> None:
    """Sets the run of the current task and of every task it starts from now on."""
    _CURRENT.set(context)


def current_run() -> RunContext:
    """The run this code works for. Raises RuntimeError outside of one."""
    context = _CURRENT.get()
    if context is None:
        raise RuntimeError("not inside a run")
    return context
