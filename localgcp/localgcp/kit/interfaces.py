"""What the services, the edge and the server know of each other: typed protocols, and the slots that hold them.

A service asks the cloud for a slot of this module and gets whatever object another service put there; services never
import each other. So a container engine can stand in for processes, or a test for either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from localgcp.kit.service import Slot


@dataclass(frozen=True, slots=True)
class Image:
    """One image of the catalogue. `digest` is `sha256:<64 hex>` over command, environment and content bytes."""

    repository: str
    digest: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    tags: tuple[str, ...] = ()
    working_dir: Path | None = None


class ImageCatalogue(Protocol):
    """Answers what a registry answers: which digest a tag has, and what a digest starts."""

    def images(self) -> Sequence[Image]: ...

    def manifest(self, digest: str) -> bytes:
        """The OCI manifest whose hash is `digest`."""
        ...

    def resolve(self, reference: str) -> Image:
        """Image of `repo:tag` or `repo@sha256:...`. Raises `ApiError(NOT_FOUND)` that names the reference."""
        ...


@dataclass(frozen=True, slots=True)
class Probe:
    """A Cloud Run startup or liveness probe; seconds, as in google.cloud.run.v2.Probe. `path` None: TCP."""

    path: str | None
    initial_delay: float = 0
    timeout: float = 1
    period: float = 10
    failure_threshold: int = 3


@dataclass(frozen=True, slots=True)
class Workload:
    """A revision or an execution. Its short name is unique within a project and a location only."""

    project: str
    location: str
    name: str

    @classmethod
    def of(cls, resource: str) -> Workload:
        """Of `projects/<project>/locations/<location>/.../<name>`."""
        parts = resource.split("/")
        return cls(parts[1], parts[3], parts[-1])


@dataclass(frozen=True, slots=True)
class RevisionProcess:
    """All that is needed to run one revision."""

    revision: str  # short name, the value of K_REVISION
    service: str  # short name, the value of K_SERVICE
    project: str
    location: str
    image: Image
    command: tuple[str, ...] = ()  # replaces the image's command when set
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)  # secrets already resolved; never logged
    startup: Probe | None = None
    liveness: Probe | None = None
    min_instances: int = 0
    max_instances: int = 4
    concurrency: int = 80
    timeout: float = 300  # request timeout, seconds
    session_affinity: bool = False

    @property
    def workload(self) -> Workload:
        return Workload(self.project, self.location, self.revision)


@dataclass(frozen=True, slots=True)
class Target:
    """A share of a service's traffic. Tags have an own URL and may have 0 %."""

    revision: str
    percent: int
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class ServiceRoute:
    """What the data plane needs to serve one Cloud Run service. `host` is the URL's host without port;
    a tag's URL is `<tag>---<host>`."""

    project: str
    location: str
    service: str
    host: str
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class TaskResult:
    """How a job's task ended. `tail` holds the last lines of its output (at most 20)."""

    exit_code: int
    tail: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Output:
    """A file that an instance of a revision, or a task of an execution, wrote. `owner` is the short name of the service
    or job; `stream` the last part of its log's name on Cloud Run."""

    path: Path
    workload: Workload
    owner: str
    is_job: bool
    stream: str


class ContainerLogs(Protocol):
    def outputs(self, project: str) -> Sequence[Output]:
        """Of everything that ran in a project, also of what was deleted since."""
        ...


class StartFailed(Exception):
    """A revision's first instance did not become ready; the message says why, as Cloud Run would."""


