"""Imports what the application and its migrations import from other packages, and nothing of their own: a fork imports
that itself, and its coverage sees it. What is missing here is imported by each fork, which only costs time.
"""

from __future__ import annotations

import importlib
import sys

from agui_app.deferred import defer_unused

MODULES = (
    "ag_ui.core",
    "ag_ui_adk.event_translator",
    "aiohttp",
    "alembic.autogenerate",
    "alembic.command",
    "alembic.operations",
    "asyncpg",
    "fastapi",
    "google.adk.agents",
    "google.adk.apps",
    "google.adk.models.registry",
    "google.adk.plugins.base_plugin",
    "google.adk.sessions.schemas.v1",
    "google.adk.tools",
    "google.adk.workflow",
    "google.genai",
    "joserfc.jwt",
    "opentelemetry.sdk.metrics.export",
    "opentelemetry.sdk.trace.export",
    "psycopg",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.ext.asyncio",
    "sse_starlette",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
    "yaml",
)

defer_unused()
for module in MODULES:
    importlib.import_module(module)
for name in [name for name in sys.modules if name.partition(".")[0] == "agui_app"]:
    del sys.modules[name]
