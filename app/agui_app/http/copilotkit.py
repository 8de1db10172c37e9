"""CopilotKit's v2 runtime protocol, served by Python itself: no Node process beside the application.

REST form: `GET /info`, `POST /agent/{id}/run|connect`, `POST /agent/{id}/stop/{thread}`; single-endpoint form: the
same as `POST /` with `{"method", "params", "body"}`. `connect` answers from the session store, so that any instance can
give a reloaded page its thread, and then follows the live run wherever it runs. `GET /threads` is ours: the list of
the caller's threads.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from ag_ui_adk.event_translator import adk_events_to_messages
from fastapi import APIRouter, Query, Request, Response

from agui_app.agents.guardrails import turn_budget
from agui_app.agents.progress import settled
from agui_app.agents.stream_shape import PIPELINES, TERMINAL, public_state
from agui_app.agents.tree import APP_NAME, ROOT
from agui_app.http import common
from agui_app.http.approvals_api import number_waiting
from agui_app.http.common import (
    Refused,
    caller_of,
    event_stream,
    json_body,
    lines_of,
    run_input,
    services_of,
    start_run,
)
from agui_app.http.log_reader import follow_log
from agui_app.http.sse import RUN_BODY, RUN_RESPONSES
from agui_app.runs.event_log import LiveRun
from agui_app.runs.threads import BadCursor
from agui_app.services import Services

router = APIRouter(prefix="/copilotkit", tags=["copilotkit"])
RUNTIME_VERSION = "1.74.0"  # of the protocol that CopilotKit's client expects
AGENT_IDS = ("default", ROOT)
AGENT_RESPONSES = RUN_RESPONSES | {404: {"description": "no such agent"}}


@router.get("/info")
async def info() -> dict[str, Any]:
    """What this runtime offers; `default` and `concierge` are the same agent."""
    agents = {
        name: {"name": name, "description": "Orders, product research and delivery slots.", "className": "AdkAgent"}
        for name in AGENT_IDS
    }
    return {
        "version": RUNTIME_VERSION,
        "mode": "sse",
        "audioFileTranscriptionEnabled": False,
        "agents": agents,
        "threadEndpoints": {"list": False, "inspect": False, "mutations": False, "realtimeMetadata": False},
        "suggestions": False,
        "a2uiEnabled": False,
        "openGenerativeUIEnabled": False,
        "telemetryDisabled": True,
    }


@router.get("/threads", responses={401: {"description": "no valid token"}, 422: {"description": "no such page"}})
async def threads(
    request: Request, response: Response, limit: Annotated[int, Query(ge=1, le=100)] = 30, cursor: str = ""
) -> dict[str, Any]:
    """The caller's threads, the last used first: `{threads, next, limits, approvals}`; `next` is the cursor of the next
    page or null, `limits` says how many messages of the user and how many runs a thread may have, `approvals` how many
    questions of others wait for the caller (null: not an approver)."""
    services = services_of(request)
    caller = caller_of(request)
    try:
        found, following = await services.threads.page(caller.user_id, limit, cursor)
    except BadCursor:
        raise Refused(422, "invalid_input", "this is no cursor of this list") from None
    response.headers["Cache-Control"] = "no-store"  # a shared browser must not keep another user's titles
    limits = {"turns": turn_budget(services.agents.rules), "runs": services.settings.limits.messages_per_thread}
    approvals = await number_waiting(services, caller)
    shown = [thread.public() for thread in found]
    return {"threads": shown, "next": following, "limits": limits, "approvals": approvals}


@router.post("/agent/{agent_id}/run", openapi_extra=RUN_BODY, responses=AGENT_RESPONSES)  # type: ignore[arg-type]
async def run(request: Request, agent_id: str) -> Response:
    """Starts a run and streams its events."""
    return await _run(request, agent_id, await json_body(request))


@router.post("/agent/{agent_id}/connect", openapi_extra=RUN_BODY, responses=AGENT_RESPONSES)  # type: ignore[arg-type]
async def connect(request: Request, agent_id: str) -> Response:
    """The thread so far, then its live run, if there is one."""
    return await _connect(request, agent_id, await json_body(request))


@router.post("/agent/{agent_id}/stop/{thread_id}", responses={404: {"description": "no such agent"}})
async def stop(request: Request, agent_id: str, thread_id: str) -> dict[str, Any]:
    """Stops the thread's live run, on whichever instance it runs."""
    return await _stop(request, agent_id, thread_id)


