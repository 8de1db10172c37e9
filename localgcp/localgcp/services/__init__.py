"""The APIs that this local cloud has: the one list to add one to.

A class on Google's protobuf messages has `API` (the full name of the gRPC service) and one coroutine per method; a
REST-only API is a module with `routes(cloud) -> list[RestRoute]`. Services may have `open()`, `close()` and `reset()`.
"""

from __future__ import annotations

PROTO_SERVICES: tuple[str, ...] = (
    "localgcp.services.run_services:Services",
    "localgcp.services.run_revisions:Revisions",
    "localgcp.services.run_jobs:Jobs",
    "localgcp.services.run_executions:Executions",
    "localgcp.services.run_executions:Tasks",
    "localgcp.services.longrunning:LongRunning",
    "localgcp.services.monitoring:AlertPolicies",
    "localgcp.services.monitoring:Metrics",
    "localgcp.services.monitoring:NotificationChannels",
    "localgcp.services.secretmanager:SecretManager",
)
REST_SERVICES: tuple[str, ...] = (
    "localgcp.services.registry",
    "localgcp.services.storage",
    "localgcp.services.compute",
    "localgcp.services.sqladmin",
    "localgcp.services.metadata",
)
