"""A conversation with the release's agent, spoken as a browser would: AG-UI over server-sent events, one thread.

Each run posts a RunAgentInput (https://docs.ag-ui.com/sdk/python/core/types) and reads the answer to its end. Time and
bytes are bounded for the whole conversation, not for each run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from agui_operator.checks.agent_run import Interrupt, Run, Thread
from agui_operator.checks.guard import STREAM_LIMIT, Guard, Stream, Unreachable
from agui_operator.checks.sse import EventReader
from agui_operator.checks.target import SYNTHETIC, CheckTarget, Failed


class Conversation:
    """One thread on one target. `seconds` bounds the whole of it, `token_within` (seconds) the first token of each run;
    `label` says in a header what kind of synthetic user speaks."""

    def __init__(
        self,
        guard: Guard,
        target: CheckTarget,
        path: str,
        thread: Thread,
        *,
        seconds: float,
        token_within: float | None = None,
        label: str = "smoke",
    ) -> None:
        self.code: int | None = None  # HTTP status of the last run
        self.first_token_ms: float | None = None  # of the first run
        self._guard = guard
        self._target = target
        self._path = path
        self._thread = thread
        self._token_within = token_within
        self._label = label
        self._bytes_left = STREAM_LIMIT
        self._runs = 0
        self._ends_at = asyncio.get_running_loop().time() + seconds

    async def say(self, text: str) -> Run:
        """One user message and the run that answers it. Raises Failed, TooLarge, Refused."""
        message = {"id": f"{self._thread.id}-user-{self._runs}", "role": "user", "content": text}
        self._thread.messages.append(message)
        return await self._run({})

    async def resume(self, interrupts: Sequence[Interrupt], payload: Any) -> Run:
        """Answers open interrupts with `payload`. Raises as `say`."""
        answers = [{"interruptId": i.id, "status": "resolved", "payload": payload} for i in interrupts]
        return await self._run({"resume": answers})

    async def _run(self, more: Mapping[str, Any]) -> Run:
        self._runs += 1
        body = {
            "threadId": self._thread.id,
            "runId": f"{self._thread.id}-run-{self._runs}",
            "state": self._thread.state,
            "messages": self._thread.messages,
            "tools": [],
            "context": [],
            "forwardedProps": {},
            **more,
        }
        run = Run(self._thread)
        try:
            async with asyncio.timeout(self._token_within) as first_token:
                await self._exchange(body, run, first_token)
        except TimeoutError as late:
            raise Failed(
                f"expected a first token within {self._token_within:g} s; by then the last event was {run.last}",
                self.code,
            ) from late
        except Unreachable as failed:
            raise Failed(f"{failed}; the last event was {run.last}", self.code) from failed
        self._remember(run)
        return run

    async def _exchange(self, body: Mapping[str, Any], run: Run, first_token: asyncio.Timeout) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        headers = {"Accept": "text/event-stream", SYNTHETIC: self._label}
        left = max(self._ends_at - started, 0.001)
        call = self._target.call(self._path, method="POST", body=body, headers=headers, deadline=left)
        async with self._guard.stream(call, limit=self._bytes_left) as stream:
            self._expect_events(stream)
            reader = EventReader()
            async for chunk in stream.chunks():
                for event in reader.feed(chunk):
                    run.take(event.data)
                    if run.has_spoken and first_token.when() is not None:
                        first_token.reschedule(None)
                    if run.has_spoken and self.first_token_ms is None:
                        self.first_token_ms = (loop.time() - started) * 1000
            self._bytes_left -= stream.read
        if run.order.ended is None:
            raise Failed(f"expected RUN_FINISHED; {run.outcome(self._target.disclosure)}", self.code)

    def _expect_events(self, stream: Stream) -> None:
        self.code = stream.code
        if stream.code != 200:
            raise Failed(f"expected an AG-UI event stream; the server answered {stream.code}", stream.code)
        if stream.headers.get("content-type", "").partition(";")[0].strip().lower() != "text/event-stream":
            raise Failed("expected an AG-UI event stream; the answer's type is not text/event-stream", stream.code)

    def _remember(self, run: Run) -> None:
        """Adds what the agent said to the thread, unless a MESSAGES_SNAPSHOT already did."""
        known = {m.get("id") for m in self._thread.messages if isinstance(m, dict)}
        for key, text in run.texts.items():
            if key not in known and text:
                self._thread.messages.append({"id": key, "role": "assistant", "content": text})
