"""Connections of an HTTP server whose answers are short: none lives long, and only so many at a time.

aiohttp limits how long an idle connection is kept (an hour), not how long a request may take to arrive.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

LONGEST = 60.0  # seconds; a client that wants more connects again
MOST = 256
_EVERY = 5.0


async def keep_short(server: web.Server, longest: float = LONGEST, every: float = _EVERY) -> None:
    """Closes connections that are older than `longest` seconds, and above MOST the oldest ones. Ends when cancelled."""
    since: dict[object, float] = {}
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(every)
        now, open_now = loop.time(), server.connections
        since = {connection: since.get(connection, now) for connection in open_now}
        surplus = max(0, len(open_now) - MOST)
        for number, connection in enumerate(open_now):  # in the order in which they were opened
            if number < surplus or now - since[connection] > longest:
                connection.force_close()
