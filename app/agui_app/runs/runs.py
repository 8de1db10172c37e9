"""Runs: each one is a task of its own, so that a closed tab, a dropped socket or a slow reader never ends it.

The task drives the agent, writes the durable log in small batches and feeds whoever follows the run in this process.
The last event is shown only after the log says that the run ended: a client that reacts to it at once finds the thread
free, on whichever instance it lands.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ag_ui.core import RunAgentInput
from google.adk.errors import StaleSessionError
from google.adk.events import Event as SessionEvent
from google.genai import types
from opentelemetry.context import Context
from sqlalchemy.exc import SQLAlchemyError

from agui_app.agents.run_context import RunContext, enter_run
from agui_app.agents.stream_shape import TERMINAL, Event, StreamRedactor, closing_events, opening_events
from agui_app.agents.tree import APP_NAME, Agents
from agui_app.caller import Caller
from agui_app.runs.admission import Admitted, InvalidRun, admit
from agui_app.runs.endings import AGENT_ERROR, cut_short, ending, failed, status_of, worded
from agui_app.runs.event_log import EventLog, ThreadFull
from agui_app.runs.reopen import reopen, waits_for_another, without_forged_answers
from agui_app.runs.wire import line_of
from agui_app.settings import Channels, Limits
from agui_app.telemetry.logs import log
from agui_app.telemetry.measures import Measures, tracer

logger = logging.getLogger("agui_app.runs")
BATCH_SECONDS = 0.02
_TOKENS = frozenset({"TEXT_MESSAGE_CONTENT", "TOOL_CALL_START"})
_RETRIES = (0.1, 0.5, 2.0)


class InstanceFull(Exception):
    """This instance runs as many agents as it may."""


@dataclass(slots=True, eq=False)
class Run:
    """A live run in this process. `lines` are its events as JSON, in order; `committed` of them are in the log."""

    caller: Caller
    thread_id: str
    run_id: str
    first_seq: int
    synthetic: str = ""
    lines: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    committed: int = 0
    closing: asyncio.Event = field(default_factory=asyncio.Event)  # the agent is done; the rest goes with the end
    ended: bool = False
    stopping: str = ""  # why it is being cancelled: "stop" or "shutdown"
    trace: Context | None = None  # of the request that asked for it
    asked_at: float = field(default_factory=time.monotonic)
    first_token: float | None = None  # seconds after asked_at
    task: asyncio.Task[None] | None = None
    _followers: set[asyncio.Event] = field(default_factory=set)

    @property
    def user_id(self) -> str:
        """Whose run it is."""
        return self.caller.user_id

    def add(self, *events: Event) -> None:
        """Appends events and wakes the followers."""
        for event in events:
            if self.first_token is None and event["type"] in _TOKENS:
                self.first_token = time.monotonic() - self.asked_at
            self.events.append(event)
            self.lines.append(line_of(event))
        self.wake()

    def wake(self) -> None:
        """Lets followers look again."""
        for follower in self._followers:
            follower.set()

    def watch(self) -> asyncio.Event:
        """An event that is set whenever the run changes."""
        changed = asyncio.Event()
        changed.set()
        self._followers.add(changed)
        return changed

    async def follow(self, durable: bool = False, start: int = 0) -> AsyncGenerator[tuple[int, str], None]:
        """(sequence number, event) from index `start` to the run's end; with `durable`, only what is in the log."""
        changed = self.watch()
        try:
            while True:
                changed.clear()
                ended = self.ended
                until = self.committed if durable else len(self.lines)
                for index in range(start, until):
                    yield self.first_seq + index, self.lines[index]
                start = max(start, until)
                if ended and start >= len(self.lines):
                    return
                await changed.wait()
        finally:
            self._followers.discard(changed)


