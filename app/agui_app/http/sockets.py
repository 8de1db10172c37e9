"""`/ws/{thread}`: AG-UI over WebSocket, with numbers, so that no reconnect loses or repeats an event.

Frames out: `ready` (at once), `event` (with `seq`), `ping` (when quiet), `gap` (older events were pruned), `error`,
`reconnect` (then close 1012: Cloud Run cuts a socket at its request timeout, we ask before it does). Frames in: `run`
with `message` or `resume`, `stop`, `pong`. `?last=N` continues after event N on any instance. Only durable events are
sent: what a client has seen survives the instance.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from contextlib import aclosing, suppress
from typing import Any

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketState

from agui_app.caller import Caller
from agui_app.http import common
from agui_app.http.common import Refused, caller_of, from_json, run_input, start_run
from agui_app.http.log_reader import follow_log
from agui_app.services import Services
from agui_app.telemetry.logs import log

router = APIRouter()
logger = logging.getLogger("agui_app.sockets")
SUBPROTOCOL = "agui"
POLICY_VIOLATION, RESTART = 1008, 1012


@router.websocket("/ws/{thread_id}")
async def socket(websocket: WebSocket, thread_id: str) -> None:
    """One client in one thread."""
    services: Services = websocket.app.state.services
    offered = tuple(websocket.scope.get("subprotocols") or ())
    try:
        caller = caller_of(websocket)
        thread = common.thread_id(thread_id)
        last = _last(websocket.query_params.get("last"))
    except Refused as refused:
        await websocket.accept()  # a browser sees a close code only after the handshake
        await websocket.send_text(refused.frame())
        await websocket.close(POLICY_VIOLATION, refused.code)
        return
    services.measures.socket_opened(resumed=last is not None)
    await websocket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
    await _Conversation(services, websocket, caller, thread).serve(last)


class _Conversation:
    """The two directions of one socket; ends when either does, or when it is time to reconnect."""

    def __init__(self, services: Services, websocket: WebSocket, caller: Caller, thread: str) -> None:
        self._services = services
        self._socket = websocket
        self._caller = caller
        self._user = caller.user_id
        self._thread = thread
        self._sending = asyncio.Lock()
        self._sent = asyncio.Event()
        self._last_is_sent = False

    async def serve(self, last: int | None) -> None:
        newest = await self._services.event_log.last_seq(self._user, self._thread)
        settings = self._services.settings
        await self._send(
            {
                "type": "ready",
                "threadId": self._thread,
                "lastSeq": newest,
                "live": await self._services.event_log.live_run(self._user, self._thread) is not None,
                "release": settings.release,
                "revision": settings.revision,
            }
        )
        tasks = [
            asyncio.create_task(self._receive()),
            asyncio.create_task(self._pump(newest if last is None else last)),
            asyncio.create_task(self._ping()),
            asyncio.create_task(self._ask_to_reconnect()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        failure = next((tasks.index(t) for t in done if not t.cancelled() and t.exception()), None)
        if failure is not None and not isinstance(results[failure], WebSocketDisconnect):
            self._services.measures.socket_failed()
            log(logger, logging.ERROR, "socket_failed", error=type(results[failure]).__name__)
        if self._socket.application_state is WebSocketState.CONNECTED:
            with suppress(RuntimeError, WebSocketDisconnect):
                await self._socket.close(RESTART)

    async def _send(self, frame: dict[str, Any], *, last: bool = False) -> None:
        await self._send_text(json.dumps(frame, separators=(",", ":")), last=last)

    async def _send_text(self, frame: str, *, last: bool = False) -> None:
        """Sends a frame; after the last one nothing: a ping that is due at the same moment is dropped."""
        async with self._sending:
            if self._last_is_sent:
                return
            self._last_is_sent = last
            await self._socket.send_text(frame)
        self._sent.set()

    async def _pump(self, after: int) -> None:
        expected = after + 1
        async with aclosing(follow_log(self._services, self._user, self._thread, after)) as events:
            async for seq, line in events:
                if seq > expected:
                    await self._send({"type": "gap", "from": expected, "to": seq - 1})
                expected = seq + 1
                await self._send_text(f'{{"type":"event","seq":{seq},"event":{line}}}')

    async def _ping(self) -> None:
        seconds = self._services.settings.sockets.ping_seconds
        while True:
            self._sent.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._sent.wait()
            except TimeoutError:
                await self._send({"type": "ping"})

    async def _ask_to_reconnect(self) -> None:
        """At the latest when the token that opened the socket is no longer valid."""
        planned = self._services.settings.sockets.reconnect_after_seconds
        left = planned if self._caller.expires_at is None else max(0.0, self._caller.expires_at - time.time())
        await asyncio.sleep(min(planned, left))
        await self._send({"type": "reconnect", "reason": "planned" if planned <= left else "token_expired"}, last=True)

    async def _receive(self) -> None:
        limit = self._services.settings.limits.body_bytes
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text") or (message.get("bytes") or b"").decode("utf-8", "replace")
            try:
                if len(text) > limit:
                    raise Refused(413, "too_large", f"a frame may have {limit} bytes")
                await self._obey(_frame(text))
            except Refused as refused:
                await self._send_text(refused.frame())

    async def _obey(self, frame: dict[str, Any]) -> None:
        match frame.get("type"):
            case "run":
                request = run_input(_run_body(frame, self._thread))
                run = await start_run(self._services, self._caller, request, self._socket.headers)
                await self._send({"type": "accepted", "runId": run.run_id, "firstSeq": run.first_seq})
            case "stop":
                if not await self._services.runs.stop(self._user, self._thread):
                    await self._services.event_log.ask_to_stop(self._user, self._thread)
            case "pong":
                pass
            case other:
                raise Refused(422, "invalid_input", f"unknown frame type {str(other)[:40]!r}")


def _frame(text: str) -> dict[str, Any]:
    frame = from_json(text, "a frame is a JSON object")
    if not isinstance(frame, dict):
        raise Refused(422, "invalid_input", "a frame is a JSON object")
    return frame


def _run_body(frame: dict[str, Any], thread: str) -> dict[str, Any]:
    """A RunAgentInput from a short or a full `run` frame; the thread is the socket's."""
    body = {k: v for k, v in frame.items() if k not in ("type", "message")}
    body["threadId"] = thread
    body.setdefault("runId", uuid.uuid4().hex)
    message = frame.get("message")
    if message is not None:
        if not isinstance(message, str):
            raise Refused(422, "invalid_input", "message is a string")
        body["messages"] = [{"id": uuid.uuid4().hex, "role": "user", "content": message}]
    return body


def _last(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdigit() or len(text) > 18:
        raise Refused(422, "invalid_input", "last is the number of the last event seen")
    return int(text)
