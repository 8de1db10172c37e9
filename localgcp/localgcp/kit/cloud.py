"""The local cloud as one object: built once by `localgcp serve`, handed to every service.

Each part is named in `PARTS` by `module:factory`; a factory takes the cloud and returns the part. Factories must not
use other parts (these may not exist yet): use them later, or in the part's own `async open()`. Parts with `open()` or
`close()` are opened in the order of `PARTS`, closed in reverse. `reset()` drops what a part holds outside the store.
"""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

from localgcp.kit.catalogue import Catalogue
from localgcp.kit.faults import Faults
from localgcp.kit.ledger import Ledger
from localgcp.kit.operations import Operations
from localgcp.kit.store import Store

if TYPE_CHECKING:
    from localgcp.kit.interfaces import Buckets, MetricSink, Runtime, UrlMaps
    from localgcp.kit.settings import Settings

PARTS: dict[str, str] = {
    "metrics": "localgcp.services.monitoring.series:create_metrics",  # interfaces.MetricSink
    "postgres": "localgcp.services.sql.postgres.servers:create_postgres",  # socket_dir(project, instance), address(...)
    "access_tokens": "localgcp.services.metadata.access_tokens:create_access_tokens",  # tokens of the metadata server
    "sql_tls": "localgcp.services.sql.tls.listeners:create_sql_tls",  # port 3307 of each Cloud SQL instance
    "secrets": "localgcp.services.secretmanager.secrets:create_secrets",  # payload(project, secret, version) -> bytes
    "buckets": "localgcp.services.storage.buckets:create_buckets",  # interfaces.Buckets
    "url_maps": "localgcp.services.compute.resources:create_url_maps",  # interfaces.UrlMaps
    "runtime": "localgcp.services.run.runtime.processes:create_runtime",  # interfaces.Runtime
    "edge": "localgcp.edge.edge:create_edge",  # serves settings.edge_port from open() to close()
}

_OPENING, _CLOSING = ("open", "start"), ("close", "stop")


class Cloud:
    """`parts` replaces factories by ready objects (tests stand fakes in for processes or stores this way)."""

    metrics: MetricSink
    postgres: Any
    access_tokens: Any
    sql_tls: Any
    secrets: Any
    buckets: Buckets
    url_maps: UrlMaps
    runtime: Runtime
    edge: Any

    def __init__(self, settings: Settings, **parts: Any) -> None:
        self.settings = settings
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        self.store = Store(settings.state_dir / "state.sqlite3")
        self.ledger = Ledger(settings.state_dir / "ledger.jsonl", keep=settings.ledger_memory)
        self.faults = Faults()
        self.shared: dict[str, Any] = {}  # objects that several services of one API share, by a name of their own
        self.operations = Operations(self.store, settings)
        self.catalogue: Any = parts.pop("catalogue", None) or Catalogue.load(settings.catalogue)
        for name, path in PARTS.items():
            setattr(self, name, parts[name] if name in parts else _build(path, self))

    async def start(self) -> None:
        """Starts the parts. Services that resume work after a restart register with `operations` before this."""
        for name in PARTS:
            await _call(getattr(self, name), *_OPENING)

    async def stop(self) -> None:
        await self.operations.stop()
        for name in reversed(PARTS):
            await _call(getattr(self, name), *_CLOSING)
        self.ledger.close()
        self.store.close()


def _build(path: str, cloud: Cloud) -> Any:
    module, _, factory = path.partition(":")
    return getattr(importlib.import_module(module), factory)(cloud)


async def _call(part: Any, *hooks: str) -> None:
    """Calls the first of the hooks that a part has. An edge has start and stop; a runtime's start and stop are about
    revisions (see interfaces.Runtime), so these names count only where they take no argument."""
    for hook in hooks:
        method = getattr(part, hook, None)
        if method is not None and not _required(method):
            outcome = method()
            if inspect.isawaitable(outcome):
                await outcome
            return


def _required(method: Any) -> bool:
    return any(p.default is p.empty for p in inspect.signature(method).parameters.values())
