"""What an environment gives a release to stand on, reduced to what the kinds need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Edge:
    """The load balancer in front: which URL map, bucket backend and service backend, which paths are the API's."""

    domain: str  # host, or http(s)://host:port for local use
    url_map: str
    backend_bucket: str
    backend_service: str
    api_paths: tuple[str, ...]

    @property
    def origin(self) -> str:
        """Public origin without a trailing slash."""
        return self.domain.rstrip("/") if "://" in self.domain else f"https://{self.domain}"

    @property
    def host(self) -> str:
        """The host name alone: without scheme and port."""
        return self.domain.rpartition("://")[2].partition("/")[0].partition(":")[0].lower()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a deployment's parts live."""

    project: str
    region: str
    assets_bucket: str
    artifacts_bucket: str
    sql_instance: str | None
    edge: Edge | None
    channels: Mapping[str, str] = field(default_factory=dict)  # notification channels: full resource name by name
