"""What was seen of the world, reduced to what decisions need. None always means "not known yet", never "false"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from agui_operator.api.conditions import ConditionType, Reason
from agui_operator.core.actions import AlertPolicy, Pointer
from agui_operator.core.release import Release
from agui_operator.core.rollout import Look
from agui_operator.core.run_reasons import explained
from agui_operator.core.traffic import Target
from agui_operator.core.words import NO_LINES, UNDISCLOSED, UNSAID, Disclosure, LogLines, Words


@dataclass(frozen=True, slots=True)
class ServiceView:
    """A Cloud Run service. `traffic` is what was asked for, `serving` what the data plane answers by now. Where it is
    not ready: `reason` is one of Cloud Run's codes, `said` its message, `log` where the newest revision's log is."""

    name: str
    etag: str
    owner: str
    uri: str
    traffic: tuple[Target, ...]
    serving: tuple[Target, ...]
    tag_uris: Mapping[str, str]
    template_revision: str
    latest_created: str
    latest_ready: str
    reconciling: bool
    ready: bool | None
    reason: str = ""
    said: Words = UNSAID
    log: str = ""
    attested_by: str = ""  # Binary Authorization, as an AgUiPolicy names it
    breakglass: bool = False  # somebody switched it off for this service

    def why(self, disclosure: Disclosure) -> str:
        """Why it is not ready, as far as it may be shown."""
        return explained(self.reason, self.said.told(disclosure), self.log)


@dataclass(frozen=True, slots=True)
class ExecutionView:
    """A job's newest execution. `succeeded` None while it runs; `count` executions exist in all. Of one that failed:
    `reason` is one of Cloud Run's codes or a sentence of ours, `said` Cloud Run's message, `ended` how its task ended,
    `log` where its log is and `lines` the last of it. `explained`: the task was looked at, or nobody can tell."""

    name: str
    succeeded: bool | None
    reason: str = ""
    said: Words = UNSAID
    count: int = 1
    explained: bool = False
    ended: str = ""
    log: str = ""
    lines: LogLines = NO_LINES

    def why(self, disclosure: Disclosure) -> str:
        """Why it failed, as far as it may be shown; "" if it did not."""
        if self.succeeded is not False:
            return ""
        text = explained(self.reason, self.said.told(disclosure), self.log)
        text = f"{self.ended}: {text}" if self.ended else text
        lines = self.lines.told(disclosure)
        return f"{text}; last lines of the log: {lines}" if lines else text


@dataclass(frozen=True, slots=True)
class JobView:
    name: str
    image: str
    ready: bool
    execution: ExecutionView | None = None
    owner: str = ""


@dataclass(frozen=True, slots=True)
class BackupView:
    """A database backup that names this release. `succeeded` None while it runs."""

    name: str
    succeeded: bool | None
    said: Words = UNSAID


@dataclass(frozen=True, slots=True)
class AlertView:
    """An alert policy that carries our owner label."""

    name: str
    policy: AlertPolicy


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How one check ended. `passed` None: still running or inconclusive. Never holds a response's body."""

    name: str
    passed: bool | None
    message: str = ""
    latency_ms: float | None = None
    code: int | None = None
    check: str = ""  # digest of the check's spec; empty in a status of an older version


@dataclass(frozen=True, slots=True)
class TargetView:
    """What a release needs to be restored, as it was found. `secrets`: versions that can't be read."""

    release: str
    revision: bool = True
    assets: bool = True
    secrets: tuple[str, ...] = ()

    @property
    def problem(self) -> tuple[Reason, str] | None:
        """Why the release can't be restored; None if it can."""
        if not self.revision:
            return Reason.NOT_FOUND, f"the Cloud Run revision of release {self.release} does not exist any more"
        if not self.assets:
            return Reason.NOT_FOUND, f"the page of release {self.release} is not complete in the assets bucket"
        if self.secrets:
            versions = ", ".join(self.secrets)
            return Reason.VERSION_DISABLED, f"release {self.release} needs secret versions that are off: {versions}"
        return None


