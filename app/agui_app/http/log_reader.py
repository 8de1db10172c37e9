"""Following a thread's event log from any instance: rows first, then whatever is noted as new."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from agui_app.services import Services

LOOK_ANYWAY_SECONDS = 5.0  # a notification is a hint; a lost one costs at most this


async def follow_log(services: Services, user: str, thread: str, after: int) -> AsyncGenerator[tuple[int, str], None]:
    """(sequence number, event) above `after`, without gaps or repeats, for ever. Durable events only."""
    with services.signals.watch(user, thread) as changed:
        while True:
            changed.clear()
            run = services.runs.live(user, thread)
            if run is not None and after >= run.first_seq - 1:
                # the run is here: its committed events are in memory
                async with aclosing(run.follow(durable=True, start=after + 1 - run.first_seq)) as events:
                    async for seq, line in events:
                        yield seq, line
                        after = seq
                continue
            rows = await services.event_log.read(user, thread, after)
            for seq, line in rows:
                yield seq, line
                after = seq
            if not rows and run is not None:
                after = max(after, run.first_seq - 1)  # what lies between was pruned
            elif not rows and services.runs.live(user, thread) is None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_ANYWAY_SECONDS):
                        await changed.wait()
