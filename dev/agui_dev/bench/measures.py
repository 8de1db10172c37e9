"""The measurements. Times come from the local cloud's ledger, from the application and from outside the operator; both
ends of an interval are read from the same machine's clock.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from agui_dev.bench.figures import Figure, percentile, uncovered
from agui_dev.controlplane import ControlPlane
from agui_dev.paths import ROOT
from agui_dev.testbed.load import load
from agui_dev.testbed.local_cloud import LocalCloud
from agui_dev.testbed.operator_process import OperatorProcess
from agui_dev.testbed.releases import AT_ONCE, NAME, full_release, release
from agui_dev.testbed.system import System, running_system, wait_for

IDLE_SECONDS = 60
_MONITORING = ("AlertPolicyService.*", "MetricService.*")
THREE_STEPS = {
    "canary": {
        "steps": [{"setWeight": 10}, {"analysis": {}}, {"setWeight": 50}],
        "analysis": {"minSamples": 20, "interval": "5s", "metrics": [{"name": "error-rate", "max": 0.05}]},
    },
    "progressDeadline": "2m",
}


@contextmanager
def system(*options: str) -> Iterator[System]:
    """An empty control plane, a local cloud and what releases stand on; idle instances end soon, as many are made."""
    with ControlPlane() as plane, running_system(plane, "--idle-seconds", "5", *options) as stage:
        yield stage


def first_writes(stage: System, n: int) -> list[Figure]:
    """Server-side apply of a new release -> arrival of the operator's first mutating call. One object, `n` releases."""
    place = stage.case()
    took: list[float] = []
    for number in range(n + 3):
        before = stage.position
        document = release(place, "v1", env={"NUMBER": str(number)}, strategy=AT_ONCE, version=f"1.0.{number}")
        applied = time.time()
        stage.api.apply(document)
        stage.settle(place, "Healthy", version=f"1.0.{number}")
        sent = min(float(call["ts"]) for call in stage.calls(before))
        if number >= 3:  # the first ones open connections and load code
            took.append((sent - applied) * 1000)
    note = "apply sent -> first mutating call arrives; a new release of one object each"
    return [
        Figure("operator.apply_to_first_write_ms_p50", round(percentile(took, 0.5), 1), n, note),
        Figure("operator.apply_to_first_write_ms_p99", round(percentile(took, 0.99), 1), n, note),
    ]


def failures(stage: System, n: int) -> list[Figure]:
    """The application answers a check wrongly when it has all of the traffic -> traffic and pointer are on stable
    again. The begin is noted by the application, the end by the ledger."""
    place, stable = _healthy(stage)
    whole, own = _times(stage, place, stable, n)
    note = "failed check answered by the application -> traffic and pointer back on stable"
    mine = f"{note}, less the time in which Google Cloud or the API server was being asked"
    return [
        Figure("operator.failure_to_stable_own_ms_p99", round(percentile(own, 0.99), 1), n, mine),
        Figure("operator.failure_to_stable_ms_p99", round(percentile(whole, 0.99), 1), n, f"{note}; LRO time 0"),
    ]


def failures_without_monitoring(stage: System, n: int) -> Figure:
    """The same while Cloud Monitoring answers nothing at all."""
    place, stable = _healthy(stage)
    for method in _MONITORING:
        stage.fault(method=method, hang=True, count=1_000_000)
    try:
        _, own = _times(stage, place, stable, n)
    finally:
        stage.clear_faults()
    note = "failed check -> traffic and pointer back on stable, own part, while Cloud Monitoring answers nothing"
    return Figure("operator.failure_to_stable_without_monitoring_ms_p99", round(percentile(own, 0.99), 1), n, note)


def _healthy(stage: System) -> tuple[str, str]:
    """A namespace in which v1 is healthy, and the id of that release."""
    place = stage.case()
    stage.api.apply(full_release(place, "v1", "v1", migrations=None, strategy=AT_ONCE))
    found = stage.settle(place, "Healthy", version="v1")
    return place, found["status"]["stable"]["id"]


def _times(stage: System, place: str, stable: str, n: int) -> tuple[list[float], list[float]]:
    """Milliseconds of `n` roll-backs, whole and own part; two more come before them to warm up."""
    whole, own = list[float](), list[float]()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(n + 2):
            witness = Path(folder, f"answered-{number}")
            began, ended, calls = _failure(stage, place, stable, number, witness)
            if number >= 2:
                whole.append((ended - began) * 1000)
                own.append(uncovered(began, ended, calls) * 1000)
    return whole, own