@dataclass(frozen=True, slots=True)
class Lacking:
    """What of a page is missing in the assets bucket: the name of the first file, and how many. `unpublished`: why
    the last try to publish them again failed."""

    first: str
    count: int = 1
    unpublished: str = ""


@dataclass(frozen=True, slots=True)
class LookFault:
    """Why a look failed. What it would have told is not known; everything else of the snapshot holds."""

    reason: Reason
    message: str


class Verdict(StrEnum):
    PASSED = "Passed"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"


@dataclass(frozen=True, slots=True)
class AnalysisResult:
    """What an analysis says and why."""

    verdict: Verdict
    message: str
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Blocker:
    """Why a rollout may not start or continue."""

    condition: ConditionType
    reason: Reason
    message: str
    unblock_with: str
    until: str | None = None
    holds_running: bool = False  # True: a running rollout is held as well (stop button, freeze)
    revokes: bool = False  # True: a running rollout is rolled back (permission withdrawn)
    may_arrive: bool = False  # True: the missing object may be part of the same sync; Stalled only after a grace


class RequestKind(StrEnum):
    PROMOTE = "promote"
    PROMOTE_FULL = "promote-full"
    ABORT = "abort"
    RETRY = "retry"
    PAUSE = "pause"
    RESUME = "resume"
    UNDO = "undo"


@dataclass(frozen=True, slots=True)
class Request:
    """What a user requested by annotation. `value` is the annotation's value (the release of an undo). `kept`: a
    manifest that a tool applies has the annotation, so that it comes back when it is removed."""

    kind: RequestKind
    value: str = ""
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What serves according to the cloud, where the status does not know it: the release of the record that its
    revision keeps, or why there is none."""

    release: Release | None
    revision: str


@dataclass(frozen=True, slots=True)
class SchemaReport:
    """What a release says of the database's schema: where it is, what its own code needs, and the oldest code that the
    database still supports (raised by contract migrations). None: it does not say."""

    head: str
    requires: str | None = None
    floor: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look. A field that the phase does not need stays None."""

    fingerprint: str | None = None  # of the newest spec; None: the spec is invalid
    procedure: str = ""  # of the newest spec: how its release is tried
    blockers: tuple[Blocker, ...] = ()
    disclosure: Disclosure = UNDISCLOSED  # what may be shown of others' words
    forbidden: Mapping[str, str] = field(default_factory=dict)  # releases that no policy permits now: why, by id
    request: Request | None = None
    failed: Mapping[Look, LookFault] = field(default_factory=dict)  # looks without an answer, until one succeeds
    resolved: Release | None = None
    tried: tuple[str, ...] = ()  # releases of which the cloud has a revision or a migration job; looked at with it
    service: ServiceView | None = None
    missing: frozenset[str] = frozenset()  # revisions that traffic was asked for and that do not exist
    found: Found | None = None  # looked for while no stable release is known
    last_service: ServiceView | None = None  # as this process saw it last, where the phase does not look at it
    service_known: bool = False  # True: `service is None` means that it does not exist
    backup: BackupView | None = None
    migration: JobView | None = None
    left_running: tuple[JobView, ...] = ()  # migrations of other releases that have not ended
    check_jobs: Mapping[str, JobView | None] = field(default_factory=dict)
    assets_complete: bool | None = None
    lacking: Lacking | None = None  # of the stable release's page; looked at while the object rests
    pointer: Pointer | None = None
    candidate_pointer: Pointer | None = None  # the candidate that the URL map shows to requests that name it
    pointer_known: bool = False  # True: the two above were read; None then means that there is none
    checks: Mapping[str, CheckResult] = field(default_factory=dict)
    analysis: AnalysisResult | None = None
    alerts: tuple[AlertView, ...] | None = None  # the policies that carry our owner label; None: not looked at
    target: TargetView | None = None  # of the release that an undo goes back to; None: not looked at
    channels: Mapping[str, str] = field(default_factory=dict)  # of the environment: resource by name
    assets_bucket: str = ""  # of the place, as the next one
    artifacts_bucket: str = ""
    has_edge: bool = False
    schema: SchemaReport | None = None  # as the staged revision reported it
