"""Prometheus metrics of the operator; names and labels are an interface (docs/metrics.md)."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily

REGISTRY = CollectorRegistry()

TURNS = Counter("agui_turns", "Turns taken.", ["result"], registry=REGISTRY)
TURN_SECONDS = Histogram("agui_turn_seconds", "Duration of one turn in seconds.", registry=REGISTRY)
FAULTS = Counter("agui_faults", "Faults by kind: Transient, User or Bug.", ["fault"], registry=REGISTRY)
CALLS = Counter("agui_gcp_calls", "Calls to Google Cloud.", ["method", "code"], registry=REGISTRY)
CALL_SECONDS = Histogram("agui_gcp_call_seconds", "Duration of a call to Google Cloud.", ["method"], registry=REGISTRY)
TRANSITIONS = Counter("agui_transitions", "Phase changes.", ["phase", "event"], registry=REGISTRY)


class Phases:
    """The phase of every object, computed at the scrape: one series for each object that exists. An object is known
    from the first time that the watch delivers it, so that a restart leaves no gap."""

    name, labels = "agui_deployment_phase", ("namespace", "name", "phase")

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, str, str]] = {}

    def first_seen(self, uid: str, body: Mapping[str, Any]) -> None:
        """The watch delivered the object; its status may be older than what `moved` told since."""
        if uid not in self._known:
            phase = str((body.get("status") or {}).get("phase") or "Pending")
            self.moved(uid, str(body["metadata"]["namespace"]), str(body["metadata"]["name"]), phase)

    def moved(self, uid: str, namespace: str, name: str, phase: str) -> None:
        self._known[uid] = namespace, name, sys.intern(phase)

    def gone(self, uid: str) -> None:
        self._known.pop(uid, None)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(self.name, "1 for the phase an object is in.", labels=self.labels)
        for labels in self._known.values():
            family.add_metric(labels, 1)
        yield family


PHASES = Phases()
REGISTRY.register(PHASES)
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
        ROLLOUT_SECONDS,
        RESTORE_SECONDS,
        COLLECTED,
    )
} | {PHASES.name: PHASES.labels}


def render() -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)


def observe_call(method: str, resource: str, code: int, seconds: float) -> None:
    """Counts one call to Google Cloud; the resource is not a label, because its values are unbounded."""
    CALLS.labels(method, str(code)).inc()
    CALL_SECONDS.labels(method).observe(seconds)
