"""What probes and people ask first: is it alive, is it ready, what exactly is running.

`/healthz` and `/health` need nothing but the process. `/readyz` is the startup probe: red until a request could really
be served, and it names what is missing. On Cloud Run's public URL `/healthz` is reserved by Google, `/health` is not.
"""

from __future__ import annotations

import logging
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

from agui_app.database.engine import look_at_schema, schema_problem
from agui_app.services import Services
from agui_app.telemetry.logs import log

logger = logging.getLogger("agui_app.health")
router = APIRouter(tags=["health"])


@router.get("/healthz")
@router.get("/health")
async def health() -> dict[str, str]:
    """The process answers. Looks at nothing else, so that a database failover restarts no instance."""
    return {"status": "alive"}


@router.get("/readyz", responses={503: {"description": "not ready; `missing` says why"}})
async def ready(request: Request) -> JSONResponse:
    """200 when database, schema, sessions, model and agents are there; else 503 with `missing`."""
    report = await readiness(request.app.state.services)
    return JSONResponse(report, status_code=200 if report["ready"] else 503)


@router.get("/version")
async def version(request: Request) -> dict[str, Any]:
    """What runs here: release, revision, schema of code and database, agents."""
    services: Services = request.app.state.services
    seen = await look_at_schema(services.engine)
    return {
        "release": services.settings.release,
        "version": services.settings.version,
        "revision": services.settings.revision,
        "service": services.settings.service,
        "model": services.settings.model,
        "schema": {
            "required": services.required_schema,
            "database": seen.get("revision"),
            "floor": seen.get("floor"),
        },
        "agents": list(services.agents.names),
        "extensions": list(services.settings.extensions),
    }


async def readiness(services: Services) -> dict[str, Any]:
    """`{"ready": bool, "missing": [sentences], "checks": {name: "ok" | sentence}}`."""
    checks: dict[str, str] = {}
    seen = await look_at_schema(services.engine)
    if "error" in seen:
        checks["database"] = f"the database cannot be reached ({seen['error']})"
        checks["schema"] = "unknown while the database cannot be reached"
    else:
        checks["database"] = "ok"
        checks["schema"] = schema_problem(services.required_schema, seen["revision"], seen["floor"]) or "ok"
    checks["sessions"] = await _sessions(services) if checks["schema"] == "ok" else "waits for the schema"
    checks["model"] = "ok" if services.settings.model else "MODEL is empty"
    checks["agents"] = "ok" if services.agents.names else "no agent is built"
    missing = [f"{name}: {state}" for name, state in checks.items() if state != "ok"]
    return {"ready": not missing, "missing": missing, "checks": checks}


async def _sessions(services: Services) -> str:
    """ADK checks its own tables once; with a role that may not create any, it fails on what is missing."""
    if services.sessions_ready:
        return "ok"
    try:
        await services.agents.sessions.prepare_tables()
    except (SQLAlchemyError, OSError, ValueError, TimeoutError) as exc:
        log(logger, logging.ERROR, "sessions_not_ready", error=type(exc).__name__)
        return f"ADK cannot use its tables ({type(exc).__name__})"
    services.sessions_ready = True
    return "ok"
