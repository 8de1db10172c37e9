"""What a hostile tenant costs the others: memory of the operator and time of a neighbour's release while one namespace
has bundles that are bombs and checks with slow expressions."""

from __future__ import annotations

import copy
import hashlib
import tarfile
import threading
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import psutil

from agui_dev.bench.figures import Figure
from agui_dev.testbed import bundle_bombs as bombs
from agui_dev.testbed.bundle_bombs import MB
from agui_dev.testbed.operator_process import OperatorProcess
from agui_dev.testbed.releases import ARTIFACTS, AT_ONCE, ENVIRONMENT, NAME, full_release, release
from agui_dev.testbed.system import System, wait_for

BOMBS: Mapping[str, Callable[[], bytes]] = {
    "pax": lambda: bombs.extended(tarfile.XHDTYPE, 400 * MB),
    "long-name": lambda: bombs.extended(tarfile.GNUTYPE_LONGNAME, 400 * MB),
    "folders": lambda: bombs.folders(1_000_000),
    "headers": lambda: bombs.header_chain(200_000),
    "listed": lambda: bombs.one_file_listed(20_000, 32 * MB),
    "lists": lambda: bombs.with_manifest(b"[" + b"[]," * 1_300_000 + b"0]"),
    "large": lambda: bombs.legal(9, 31 * MB),
    "legal": lambda: bombs.legal(31, 8 * MB),
}
_SLOW = "(a?){900}b"
_PAGES = ("v1", "v2", "v3")


def figures(stage: System, worker: OperatorProcess) -> list[Figure]:
    """A neighbour's three releases alone, and three under the flood."""
    victim, attacker = stage.case(), stage.case()
    _released(stage, victim, "0")  # the first one starts what all need
    alone = [_released(stage, victim, f"1.{n}", page) for n, page in enumerate(_PAGES)]
    documents = _flood(stage, attacker)
    with _Peak(worker.pid) as peak:
        for document in documents:
            stage.api.apply(document)
        under = [_released(stage, victim, f"2.{n}", page) for n, page in enumerate(_PAGES)]
        _until_all_are_refused(stage, attacker)
    note = f"one namespace: {len(BOMBS)} bundles that are bombs or of the largest legal size, 90 slow expressions"
    return [
        Figure(
            "security.bomb_peak_mb",
            round(peak.most, 1),
            len(BOMBS),
            f"resident, operator ({peak.own:.0f} alone) and its children; {note}",
        ),
        Figure(
            "security.flood_ratio",
            round(median(under) / median(alone), 2),
            len(under),
            f"a neighbour's release with page, under the flood / before it ({median(alone):.1f} s); {note}",
        ),
    ]


def _released(stage: System, place: str, version: str, page: str = "v1") -> float:
    """Seconds from the apply to Healthy."""
    document = full_release(place, "v1", page, version=version, migrations=None, strategy=AT_ONCE, alerts=None)
    document["spec"]["backend"]["env"] = [{"name": "NUMBER", "value": version}]
    began = time.monotonic()
    stage.api.apply(document)
    stage.settle(place, "Healthy", version=version)
    return time.monotonic() - began


def _flood(stage: System, place: str) -> list[dict[str, Any]]:
    documents: list[dict[str, Any]] = []
    given = stage.api.get(place, ENVIRONMENT, "aguienvironments")
    for name, made in BOMBS.items():
        data = made()
        stage.gcp.upload(ARTIFACTS, f"bundles/{name}.tar.gz", data)
        reference = {"object": f"bundles/{name}.tar.gz", "sha256": hashlib.sha256(data).hexdigest()}
        documents.append(_environment(given, name))
        parts: dict[str, Any] = {"frontend": {"bundle": reference}, "environmentRef": {"name": name}}
        documents.append(release(place, "v1", name=f"{NAME}-{name}", strategy=AT_ONCE, **parts))
    agent = {"say": "where is order 42", "expect": [{"text": _SLOW}]}
    slow = [{"name": f"c{n}", "agent": agent, "attempts": 1} for n in range(30)]
    documents += [release(place, "v1", name=f"slow-{n}", smoke=slow, strategy=AT_ONCE) for n in range(3)]
    return documents


def _environment(given: dict[str, Any], name: str) -> dict[str, Any]:
    """One with a host of its own: deployments can't share one."""
    document = {key: copy.deepcopy(given[key]) for key in ("apiVersion", "kind", "spec")}
    document["metadata"] = {"name": name, "namespace": given["metadata"]["namespace"]}
    scheme, _, host = document["spec"]["edge"]["domain"].rpartition("://")
    document["spec"]["edge"]["domain"] = f"{scheme}://{name}-{host}" if scheme else f"{name}-{host}"
    return document


def _until_all_are_refused(stage: System, place: str) -> None:
    def reasons() -> dict[str, str]:
        found = {}
        for name in BOMBS:
            status = stage.api.get(place, f"{NAME}-{name}").get("status") or {}
            conditions = {c["type"]: c for c in status.get("conditions") or ()}
            found[name] = str(conditions.get("Ready", {}).get("reason"))
        return found

    hostile = BOMBS.keys() - {"legal"}
    try:
        wait_for(lambda: all(reasons()[name] == "BundleRefused" for name in hostile), "refusing every bomb", 120)
    except AssertionError as late:
        raise AssertionError(f"{late}: {reasons()}") from None


class _Peak:
    """The most memory in MB that a process and its children had together while the block ran."""

    def __init__(self, pid: int) -> None:
        self.most = self.own = 0.0
        self._process = psutil.Process(pid)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> _Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def _watch(self) -> None:
        command = self._process.cmdline()
        while not self._ends.wait(0.01):
            own = self._process.memory_info().rss
            children = 0
            for child in self._process.children():
                try:  # one that still has the operator's command line shares its memory: it has not begun
                    children += child.memory_info().rss if child.cmdline() not in (command, []) else 0
                except psutil.Error:
                    continue
            self.own, self.most = max(self.own, own / MB), max(self.most, (own + children) / MB)
