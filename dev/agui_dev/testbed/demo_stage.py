"""The demo's world for a browser: the real application, its real page, operator and local cloud.

All tests release the same object; each begins by releasing what it builds on.
"""

from __future__ import annotations

import copy
import json
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from agui_dev.controlplane import ControlPlane
from agui_dev.setup import browser
from agui_dev.setup.node import FRONTEND
from agui_dev.testbed.kube_api import PATIENCE, KubeApi
from agui_dev.testbed.releases import AT_ONCE
from agui_dev.testbed.world import NAME, NAMESPACE, World

Json = dict[str, Any]
READY = {"name": "ready", "http": {"path": "/readyz"}}


def missing_browser() -> str:
    """Why no page can be opened here; empty when one can."""
    if not (FRONTEND / "node_modules").is_dir():
        return "the browser application's packages are not installed (npm ci in frontend/)"
    return "" if browser.find() else "there is no Chromium on PATH (or set CHROMIUM to one)"


class DemoStage:
    """Releases of the samples' object, and what came of them."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.plane = plane
        self.world = World(folder, lambda _: None, cloud_options=("--lro-seconds", "0"))
        self.api = KubeApi(plane.kubeconfig)
        self._number = 0
        self._newest: Json | None = None  # of the history, before the last apply

    @property
    def origin(self) -> str:
        return self.world.edge

    def start(self) -> DemoStage:
        self.world.start_on(self.plane)
        return self

    def stop(self) -> None:
        """Ends what was started; in a cluster that outlives the tests, the object goes with it."""
        if self.plane.is_existing_cluster:
            self.plane.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s", "--ignore-not-found")
        self.world.stop(kill_cloud=True)
        self.api.close()

    def archive(self, name: str) -> bytes:
        """The real page of a sample's version, as it is published."""
        assert self.world.pages is not None
        assert self.world.pages.real, "the browser application could not be built"
        return self.world.pages.archives[f"bundles/concierge-{name}.tar.gz"]

    def document(self, sample: str, page: str = "", **parts: Any) -> Json:
        """A sample, lean: one check, all traffic at once, no backup. `page` takes another version's bundle; `parts`
        replace fields of the spec."""
        document: Json = yaml.safe_load(self.world.fill(self.world.release(sample)))
        spec = document["spec"]
        if page:
            spec["frontend"] = yaml.safe_load(self.world.release(page))["spec"]["frontend"]
        spec["migrations"] |= {"backup": "Never", "verify": []}
        spec |= {"smoke": [copy.deepcopy(READY)], "strategy": copy.deepcopy(AT_ONCE)}
        spec |= copy.deepcopy(parts)
        return document

    def apply(self, document: Json) -> None:
        """Every one is a release of its own, also if it was released before."""
        self._number += 1
        document["spec"]["backend"]["env"].append({"name": "TEST_NUMBER", "value": str(self._number)})
        if self.api.exists(NAMESPACE, NAME):
            self._newest = _newest(self.api.get(NAMESPACE, NAME))
        self.api.apply(document)

    def settle(
        self, phase: str, during: Callable[[], object] = lambda: time.sleep(0.1), seconds: float = PATIENCE
    ) -> Json:
        """The object when it rests in `phase` with a status about its newest spec. `during` is called until then.
        Raises AssertionError when it rests elsewhere, or not at all within `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            during()
            found: Json = self.api.get(NAMESPACE, NAME)
            status = found.get("status") or {}
            current = status.get("observedGeneration") == found["metadata"]["generation"]
            over = _newest(found) != self._newest and status.get("phase") in ("Healthy", "RolledBack", "Failed")
            if current and over:
                said = (status.get("phase"), status.get("message"), status.get("rejected"))
                assert status["phase"] == phase, said
                return found
            assert time.monotonic() < deadline, f"no rest within {seconds:g} s: {status.get('message')}"

    def phase(self) -> str:
        return str((self.api.get(NAMESPACE, NAME).get("status") or {}).get("phase"))

    def ask(self, path: str) -> Any:
        """JSON from the application through the public edge."""
        with urllib.request.urlopen(self.origin + path, timeout=10) as answer:
            return json.load(answer)


def _newest(found: Json) -> Json | None:
    history: list[Json] = (found.get("status") or {}).get("history") or []
    return history[0] if history else None


@contextmanager
def running_demo_stage(plane: ControlPlane) -> Iterator[DemoStage]:
    """A stage with nothing released yet, for the duration of the block."""
    with tempfile.TemporaryDirectory(prefix="agui-stage-", ignore_cleanup_errors=True) as folder:
        stage = DemoStage(plane, Path(folder))
        try:
            yield stage.start()
        finally:
            stage.stop()