class Runtime(Protocol):
    """Runs revisions and jobs, and routes requests to them. All methods are idempotent."""

    async def start(self, spec: RevisionProcess) -> None:
        """Makes the revision servable: starts max(1, min_instances) instances and waits for the startup probe.
        Raises StartFailed. Starting a running revision does nothing."""
        ...

    def register(self, spec: RevisionProcess) -> None:
        """Makes a revision that was ready before a restart servable without waiting: its first request starts it."""
        ...

    async def stop(self, revision: Workload, grace: float = 10) -> None:
        """SIGTERM to every instance, SIGKILL after `grace` seconds; open requests may finish in that time."""
        ...

    def route(self, route: ServiceRoute) -> None:
        """Replaces a service's traffic table atomically; requests in flight stay where they are. Revisions with neither
        percent nor tag are scaled to zero when idle; min_instances hold only while they have traffic or a tag."""
        ...

    def unroute(self, project: str, location: str, service: str) -> None: ...

    async def run_task(self, spec: RevisionProcess, env: Mapping[str, str], timeout: float) -> TaskResult:
        """Runs one task of a job to its end (CLOUD_RUN_JOB, CLOUD_RUN_EXECUTION, CLOUD_RUN_TASK_INDEX... are in
        `env`)."""
        ...

    async def cancel_tasks(self, execution: Workload) -> None: ...

    def describe(self) -> Sequence[Mapping[str, object]]:
        """One row per instance (revision, pid, port, since, requests) for `localgcp status`."""
        ...


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A Cloud Storage object; `path` holds its bytes."""

    bucket: str
    name: str
    path: Path
    size: int
    generation: int
    metageneration: int
    content_type: str
    cache_control: str
    content_encoding: str
    md5_base64: str
    crc32c_base64: str
    metadata: Mapping[str, str]


class Buckets(Protocol):
    def read(self, bucket: str, name: str) -> StoredObject | None: ...


class UrlMaps(Protocol):
    """The load balancer's configuration as the edge reads it (JSON bodies of compute/v1)."""

    def url_map(self, project: str, name: str, front_end: int) -> Mapping[str, object] | None:
        """As one of the load balancer's front ends has it by now; `front_end` is any number that stays with a
        connection."""
        ...

    def backend(self, project: str, kind: str, name: str) -> Mapping[str, object] | None:
        """`kind` is backendBuckets or backendServices."""
        ...

    def edge_url_map(self) -> tuple[str, str] | None:
        """(project, url map) that the one global forwarding rule of the local edge serves, if any."""
        ...


class MetricSink(Protocol):
    """Where the proxy reports finished requests; Cloud Monitoring's store turns them into run.googleapis.com series."""

    def request(
        self, *, project: str, location: str, service: str, revision: str, code: int, seconds: float
    ) -> None: ...


class Invokers(Protocol):
    """Which Cloud Run services everybody may call."""

    def anyone(self, project: str, location: str, service: str) -> bool: ...


class SecretPayloads(Protocol):
    """Where a container's environment gets the values of secrets."""

    def payload(self, project: str, secret: str, version: str = "latest") -> bytes:
        """Raises ApiError NOT_FOUND, FAILED_PRECONDITION when the version is not enabled."""
        ...


class SqlSockets(Protocol):
    """Where a container finds the socket of a Cloud SQL instance."""

    async def socket_dir(self, project: str, instance: str) -> Path:
        """Directory with `.s.PGSQL.5432`, once the server is ready. Raises ApiError FAILED_PRECONDITION, or KeyError
        for an instance that does not exist."""
        ...


@dataclass(frozen=True, slots=True)
class Grant:
    """The account that an access token belongs to; `expires` in seconds of the Unix epoch."""

    email: str
    expires: float


class AccessTokens(Protocol):
    """Access tokens that the metadata server issued."""

    def issue(self, email: str, seconds: float = 3600.0) -> str: ...

    def find(self, token: str) -> Grant | None:
        """None for a token that is unknown or has expired."""
        ...


class CdnCache(Protocol):
    def invalidate(self, pattern: str) -> int:
        """Removes cached objects by path or prefix (`/assets/*`); returns how many."""
        ...


RUNTIME: Slot[Runtime] = Slot("runtime")
CONTAINER_LOGS: Slot[ContainerLogs] = Slot("container_logs")
METRICS: Slot[MetricSink] = Slot("metrics")
BUCKETS: Slot[Buckets] = Slot("buckets")
URL_MAPS: Slot[UrlMaps] = Slot("url_maps")
INVOKERS: Slot[Invokers] = Slot("invokers")
SECRETS: Slot[SecretPayloads] = Slot("secrets")
SQL_SOCKETS: Slot[SqlSockets] = Slot("sql_sockets")
ACCESS_TOKENS: Slot[AccessTokens] = Slot("access_tokens")
CDN_CACHE: Slot[CdnCache] = Slot("cdn_cache")
