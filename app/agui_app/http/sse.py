"""AG-UI over server-sent events: POST a RunAgentInput, read `data: {event}` frames. https://docs.ag-ui.com"""

from __future__ import annotations

from typing import Any

from ag_ui.core import RunAgentInput
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic.json_schema import models_json_schema

from agui_app.http.common import (
    caller_of,
    event_stream,
    json_body,
    lines_of,
    run_input,
    services_of,
    start_run,
)

router = APIRouter(tags=["ag-ui"])
RUN_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/RunAgentInput"}}},
    }
}
RUN_RESPONSES = {
    200: {"description": "AG-UI events", "content": {"text/event-stream": {}}},
    400: {"description": "not JSON"},
    401: {"description": "no valid token"},
    403: {"description": "sent by a page of another site"},
    409: {"description": "another run is live in this thread"},
    413: {"description": "the body is too large"},
    415: {"description": "the body is not application/json"},
    422: {"description": "not a RunAgentInput"},
    429: {"description": "too many live runs"},
    503: {"description": "instance full, or identity unavailable"},
}


def input_schemas() -> dict[str, Any]:
    """JSON schemas of a run's input, for the OpenAPI document: bodies are parsed by hand, so FastAPI knows none."""
    _, schemas = models_json_schema([(RunAgentInput, "validation")], ref_template="#/components/schemas/{model}")
    models: dict[str, Any] = schemas["$defs"]
    model = models["RunAgentInput"]
    model["required"] = ["threadId", "runId"]  # what is missing else is empty
    for name in model["required"]:
        model["properties"][name] |= {"minLength": 1, "maxLength": 128}
    return models


@router.post("/agent", openapi_extra=RUN_BODY, responses=RUN_RESPONSES)  # type: ignore[arg-type]
async def run_agent(request: Request) -> StreamingResponse:
    """Starts a run and streams its events; leaving does not end the run."""
    caller = caller_of(request)
    run = await start_run(services_of(request), caller, run_input(await json_body(request)), request.headers)
    return event_stream(lines_of(run), caller)
