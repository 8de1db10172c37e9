"""Prometheus metrics of the operator; names and labels are an interface (docs/metrics.md)."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REGISTRY = CollectorRegistry()

TURNS = Counter("agui_turns", "Turns taken.", ["result"], registry=REGISTRY)
TURN_SECONDS = Histogram("agui_turn_seconds", "Duration of one turn in seconds.", registry=REGISTRY)
FAULTS = Counter("agui_faults", "Faults by kind: Transient, User or Bug.", ["fault"], registry=REGISTRY)
CALLS = Counter("agui_gcp_calls", "Calls to Google Cloud.", ["method", "code"], registry=REGISTRY)
CALL_SECONDS = Histogram("agui_gcp_call_seconds", "Duration of a call to Google Cloud.", ["method"], registry=REGISTRY)
TRANSITIONS = Counter("agui_transitions", "Phase changes.", ["phase", "event"], registry=REGISTRY)
PHASE = Gauge(
    "agui_deployment_phase", "1 for the phase an object is in.", ["namespace", "name", "phase"], registry=REGISTRY
)
ROLLOUT_SECONDS = Histogram(
    "agui_rollout_seconds",
    "Duration of a rollout from its start to its end.",
    ["outcome"],
    buckets=(5, 15, 30, 60, 120, 300, 600, 1800, 3600, 14400),
    registry=REGISTRY,
)
RESTORE_SECONDS = Histogram(
    "agui_restore_seconds",
    "From the failed check to 100 % on stable.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 15, 60),
    registry=REGISTRY,
)
STATUS_WRITES = Counter("agui_status_writes", "Patches of .status.", registry=REGISTRY)
COLLECTED = Counter("agui_collected", "Deleted remains of earlier releases.", ["kind"], registry=REGISTRY)

LABELS = {
    metric._name: metric._labelnames
    for metric in (
        TURNS,
        TURN_SECONDS,
        FAULTS,
        CALLS,
        CALL_SECONDS,
        TRANSITIONS,
        PHASE,
        ROLLOUT_SECONDS,
        RESTORE_SECONDS,
        COLLECTED,
    )
}


def render() -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)


def observe_call(method: str, resource: str, code: int, seconds: float) -> None:
    """Counts one call to Google Cloud; the resource is not a label, because its values are unbounded."""
    CALLS.labels(method, str(code)).inc()
    CALL_SECONDS.labels(method).observe(seconds)
