"""The rollout on one page. A phase change that is not in this table does not exist.

Forward, a release moves from Pending to Healthy. Whatever fails, and wherever, goes through RollingBack, which makes
the world as it is under the stable release and ends in RolledBack (a stable release serves) or Failed (nothing was ever
public). docs/rollout.md draws this table; the drawing is generated.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from agui_operator.core.errors import IllegalTransition


class Phase(StrEnum):
    PENDING = "Pending"  # waiting for a valid, permitted spec and a ready environment
    RESOLVING = "Resolving"  # tags to digests, `latest` to secret versions
    BACKING_UP = "BackingUp"  # database backup before the first DDL
    MIGRATING = "Migrating"  # schema moves forward (expand)
    PUBLISHING = "Publishing"  # assets into the pool, html last
    STAGING = "Staging"  # revision at 0 %, tagged
    SMOKING = "Smoking"  # checks against the candidate at 0 %
    PROGRESSING = "Progressing"  # canary steps
    PAUSED = "Paused"  # waits for a person
    PROMOTING = "Promoting"  # 100 % and release pointer
    BAKING = "Baking"  # checks after promotion, alert policies
    HEALTHY = "Healthy"  # the release is the stable one
    ROLLING_BACK = "RollingBack"  # everything back to stable, as one unit
    ROLLED_BACK = "RolledBack"  # stable serves, the release is rejected
    FAILED = "Failed"  # rejected, and nothing of it was ever public
    SUSPENDED = "Suspended"  # spec.suspend: no new rollout begins


class Event(StrEnum):
    STARTED = "Started"
    SUCCEEDED = "Succeeded"
    ALREADY_STABLE = "AlreadyStable"
    STILL_REJECTED = "StillRejected"
    STEP_PASSED = "StepPassed"
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
    # An unknown tag or secret is a fault that a person can mend at any time: no deadline, no verdict.
    P.RESOLVING: {E.SUCCEEDED: P.BACKING_UP, **_STOPPABLE},
    P.BACKING_UP: {E.SUCCEEDED: P.MIGRATING, **_BEFORE_TRAFFIC},
    P.MIGRATING: {E.SUCCEEDED: P.PUBLISHING, **_BEFORE_TRAFFIC},
    P.PUBLISHING: {E.SUCCEEDED: P.STAGING, E.DEADLINE_EXCEEDED: P.ROLLING_BACK, **_STOPPABLE},
    P.STAGING: {E.SUCCEEDED: P.SMOKING, **_BEFORE_TRAFFIC},
    P.SMOKING: {E.SUCCEEDED: P.PROGRESSING, **_BEFORE_TRAFFIC},
    P.PROGRESSING: {
        E.STEP_PASSED: P.PROGRESSING,
        E.ALL_STEPS_PASSED: P.PROMOTING,
        E.HELD: P.PAUSED,
        **_WITH_TRAFFIC,
    },
    P.PAUSED: {
        E.RESUMED: P.PROGRESSING,
        E.STEP_PASSED: P.PROGRESSING,
        E.ALL_STEPS_PASSED: P.PROMOTING,
        E.CHECK_FAILED: P.ROLLING_BACK,
        E.ABORTED: P.ROLLING_BACK,
        E.SPEC_CHANGED: P.ROLLING_BACK,
    },
    # the checks of a spec that is gone can't be run any more: a newer one ends these two as well
    P.PROMOTING: {E.SUCCEEDED: P.BAKING, **_WITH_TRAFFIC},
    P.BAKING: {E.SUCCEEDED: P.HEALTHY, **_WITH_TRAFFIC},
    P.HEALTHY: {E.SPEC_CHANGED: P.PENDING, E.UNDONE: P.ROLLING_BACK},
    P.ROLLING_BACK: {E.RESTORED: P.ROLLED_BACK, E.NOTHING_PUBLIC: P.FAILED},
    P.ROLLED_BACK: {E.SPEC_CHANGED: P.PENDING, E.RETRIED: P.PENDING},
    P.FAILED: {E.SPEC_CHANGED: P.PENDING, E.RETRIED: P.PENDING},
    P.SUSPENDED: {E.RESUMED: P.PENDING},
}

RESTING = frozenset({P.HEALTHY, P.ROLLED_BACK, P.FAILED, P.SUSPENDED})
IN_FLIGHT = frozenset(
    {
        P.RESOLVING,
        P.BACKING_UP,
        P.MIGRATING,
        P.PUBLISHING,
        P.STAGING,
        P.SMOKING,
        P.PROGRESSING,
        P.PAUSED,
        P.PROMOTING,
        P.BAKING,
    }
)


def advance(phase: Phase, event: Event) -> Phase:
    """The next phase. Raises IllegalTransition for a pair that the table does not list."""
    try:
        return TRANSITIONS[phase][event]
    except KeyError:
        raise IllegalTransition(f"event {event} is not listed for phase {phase}") from None


def allowed(phase: Phase, event: Event) -> bool:
    return event in TRANSITIONS[phase]
