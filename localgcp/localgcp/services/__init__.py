"""The services of this local cloud: the one list to add a service to.

A service is a package with a `SERVICE` (see localgcp.kit.service). Services do not import each other: what one needs of
another is a slot in localgcp.kit.interfaces. Parts are opened in this order and closed in reverse.
"""

from __future__ import annotations

from localgcp.edge import service as edge
from localgcp.kit.service import Service
from localgcp.services import (
    compute,
    logging,
    longrunning,
    metadata,
    monitoring,
    registry,
    run,
    secretmanager,
    sql,
    storage,
)

SERVICES: tuple[Service, ...] = (
    monitoring.SERVICE,
    metadata.SERVICE,
    sql.SERVICE,
    secretmanager.SERVICE,
    storage.SERVICE,
    compute.SERVICE,
    run.SERVICE,
    logging.SERVICE,
    longrunning.SERVICE,
    registry.SERVICE,
    edge.SERVICE,
)
