"""The whole `.status` of an AgUiPolicy: whether it is valid, and where it applies. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from agui_operator.api.conditions import Reason
from agui_operator.core.conditions import Ready, conditions_of
from agui_operator.core.permitted import matches

_LISTED = 100


def policy_status(
    patterns: Iterable[str] | None,
    error: str | None,
    namespaces: Iterable[str],
    previous: Mapping[str, Any],
    generation: int,
    now: datetime,
) -> dict[str, Any]:
    """`patterns` are the policy's namespaces, None while it is invalid; `namespaces` those that have deployments."""
    named = tuple(patterns or ())
    found = sorted(namespace for namespace in namespaces if matches(namespace, named))
    ready: Ready = ("True", Reason.ACCEPTED, _applies(len(found)))
    if error is not None:
        ready = ("False", Reason.INVALID_SPEC, f"The policy permits nothing: {error}")
    return {
        "observedGeneration": generation,
        "namespaces": found[:_LISTED],
        "conditions": conditions_of(ready, previous, generation, now, may_arrive=False),
    }


def _applies(count: int) -> str:
    return f"The policy is valid and applies to {count} namespace{'s' if count != 1 else ''} with AgUiDeployments"
