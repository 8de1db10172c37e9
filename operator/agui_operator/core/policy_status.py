"""The whole `.status` of an AgUiPolicy: whether it is valid, and where it applies. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agui_operator.api.conditions import Reason
from agui_operator.core.conditions import Ready, conditions_of
from agui_operator.core.permitted import matches

_LISTED = 100


@dataclass(frozen=True, slots=True)
class PolicySeen:
    """`patterns` are the policy's namespaces, None while it is invalid; `ignored` fields of a newer CRD; `namespaces`
    those that have deployments."""

    patterns: tuple[str, ...] | None
    error: str | None = None
    ignored: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()


def policy_status(seen: PolicySeen, previous: Mapping[str, Any], generation: int, now: datetime) -> dict[str, Any]:
    """`previous` is the status as last written."""
    found = sorted(namespace for namespace in seen.namespaces if matches(namespace, seen.patterns or ()))
    ready: Ready = ("True", Reason.ACCEPTED, _applies(len(found)))
    if seen.error is not None:
        ready = ("False", Reason.INVALID_SPEC, f"The policy permits nothing: {seen.error}")
    elif seen.ignored:
        fields = ", ".join(seen.ignored[:5])
        ready = ("True", Reason.UNKNOWN_FIELDS, f"This version of the operator does not enforce {fields}; upgrade it")
    return {
        "observedGeneration": generation,
        "namespaces": found[:_LISTED],
        "conditions": conditions_of(ready, previous, generation, now, may_arrive=False),
    }


def _applies(count: int) -> str:
    return f"The policy is valid and applies to {count} namespace{'s' if count != 1 else ''} with AgUiDeployments"
