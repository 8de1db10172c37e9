"""Server-sent events: what changed on a page, as the HTML that takes its place.

https://html.spec.whatwg.org/multipage/server-sent-events.html

A stream holds no queue. When its bell rings it compares the board with what it has sent and sends the difference, so a
slow reader skips states instead of piling them up. The id of each event says which state a page shows; a page that
comes back with it (Last-Event-ID, or `since` at first) gets what changed since, and everything when the id is another
process's.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any, Protocol

from aiohttp import web

from agui_operator.dashboard.board import Board
from agui_operator.dashboard.pages import Pages
from agui_operator.dashboard.rows import Filter

HEARTBEAT = 15.0  # seconds; shorter than the idle timeouts of proxies
WRITE_SECONDS = 10.0  # a reader that takes nothing for so long is let go
CALM = 0.05  # seconds between two events of one stream: the first change goes out at once, a storm is combined
_SHARE = 0.05  # of the loop's time that all streams together may take for rendering; the rest is the releases'


class Source(Protocol):
    """What a page shows."""

    def changes(self) -> tuple[str, Mapping[str, Any]] | None:
        """Name and content of the next event, or None when the page is up to date."""
        ...


class ListSource:
    """The lines of the list: those that changed, and the order whenever it changed."""

    def __init__(self, board: Board, pages: Pages, wanted: Filter, since: int | None) -> None:
        self._board, self._pages, self._wanted = board, pages, wanted
        self._since = since if since is not None else 0
        self._order: list[int] | None = None
        self._summary = ""

    def changes(self) -> tuple[str, Mapping[str, Any]] | None:
        if self._order is not None and self._board.revision == self._since:
            return None
        listed = self._pages.listed(self._wanted)
        order = [row.key for row in listed.rows]
        before = set(self._order or ())
        lines = self._pages.lines(listed.rows, self._since)
        if self._order is not None:  # a line that others made room for did not change itself
            come = [row for row in listed.rows if row.key not in before]
            lines |= self._pages.lines(come, -1)
        elif listed.left_out:
            lines = self._pages.lines(listed.rows, -1)
        content: dict[str, Any] = {"lines": lines} if lines else {}
        if order != self._order:
            content["order"] = order
        summary = self._pages.summary()
        if summary != self._summary:
            content["summary"] = summary
        self._since, self._order, self._summary = self._board.revision, order, summary
        return ("lines", content) if content else None


class DetailSource:
    """The parts of an object's page that changed."""

    def __init__(self, board: Board, pages: Pages, namespace: str, name: str, since: int | None) -> None:
        self._board, self._pages, self._where = board, pages, (namespace, name)
        self._since, self._first = since, True
        self._sent: dict[str, str] = {}
        self._gone = False

    def changes(self) -> tuple[str, Mapping[str, Any]] | None:
        entry = self._board.find(*self._where)
        if entry is None:
            told, self._gone = self._gone, True
            return None if told else ("gone", {})
        if entry.revision == self._since and not self._gone:
            if self._first:
                self._sent, self._first = self._pages.parts(entry), False
            return None
        parts = self._pages.parts(entry)
        changed = {name: html for name, html in parts.items() if self._sent.get(name) != html}
        self._since, self._sent, self._first, self._gone = entry.revision, parts, False, False
        return ("parts", {"parts": changed}) if changed else None


def mark(board: Board) -> str:
    """The id of the state that the board is in."""
    return f"{board.epoch}-{board.revision}"


def since(board: Board, known: str) -> int | None:
    """The revision that an id names, or None: nothing is known of it here."""
    epoch, _, revision = known.partition("-")
    if epoch != board.epoch or not (revision.isascii() and revision.isdecimal()) or len(revision) > 15:
        return None
    return int(revision) if int(revision) <= board.revision else None


async def stream(response: web.StreamResponse, board: Board, pages: Pages, source: Source, site: Site) -> None:
    """Sends changes until the reader goes, is too slow, or the site closes. `response` is prepared."""
    presence = None
    loop = asyncio.get_running_loop()
    with board.listen() as bell:
        while not site.closing:
            bell.clear()
            if presence is not (now := site.presence()):
                presence = now
                await _send(response, _event("presence", {"presence": pages.presence(now)}))
            began, worked = loop.time(), time.thread_time()
            change = source.changes()
            worked = time.thread_time() - worked
            if change is not None:
                await _send(response, _event(*change, mark(board)))
            try:
                await asyncio.wait_for(bell.wait(), HEARTBEAT)
            except TimeoutError:
                await _send(response, b": still here\n\n")
            calm = max(CALM, worked * board.listeners / _SHARE)
            await asyncio.sleep(max(0.0, began + calm - loop.time()))


class Site(Protocol):
    """What a stream needs to know of the server."""

    @property
    def closing(self) -> bool: ...

    def presence(self) -> Any: ...


def _event(name: str, content: Mapping[str, Any], state: str = "") -> bytes:
    head = f"id: {state}\n" if state else ""
    return f"{head}event: {name}\ndata: {json.dumps(content)}\n\n".encode()  # JSON has no line breaks of its own


async def _send(response: web.StreamResponse, data: bytes) -> None:
    """Raises TimeoutError when the reader takes nothing, ConnectionResetError when it is gone."""
    await asyncio.wait_for(response.write(data), WRITE_SECONDS)
