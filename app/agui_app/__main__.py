"""Starts one instance: `python -m agui_app` on $PORT.

It listens and answers `/healthz` at once, and loads the application in a thread meanwhile: a container that listens
late is restarted by its startup probe, and ADK alone takes a second to import. Requests that come before the
application is there wait for it. SIGTERM lets open streams end.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import uvicorn

from agui_app.deferred import defer_unused
from agui_app.environment import SettingsError
from agui_app.http.connections import protocols
from agui_app.settings import Settings, describe_failure, read_settings
from agui_app.telemetry.logs import configure_logs, log

logger = logging.getLogger("agui_app")
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
DEVELOPMENT_WARNING = "AGUI_IDENTITY=development: every caller is believed; only this machine can connect."
GRACE_SECONDS = 8  # Cloud Run kills 10 s after SIGTERM


class Front:
    """ASGI application that is there before the real one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        named = ((b"x-agui-revision", settings.revision), (b"x-agui-release", settings.release))
        self._named = [(name, value.encode("latin-1", "replace")) for name, value in named if value]
        self._app: Any = None
        self._loaded = asyncio.Event()
        self._stack = AsyncExitStack()
        self.failure: BaseException | None = None
        self.server: uvicorn.Server | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] == "http":
            send = self._signed(send)
        if self._app is None and scope["type"] == "http" and scope["path"] in ("/healthz", "/health"):
            await _answer(send, 200, {"status": "alive"})
            return
        if self._app is None and scope["type"] == "http" and scope["path"] == "/readyz":
            await _answer(send, 503, {"ready": False, "missing": ["application: loading"], "checks": {}})
            return
        await self._loaded.wait()
        await self._app(scope, receive, send)

    def _signed(self, send: Send) -> Send:
        """Every answer says which revision gave it, errors too: load tests and support need no log to know."""

        async def signed(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._named]
            await send(message)

        return signed

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        loading = asyncio.create_task(self._load())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await loading
        await self._stack.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    async def _load(self) -> None:
        try:
            app = await asyncio.to_thread(_build, self._settings)
            await self._stack.enter_async_context(app.router.lifespan_context(app))
        except Exception as exc:  # whatever it is, the instance cannot serve and must say so and go
            self.failure = exc
            if not type(exc).__module__.startswith("agui_app."):  # ours say what is wrong; others need their trace
                logger.exception("the application cannot start")
            if self.server is not None:
                self.server.should_exit = True
            return
        self._app = app
        self._loaded.set()
        log(logger, logging.INFO, "started", version=self._settings.version, model=self._settings.model)


class Server(uvicorn.Server):
    """Ends with exit code 0 on SIGTERM: uvicorn would raise the signal once more after its orderly shutdown."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, without what follows."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()


def _build(settings: Settings) -> Any:
    """Loads the application. What is loaded now stays for ever: no garbage collection need look at it."""
    defer_unused()
    gc.disable()
    try:
        from agui_app.http.application import create_app

        return create_app(settings)
    finally:
        gc.freeze()
        gc.enable()


async def _answer(send: Send, status: int, body: dict[str, Any]) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


def main() -> int:
    """Exit code: 0 after SIGTERM, 1 when the settings or the application cannot be used."""
    try:
        settings = read_settings()
    except SettingsError as exc:
        print(describe_failure(exc), flush=True)
        return 1
    configure_logs(
        settings.log_level, settings.service, settings.revision, settings.release, settings.telemetry.project
    )
    if settings.access.identity == "development":
        log(logger, logging.WARNING, "development_identity", DEVELOPMENT_WARNING)
    front = Front(settings)
    http, websocket = protocols(settings.connections)
    server = Server(
        uvicorn.Config(
            front,
            host=settings.host,
            port=settings.port,
            http=http,
            ws=websocket,
            log_config=None,
            lifespan="on",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_keep_alive=620,  # above the load balancer's 600 s, so that it never meets a closed connection
            ws_ping_interval=None,  # our own pings, visible to the client
            ws_max_size=settings.limits.body_bytes,
            proxy_headers=True,
            forwarded_allow_ips="*",  # only Cloud Run's front end reaches the container
        )
    )
    front.server = server
    server.run()
    if front.failure is not None:
        print(describe_failure(front.failure), flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
