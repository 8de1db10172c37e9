"""`localgcp serve`: one server in this process until a signal ends it."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from localgcp.kit.catalogue import CatalogueError
from localgcp.kit.settings import Settings
from localgcp.server.server import listen, reserve, serving


def run(*, ready_file: Path | None, state_dir: Path, **options: Any) -> int:
    """Serves until SIGTERM or SIGINT. Returns the exit status: 0, or 1 when the cloud cannot start."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    faulthandler.register(signal.SIGUSR1)  # a process that does not answer tells where it is
    try:
        asyncio.run(_serve(Path(state_dir).resolve(), ready_file, options))
    except CatalogueError as error:
        print(f"localgcp: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"localgcp: cannot start: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(state_dir: Path, ready_file: Path | None, options: dict[str, Any]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    host = options["host"]
    listener = listen(host, options.pop("port"))
    # The edge listens later; until then this socket reserves its port. Two sockets may be bound to a port as long as
    # only one of them listens (SO_REUSEADDR on Linux).
    edge_port = reserve(host, options.pop("edge_port"))
    ports = {"port": listener.getsockname()[1], "edge_port": edge_port.getsockname()[1]}
    settings = Settings(state_dir=state_dir, **ports, **options)
    async with serving(settings, listener):
        edge_port.close()
        ready = json.dumps({"endpoint": settings.endpoint, "edge": settings.edge, "pid": os.getpid()})
        print(ready, flush=True)
        if ready_file is not None:
            partial = ready_file.with_name(ready_file.name + ".partial")
            partial.write_text(ready + "\n", encoding="utf-8")
            partial.replace(ready_file)  # a reader never gets half of it
        gc.freeze()  # modules and tables live as long as the process: the collector need not visit them
        await stopping.wait()
