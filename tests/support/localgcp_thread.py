"""A localgcp in a thread of the test process: for Google's synchronous clients, with only the services a test needs."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from localgcp.kit.cloud import PARTS
from localgcp.kit.settings import Settings
from localgcp.server.server import Server, listen


class Absent:
    """Stands where a part of the cloud is not needed."""

    def describe(self) -> tuple[()]:
        return ()


def _package(path: str) -> str:
    """The service's package of an import path: `localgcp.services.sql` of `localgcp.services.sql.tls.listeners:x`."""
    return ".".join(path.partition(":")[0].split(".")[:3])


@contextlib.contextmanager
def localgcp_thread(
    state_dir: Path, *, services: tuple[str, ...] = (), routes: tuple[str, ...] = (), **options: Any
) -> Iterator[Server]:
    """A running server. Parts whose package none of `services` and `routes` names are absent, but for those that
    `options` brings; other options are Settings."""
    known = {name: options.pop(name) for name in list(options) if name in PARTS}
    packages = {_package(path) for path in (*services, *routes)}
    if "localgcp.services.sql" in packages:
        packages.add("localgcp.services.metadata")
    absent = {name: Absent() for name, path in PARTS.items() if _package(path) not in packages}
    with listen("127.0.0.1", 0) as listener:
        settings = Settings(state_dir=state_dir, port=listener.getsockname()[1], **{"lro_seconds": 0.0, **options})
        loop, holder = asyncio.new_event_loop(), []

        async def begin() -> None:
            server = Server(settings, listener, services=services, routes=routes, **(absent | known))
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
