"""A load generator that behaves like users: API requests through the public URL, and old tabs that load assets late."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from dataclasses import dataclass, field

import aiohttp

REVISION_HEADER = "x-agui-revision"


@dataclass(slots=True)
class Tally:
    """What users met since it was started. Failed: no answer, or a status of 400 and above."""

    total: int = 0
    failed: int = 0
    by_revision: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)

    def add(self, revision: str, problem: str | None) -> None:
        self.total += 1
        if revision:
            self.by_revision[revision] += 1
        if problem is not None:
            self.failed += 1
            self.failures[problem] += 1


class Load:
    """Sends about `rate` requests a second until stopped. Bounded: one request in flight per worker."""

    def __init__(self, origin: str, rate: float = 40.0, workers: int = 8) -> None:
        self._origin, self._rate, self._workers = origin, rate, workers
        self._assets: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession | None = None
        self.overall = Tally()
        self.current = Tally()

    def begin_step(self) -> Tally:
        """A fresh tally for the next step of the story."""
        self.current = Tally()
        return self.current

    async def start(self) -> None:
        # no cookies: session affinity would keep all these visitors on one revision
        jar = aiohttp.DummyCookieJar()
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10), cookie_jar=jar)
        self._tasks = [asyncio.create_task(self._work(n)) for n in range(self._workers)]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def open_tab(self) -> list[str]:
        """Loads the page as a browser would, and keeps asking for its assets from then on: an old tab. Returns them."""
        assert self._session is not None
        async with self._session.get(self._origin + "/") as response:
            html = await response.text()
            response.raise_for_status()
        found = re.findall(r'(?:src|href)="(/?assets/[^"]+)"', html)
        paths = [path if path.startswith("/") else f"/{path}" for path in found]
        if not paths:
            raise RuntimeError("the page names no assets")
        self._assets += [path for path in paths if path not in self._assets]
        return paths

    async def _work(self, number: int) -> None:
        pause = self._workers / self._rate
        count = number
        while True:
            began = time.monotonic()
            count += 1
            if self._assets and count % 10 == 0:
                await self._ask(self._assets[count // 10 % len(self._assets)])
            else:
                await self._ask(f"/api/orders/{1 + count % 5}")
            await asyncio.sleep(max(0.0, pause - (time.monotonic() - began)))

    async def _ask(self, path: str) -> None:
        assert self._session is not None
        revision, problem = "", None
        try:
            async with self._session.get(self._origin + path) as response:
                await response.read()
                revision = response.headers.get(REVISION_HEADER, "")
                if response.status >= 400:
                    problem = f"{response.status} {path}"
        except (aiohttp.ClientError, TimeoutError) as exc:
            problem = f"{type(exc).__name__} {path}"
        self.overall.add(revision, problem)
        self.current.add(revision, problem)
