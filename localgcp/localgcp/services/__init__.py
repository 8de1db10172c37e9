"""The APIs that this local cloud has: the one list to add one to.

A class on Google's protobuf messages has `API` (the full name of the gRPC service) and one coroutine per method; a
REST-only API is a module with `routes(cloud) -> list[RestRoute]`. Services may have `open()`, `close()` and `reset()`.
"""

from __future__ import annotations

PROTO_SERVICES: tuple[str, ...] = (
    "localgcp.services.run.services:Services",
    "localgcp.services.run.revisions:Revisions",
    "localgcp.services.run.jobs:Jobs",
    "localgcp.services.run.executions:Executions",
    "localgcp.services.run.executions:Tasks",
    "localgcp.services.longrunning.operations:LongRunning",
    "localgcp.services.monitoring.policies:AlertPolicies",
    "localgcp.services.monitoring.metrics:Metrics",
    "localgcp.services.monitoring.policies:NotificationChannels",
    "localgcp.services.secretmanager.secrets:SecretManager",
)
REST_SERVICES: tuple[str, ...] = (
    "localgcp.services.registry.manifests",
    "localgcp.services.storage.buckets",
    "localgcp.services.compute.resources",
    "localgcp.services.sql.instances",
    "localgcp.services.metadata.server",
)
