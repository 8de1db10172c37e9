"""Cloud SQL Admin API v1."""

from __future__ import annotations

from localgcp.kit.interfaces import ACCESS_TOKENS, SQL_SOCKETS
from localgcp.kit.service import Part, Service
from localgcp.services.sql.instances import routes
from localgcp.services.sql.parts import POSTGRES, TLS
from localgcp.services.sql.postgres.servers import create_postgres
from localgcp.services.sql.tls.listeners import SqlTls

SERVICE = Service(
    "sql",
    hosts=("sqladmin.googleapis.com",),
    rest=routes,
    parts=(
        Part(POSTGRES, create_postgres),
        Part(SQL_SOCKETS, lambda cloud: cloud.part(POSTGRES)),
        Part(TLS, lambda cloud: SqlTls(cloud.settings, cloud.part(POSTGRES), cloud.part(ACCESS_TOKENS))),
    ),
)
