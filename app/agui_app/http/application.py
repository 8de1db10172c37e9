"""The FastAPI application: routes, limits and the life of its services.

Imported in a thread after the process already listens (see `__main__`), because ADK takes a second or two to load.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import ClientDisconnect

from agui_app.environment import SettingsError
from agui_app.http import approvals_api, copilotkit, health, orders_api, sockets, sse
from agui_app.http.common import Refused
from agui_app.http.gate import Gate
from agui_app.services import running_services
from agui_app.settings import Settings

logger = logging.getLogger("agui_app")
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Application(FastAPI):
    """FastAPI whose OpenAPI document also describes the bodies that are parsed by hand."""

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if self.openapi_schema is None:
            super().openapi().setdefault("components", {}).setdefault("schemas", {}).update(sse.input_schemas())
        assert self.openapi_schema is not None
        return self.openapi_schema


class BodyTooLarge(Exception):
    """The request's body exceeds the limit."""


class BodyLimit:
    """Refuses request bodies above a number of bytes, also when no length was announced."""

    def __init__(self, app: Any, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self._most:
            await self._refuse(scope, receive, send)
            return
        received = 0

        async def counted() -> MutableMapping[str, Any]:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._most:
                raise BodyTooLarge
            return message

        await self._app(scope, counted, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = Refused(413, "too_large", f"a body may have {self._most} bytes")
        await refused.response()(scope, receive, send)


def load_extensions(names: tuple[str, ...]) -> list[ModuleType]:
    """Modules named by AGUI_EXTENSIONS; each may have `REQUIRED_SCHEMA`, `tools(engine)` and `extend(app)`.

    Raises SettingsError when one cannot be imported.
    """
    modules = []
    for name in names:
        try:
            modules.append(importlib.import_module(name))
        except ImportError as exc:
            raise SettingsError(f"AGUI_EXTENSIONS: {name} cannot be imported: {exc}") from exc
    return modules


def create_app(settings: Settings) -> FastAPI:
    """Builds the application; connects to nothing before its lifespan starts. Raises SettingsError."""
    extensions = load_extensions(settings.extensions)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running_services(settings, extensions) as services:
            app.state.services = services
            yield

    # no pages of the framework: they load scripts of a stranger's host; the document itself needs a login
    app = Application(
        title="AG-UI concierge", version=settings.version, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    for module in (health, orders_api, approvals_api, sse, copilotkit, sockets):
        app.include_router(module.router)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(BodyTooLarge, _too_large)
    app.add_exception_handler(ClientDisconnect, _gone)
    for away in (SQLAlchemyError, OSError):  # a refused or timed-out connection is an OSError
        app.add_exception_handler(away, _database_away)
    app.add_middleware(BodyLimit, most=settings.limits.body_bytes)
    for extension in extensions:
        if hasattr(extension, "extend"):
            extension.extend(app)
    app.add_middleware(Gate, settings=settings)  # last, hence outside of all others: nothing is added around it
    return app


async def _refused(_: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, Refused)
    return exc.response()


async def _too_large(_: Request, exc: Exception) -> JSONResponse:
    return Refused(413, "too_large", "the body is too large").response()


async def _gone(_: Request, exc: Exception) -> Response:
    """A client that leaves before its body has arrived is no error of ours, and nobody reads this answer."""
    return Response(status_code=400)


async def _database_away(_: Request, exc: Exception) -> JSONResponse:
    logger.error("database error", exc_info=exc)
    return Refused(503, "database_unavailable", "The database does not answer; ask again.").response()
