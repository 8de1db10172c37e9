"""Request journal (concierge 1.3.0): the latest requests of each kind, for support, at `GET /api/journal`.

Requests are spread over shards so that a burst on one path does not push everything else out; when a shard is full its
oldest entry makes room.
"""

from __future__ import annotations

import itertools
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import FastAPI, Request

SHARDS = 5
ENTRIES_PER_SHARD = 5
JOURNALLED = ("/api/", "/copilotkit")
Scope = MutableMapping[str, Any]


class RequestJournal:
    """ASGI middleware that remembers the latest requests."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._numbers = itertools.count()
        self._shards: list[OrderedDict[int, dict[str, Any]]] = [OrderedDict() for _ in range(SHARDS)]
        # the order of arrival per shard
        self._ages: dict[int, deque[int]] = {shard: deque() for shard in range(1, SHARDS)}

    async def __call__(
        self, scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        """ASGI entry."""
        if scope["type"] == "http" and scope["path"].startswith(JOURNALLED):
            self._note(scope)
        if scope.get("path") == "/api/journal":
            scope["state"] = dict(scope.get("state") or {}, journal=self.latest())
        await self._app(scope, receive, send)

    def _note(self, scope: Scope) -> None:
        number = next(self._numbers)
        shard = number % SHARDS
        entries = self._shards[shard]
        if len(entries) >= ENTRIES_PER_SHARD:
            del entries[self._ages[shard].popleft()]
        entries[number] = {"at": time.time(), "method": scope["method"], "path": scope["path"][:200]}
        if shard in self._ages:
            self._ages[shard].append(number)

    def latest(self) -> list[dict[str, Any]]:
        """All remembered requests, newest first."""
        numbered = [item for shard in self._shards for item in shard.items()]
        return [entry for _, entry in sorted(numbered, key=lambda item: -item[0])]


def extend(app: FastAPI) -> None:
    """Adds the middleware and its route."""
    app.add_middleware(RequestJournal)

    @app.get("/api/journal", tags=["support"])
    async def journal(request: Request) -> dict[str, Any]:
        """The latest requests."""
        return {"requests": request.state.journal}
