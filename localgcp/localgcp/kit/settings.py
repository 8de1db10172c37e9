"""What can be set on a local cloud. Delays are seconds; their defaults keep Google's shape at a laptop's pace."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path


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
    catalogue: Path | None = None  # image catalogue file; None: a registry without images
    engine: str = "process"
    lro_seconds: float = 0.3  # how long an operation takes at least; 0: done in the first reply where the work allows
    traffic_propagation_seconds: float = 0.0  # from the end of an update to the moment the edge follows it
    metric_delay_seconds: float = 0.0  # until a sample can be read (Google: up to 180)
    metric_period_seconds: float = 1.0  # sample period (Google: 60)
    idle_seconds: float = 60.0  # until an instance without traffic is stopped (Google: 15 minutes)
    max_instances: int = 4  # the most instances of one revision that this machine runs
    sql_certificate_seconds: float = 3600.0  # how long a client certificate of Cloud SQL is valid (Google: an hour)
    metadata_email: str = ""  # the metadata server's default account; empty: runtime@<project>.iam.gserviceaccount.com
    ledger_memory: int = field(default=200_000)  # entries kept in memory; the file keeps all

    def __post_init__(self) -> None:
        if not self.project_number:
            object.__setattr__(self, "project_number", project_number_of(self.project))

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def edge(self) -> str:
        return f"http://{self.host}:{self.edge_port}"

    def number_of(self, project: str) -> int:
        return self.project_number if project == self.project else project_number_of(project)

    def project_id(self, id_or_number: str) -> str:
        """Google accepts a project's number wherever its id is; only the own project's number is known here."""
        return self.project if id_or_number == str(self.project_number) else id_or_number

    def run_host(self, service: str, project: str, location: str) -> str:
        """Host of a Cloud Run service's URL, without port."""
        return f"{service}-{self.number_of(project)}.{location}.run.localhost"