@router.post("", openapi_extra=RUN_BODY, responses=AGENT_RESPONSES, response_model=None)  # type: ignore[arg-type]
async def single_endpoint(request: Request) -> Response | dict[str, Any]:
    """The single-endpoint form of all of the above."""
    call = await json_body(request)
    if not isinstance(call, dict) or not isinstance(call.get("method"), str):
        raise Refused(422, "invalid_input", "expected {method, params, body}")
    given = call.get("params")
    params: dict[str, Any] = given if isinstance(given, dict) else {}
    agent_id = str(params.get("agentId", "default"))
    match call["method"]:
        case "info":
            return await info()
        case "agent/run":
            return await _run(request, agent_id, call.get("body"))
        case "agent/connect":
            return await _connect(request, agent_id, call.get("body"))
        case "agent/stop":
            return await _stop(request, agent_id, str(params.get("threadId", "")))
    raise Refused(422, "invalid_input", "unknown method")


def _known(agent_id: str) -> None:
    if agent_id not in AGENT_IDS:
        raise Refused(404, "Agent not found", f"there is no agent {agent_id[:60]!r}")


async def _run(request: Request, agent_id: str, body: Any) -> Response:
    _known(agent_id)
    started = await start_run(services_of(request), caller_of(request), run_input(body), request.headers)
    return event_stream(lines_of(started), caller_of(request))


async def _connect(request: Request, agent_id: str, body: Any) -> Response:
    _known(agent_id)
    services = services_of(request)
    caller = caller_of(request)
    user = caller.user_id
    wanted = run_input(body)
    thread = common.thread_id(wanted.thread_id)
    live = await services.event_log.live_run(user, thread)
    replay = await _replay(services, user, thread, wanted.run_id, live)
    return event_stream(_thread(services, user, thread, replay, live), caller)


async def _stop(request: Request, agent_id: str, thread_id: str) -> dict[str, Any]:
    _known(agent_id)
    common.thread_id(thread_id)
    services = services_of(request)
    user = caller_of(request).user_id
    if await services.runs.stop(user, thread_id):
        return {"stopped": True}
    if await services.event_log.live_run(user, thread_id):
        await services.event_log.ask_to_stop(user, thread_id)
        return {"stopped": True}
    return {"stopped": False, "message": f"No active run for thread '{thread_id[:128]}'."}


async def _thread(
    services: Services, user: str, thread: str, replay: list[dict[str, Any]], live: LiveRun | None
) -> AsyncGenerator[str, None]:
    for event in replay:
        yield json.dumps(event, separators=(",", ":"))
    if live is None:
        return
    async with aclosing(follow_log(services, user, thread, live.first_seq - 1)) as events:
        async for _, line in events:
            yield line
            if json.loads(line)["type"] in TERMINAL:
                return


async def _replay(
    services: Services, user: str, thread: str, run_id: str, live: LiveRun | None
) -> list[dict[str, Any]]:
    """The thread as one finished run; without what a live run has said so far, which follows as its own events."""
    session = await services.agents.sessions.get_session(app_name=APP_NAME, user_id=user, session_id=thread)
    if session is None:
        return []
    events = [e for e in session.events if live is None or e.author == "user" or e.timestamp < live.started_at]
    messages = [m.model_dump(mode="json", by_alias=True, exclude_none=True) for m in adk_events_to_messages(events)]
    finished: dict[str, Any] = {"type": "RUN_FINISHED", "threadId": thread, "runId": run_id}
    if live is None and (outcome := await services.event_log.last_outcome(user, thread)):
        finished |= {"outcome": outcome} if outcome.get("type") == "interrupt" else {}
    state = public_state(dict(session.state))
    if live is None and PIPELINES in state:
        state[PIPELINES] = settled(state[PIPELINES])
    blocks = await services.threads.blocks(user, thread, events)
    cut_short = await services.threads.cut_short(user, thread, events)
    return [
        {"type": "RUN_STARTED", "threadId": thread, "runId": run_id},
        {"type": "MESSAGES_SNAPSHOT", "messages": messages},
        {"type": "STATE_SNAPSHOT", "snapshot": state},
        *({"type": "CUSTOM", "name": "guardrail.block", "value": block} for block in blocks),
        *({"type": "CUSTOM", "name": "run.cut_short", "value": turn} for turn in cut_short),
        finished,
    ]
