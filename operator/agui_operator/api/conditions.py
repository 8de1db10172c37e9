"""The names of conditions and their reasons: a contract with `kubectl wait`, dashboards and GitOps health checks."""

from __future__ import annotations

from enum import StrEnum


class ConditionType(StrEnum):
    """What is known about a deployment, in the order in which it becomes true."""

    READY = "Ready"  # summary: the release that is wanted serves, and nothing is wrong
    RECONCILING = "Reconciling"  # True while the operator works towards the spec (kstatus)
    STALLED = "Stalled"  # True when user action is required (kstatus)
    PAUSED = "Paused"  # the rollout is held: by a pause step, a request, an analysis, a freeze or spec.suspend
    SPEC_ACCEPTED = "SpecAccepted"  # the spec is valid and permitted
    ENVIRONMENT_READY = "EnvironmentReady"  # the environment exists and has the parts that the spec needs
    DATABASE_READY = "DatabaseReady"  # the database exists, and is backed up if the migrations require it
    MIGRATED = "Migrated"  # the schema is at the release's target
    ASSETS_PUBLISHED = "AssetsPublished"  # every file of the bundle is in the bucket
    REVISION_READY = "RevisionReady"  # the Cloud Run revision can serve, at 0 %
    SMOKE_PASSED = "SmokePassed"  # all checks passed
    ANALYSIS_PASSED = "AnalysisPassed"  # the canary passed its steps
    PROMOTED = "Promoted"  # the release is the stable one: all traffic is on it and the checks passed
    ALERTS_CONFIGURED = "AlertsConfigured"  # the alert policies match the spec
    ROLLBACK_READY = "RollbackReady"  # there is a release to go back to
    DRIFT_FREE = "DriftFree"  # at the last comparison the cloud resources matched the stable release


class Reason(StrEnum):
    """Why a condition has its status: one word for machines; the message has the sentence."""

    # the configuration is wrong
    INVALID_SPEC = "InvalidSpec"  # the message names the field and what to change
    NOT_PERMITTED = "NotPermitted"  # no AgUiPolicy allows it
    ENVIRONMENT_NOT_READY = "EnvironmentNotReady"  # the AgUiEnvironment is missing or invalid
    PLACE_CHANGED = "PlaceChanged"  # the environment names another place than the one in which the release lives
    HOST_CONFLICT = "HostConflict"  # another deployment serves the host of the environment
    DATABASE_CONFLICT = "DatabaseConflict"  # another deployment migrates the same database
    ENVIRONMENT_INCOMPLETE = "EnvironmentIncomplete"  # it lacks a part that the spec needs
    INVALID_CONFIGURATION = "InvalidConfiguration"  # Google Cloud refused what the spec asks for
    NOT_OWNED = "NotOwned"  # a cloud resource with the required name has another owner
    NOT_FOUND = "NotFound"  # an image or a secret that the spec names does not exist
    PERMISSION_DENIED = "PermissionDenied"  # the operator lacks a permission; the message names the role
    NO_CREDENTIALS = "NoCredentials"  # the operator has no credentials for Google Cloud
    VERSION_DISABLED = "SecretDisabled"  # the version of a secret that the spec names is disabled or destroyed
    BUNDLE_NOT_FOUND = "BundleNotFound"  # the artifact bucket has no such object
    BUNDLE_REFUSED = "BundleRefused"  # the bundle is not what the spec or its manifest says
    REVISION_CONFLICT = "RevisionConflict"  # a revision with the required name exists with other content
    # a rollout is held
    AWAITING_PROMOTION = "AwaitingPromotion"  # a pause step without duration
    PAUSE_REQUESTED = "PauseRequested"  # agui.dev/pause
    AWAITING_DATA = "AwaitingData"  # an analysis without a verdict
    NOT_PAUSED = "NotPaused"  # nothing holds a rollout
    # normal states
    FROZEN = "Frozen"  # a freeze window or the stop button of an AgUiPolicy
    SUSPENDED = "Suspended"  # spec.suspend
    ACCEPTED = "Accepted"  # the spec is valid
    UNKNOWN_FIELDS = "UnknownFields"  # valid, with fields of a newer CRD that this version of the operator ignores
    READY = "Ready"  # the part exists
    HEALTHY = "Healthy"  # the release that is wanted serves
    SUCCEEDED = "Succeeded"  # this part of the rollout is done
    IN_PROGRESS = "InProgress"  # this part of the rollout runs
    IN_SYNC = "InSync"  # nothing differs from what the operator wants
    NOT_REQUESTED = "NotRequested"  # the spec does not ask for this part: nothing to do, the condition is True
    SKIPPED = "Skipped"  # promoted by request before all canary steps were done
    NOT_EVALUATED = "NotEvaluated"  # can't be told while the spec is invalid
    NOT_COMPARED = "NotCompared"  # the cloud was not compared with the stable release since the last change
    NOT_STARTED = "NotStarted"  # the rollout has not reached this part
    NOT_REACHED = "NotReached"  # the rollout was rolled back before this part
    NOT_RECONCILING = "NotReconciling"  # nothing is in progress
    NOT_STALLED = "NotStalled"  # no user action is required
    STABLE_KNOWN = "StableKnown"  # the release to go back to is recorded
    NO_STABLE_RELEASE = "NoStableRelease"  # no release was promoted yet
    SCHEMA_CONTRACTED = "SchemaContracted"  # a contract migration dropped what the earlier release needs
    NO_EARLIER_RELEASE = "NoEarlierRelease"  # one release was promoted: an undo has nothing to go back to
    OBSERVED = "Observed"  # every resource that an environment names exists
    MISSING = "Missing"  # a resource that an environment names does not exist
    NOT_OBSERVED = "NotObserved"  # an environment could not be observed
    # a release failed
    BACKUP_FAILED = "BackupFailed"  # the database could not be backed up
    MIGRATION_FAILED = "MigrationFailed"  # the migration job failed; the message has the last lines of its log
    REVISION_FAILED = "RevisionFailed"  # the revision did not become ready
    SMOKE_FAILED = "SmokeFailed"  # a check failed; the message names it
    ANALYSIS_FAILED = "AnalysisFailed"  # the canary is worse than its limits allow
    ANALYSIS_INCONCLUSIVE = "AnalysisInconclusive"  # no verdict before the deadline; the spec requires a roll back
    DEADLINE_EXCEEDED = "DeadlineExceeded"  # spec.strategy.progressDeadline
    ABORTED = "Aborted"  # a user requested the end of the rollout
    UNDONE = "Undone"  # a user requested an earlier release
    RESOURCE_GONE = "ResourceGone"  # somebody deleted what the release ran on; it is tried again
    SUPERSEDED = "Superseded"  # a newer spec arrived
    # outside a rollout
    DRIFTED = "Drifted"  # a resource that the operator owns was changed by somebody else
    DELETING = "Deleting"  # the resources that the deployment owns are being deleted
    DELETION_BLOCKED = "DeletionBlocked"  # the message says why, and how to unblock it
    CLOUD_UNAVAILABLE = "CloudUnavailable"  # Google Cloud does not answer; retried automatically
    UNKNOWN = "Unknown"  # written by another version of the operator
    CLUSTER_UNAVAILABLE = "ClusterUnavailable"  # the Kubernetes API server does not answer; retried automatically
    CLUSTER_REFUSED = "ClusterRefused"  # the Kubernetes API server refused a write; the message names the permission
    INTERNAL_ERROR = "InternalError"  # a bug of the operator; its log has the traceback
