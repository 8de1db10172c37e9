"""A small estate with everything that a dashboard has to show: releases that are fine, on their way, held, refused and
taken back. All of it is real: a real API server, the local cloud, the operator as a process, users who ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agui_dev.controlplane import ControlPlane
from agui_dev.ports import free_port
from agui_dev.testbed.operator_process import OperatorProcess
from agui_dev.testbed.releases import HELD, full_release, policy, release
from agui_dev.testbed.system import System

Json = dict[str, Any]
PLACES = ("retail", "search", "support", "travel", "billing", "loyalty", "returns", "stores")
_ANALYSED: Json = {
    "steps": [{"setWeight": 10}, {"analysis": {}}, {"setWeight": 50}, {"analysis": {}}, {"pause": {"duration": "2m"}}],
    "analysis": {
        "minSamples": 1000,
        "interval": "1s",
        "deadline": "10m",
        "metrics": [{"name": "error-rate", "max": 0.05}, {"name": "latency-p95", "maxRatioToStable": 4}],
    },
}


class Stage(System):
    """`dashboard` is the address of the operator's page."""

    dashboard = ""
    _operator: OperatorProcess

    def open(self) -> None:
        """Starts the operator and creates a place for every application."""
        self.api.apply(policy("stage", PLACES))
        port = free_port()
        self._operator = self.operator(direct=True, AGUI_DASHBOARD_PORT=str(port))
        self.dashboard = f"http://127.0.0.1:{port}"
        for name in PLACES:
            self.place(name)

    def play(self) -> None:
        """Brings every release to where it is to be seen; returns when all are there."""
        self.api.apply(full_release("retail", "v1", "v1", version="2.3.1"))
        for place, name in (("support", "concierge"), ("travel", "trip-planner")):
            self.api.apply(_release(place, name, "v1", "1.4.0"))
        for place, name in (("search", "finder"), ("billing", "invoices"), ("loyalty", "points"), ("stores", "hours")):
            self.api.apply(_release(place, name, "v2", "3.0.2"))
        self._all_in("Healthy", "retail/shop", "support/concierge", "travel/trip-planner", "billing/invoices")
        self._all_in("Healthy", "search/finder", "loyalty/points", "stores/hours")
        self.api.apply(_release("support", "concierge", "broken", "1.5.0"))
        self.api.apply(_release("travel", "trip-planner", "v2", "1.5.0-rc.2", strategy={"canary": HELD}))
        refused = _release("returns", "label-printer", "v1", "0.9.0")
        refused["spec"]["backend"]["serviceAccount"] = "somebody-else"
        self.api.apply(refused)
        self._all_in("RolledBack", "support/concierge")
        self._all_in("Paused", "travel/trip-planner")
        newer = full_release("retail", "v2", "v2", version="2.4.0")
        newer["spec"]["strategy"] = {"canary": _ANALYSED, "progressDeadline": "30m"}
        self.api.apply(newer)
        self._all_in("Progressing", "retail/shop")

    def until(self, place: str, name: str, test: Callable[[Json], bool], what: str, seconds: float = 120) -> Json:
        return self.api.until(place, name, test, what, seconds)

    def _all_in(self, phase: str, *objects: str) -> None:
        for place, _, name in (found.partition("/") for found in objects):
            self.until(place, name, lambda d: (d.get("status") or {}).get("phase") == phase, f"{name} in {phase}")


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """The estate, with its operator started and nothing released yet."""
    with ControlPlane() as plane:
        made = Stage(plane, folder, ("--metric-period-seconds", "0.5", "--idle-seconds", "30"))
        try:
            made.start()
            made.open()
            yield made
        finally:
            made.stop()


def _release(place: str, name: str, tag: str, version: str, **parts: Any) -> Json:
    document: Json = release(place, tag, name=name, version=version, **parts)
    return document
