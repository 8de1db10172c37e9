"""What the status of a deployment is computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from agui_operator.api.conditions import ConditionType, Reason
from agui_operator.api.deployment import AgUiDeploymentSpec
from agui_operator.core.blueprint import Blueprint
from agui_operator.core.errors import Fault
from agui_operator.core.memory import Memory
from agui_operator.core.rollout import Phase
from agui_operator.core.snapshot import Blocker, Snapshot


@dataclass(frozen=True, slots=True)
class FaultSeen:
    """What went wrong at the last decision, and how many times in a row."""

    fault: Fault
    reason: Reason
    message: str
    attempts: int
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What the spec of this generation asks for. `without`: parts that it does not ask for, and why."""

    fingerprint: str
    without: Mapping[ConditionType, str] = field(default_factory=dict)


def asked_of(spec: AgUiDeploymentSpec, fingerprint: str) -> Asked:
    """What a valid spec asks for."""
    canary = spec.strategy.canary
    alerts = spec.alerts.model_dump(exclude={"channels"}, exclude_none=True) if spec.alerts is not None else {}
    absent = {
        ConditionType.DATABASE_READY: "" if spec.migrations else "spec.migrations is absent",
        ConditionType.MIGRATED: "" if spec.migrations else "spec.migrations is absent",
        ConditionType.ASSETS_PUBLISHED: "" if spec.frontend else "spec.frontend is absent",
        ConditionType.SMOKE_PASSED: "" if spec.smoke else "spec.smoke has no checks",
        ConditionType.ANALYSIS_PASSED: "" if canary and canary.steps else "spec.strategy.canary has no steps",
        ConditionType.ALERTS_CONFIGURED: "" if alerts else "spec.alerts has no limits",
    }
    return Asked(fingerprint, {part: why for part, why in absent.items() if why})


@dataclass(frozen=True, slots=True)
class Inputs:
    """All of it; `previous` is the status as last written. `asked` None: the spec can't be read; `version` may be known
    all the same. `ignored`: fields that this version does not know. `compared`: the cloud was compared with the stable
    release since the last change; `astray`: what users get instead of it, as it was last seen. `forbidden`: releases
    that no policy permits now: why, by id."""

    memory: Memory
    generation: int
    now: datetime
    previous: Mapping[str, Any]
    asked: Asked | None = None
    version: str | None = None
    ignored: tuple[str, ...] = ()
    plan: Blueprint | None = None
    seen: Snapshot | None = None
    blockers: tuple[Blocker, ...] = ()
    spec_error: str | None = None
    fault: FaultSeen | None = None
    url: str | None = None
    drift: str | None = None
    forbidden: Mapping[str, str] = field(default_factory=dict)
    astray: str | None = None
    compared: bool = False
    deleting: bool = False

    @property
    def hold(self) -> Blocker | None:
        """A freeze, the stop button or spec.suspend."""
        return next((b for b in self.blockers if b.holds_running), None)

    @property
    def obstacles(self) -> tuple[Blocker, ...]:
        """What the spec, the environment or a policy lacks, also where it only holds a running rollout for now."""
        return tuple(b for b in self.blockers if b.reason not in (Reason.FROZEN, Reason.SUSPENDED))

    @property
    def suspended(self) -> bool:
        return any(b.reason is Reason.SUSPENDED for b in self.blockers)

    @property
    def is_stable(self) -> bool:
        """True if the stable release is the one that the spec of this generation asks for."""
        stable, asked = self.memory.stable, self.asked
        if self.memory.phase is not Phase.HEALTHY or self.spec_error is not None:
            return False
        return stable is not None and asked is not None and stable.fingerprint == asked.fingerprint


def stamp(at: datetime | None) -> str | None:
    """RFC 3339 in UTC, to the second."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ") if at else None
