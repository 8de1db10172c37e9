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
from dataclasses import replace
from pathlib import Path
from typing import Any

from localgcp.kit.catalogue import CatalogueError
from localgcp.kit.listening import listen, reserve
from localgcp.kit.settings import Settings
from localgcp.server.server import serving

_EXPOSED = """\
!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!
!! WARNING: localgcp is bound to {0}, not to a loopback address.
!! There is no login. Everybody who reaches port {1} or {2} of this machine can
!! run commands on this machine as the user who started localgcp, and read every secret in it.
!! Stop it, and start it without --host and --expose, unless a firewall keeps others out.
!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"""


def run(*, ready_file: Path | None, state_dir: Path, **options: Any) -> int:
    """Serves until SIGTERM or SIGINT. Returns the exit status: 0, or 1 when the cloud cannot start. Raises ValueError
    for options that Settings refuses, before anything is opened."""
    settings = Settings(state_dir=Path(state_dir).resolve(), **options)
    os.umask(0o077)  # the state is its owner's: keys, logs, the ledger
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    faulthandler.register(signal.SIGUSR1)  # a process that does not answer tells where it is
    try:
        asyncio.run(_serve(settings, ready_file))
    except CatalogueError as error:
        print(f"localgcp: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"localgcp: cannot start: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(wanted: Settings, ready_file: Path | None) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    listener = listen(wanted.host, wanted.port)
    # The edge listens later; until then this socket reserves its port. Two sockets may be bound to a port as long as
    # only one of them listens (SO_REUSEADDR on Linux).
    edge_port = reserve(wanted.host, wanted.edge_port)
    settings = replace(wanted, port=listener.getsockname()[1], edge_port=edge_port.getsockname()[1])
    async with serving(settings, listener):
        edge_port.close()
        served = {"endpoint": settings.endpoint, "edge": settings.edge, "pid": os.getpid()}
        ready = json.dumps({**served, "exposed": True} if settings.exposed else served)
        if settings.exposed:
            print(_EXPOSED.format(settings.host, settings.port, settings.edge_port), file=sys.stderr, flush=True)
        print(ready, flush=True)
        if ready_file is not None:
            partial = ready_file.with_name(ready_file.name + ".partial")
            partial.write_text(ready + "\n", encoding="utf-8")
            partial.replace(ready_file)  # a reader never gets half of it
        gc.freeze()  # modules and tables live as long as the process: the collector need not visit them
        await stopping.wait()
