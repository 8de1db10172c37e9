"""The status of the custom resources, as far as the API server knows it: fields that are not named here are pruned.

Written by the operator alone. Bounds are far above what is written, because a refused status helps nobody.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from agui_operator.api.base import PRESERVE, Model, keyed_list

Text = Annotated[str, Field(max_length=32768)]
Word = Annotated[str, Field(max_length=1024)]


class Condition(Model):
    """One condition of the object; the reference explains types and reasons."""

    type: Word = Field(description="Type of the condition, such as Ready or SmokePassed.")
    status: Word = Field(
        description="True, False or Unknown.", json_schema_extra={"enum": ["True", "False", "Unknown"]}
    )
    reason: Word = Field(description="Reason, one word.")
    message: Text = Field("", description="Reason, as a sentence.")
    observed_generation: int | None = Field(None, description="Generation of the spec that it refers to.")
    last_transition_time: Word | None = Field(None, description="When the status last changed.")


_CONDITIONS = keyed_list("type")


class ReleaseStatus(Model):
    """Everything needed to restore a release. References only, never a value of a secret."""

    id: Word | None = Field(None, description="Names its revisions, jobs and checks.")
    artifact: Word | None = Field(None, description="Id of what was built; equal everywhere.")
    fingerprint: Word | None = Field(None, description="Hash of its spec.")
    version: Word | None = Field(None, description="Human-readable version.")
    template: Text | None = Field(None, description="Its revision, as JSON.")
    backend: Word | None = Field(None, description="Image of its backend.")
    migrations: Word | None = Field(None, description="Image of its migrations.")
    target: Word | None = Field(None, description="Schema of its migrations.")
    frontend: Word | None = Field(None, description="Folder of its page.")
    bundle: Word | None = Field(None, description="Bundle of its page.")
    schema_: Word | None = Field(None, alias="schema", description="Schema that it reported.")
    requires: Word | None = Field(None, description="Schema that its code needs.")
    secrets: dict[str, Word] | None = Field(None, max_length=60, description="Secret versions by variable.")
    alerts: dict[str, Any] | None = Field(None, description="Its alert thresholds.", json_schema_extra={PRESERVE: True})


class CheckVerdict(Model):
    """Result of one check."""

    passed: bool | None = Field(None, description="Absent while it runs.")
    message: Text | None = Field(None, description="Result; never the content of a response.")
    latency_ms: float | None = Field(None, description="Milliseconds.")
    code: int | None = Field(None, description="HTTP status.")
    check: Word | None = Field(None, description="Digest of the check: an edited check runs again.")


class AnalysisFinding(Model):
    """Result of the last analysis of the metrics."""

    verdict: Word = Field(description="Passed, Failed or Inconclusive.")
    message: Text | None = Field(None, description="Why.")
    values: dict[str, Word] | None = Field(None, max_length=60, description="What was measured.")


class CauseStatus(Model):
    """Why a rollout is rolled back."""

    reason: Word = Field(description="One word.")
    message: Text | None = Field(None, description="A sentence.")
    phase: Word | None = Field(None, description="Phase in which it happened.")
    at: Word | None = Field(None, description="When.")
    rejects: bool | None = Field(None, description="True: the same spec is not rolled out again without a retry.")
    procedure: Word | None = Field(None, description="Hash of checks, strategy and deadlines when it failed.")


class ObeyedStatus(Model):
    """A request that was accepted for this spec."""

    kind: Word = Field(description="Kind of the request: promote, abort, retry, ...")
    value: Word | None = Field(None, description="Value of the annotation.")
    fingerprint: Word | None = Field(None, description="Hash of the spec that it was accepted for.")
    at: Word | None = Field(None, description="When.")
    repeated: bool | None = Field(
        None, description="True: a manifest asks for it again, which is refused; remove it there."
    )


class RolloutStatus(Model):
    """The rollout in flight, or the last one."""

    phase: Word | None = Field(None, description="Phase of the rollout.")
    since: Word | None = Field(None, description="Start of this phase or step.")
    started: Word | None = Field(None, description="Start of the rollout.")
    held_since: Word | None = Field(None, description="Since when a hold keeps the phase from its next write.")
    step: int | None = Field(None, description="Canary steps that are done.")
    steps: tuple[Word, ...] | None = Field(None, max_length=50, description="The steps that the canary walks.")
    steps_source: Word | None = Field(None, description="Digest of the spec's list that the steps were made from.")
    steps_weight: int | None = Field(None, description="Traffic weight at which the steps were edited.")
    weight_since: Word | None = Field(None, description="Since when the release has its present share of the traffic.")
    progress: Word | None = Field(None, description="Completed steps of all steps.")
    weight: int | None = Field(None, description="Percentage of the traffic that the release receives.")
    deadline: Word | None = Field(None, description="When the phase times out.")
    held_by: Word | None = Field(None, description="What a pause waits for.")
    verdicts: dict[str, CheckVerdict] | None = Field(None, max_length=100, description="Checks of this stage, by name.")
    analysis: AnalysisFinding | None = Field(None, description="Result of the last analysis of the metrics.")
    undo_to: ReleaseStatus | None = Field(None, description="Release that an undo goes back to.")
    cause: CauseStatus | None = Field(None, description="Why it is rolled back.")
    obeyed: tuple[ObeyedStatus, ...] | None = Field(
        None, max_length=50, description="Requests that were accepted for this spec."
    )


class RejectedStatus(Model):
    """The release that failed. The same spec is rolled out again only on request; a corrected check, limit, strategy or
    deadline is tried again."""

    fingerprint: Word | None = Field(None, description="Hash of the spec that failed.")
    release: Word | None = Field(None, description="Its release id.")
    version: Word | None = Field(None, description="Its version.")
    reason: Word | None = Field(None, description="One word.")
    message: Text | None = Field(None, description="A sentence.")
    at: Word | None = Field(None, description="When.")
    procedure: Word | None = Field(
        None, description="Hash of checks, strategy and deadlines; the release is tried again when they change."
    )


class HistoryStatus(Model):
    """A rollout that ended."""

    release: ReleaseStatus = Field(description="Which release.")
    outcome: Word | None = Field(None, description="How it ended.")
    reason: Word | None = Field(None, description="Why.")
    at: Word | None = Field(None, description="When.")
    seconds: float | None = Field(None, description="How long it took.")


class PromotedStatus(Model):
    """A promoted release that an undo can go back to."""

    release: ReleaseStatus = Field(description="Which release.")
    at: Word | None = Field(None, description="When it was promoted.")
    before: Word | None = Field(None, description="Release that was stable until then.")
    checks: dict[str, Any] | None = Field(
        None,
        description="Checks that an undo runs against its revision at 0 %, by name.",
        json_schema_extra={PRESERVE: True},
    )


class AttemptStatus(Model):
    """How often a release was attempted; no number is used again."""

    release: Word = Field(description="Release id without the number of the attempt.")
    number: int | None = Field(None, description="Highest number.")


class RequestStatus(Model):
    """The last request by annotation, and its result."""

    kind: Word | None = Field(None, description="Kind of the request: promote, abort, retry, ...")
    value: Word | None = Field(None, description="Value of the annotation.")
    accepted: bool | None = Field(None, description="False: not possible in that phase.")
    message: Text | None = Field(None, description="Result of the request.")
    at: Word | None = Field(None, description="When.")


class WaitingStatus(Model):
    """What the object waits for."""

    what: Text | None = Field(None, description="What has to happen.")
    since: Word | None = Field(None, description="Since when.")
    until: Word | None = Field(None, description="When the wait ends, or the release is rolled back.")
    unblock_with: Text | None = Field(None, description="What a user can do to end it.")


class PlaceEdgeStatus(Model):
    """The load balancer behind which a release is served."""

    domain: Word | None = Field(None, description="Host name of the application.")
    url_map: Word | None = Field(None, description="URL map that holds the release pointer.")
    backend_bucket: Word | None = Field(None, description="Backend bucket of the pages.")
    backend_service: Word | None = Field(None, description="Backend service of the API.")
    api_paths: tuple[Word, ...] | None = Field(None, max_length=50, description="Path prefixes of the API.")


class PlaceStatus(Model):
    """Where the release lives. It is kept when the environment is edited or deleted, and deletion goes by it."""

    environment: Word | None = Field(None, description="AgUiEnvironment that named the place.")
    project: Word | None = Field(None, description="Google Cloud project.")
    region: Word | None = Field(None, description="Region.")
    service: Word | None = Field(None, description="Cloud Run service.")
    owner: Word | None = Field(None, description="Value of the label agui-owner on everything that is owned there.")
    assets_bucket: Word | None = Field(None, description="Bucket of the public files.")
    artifacts_bucket: Word | None = Field(None, description="Bucket of the bundles.")
    sql_instance: Word | None = Field(None, description="Cloud SQL instance.")
    edge: PlaceEdgeStatus | None = Field(None, description="The load balancer.")
    channels: dict[str, Word] | None = Field(
        None, max_length=60, description="Notification channels: resource by name."
    )


class AgUiDeploymentStatus(Model):
    """Observed state, written by the operator. Do not edit it."""

    observed_generation: int | None = Field(None, description="Generation of the spec that this status is about.")
    phase: Word | None = Field(None, description="Phase of the rollout.")
    message: Text | None = Field(None, description="Summary in one sentence.")
    url: Word | None = Field(None, description="Where users reach the application.")
    release: ReleaseStatus | None = Field(
        None, description="The release that the spec asks for; while a rollout runs, the one of that rollout."
    )
    stable: ReleaseStatus | None = Field(None, description="The release that serves all users.")
    rollout: RolloutStatus | None = Field(None, description="The rollout.")
    rejected: RejectedStatus | None = Field(None, description="The release that failed.")
    place: PlaceStatus | None = Field(None, description="Where the release lives.")
    schema_floor: Word | None = Field(None, description="Oldest schema whose code the database supports.")
    waiting_for: WaitingStatus | None = Field(None, description="What it waits for.")
    last_request: RequestStatus | None = Field(None, description="The last request by annotation.")
    history: tuple[HistoryStatus, ...] | None = Field(None, max_length=50, description="Past rollouts, newest first.")
    promoted: tuple[PromotedStatus, ...] | None = Field(
        None, max_length=50, description="Promoted releases that an undo can go back to, newest first."
    )
    attempts: tuple[AttemptStatus, ...] | None = Field(
        None, max_length=200, description="Attempts by release, newest last."
    )
    conditions: tuple[Condition, ...] | None = Field(
        None, max_length=50, description="Conditions of the object.", json_schema_extra=_CONDITIONS
    )


class ResourceStatus(Model):
    """One cloud resource that the environment names."""

    kind: Word = Field(description="Kind of the resource.")
    name: Word = Field(description="Full resource name.")
    state: Word | None = Field(None, description="Present or Missing.")
    message: Text | None = Field(None, description="Details.")


class AgUiEnvironmentStatus(Model):
    """Observed resources of the environment."""

    observed_generation: int | None = Field(None, description="Generation of the spec that this status is about.")
    resources: tuple[ResourceStatus, ...] | None = Field(
        None, max_length=500, description="Every named cloud resource."
    )
    conditions: tuple[Condition, ...] | None = Field(
        None, max_length=50, description="What is known.", json_schema_extra=_CONDITIONS
    )


class AgUiPolicyStatus(Model):
    """Whether the policy is valid, and where it applies."""

    observed_generation: int | None = Field(None, description="Generation of the spec that this status is about.")
    namespaces: tuple[Word, ...] | None = Field(
        None, max_length=100, description="Namespaces with AgUiDeployments that the policy applies to."
    )
    conditions: tuple[Condition, ...] | None = Field(
        None, max_length=50, description="What is known.", json_schema_extra=_CONDITIONS
    )
