"""What the modules of Cloud SQL share: the servers and their TLS ports, as parts of the cloud."""

from __future__ import annotations

from localgcp.kit.service import Slot
from localgcp.services.sql.postgres.servers import Postgres
from localgcp.services.sql.tls.listeners import SqlTls

POSTGRES: Slot[Postgres] = Slot("sql.postgres")
TLS: Slot[SqlTls] = Slot("sql.tls")