def _failure(
    stage: System, place: str, stable: str, number: int, witness: Path
) -> tuple[float, float, list[tuple[float, float]]]:
    """Begin (the last answer that made the check fail), end and the calls between, Unix seconds."""
    version = f"2.0.{number}"
    check = {
        "name": "after",
        "http": {"path": "/api/fail", "status": 418},
        "attempts": 2,
        "at": ["promoted"],
    }
    document = full_release(place, "v2", "v2", version=version, migrations=None, strategy=AT_ONCE, smoke=[check])
    document["spec"]["backend"]["env"] = [{"name": "APP_WITNESS", "value": str(witness)}]
    before, written = stage.position, len(stage.proxy.writes)
    stage.api.apply(document)
    stage.settle(place, "RolledBack", version=version)
    began = float(witness.read_text().split()[-1])
    entries = [e for e in stage.gcp.ledger(before) if float(e["ts"]) >= began]
    back = [float(e["ts"]) for e in entries if _takes_back(e, place, stable)]
    assert len(back) == 2, f"expected traffic and pointer to go back, saw {back}"
    asked = [e for e in entries if e["kind"] == "call" and not any(fnmatch(e["method"], m) for m in _MONITORING)]
    calls = [(float(e["ts"]), float(e["ts"]) + float(e["ms"]) / 1000) for e in asked]
    calls += [(w.began, w.at) for w in stage.proxy.writes[written:] if w.is_status]
    return began, max(back), calls


def _takes_back(entry: dict[str, Any], place: str, stable: str) -> bool:
    if entry["kind"] != "effect":
        return False
    if entry["effect"] == "route" and f"/services/{place}-" in entry["resource"]:
        return re.search(rf"-{re.escape(stable)}=100\b", entry["detail"]) is not None
    return entry["effect"] == "update" and "/urlMaps/" in entry["resource"]


def rollout_calls(stage: System, n: int) -> Figure:
    """All calls of the operator from the apply of a canary with three steps, backup, migration, assets and alerts to
    its end; the worst of `n`."""
    counts = []
    for number in range(n):
        place = stage.case()
        stage.api.apply(full_release(place, "v1", "v1", migrations=None, strategy=AT_ONCE))
        stage.settle(place, "Healthy", version="v1")
        before = stage.position
        with load(stage, place, rate=100):
            stage.api.apply(full_release(place, "v2", "v2", strategy=THREE_STEPS))
            stage.settle(place, "Healthy", version="v2", seconds=90)
        calls = [c for c in stage.calls(before, writes=False) if c["method"] != "storage.objects.insert"]
        counts.append(len(calls))
        if number < n - 1:
            _remove(stage, place)
    note = "canary of 3 steps with backup, migration, assets and alerts; waits and metric queries included"
    return Figure("operator.calls_per_rollout", float(max(counts)), n, note)


def idle_writes(stage: System) -> Figure:
    """Writes to the API server while an object is idle. Resyncs happen in that time; the Lease is no object's write."""
    time.sleep(1)
    written, before = len(stage.proxy.writes), stage.position
    time.sleep(IDLE_SECONDS)
    writes = [w for w in stage.proxy.writes[written:] if "/leases/" not in w.path]
    assert stage.calls(before, writes=False), "no resync happened, so nothing was proven"
    note = f"{IDLE_SECONDS} s with resyncs; Lease renewals not counted"
    return Figure("operator.idle_kubernetes_writes", float(len(writes)), 1, note)


def memory(worker: OperatorProcess) -> Figure:
    """Resident memory of an operator that has seen whole rollouts and has one object now."""
    resident = psutil.Process(worker.pid).memory_info().rss / 2**20
    return Figure("operator.rss_mb", round(resident, 1), 1, "resident, one object, after whole rollouts")


def operator_starts(stage: System, n: int) -> Figure:
    """From the start of the process to /readyz: interpreter, login, lease, watches. The lease is free."""
    took = []
    for _ in range(n):
        worker = stage.operator(direct=True, start=False)
        began = time.perf_counter()
        worker.start()
        took.append(time.perf_counter() - began)
        worker.stop()
    return Figure("operator.start_s", round(median(took), 2), n, "process start -> /readyz, median")


def cloud_starts(n: int) -> Figure:
    """From the start of the process to the ready file, on an empty state."""
    took = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for number in range(n):
            cloud = LocalCloud(Path(folder, str(number)))
            began = time.perf_counter()
            cloud.start()
            took.append(time.perf_counter() - began)
            cloud.stop()
    return Figure("localgcp.start_s", round(median(took), 2), n, "process start -> serving, median")


def proxy_cost(requests: int) -> Figure:
    """What the edge adds to a request; direct and proxied ones alternate in one run."""
    command = [sys.executable, "-m", "agui_dev.bench.edge", str(requests)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    added = float(json.loads(done.stdout)["proxy_added_ms_p50"])
    return Figure("localgcp.proxy_added_ms_p50", added, requests, "median proxied less median direct, same run")


def _remove(stage: System, place: str) -> None:
    stage.api.delete(place, NAME)
    wait_for(lambda: not stage.api.exists(place, NAME), "the end of an object", 30)
