"""Conversations for a quiet canary: without requests an analysis can only be inconclusive.

The first messages of the spec's agent checks are said to the candidate and to stable at the same rate, so that both
have something to compare. Each is labelled synthetic, and whether it succeeds is the analysis' business, not the
sender's.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from agui_operator.api.smoke import AgentCheck, SmokeCheck
from agui_operator.checks.addresses import Refused
from agui_operator.checks.agent_check import said
from agui_operator.checks.agent_run import Thread
from agui_operator.checks.conversation import Conversation
from agui_operator.checks.guard import Guard, TooLarge, Unreachable
from agui_operator.checks.target import CheckTarget, Failed
from agui_operator.core.errors import trace_of

LABEL = "canary"  # value of the header that marks these conversations
_AT_ONCE = 8  # per target: a release that hangs must not collect conversations without bound
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Sent:
    """Counts for one target. `skipped` were due while too many others were still open."""

    begun: int = 0
    failed: int = 0
    skipped: int = 0


class SyntheticConversations:
    """Sends `per_minute` conversations to each target from `start` until `stop`. Without agent checks it sends nothing.
    `sent` has the counts by release."""

    def __init__(
        self, guard: Guard, checks: Sequence[SmokeCheck], targets: Sequence[CheckTarget], per_minute: float
    ) -> None:
        if not per_minute > 0:
            raise ValueError(f"per_minute must be above 0, got {per_minute}")
        self.sent = {target.release: Sent() for target in targets}
        self._guard = guard
        self._talks = [(c.agent, c.timeout.total_seconds()) for c in checks if c.agent is not None]
        self._targets = tuple(targets)
        self._interval = 60.0 / per_minute
        self._open: dict[str, set[asyncio.Task[None]]] = {target.release: set() for target in targets}
        self._sender: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to send, in a task of the running loop. A second call changes nothing."""
        if self._sender is None and self._talks and self._targets:
            self._sender = asyncio.create_task(self._send(), name="synthetic-conversations")

    async def stop(self) -> None:
        """Ends the sender and the conversations that are open, and waits for their end."""
        sender, self._sender = self._sender, None
        tasks = [task for tasks in self._open.values() for task in tasks]
        if sender is not None:
            tasks.append(sender)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        for check, seconds in itertools.cycle(self._talks):
            for target in self._targets:
                self._begin(check, seconds, target)
            due = max(due + self._interval, loop.time())  # after a stall no burst makes up for it
            await asyncio.sleep(due - loop.time())

    def _begin(self, check: AgentCheck, seconds: float, target: CheckTarget) -> None:
        open_, sent = self._open[target.release], self.sent[target.release]
        if len(open_) >= _AT_ONCE:
            sent.skipped += 1
            return
        sent.begun += 1
        task = asyncio.create_task(self._talk(check, seconds, target, sent))
        open_.add(task)
        task.add_done_callback(open_.discard)

    async def _talk(self, check: AgentCheck, seconds: float, target: CheckTarget, sent: Sent) -> None:
        thread = Thread(f"smoke-canary-{target.release}-{uuid.uuid4().hex[:12]}")
        talk = Conversation(self._guard, target, check.path, thread, seconds=seconds, label=LABEL)
        try:
            run = await talk.say(said(check)[0])
            sent.failed += run.order.ended != "RUN_FINISHED"
        except (Failed, Unreachable, TooLarge, Refused):
            sent.failed += 1
        except Exception as unexpected:
            sent.failed += 1
            _log.error("a synthetic conversation failed in itself: %s", trace_of(unexpected))
