"""What each object costs an operator: memory and CPU of a start over a fleet that rests, and how long a new object
waits. The objects are suspended and carry the status of a deployment with ten releases, so that no cloud is asked and
the figures are the operator's own."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import Any

import psutil

from agui_dev.bench.figures import Figure
from agui_dev.testbed.kube_api import KubeApi
from agui_dev.testbed.operator_process import OperatorProcess
from agui_dev.testbed.releases import release
from agui_dev.testbed.system import System
from agui_operator.core.memory import HistoryEntry, Memory, to_status
from agui_operator.core.release import Release
from agui_operator.core.rollout import Phase

Json = dict[str, Any]
_AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
OBJECTS = "AGUI_BENCH_OBJECTS"  # how many objects; at most _MOST
_MOST = 5000
_CALM = 3.0  # seconds without a change of the operator's CPU time: it has settled
_DEADLINE = 180.0


def figures(stage: System) -> list[Figure]:
    """Starts an operator over half of the objects and one over all: the difference is the cost of the others."""
    count = max(20, min(_MOST, int(os.environ.get(OBJECTS, "300"))))
    place, half = stage.case(), count // 2
    _create(stage.api, place, 0, half)
    less = _start(stage)
    _create(stage.api, place, half, count)
    more = _start(stage)
    note = f"a start over {half} and over {count} suspended objects, each with ten releases in its status"
    added = count - half
    return [
        Figure("fleet.rss_kb_per_object", round((more[0] - less[0]) / added / 1024, 1), count, note),
        Figure("fleet.start_cpu_ms_per_object", round((more[1] - less[1]) / added * 1000, 2), count, note),
        Figure("fleet.rss_mb", round(more[0] / 2**20, 1), count, note),
    ]


def _create(api: KubeApi, place: str, first: int, end: int) -> None:
    for number in range(first, end):
        name = f"app-{number:05}"
        document = release(place, "v1", name=name, suspend=True)
        api.apply(document)
        path = api.path(place, name=name) + "/status"
        api.call("PATCH", path, {"status": _status(number)}, "application/merge-patch+json")


def _status(number: int) -> Json:
    """As the operator writes it for a deployment that has seen ten releases."""
    made = [_release(number, one) for one in range(10)]
    history = tuple(HistoryEntry(one, "Promoted", "", _AT, 42.0) for one in made)
    memory = Memory(phase=Phase.SUSPENDED, stable=made[0], history=history)
    return {key: value for key, value in to_status(memory).items() if value is not None}


def _release(number: int, one: int) -> Release:
    image = f"europe-docker.pkg.dev/project/shop/web@sha256:{number:032x}{one:032x}"
    fingerprint = f"{number:032x}{one:032x}"
    return Release(f"{number:08x}{one:02x}-1", f"{one:032x}", fingerprint, f"v{one}", image, schema="0007_orders")


def _start(stage: System) -> tuple[int, float]:
    """RSS in bytes and CPU seconds of an operator that has read everything."""
    worker = stage.operator(direct=True)
    try:
        return _settled(worker)
    finally:
        worker.stop()


def _settled(worker: OperatorProcess) -> tuple[int, float]:
    process, deadline = psutil.Process(worker.pid), time.monotonic() + _DEADLINE
    used, calm = 0.0, time.monotonic()
    while time.monotonic() - calm < _CALM:
        times = process.cpu_times()
        if times.user + times.system > used + 0.05:
            used, calm = times.user + times.system, time.monotonic()
        if time.monotonic() > deadline:
            raise TimeoutError(f"the operator did not settle within {_DEADLINE:g} s")
        time.sleep(0.2)
    return int(process.memory_info().rss), used
