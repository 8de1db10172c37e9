"""What can be set on a local cloud. Delays are seconds; their defaults keep Google's shape at a laptop's pace."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from localgcp.kit.guard import Guard, allowed_origin, host_name, is_loopback

NOT_EXPOSED = (
    "--host {} is no loopback address: everybody who reaches it can run commands on this machine. Use 127.0.0.1, or "
    "add --expose if that is what you want."
)


def project_number_of(project: str) -> int:
    """A stable 12-digit number per project id (Google hands these out at random)."""
    return 100_000_000_000 + int(hashlib.sha256(project.encode()).hexdigest(), 16) % 900_000_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    state_dir: Path
    project: str = "demo"
    region: str = "us-central1"
    project_number: int = 0  # 0: computed from the project id
    host: str = "127.0.0.1"
    port: int = 8085
    edge_port: int = 8086
    expose: bool = False  # `host` may be one that other machines reach: they can then run commands on this one
    allow_hosts: tuple[str, ...] = ()  # names beside loopback ones that requests may be for, without port
    allow_origins: tuple[str, ...] = ()  # origins whose web pages may send requests
    catalogue: Path | None = None  # image catalogue file; None: a registry without images
    attested: tuple[
        str, ...
    ] = ()  # repositories, or repository@digest, with an attestation; empty: all images have one
    engine: str = "process"
    lro_seconds: float = 0.3  # how long an operation takes at least; 0: done in the first reply where the work allows
    traffic_propagation_seconds: float = 0.0  # from the end of an update to the moment the edge follows it
    url_map_propagation_seconds: float = 0.0  # until the last front end serves a changed URL map (Google: minutes)
    metric_delay_seconds: float = 0.0  # until a sample can be read (Google: up to 180)
    metric_period_seconds: float = 1.0  # sample period (Google: 60)
    idle_seconds: float = 60.0  # until an instance without traffic is stopped (Google: 15 minutes)
    max_instances: int = 4  # the most instances of one revision that this machine runs
    sql_certificate_seconds: float = 3600.0  # how long a client certificate of Cloud SQL is valid (Google: an hour)
    metadata_email: str = ""  # the metadata server's default account; empty: runtime@<project>.iam.gserviceaccount.com
    ledger_memory: int = field(default=200_000)  # entries kept in memory; the file keeps all

    def __post_init__(self) -> None:
        """Raises ValueError for a host that needs `expose`, and for an origin that is none."""
        if self.exposed and not self.expose:
            raise ValueError(NOT_EXPOSED.format(self.host))
        for origin in self.allow_origins:
            allowed_origin(origin)
        if not self.project_number:
            object.__setattr__(self, "project_number", project_number_of(self.project))

    @property
    def exposed(self) -> bool:
        """Whether other machines can reach the ports."""
        return not is_loopback(self.host)

    @property
    def guard(self) -> Guard:
        """What stands in front of every HTTP port."""
        names = frozenset(host_name(name) for name in self.allow_hosts)
        return Guard(self.host, names, frozenset(allowed_origin(origin) for origin in self.allow_origins))

    @property
    def endpoint(self) -> str:
        return f"http://{self._address}:{self.port}"

    @property
    def edge(self) -> str:
        return f"http://{self._address}:{self.edge_port}"

    @property
    def _address(self) -> str:
        """Where clients of this machine find a port."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"[{host}]" if ":" in host else host

    def number_of(self, project: str) -> int:
        return self.project_number if project == self.project else project_number_of(project)

    def project_id(self, id_or_number: str) -> str:
        """Google accepts a project's number wherever its id is; only the own project's number is known here."""
        return self.project if id_or_number == str(self.project_number) else id_or_number

    def run_host(self, service: str, project: str, location: str) -> str:
        """Host of a Cloud Run service's URL, without port."""
        return f"{service}-{self.number_of(project)}.{location}.run.localhost"
