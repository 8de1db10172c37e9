"""Everything that the operator may do, as frozen values. Each is idempotent and named after what is true afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never

from agui_operator.core.traffic import Target


@dataclass(frozen=True, slots=True)
class SecretEnv:
    """An environment variable whose value Cloud Run reads from Secret Manager; `version` is a number, never a value."""

    env: str
    secret: str
    version: str


@dataclass(frozen=True, slots=True)
class ContainerTemplate:
    """A container as Cloud Run runs it, for revisions and for jobs. Times in seconds."""

    image: str  # pinned: repository@sha256:...
    service_account: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[SecretEnv, ...] = ()
    cpu: str = "1"
    memory: str = "512Mi"
    sql_instances: tuple[str, ...] = ()  # project:region:instance, mounted below /cloudsql
    timeout: int = 300


@dataclass(frozen=True, slots=True)
class HttpProbe:
    path: str
    period: int
    timeout: int
    failure_threshold: int
    initial_delay: int = 0


@dataclass(frozen=True, slots=True)
class RevisionTemplate:
    """What a Cloud Run revision is made from."""

    revision: str
    release: str
    container: ContainerTemplate
    port: int = 8080
    cpu_always_allocated: bool = True
    startup_boost: bool = True
    min_instances: int = 0
    max_instances: int = 10
    concurrency: int = 80
    session_affinity: bool = False
    startup: HttpProbe | None = None
    liveness: HttpProbe | None = None
    ingress: str = "InternalAndCloudLoadBalancing"
    record: str = ""  # JSON of the release, kept on the revision: what is found there when a status is lost


@dataclass(frozen=True, slots=True)
class JobTemplate:
    """A Cloud Run job of one release; never retried by Cloud Run, because the operator decides about that."""

    job: str
    release: str
    container: ContainerTemplate


@dataclass(frozen=True, slots=True)
class Bundle:
    """A release bundle in the artifact bucket."""

    bucket: str
    object: str
    sha256: str


CHANGED_BY_HAND = "changed-by-hand"  # stands for a folder in the view of rules that say no release of ours


@dataclass(frozen=True, slots=True)
class Pointer:
    """What the URL map says for this deployment: HTML from a release folder, API paths to the service, assets as they
    are. `frontend` None: API only. Absent pointer: nothing of this deployment is public."""

    frontend: str | None
    release: str


# --- actions ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BackupTaken:
    """The database instance has a backup whose description names this release."""

    instance: str
    description: str


@dataclass(frozen=True, slots=True)
class JobDefined:
    """The job exists with this template."""

    template: JobTemplate


@dataclass(frozen=True, slots=True)
class ExecutionStarted:
    """The job has an execution. `args` overrides the arguments; `attempt` counts executions wanted so far."""

    job: str
    attempt: int = 1
    args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExecutionCancelled:
    """The execution of the job does not run any more."""

    job: str
    execution: str


@dataclass(frozen=True, slots=True)
class AssetsPublished:
    """Every file of the bundle is in the pool, the release folder is complete, its html written last. `restores`: the
    stable release whose files somebody deleted; empty: the release is being rolled out. `runtime_url` None: the page
    may be built for any backend."""

    bundle: Bundle
    frontend: str
    bucket: str
    runtime_url: str | None = None
    restores: str = ""


@dataclass(frozen=True, slots=True)
class RevisionStaged:
    """The service has the revision, with exactly this traffic."""

    template: RevisionTemplate
    traffic: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class TrafficSplit:
    """The service's traffic is exactly this list."""

    traffic: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class PointerSet:
    """The URL map serves `pointer` to everybody (None: nothing of this deployment) and the page of `candidate` to
    requests that carry its id in a header (None: to nobody). One write, whatever of it changes."""

    pointer: Pointer | None
    candidate: Pointer | None = None


@dataclass(frozen=True, slots=True)
class AlertCreated:
    policy: AlertPolicy


@dataclass(frozen=True, slots=True)
class AlertUpdated:
    policy: AlertPolicy
    name: str
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AlertDeleted:
    name: str


@dataclass(frozen=True, slots=True)
class AlertPolicy:
    """One alert policy: a threshold on a run.googleapis.com or application series of this service."""

    key: str  # latency-p95, error-rate, ...: unique within a deployment, kept in user labels
    display_name: str
    filter: str
    threshold: float
    aligner: str
    reducer: str
    group_by: tuple[str, ...] = ()
    denominator_filter: str = ""
    duration: int = 300  # seconds
    alignment: int = 60  # seconds
    channels: tuple[str, ...] = ()
    documentation: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServiceDeleted:
    service: str


@dataclass(frozen=True, slots=True)
class JobDeleted:
    job: str


Action = (
    BackupTaken
    | JobDefined
    | ExecutionStarted
    | ExecutionCancelled
    | AssetsPublished
    | RevisionStaged
    | TrafficSplit
    | PointerSet
    | AlertCreated
    | AlertUpdated
    | AlertDeleted
    | ServiceDeleted
    | JobDeleted
)


# take away what is owned, and put nothing in its place
REMOVALS = (ExecutionCancelled, AlertDeleted, ServiceDeleted, JobDeleted)


def describe(action: Action) -> str:
    """One line for `plan`, logs and Events: what will be true, without any value that could be secret."""
    match action:
        case BackupTaken():
            return f"Backup of SQL instance {action.instance} ({action.description})"
        case JobDefined():
            return f"Job {action.template.job} defined with image {action.template.container.image}"
        case ExecutionStarted():
            return f"Execution {action.attempt} of job {action.job} started"
        case ExecutionCancelled():
            return f"Execution {action.execution} of job {action.job} cancelled"
        case AssetsPublished():
            return f"Assets of bundle {action.bundle.object} published as release folder {action.frontend}"
        case RevisionStaged():
            return f"Revision {action.template.revision} staged; traffic {traffic_text(action.traffic)}"
        case TrafficSplit():
            return f"Traffic split {traffic_text(action.traffic)}"
        case PointerSet():
            return _pointer_text(action)
        case AlertCreated():
            return f"Alert policy {action.policy.key} created"
        case AlertUpdated():
            return f"Alert policy {action.policy.key} updated: {', '.join(action.changed)}"
        case AlertDeleted():
            return f"Alert policy {action.name} deleted"
        case ServiceDeleted():
            return f"Service {action.service} deleted"
        case JobDeleted():
            return f"Job {action.job} deleted"
        case _:
            assert_never(action)


def _pointer_text(action: PointerSet) -> str:
    pointer, candidate = action.pointer, action.candidate
    shown = f"Candidate {candidate.release} shown to requests that name it" if candidate else ""
    if pointer is None:
        return shown or "Release pointer removed"
    public = f"Release pointer set to {pointer.frontend or pointer.release}"
    return f"{shown}; {public[0].lower()}{public[1:]}" if shown else public


def traffic_text(targets: tuple[Target, ...]) -> str:
    return ", ".join(f"{t.revision}={t.percent}%" + (f" (tag {t.tag})" if t.tag else "") for t in targets)


def to_json(action: Action) -> dict[str, Any]:
    """The action's type and description, for `plan -o json`."""
    return {"action": type(action).__name__, "description": describe(action)}
