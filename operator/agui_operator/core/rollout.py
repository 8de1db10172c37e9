"""The rollout on one page: the transition table and one row of facts for each phase.

A phase change that is not in the table does not exist. Forward, a release moves from Pending to Healthy. Every failure
goes through RollingBack, which restores the stable release and ends in RolledBack (a stable release serves) or Failed
(no release ever received user traffic). docs/rollout.md is generated from this module.

To add a phase: a member of Phase, its row in TRANSITIONS and in PHASES here, and its logic in `core/phases/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from agui_operator.api.conditions import ConditionType
from agui_operator.core.errors import IllegalTransition


class Phase(StrEnum):
    PENDING = "Pending"
    RESOLVING = "Resolving"
    BACKING_UP = "BackingUp"
    MIGRATING = "Migrating"
    PUBLISHING = "Publishing"
    STAGING = "Staging"
    SMOKING = "Smoking"
    PROGRESSING = "Progressing"
    PAUSED = "Paused"
    PROMOTING = "Promoting"
    BAKING = "Baking"
    HEALTHY = "Healthy"
    UNDOING = "Undoing"
    ROLLING_BACK = "RollingBack"
    ROLLED_BACK = "RolledBack"
    FAILED = "Failed"
    SUSPENDED = "Suspended"


class Event(StrEnum):
    STARTED = "Started"
    SUCCEEDED = "Succeeded"
    ALREADY_STABLE = "AlreadyStable"
    STILL_REJECTED = "StillRejected"
    STEP_PASSED = "StepPassed"
    STEPS_EDITED = "StepsEdited"
    ALL_STEPS_PASSED = "AllStepsPassed"
    HELD = "Held"
    RESUMED = "Resumed"
    CHECK_FAILED = "CheckFailed"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    SPEC_CHANGED = "SpecChanged"
    ABORTED = "Aborted"
    RETRIED = "Retried"
    UNDONE = "Undone"
    SUSPENDED = "Suspended"
    RESTORED = "Restored"
    NOTHING_PUBLIC = "NothingPublic"


P, E = Phase, Event

_STOPPABLE = {
    E.ABORTED: P.ROLLING_BACK,
    E.SPEC_CHANGED: P.PENDING,  # nothing is public yet: the newer spec simply takes over
}
_BEFORE_TRAFFIC = {**_STOPPABLE, E.CHECK_FAILED: P.ROLLING_BACK, E.DEADLINE_EXCEEDED: P.ROLLING_BACK}
_WITH_TRAFFIC = {
    E.CHECK_FAILED: P.ROLLING_BACK,
    E.DEADLINE_EXCEEDED: P.ROLLING_BACK,
    E.ABORTED: P.ROLLING_BACK,
    E.SPEC_CHANGED: P.ROLLING_BACK,  # users first go back to stable, then the newer spec starts
}

TRANSITIONS: Mapping[Phase, Mapping[Event, Phase]] = {
    P.PENDING: {
        E.STARTED: P.RESOLVING,
        E.ALREADY_STABLE: P.HEALTHY,
        E.STILL_REJECTED: P.ROLLED_BACK,
        E.NOTHING_PUBLIC: P.FAILED,  # rejected as well, and there is no stable release
        E.SUSPENDED: P.SUSPENDED,
    },
    # An unknown tag or secret can be corrected at any time: no deadline, no verdict.
    P.RESOLVING: {E.SUCCEEDED: P.BACKING_UP, **_STOPPABLE},
    P.BACKING_UP: {E.SUCCEEDED: P.MIGRATING, **_BEFORE_TRAFFIC},
    P.MIGRATING: {E.SUCCEEDED: P.PUBLISHING, **_BEFORE_TRAFFIC},
    P.PUBLISHING: {E.SUCCEEDED: P.STAGING, E.DEADLINE_EXCEEDED: P.ROLLING_BACK, **_STOPPABLE},
    P.STAGING: {E.SUCCEEDED: P.SMOKING, **_BEFORE_TRAFFIC},
    P.SMOKING: {E.SUCCEEDED: P.PROGRESSING, **_BEFORE_TRAFFIC},
    P.PROGRESSING: {
        E.STEP_PASSED: P.PROGRESSING,
        E.STEPS_EDITED: P.PROGRESSING,
        E.ALL_STEPS_PASSED: P.PROMOTING,
        E.HELD: P.PAUSED,
        **_WITH_TRAFFIC,
    },
    P.PAUSED: {
        E.RESUMED: P.PROGRESSING,
        E.STEP_PASSED: P.PROGRESSING,
        E.STEPS_EDITED: P.PROGRESSING,
        E.ALL_STEPS_PASSED: P.PROMOTING,
        E.CHECK_FAILED: P.ROLLING_BACK,
        E.ABORTED: P.ROLLING_BACK,
        E.SPEC_CHANGED: P.ROLLING_BACK,
    },
    # the checks of a spec that is gone can't be run any more: a newer one ends these two as well
    P.PROMOTING: {E.SUCCEEDED: P.BAKING, **_WITH_TRAFFIC},
    P.BAKING: {E.SUCCEEDED: P.HEALTHY, **_WITH_TRAFFIC},
    P.HEALTHY: {E.SPEC_CHANGED: P.PENDING, E.UNDONE: P.UNDOING},
    # users stay where they are until the release to go back to has passed; Pending knows what the spec is about
    P.UNDOING: {
        E.SUCCEEDED: P.ROLLING_BACK,
        E.CHECK_FAILED: P.PENDING,
        E.DEADLINE_EXCEEDED: P.PENDING,
        E.ABORTED: P.PENDING,
        E.SPEC_CHANGED: P.PENDING,
    },
    # a newer spec does not wait for ever for a stable release that can't be restored
    P.ROLLING_BACK: {E.RESTORED: P.ROLLED_BACK, E.NOTHING_PUBLIC: P.FAILED, E.SPEC_CHANGED: P.PENDING},
    P.ROLLED_BACK: {E.SPEC_CHANGED: P.PENDING, E.RETRIED: P.PENDING, E.UNDONE: P.UNDOING},
    P.FAILED: {E.SPEC_CHANGED: P.PENDING, E.RETRIED: P.PENDING},
    P.SUSPENDED: {E.RESUMED: P.PENDING},
}


class PhaseKind(StrEnum):
    """What an object in this phase does."""

    WAITING = "waiting"  # for what a rollout needs before it starts
    IN_FLIGHT = "in flight"  # a release is on its way
    RESTORING = "restoring"  # the stable release is being restored
    RESTING = "resting"  # no rollout; the cloud is compared with the stable release from time to time


class Look(StrEnum):
    """What the engine may have to observe before a decision."""

    RESOLUTION = "resolution"  # tags, bundle and secret versions
    BACKUP = "backup"
    MIGRATION = "migration"
    ASSETS = "assets"
    SERVICE = "service"
    ROUTING = "routing"  # what the URL map says of this deployment
    CHECKS = "checks"
    ANALYSIS = "analysis"
    ALERTS = "alerts"
    TARGET = "target"  # what the release that an undo goes back to needs


@dataclass(frozen=True, slots=True)
class PhaseSpec:
    """The facts of one phase. `looks_at` of a resting phase holds when drift is looked for. `condition` is the part of
    the release that the phase establishes, `done_text` that condition's message when it is True. `stage` is the step
    of the timeline; a phase without one stands at the step of `part_of`."""

    kind: PhaseKind
    meaning: str
    looks_at: frozenset[Look] = frozenset()
    condition: ConditionType | None = None
    done_text: str = ""
    stage: str = ""
    part_of: Phase | None = None


_K, _L, _C = PhaseKind, Look, ConditionType
_AT_REST = frozenset({_L.SERVICE, _L.ROUTING, _L.ALERTS, _L.ASSETS, _L.TARGET})

PHASES: Mapping[Phase, PhaseSpec] = {
    P.PENDING: PhaseSpec(
        kind=_K.WAITING,
        meaning="waits for a valid, permitted spec, a ready environment and the end of a freeze",
        looks_at=frozenset({_L.SERVICE, _L.ROUTING}),  # what serves is found again when the status was lost
    ),
    P.RESOLVING: PhaseSpec(
        kind=_K.IN_FLIGHT,
        meaning="tags become digests, `latest` becomes a secret version",
        looks_at=frozenset({_L.RESOLUTION}),
        condition=_C.SPEC_ACCEPTED,
        done_text="Images and secret versions are resolved",
        stage="Tags become digests, secrets get version numbers",
    ),
    P.BACKING_UP: PhaseSpec(
        kind=_K.IN_FLIGHT,
        meaning="the database is backed up before the first DDL statement",
        looks_at=frozenset({_L.BACKUP}),
        condition=_C.DATABASE_READY,
        done_text="Database reachable, backup complete",
        stage="The database is backed up",
    ),
    P.MIGRATING: PhaseSpec(
        kind=_K.IN_FLIGHT,
        meaning="a Cloud Run job of the release migrates the schema (expand)",
        looks_at=frozenset({_L.MIGRATION}),
        condition=_C.MIGRATED,
        done_text="The schema is at the release's target",
        stage="The schema is migrated",
    ),
    P.PUBLISHING: PhaseSpec(
        kind=_K.IN_FLIGHT,
        meaning="assets are uploaded, the HTML last",
        looks_at=frozenset({_L.ASSETS}),
        condition=_C.ASSETS_PUBLISHED,
        done_text="Every asset of the bundle is published",
        stage="The assets are published",
    ),
    P.STAGING: PhaseSpec(
        kind=_K.IN_FLIGHT,
        meaning="the revision is created at 0 %, with a tag of its own",
        looks_at=frozenset({_L.SERVICE, _L.ROUTING}),
        condition=_C.REVISION_READY,
        done_text="The revision is ready",
        stage="The revision starts at 0 %",
    ),
    P.SMOKING: PhaseSpec(
        kind=_K.IN_FLIGHT,
        meaning="the checks run against the candidate at 0 %",
        looks_at=frozenset({_L.SERVICE, _L.CHECKS}),
        condition=_C.SMOKE_PASSED,
        done_text="All checks passed",
        stage="The checks run against the revision",
    ),
    P.PROGRESSING: PhaseSpec(
        kind=_K.IN_FLIGHT,
        meaning="canary steps: weight, analysis, pause; a failed analysis rolls back in every step",
        looks_at=frozenset({_L.SERVICE, _L.ANALYSIS}),
        condition=_C.ANALYSIS_PASSED,
        done_text="The canary passed all steps",
        stage="Traffic shifts step by step",
    ),
    P.PAUSED: PhaseSpec(
        kind=_K.IN_FLIGHT,
        meaning="waits for manual promotion, for data or for the end of a hold; a failed analysis rolls back here too",
        looks_at=frozenset({_L.SERVICE, _L.ANALYSIS}),
        part_of=P.PROGRESSING,
    ),
    P.PROMOTING: PhaseSpec(
        kind=_K.IN_FLIGHT,
        meaning="all traffic, then the release pointer; a hold does not stop it between the two",
        looks_at=frozenset({_L.SERVICE, _L.ROUTING}),
        condition=_C.PROMOTED,
        done_text="All traffic and the release pointer are on the release",
        stage="All traffic and the page switch to the release",
    ),
    P.BAKING: PhaseSpec(
        kind=_K.IN_FLIGHT,
        meaning="the checks run again on the public endpoints; alert policies are set",
        looks_at=frozenset({_L.SERVICE, _L.CHECKS, _L.ALERTS}),
        condition=_C.ALERTS_CONFIGURED,
        done_text="Alert policies match the spec",
        stage="The checks run again, alert policies are set",
    ),
    P.HEALTHY: PhaseSpec(
        kind=_K.RESTING,
        meaning="the release is the stable one; drift is corrected",
        looks_at=_AT_REST,
        stage="The release is the stable one",
    ),
    P.UNDOING: PhaseSpec(
        kind=_K.RESTORING,
        meaning="the release to go back to is looked at and checked at 0 %; users stay where they are",
        looks_at=frozenset({_L.TARGET, _L.SERVICE}),
    ),
    P.ROLLING_BACK: PhaseSpec(
        kind=_K.RESTORING,
        meaning="traffic and pointer go back to the stable release, together",
        looks_at=frozenset({_L.SERVICE, _L.ROUTING, _L.ALERTS}),
    ),
    P.ROLLED_BACK: PhaseSpec(
        kind=_K.RESTING,
        meaning="stable serves; the release is rejected until the spec changes or a retry is requested",
        looks_at=_AT_REST,
    ),
    P.FAILED: PhaseSpec(
        kind=_K.RESTING,
        meaning="rejected; it never received user traffic",
        looks_at=frozenset({_L.ROUTING}),
    ),
    P.SUSPENDED: PhaseSpec(
        kind=_K.RESTING,
        meaning="`spec.suspend`: no rollout starts",
    ),
}


def of_kind(kind: PhaseKind) -> frozenset[Phase]:
    return frozenset(phase for phase, spec in PHASES.items() if spec.kind is kind)


RESTING = of_kind(PhaseKind.RESTING)
# A hold (freeze, stop button, spec.suspend) keeps these from their next write; what was begun is looked at to its end.
HELD_BEFORE_WRITES = frozenset({P.BACKING_UP, P.MIGRATING, P.PUBLISHING, P.STAGING, P.SMOKING})
CANARY = frozenset({P.PROGRESSING, P.PAUSED})
IN_FLIGHT = of_kind(PhaseKind.IN_FLIGHT)
STOPPED = frozenset({P.ROLLING_BACK, P.ROLLED_BACK, P.FAILED})  # the release was rolled back, or is being rolled back
# The phases of a rollout without failures, in order.
TIMELINE = tuple(phase for phase, spec in PHASES.items() if spec.stage)


def advance(phase: Phase, event: Event) -> Phase:
    """The next phase. Raises IllegalTransition for a pair that the table does not list."""
    try:
        return TRANSITIONS[phase][event]
    except KeyError:
        raise IllegalTransition(f"event {event} is not listed for phase {phase}") from None


def allowed(phase: Phase, event: Event) -> bool:
    return event in TRANSITIONS[phase]
