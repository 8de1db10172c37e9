"""Objects as the watch delivers them and statuses as the engine writes them, for the tests of the dashboard."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]
NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
STABLE: Json = {"id": "aaaa1111", "version": "1.0.0", "backend": "repo/shop@sha256:11", "secrets": {"TOKEN": "3"}}
CANDIDATE: Json = {"id": "bbbb2222", "version": "1.1.0", "backend": "repo/shop@sha256:22", "target": "head"}
STEPS: list[Json] = [{"setWeight": 10}, {"analysis": {}}, {"setWeight": 50}, {"pause": {}}]


def body(name: str = "shop", namespace: str = "demo", *, uid: str = "", generation: int = 1, **spec: Any) -> Json:
    """An AgUiDeployment that the operator has not looked at."""
    return {
        "metadata": {
            "uid": uid or f"uid-{namespace}-{name}",
            "namespace": namespace,
            "name": name,
            "generation": generation,
            "creationTimestamp": "2026-11-23T07:00:00Z",
        },
        "spec": {"version": "1.1.0", "strategy": {"canary": {"steps": STEPS}}} | spec,
    }


def status(phase: str, **parts: Any) -> Json:
    """A status in a phase; `rollout` is added to what every rollout has."""
    ready = {"Healthy": "True"}.get(phase, "False")
    stalled = "True" if phase in ("RolledBack", "Failed") else "False"
    rollout = {"phase": phase, "since": "2026-11-23T07:59:00.000000Z", "step": 0, "weight": 0}
    return {
        "phase": phase,
        "message": f"Release 1.1.0 (bbbb2222): {phase}",
        "release": CANDIDATE,
        "stable": STABLE,
        "rollout": rollout | parts.pop("rollout", {}),
        "conditions": [
            {"type": "Ready", "status": ready, "reason": phase, "message": "m"},
            {"type": "Stalled", "status": stalled, "reason": phase, "message": "m"},
        ],
    } | parts