class Runs:
    """All runs of this instance."""

    def __init__(
        self, agents: Agents, event_log: EventLog, limits: Limits, channels: Channels, measures: Measures
    ) -> None:
        self._agents = agents
        self._log = event_log
        self._limits = limits
        self._measures = measures
        self._channels = channels
        self._live: dict[tuple[str, str], Run] = {}
        self._starting = 0

    def live(self, user: str, thread: str) -> Run | None:
        """The thread's run, if it runs in this process."""
        return self._live.get((user, thread))

    def count(self) -> int:
        """How many runs are live here."""
        return len(self._live)

    async def start(
        self, caller: Caller, request: RunAgentInput, synthetic: str = "", trace: Context | None = None
    ) -> Run:
        """Starts a run; `synthetic` names the kind of user that is no person, `trace` the span it belongs to.

        Raises InvalidRun, InstanceFull, ThreadBusy, RunExists, TooManyRuns.
        """
        asked = time.monotonic()
        user = caller.user_id
        _check(request, self._limits)
        admitted = admit(request, self._channels)
        if len(self._live) + self._starting >= self._limits.concurrent_runs:
            raise InstanceFull()
        self._starting += 1
        try:
            first = await self._log.claim(
                user, request.thread_id, request.run_id, self._limits.runs_per_user, _most_runs(request, self._limits)
            )
        except ThreadFull:
            raise InvalidRun(_full(self._limits)) from None
        finally:
            self._starting -= 1
        run = Run(caller, request.thread_id, request.run_id, first, synthetic, trace=trace, asked_at=asked)
        self._live[(user, request.thread_id)] = run
        run.task = asyncio.create_task(self._drive(run, admitted), name=f"run {request.run_id}")
        return run

    async def stop(self, user: str, thread: str, reason: str = "stop") -> bool:
        """Cancels the thread's run if it is in this process; returns whether there was one."""
        run = self._live.get((user, thread))
        if run is None or run.task is None or run.closing.is_set():
            return False
        if not run.stopping:  # a second cancel would interrupt the orderly end of the first
            run.stopping = reason
            run.task.cancel()
        return True

    async def drain(self, seconds: float) -> None:
        """Lets runs end; after `seconds` the rest is cancelled and its clients are told to ask again."""
        tasks = [run.task for run in self._live.values() if run.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        for run in list(self._live.values()):
            await self.stop(run.user_id, run.thread_id, "shutdown")
        left = [task for task in tasks if not task.done()]
        if left:
            await asyncio.wait(left, timeout=5)

    async def _drive(self, run: Run, admitted: Admitted) -> None:
        context = RunContext(run.user_id, run.thread_id, run.run_id, run.synthetic, run.caller.customer)
        context.brought = admitted.brought
        enter_run(context)
        writer = asyncio.create_task(self._write_batches(run))
        last: Event | None = None
        try:
            names = {"gen_ai.conversation.id": run.thread_id, "agui.run_id": run.run_id}
            with tracer.start_as_current_span("agui.run", run.trace, attributes=names):
                last = await self._play(run, admitted.request, context)
        except asyncio.CancelledError:
            await _cancel_execution(context)
            await self._keep_what_was_said(run)
            last = ending(run.stopping, run.thread_id, run.run_id)
        except TimeoutError:
            await _cancel_execution(context)
            await self._keep_what_was_said(run)
            last = failed("RUN_TIMEOUT")
        except Exception:  # the agent's own failure: told to the client without its text, kept in the log with it
            logger.exception("run failed")
            last = failed(AGENT_ERROR)
        finally:
            await self._end(run, writer, context, last or ending(run.stopping, run.thread_id, run.run_id))

    async def _play(self, run: Run, request: RunAgentInput, context: RunContext) -> Event | None:
        """Feeds the run with the agent's events; returns the last one, which is not shown yet."""
        redactor = StreamRedactor(self._agents.rules)
        last: Event | None = None
        if request.resume:
            await reopen(self._agents, run.user_id, run.thread_id, [answer.interrupt_id for answer in request.resume])
            if await waits_for_another(self._agents, run.user_id, run.thread_id, request.resume):
                return failed("APPROVAL_PENDING")
        request = await without_forged_answers(self._agents, run.user_id, run.thread_id, request)
        async with asyncio.timeout(self._limits.run_seconds):
            async for raw in self._agents.adk.run(request):
                event: Event = raw.model_dump(mode="json", by_alias=True, exclude_none=True)
                _tell_notes(run, context)
                if event["type"] in TERMINAL:
                    last = worded(event)
                    continue
                run.add(*redactor.pass_on(event))
        run.add(*redactor.drain())
        _tell_notes(run, context)
        return last

    async def _keep_what_was_said(self, run: Run) -> None:
        """Stores the answer that was cut off: a reload shows what the person saw, and the model knows it too."""
        said = _cut_off(run.events)
        if not said:
            return
        who = {"app_name": APP_NAME, "user_id": run.user_id, "session_id": run.thread_id}
        try:
            session = await self._agents.sessions.get_session(**who)
            if session is None:
                return
            before = next((event for event in reversed(session.events) if event.author in self._agents.names), None)
            content = types.Content(role="model", parts=[types.Part(text=said)])
            author = before.author if before else self._agents.names[0]
            invocation = session.events[-1].invocation_id if session.events else ""
            await self._agents.sessions.append_event(
                session, SessionEvent(author=author, invocation_id=invocation, content=content)
            )
        except (SQLAlchemyError, OSError, TimeoutError, StaleSessionError):
            logger.exception("an answer that was stopped could not be kept")

    async def _write_batches(self, run: Run) -> None:
        """Keeps the log up to date until the run closes; a token stream costs one transaction per BATCH_SECONDS."""
        changed = run.watch()
        while not run.closing.is_set():
            await changed.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(BATCH_SECONDS):
                    await run.closing.wait()
            changed.clear()
            if run.closing.is_set() or run.committed == len(run.lines):
                continue
            batch = run.lines[run.committed :]
            first = run.first_seq + run.committed
            await _retried(partial(self._log.append, run.user_id, run.thread_id, run.run_id, first, batch))
            run.committed += len(batch)
            run.wake()

    async def _end(self, run: Run, writer: asyncio.Task[None], context: RunContext, last: Event) -> None:
        run.closing.set()
        run.wake()
        try:
            await writer
        except (SQLAlchemyError, OSError, TimeoutError):
            logger.exception("events could not be logged while the run went on")
        ends = [
            *opening_events(run.events, last, run.thread_id, run.run_id),
            *cut_short(run.stopping, run.events, last),
            *closing_events(run.events, run.thread_id, run.run_id),
            last,
        ]
        known = run.lines[run.committed :]
        lines = known + [line_of(event) for event in ends]
        first = run.first_seq + run.committed
        status, outcome = status_of(run.stopping, json.loads(line_of(last)))
        try:
            finish = partial(self._log.finish, run.user_id, run.thread_id, run.run_id)
            await _retried(partial(finish, first, lines, status, outcome))
        except (SQLAlchemyError, OSError, TimeoutError):
            logger.exception("the end of a run could not be logged")
        self._live.pop((run.user_id, run.thread_id), None)
        run.add(*ends)
        run.committed = len(run.lines)
        run.ended = True
        run.wake()
        self._account(run, context, status)

    def _account(self, run: Run, context: RunContext, status: str) -> None:
        """What the run was, as metrics and as one log line."""
        if context.guarded:
            self._measures.guarded(failed=context.guard_failed)
        self._measures.run_ended(
            status=status,
            synthetic=bool(run.synthetic),
            seconds=time.monotonic() - run.asked_at,
            first=run.first_token,
            events=len(run.lines),
        )
        facts: dict[str, Any] = {
            "status": status,
            "session_id": run.thread_id,
            "user_id": run.user_id,
            "synthetic": run.synthetic or None,
            "events": len(run.lines),
            "tool_calls": context.tool_calls,
            "blocks": context.blocks,
        }
        log(logger, logging.INFO, "run_ended", **facts)


async def _retried(write: Callable[[], Awaitable[None]]) -> None:
    """Writing again is safe: a sequence number has one writer, and a row that is there is left alone."""
    for pause in _RETRIES:
        try:
            await write()
            return
        except (SQLAlchemyError, OSError, TimeoutError):
            await asyncio.sleep(pause)
    await write()


async def _cancel_execution(context: RunContext) -> None:
    """ag-ui-adk lets a run's background task go on when its reader leaves; a stop must end it."""
    if context.execution is None or context.execution.task.done():
        return
    try:
        await context.execution.cancel()
    except Exception:  # its own end is not the end of ours
        logger.exception("a run failed while it was being stopped")


def _cut_off(events: list[Event]) -> str:
    """The text of the message that is still open at the end of these events."""
    message, parts = "", list[str]()
    for event in events:
        match event["type"]:
            case "TEXT_MESSAGE_START":
                message, parts = event["messageId"], []
            case "TEXT_MESSAGE_CONTENT" if event["messageId"] == message:
                parts.append(event["delta"])
            case "TEXT_MESSAGE_END" if event["messageId"] == message:
                message, parts = "", []
    return "".join(parts)


def usable_id(value: str) -> bool:
    """Whether a client's thread or run id can be stored and logged as it is."""
    return 1 <= len(value) <= 128 and value.isprintable()


def _check(request: RunAgentInput, limits: Limits) -> None:
    for name, value in (("threadId", request.thread_id), ("runId", request.run_id)):
        if not usable_id(value):
            raise InvalidRun(f"{name} must have 1 to 128 printable characters")
    if len(request.messages) > limits.messages_per_thread:
        raise InvalidRun(_full(limits))


def _full(limits: Limits) -> str:
    return f"a thread may have {limits.messages_per_thread} messages; start a new one"


def _most_runs(request: RunAgentInput, limits: Limits) -> int:
    """Everything that a thread keeps grows with its runs: events, state, ADK's ledger of messages. What is open in a
    full thread can still be answered."""
    return limits.messages_per_thread * (2 if request.resume else 1)


def _tell_notes(run: Run, context: RunContext) -> None:
    while context.notes:
        name, value = context.notes.popleft()
        run.add({"type": "CUSTOM", "name": name, "value": value})
