"""What makes two specs the same: as a release, and as a request to try one.

The *fingerprint* is over what a running release is made of. Notations that mean the same (1024Mi and 1Gi, the order of
environment variables) are one; what has its default value is left out, so that a field that a later version of the
operator adds changes no fingerprint. It carries the version of its formula. The *procedure* is over how a release is
tried: checks, strategy, deadlines. A release that failed is tried again when either changes.
"""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from typing import Any

from pydantic import BaseModel

from agui_operator.api.backend import Backend
from agui_operator.api.base import format_duration
from agui_operator.api.deployment import AgUiDeploymentSpec, Migrations
from agui_operator.core.names import digest_of

_FORMULA = "v2"
_LENGTH = 16
# of the migrations: how they are run, not what they lead to
_HOW = frozenset({"backup", "rehearse", "contract", "lock_timeout_seconds", "statement_timeout_seconds"})
_PROCEDURE = ("smoke", "strategy", "rollback", "migrations", "frontend")
# the fields that version 0.1.0 hashed, defaults included; later ones were not part of its fingerprints
_V1: dict[str, Any] = {
    "environment_ref": {"name"},
    "backend": {
        **dict.fromkeys(("image", "command", "args", "port", "service_account", "session_affinity"), True),
        **dict.fromkeys(("timeout_seconds", "ingress"), True),
        "env": {"__all__": {"name", "value"}},
        "secrets": {"__all__": {"env", "secret", "version"}},
        "resources": {"cpu", "memory", "cpu_always_allocated", "startup_boost"},
        "scaling": {"min_instances", "max_instances", "concurrency"},
        "probes": {
            "startup": {"path", "period_seconds", "timeout_seconds", "failure_threshold"},
            "liveness": {"path", "period_seconds", "timeout_seconds", "failure_threshold"},
        },
    },
    "migrations": {
        *("image", "command", "args", "target", "seeds", "verify"),
        *("backup", "rehearse", "contract", "lock_timeout_seconds", "statement_timeout_seconds"),
    },
    "frontend": {"bundle": {"object", "sha256"}, "skew_window": True},
}


def fingerprint_of(spec: AgUiDeploymentSpec) -> str:
    """Hash of the parts of the spec that a running release is made of."""
    parts = {
        "environment": spec.environment_ref.name,
        "backend": _backend(spec.backend),
        "migrations": _migrations(spec.migrations) if spec.migrations is not None else None,
        "bundle": spec.frontend.bundle.sha256 if spec.frontend is not None else None,
    }
    return f"{_FORMULA}-{digest_of({k: v for k, v in parts.items() if v is not None}, _LENGTH)}"


def legacy_fingerprint_of(spec: AgUiDeploymentSpec) -> str:
    """What version 0.1.0 computed for this spec: statuses that it wrote are recognised by it."""
    return digest_of(spec.model_dump(mode="json", include=_V1), _LENGTH)


def procedure_of(spec: AgUiDeploymentSpec) -> str:
    """Hash of how a release of this spec is tried."""
    parts = {name: value for name, value in _written(spec).items() if name in _PROCEDURE}
    return f"{_FORMULA}-{digest_of(parts, _LENGTH)}"


def canonical_cpu(text: str) -> str:
    """`1000m` as `1`, `0.5` as `500m`."""
    milli = int(text[:-1]) if text.endswith("m") else round(float(text) * 1000)
    return f"{milli // 1000}" if milli % 1000 == 0 else f"{milli}m"


def canonical_memory(text: str) -> str:
    """`1024Mi` as `1Gi`."""
    mebi = int(text[:-2]) * (1024 if text.endswith("Gi") else 1)
    return f"{mebi // 1024}Gi" if mebi % 1024 == 0 else f"{mebi}Mi"


def _backend(backend: Backend) -> dict[str, Any]:
    found = _written(backend)
    resources = {**found.get("resources", {})}
    resources["cpu"] = canonical_cpu(backend.resources.cpu)
    resources["memory"] = canonical_memory(backend.resources.memory)
    found["resources"] = resources
    found["env"] = {e.name: _written(e) for e in backend.env}
    found["secrets"] = {s.env: _written(s) for s in backend.secrets}
    return found


def _migrations(migrations: Migrations) -> dict[str, Any]:
    return {name: value for name, value in _written(migrations).items() if name not in _HOW}


def _written(model: BaseModel) -> dict[str, Any]:
    """The fields that differ from their defaults, as JSON has them."""
    found: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if value != field.get_default(call_default_factory=True):
            found[name] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return _written(value)
    if isinstance(value, (list, tuple)):
        return [_plain(child) for child in value]
    if isinstance(value, Enum):
        return value.value
    return format_duration(value) if isinstance(value, timedelta) else value
