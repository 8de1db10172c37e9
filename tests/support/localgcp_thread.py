"""A localgcp in a thread of the test process: for Google's synchronous clients, with only the services a test needs."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from localgcp.kit.listening import listen
from localgcp.kit.service import Service, Slot
from localgcp.kit.settings import Settings
from localgcp.server.server import Server


@contextlib.contextmanager
def localgcp_thread(
    state_dir: Path,
    services: tuple[Service, ...],
    *,
    parts: Mapping[Slot[Any], object] | None = None,
    **options: Any,
) -> Iterator[Server]:
    """A running server with these services. `parts` replaces parts of the cloud; `options` are Settings."""
    with listen("127.0.0.1", 0) as listener:
        settings = Settings(state_dir=state_dir, port=listener.getsockname()[1], **{"lro_seconds": 0.0, **options})
        loop, holder = asyncio.new_event_loop(), []

        async def begin() -> None:
            server = Server(settings, listener, services=services, parts=parts)
            holder.append(server)
            await server.open()

        thread = threading.Thread(target=loop.run_forever, name="localgcp")
        thread.start()
        try:
            asyncio.run_coroutine_threadsafe(begin(), loop).result(60)
            yield holder[0]
        finally:
            if holder:
                asyncio.run_coroutine_threadsafe(holder[0].close(), loop).result(60)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
