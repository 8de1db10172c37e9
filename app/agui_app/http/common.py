"""What all transports share: who asks, how a run starts, how its refusals and its events look on the wire."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, suppress
from typing import Any

from ag_ui.core import RunAgentInput, RunErrorEvent
from fastapi import Request
from fastapi.requests import HTTPConnection
from fastapi.responses import JSONResponse, StreamingResponse
from opentelemetry.propagate import extract
from pydantic import ValidationError

from agui_app.caller import Caller
from agui_app.http.json_input import NotJson, NotStorable, parsed
from agui_app.http.keys import IdentityUnavailable, Unauthenticated
from agui_app.runs.admission import MOST_ANSWERS, MOST_TOOLS, InvalidRun
from agui_app.runs.event_log import RunExists, ThreadBusy, TooManyRuns
from agui_app.runs.runs import InstanceFull, Run, usable_id
from agui_app.services import Services

PING_SECONDS = 15.0
SYNTHETIC_HEADER = "x-agui-synthetic"  # checks and load tests say so: they are left out of objectives
TOKEN_EXPIRED = RunErrorEvent(
    message="Your sign-in has to be renewed. Connect again with a new token.", code="TOKEN_EXPIRED"
).model_dump_json(by_alias=True, exclude_none=True)
# looked at before each entry is validated, which takes its time
_MOST = {"messages": 2000, "tools": MOST_TOOLS, "context": 256, "resume": MOST_ANSWERS}
SSE_HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no", "Connection": "keep-alive"}


class Refused(Exception):
    """A request that is not served; becomes `{"error": code, "message": text}` with an HTTP status."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def response(self) -> JSONResponse:
        """The answer; 503 and 429 say when to come back."""
        headers = {"Retry-After": "1"} if self.status in (429, 503) else None
        return JSONResponse({"error": self.code, "message": self.message}, self.status, headers)

    def frame(self) -> str:
        """The same as a frame of a WebSocket."""
        return json.dumps({"type": "error", "code": self.code, "message": self.message})


def services_of(request: HTTPConnection) -> Services:
    """The instance's services."""
    services: Services = request.app.state.services
    return services


def caller_of(request: HTTPConnection) -> Caller:
    """Whom the gate let in. Raises Refused 401 for a request that did not come through it."""
    caller = request.scope.get("state", {}).get("caller")
    if not isinstance(caller, Caller):
        raise Refused(401, "unauthenticated", "a token is needed")
    return caller


async def verified(services: Services, headers: Mapping[str, str], subprotocols: tuple[str, ...]) -> Caller:
    """The caller that the headers prove. Raises Refused 401 or 503."""
    try:
        return await services.callers.caller_of(headers, subprotocols)
    except Unauthenticated as exc:
        raise Refused(401, "unauthenticated", str(exc)) from None
    except IdentityUnavailable as exc:
        raise Refused(503, "identity_unavailable", str(exc)) from None


def run_input(body: Any) -> RunAgentInput:
    """A validated RunAgentInput; missing lists are empty. Raises Refused 422 that names the fields."""
    if not isinstance(body, Mapping):
        raise Refused(422, "invalid_input", "the body must be a RunAgentInput object")
    for name, most in _MOST.items():
        if isinstance(listed := body.get(name), list) and len(listed) > most:
            raise Refused(422, "invalid_input", f"{name} may have {most} entries")
    defaults: dict[str, Any] = {"state": {}, "messages": [], "tools": [], "context": [], "forwardedProps": {}}
    try:
        return RunAgentInput.model_validate(defaults | dict(body))
    except ValidationError as exc:
        fields = sorted({".".join(map(str, error["loc"][:3])) for error in exc.errors()})
        raise Refused(422, "invalid_input", f"not a RunAgentInput: {', '.join(fields)}") from None


def thread_id(value: str) -> str:
    """The id, if it can be one. Raises Refused 422."""
    if not usable_id(value):
        raise Refused(422, "invalid_input", "a thread id has 1 to 128 printable characters")
    return value


async def json_body(request: Request) -> Any:
    """The request's JSON. Raises Refused 400, 422."""
    return from_json(await request.body(), "the body is not JSON")


def from_json(text: str | bytes, message: str) -> Any:
    """The value. Raises Refused 400 with the message, or 422 for a value that cannot be stored."""
    try:
        return parsed(text)
    except NotJson:
        raise Refused(400, "invalid_json", message) from None
    except NotStorable as exc:
        raise Refused(422, "invalid_input", str(exc)) from None


async def start_run(services: Services, caller: Caller, request: RunAgentInput, headers: Mapping[str, str]) -> Run:
    """Starts a run. Raises Refused with the status that fits."""
    synthetic = headers.get(SYNTHETIC_HEADER, "")[:32]
    try:
        return await services.runs.start(caller, request, synthetic, extract(headers))
    except InvalidRun as exc:
        raise Refused(422, "invalid_input", str(exc)) from None
    except ThreadBusy:
        raise Refused(409, "thread_busy", "Another run is live in this thread.") from None
    except RunExists:
        raise Refused(409, "run_exists", "This runId was used before.") from None
    except TooManyRuns:
        raise Refused(429, "too_many_runs", "You have too many live runs.") from None
    except InstanceFull:
        raise Refused(503, "instance_full", "This instance is full; ask again.") from None


async def frames(
    events: AsyncGenerator[str, None], expires_at: float | None = None, ping_seconds: float = PING_SECONDS
) -> AsyncIterator[bytes]:
    """Events as SSE frames, with comments in quiet times so that no proxy takes the stream for dead. At `expires_at`,
    the end of the caller's token, the stream ends with TOKEN_EXPIRED; the run goes on."""
    upcoming: asyncio.Future[str] = asyncio.ensure_future(anext(events))
    try:
        while True:
            left = float("inf") if expires_at is None else expires_at - time.time()
            if left <= 0:
                yield b"data: " + TOKEN_EXPIRED.encode() + b"\n\n"
                return
            done, _ = await asyncio.wait({upcoming}, timeout=min(ping_seconds, left))
            if not done:
                if left > ping_seconds:
                    yield b": ping\n\n"
                continue
            try:
                line = upcoming.result()
            except StopAsyncIteration:
                return
            yield b"data: " + line.encode() + b"\n\n"
            upcoming = asyncio.ensure_future(anext(events))
    finally:
        upcoming.cancel()
        with suppress(asyncio.CancelledError, StopAsyncIteration):
            await upcoming
        await events.aclose()


async def lines_of(run: Run) -> AsyncGenerator[str, None]:
    """The run's events from its start."""
    async with aclosing(run.follow()) as events:
        async for _, line in events:
            yield line


def event_stream(events: AsyncGenerator[str, None], caller: Caller) -> StreamingResponse:
    """An SSE response."""
    return StreamingResponse(frames(events, caller.expires_at), media_type="text/event-stream", headers=SSE_HEADERS)
