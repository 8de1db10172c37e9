"""The gate in front of every route: where a request comes from, and who sends it.

It stands before routing, so that a route cannot be added without it, whoever adds it: an extension, a mount, the
framework. Only the paths in PUBLIC are served to callers without a login. What passes carries its caller in the
request's state.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders

from agui_app.http.common import Refused, verified
from agui_app.http.crosssite import FOREIGN, SECURITY_HEADERS, WRONG_HOST, cross_site, foreign, names_this_machine
from agui_app.services import Services
from agui_app.settings import Settings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# What is served without a login, with GET and HEAD: probes, and what runs here. None reads a user's data.
PUBLIC = frozenset({"/healthz", "/health", "/readyz", "/version"})
POLICY_VIOLATION, TRY_AGAIN_LATER = 1008, 1013


class Gate:
    """ASGI middleware around all others."""

    def __init__(self, app: Any, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        public = scope["path"] in PUBLIC and scope["method"] in ("GET", "HEAD")
        send = _guarded(send, private=not public)
        if public:
            await self._app(scope, receive, send)
            return
        try:
            headers = Headers(scope=scope)
            self._check_host(headers)
            if refusal := cross_site(scope["method"], headers, self._settings.access.allowed_origins):
                raise Refused(refusal.status, refusal.code, refusal.message)
            await _admit(scope, headers, ())
        except Refused as refused:
            await refused.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            headers = Headers(scope=scope)
            self._check_host(headers)
            if foreign(headers, self._settings.access.allowed_origins):
                raise Refused(FOREIGN.status, FOREIGN.code, FOREIGN.message)
            await _admit(scope, headers, tuple(scope.get("subprotocols") or ()))
        except Refused as refused:
            await receive()
            await send({"type": "websocket.accept"})  # a browser sees a close code only after the handshake
            await send({"type": "websocket.send", "text": refused.frame()})
            code = TRY_AGAIN_LATER if refused.status == 503 else POLICY_VIOLATION
            await send({"type": "websocket.close", "code": code, "reason": refused.code})
            return
        await self._app(scope, receive, send)

    def _check_host(self, headers: Headers) -> None:
        """Where everybody is believed, a page must not reach this process under a name of its own (DNS rebinding)."""
        if self._settings.access.identity != "development":
            return
        host = headers.get("host", "")
        if not names_this_machine(host) and host not in self._settings.access.allowed_hosts:
            raise Refused(WRONG_HOST.status, WRONG_HOST.code, WRONG_HOST.message)


async def _admit(scope: Scope, headers: Headers, subprotocols: tuple[str, ...]) -> None:
    services: Services = scope["app"].state.services
    scope.setdefault("state", {})["caller"] = await verified(services, headers, subprotocols)


def _guarded(send: Send, private: bool) -> Send:
    """Answers carry the security headers; those to a caller are kept in no cache unless the route says otherwise."""

    async def guarded(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message.get("headers", ())))
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            if private:
                headers.setdefault("Cache-Control", "no-store")
            message["headers"] = headers.raw
        await send(message)

    return guarded
