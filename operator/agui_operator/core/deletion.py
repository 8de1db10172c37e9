"""What of a deleted deployment goes next, and when deletion is done. Pure, because a mistake here can't be undone.

What a deployment owns is found by its owner label, never computed from the spec or the history. What the spec says to
retain is not even listed. What can't be known is kept, and the message says how to go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from agui_operator.api.deployment import DeletionPolicy
from agui_operator.core.memory import Memory

ABANDON = "agui.dev/abandon"
LET_GO = f"annotate {ABANDON}=true to let the object go and leave what it owns in the cloud"


class Kind(StrEnum):
    """What a deployment owns in the cloud."""

    URL_MAP_RULES = "rules of the URL map"
    ALERT_POLICY = "alert policy"
    SERVICE = "Cloud Run service"
    JOB = "Cloud Run job"
    EXECUTION = "execution of Cloud Run job"  # that has not ended; by the name of its job


# One stage after the other: the pointer goes first, so that nobody is served by something that is about to vanish; what
# still works on the database ends before its job goes.
_STAGES = ((Kind.URL_MAP_RULES,), (Kind.EXECUTION,), (Kind.ALERT_POLICY, Kind.SERVICE, Kind.JOB))


@dataclass(frozen=True, slots=True)
class Intent:
    """What is known of the object that is deleted. `policy` None: spec.deletionPolicy can't be read, for the reason in
    `policy_error`. `environment_error` None: the environment can be used."""

    policy: DeletionPolicy | None
    policy_error: str | None
    environment_error: str | None
    abandoned: bool
    released: bool  # the status names a release, so something may have been created


@dataclass(frozen=True, slots=True)
class Look:
    """List these kinds by owner label."""

    kinds: tuple[Kind, ...]


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete these, then look again."""

    things: tuple[tuple[Kind, str], ...]


@dataclass(frozen=True, slots=True)
class Blocked:
    """Nothing is deleted until a user acts; the message names the way out."""

    message: str


@dataclass(frozen=True, slots=True)
class Done:
    """Everything is gone or stays on purpose; the object may go."""


Step = Look | Remove | Blocked | Done
Owned = Mapping[Kind, tuple[str, ...]]  # names by kind; a kind that is absent has not been listed


def was_released(memory: Memory) -> bool:
    """False: the object never had a release, so nothing was created for it."""
    return memory.stable is not None or memory.candidate is not None or bool(memory.history)


def is_untouched(memory: Memory) -> bool:
    """True if nothing was done for the object yet, and nothing was found of it."""
    return not was_released(memory) and memory.place is None


def next_step(intent: Intent, owned: Owned) -> Step:
    """The next step of a deletion, from what has been listed so far."""
    if intent.abandoned:
        return Done()
    if (intent.policy is None or intent.environment_error is not None) and not intent.released:
        return Done()
    if intent.policy is None:
        text = f"spec.deletionPolicy can't be read, so it is unknown what to retain: {intent.policy_error}"
        return Blocked(f"{text}; correct the spec, or {LET_GO}")
    if not _kinds(intent.policy):
        return Done()
    if intent.environment_error is not None:
        text = f"{intent.environment_error}, so what this deployment owns can't be found"
        return Blocked(f"{text}; create or correct the environment, or {LET_GO}")
    for stage in _STAGES:
        kinds = tuple(kind for kind in stage if kind in _kinds(intent.policy))
        unknown = tuple(kind for kind in kinds if kind not in owned)
        if unknown:
            return Look(unknown)
        things = tuple((kind, name) for kind in kinds for name in owned[kind])
        if things:
            return Remove(things)
    return Done()


def _kinds(policy: DeletionPolicy) -> frozenset[Kind]:
    """Kinds that the policy says to delete."""
    kinds = {
        Kind.URL_MAP_RULES: policy.pointer,
        Kind.ALERT_POLICY: policy.alerts,
        Kind.SERVICE: policy.backend,
        Kind.JOB: policy.backend,
        Kind.EXECUTION: policy.backend,
    }
    return frozenset(kind for kind, rule in kinds.items() if rule == "Delete")
