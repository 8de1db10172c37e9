"""Size and speed of the browser application: as it is built, and as it reaches a browser through the local edge."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

from agui_dev.bench.figures import Figure
from agui_dev.bundle import build
from agui_dev.controlplane import ControlPlane
from agui_dev.setup import browser
from agui_dev.setup.node import FRONTEND
from agui_dev.testbed.demo_stage import running_demo_stage

_BROWSER_SECONDS = 240


def builds(n: int) -> list[Figure]:
    """Builds the release bundle `n` times from nothing. Raises StepFailed where Node.js or its packages are missing."""
    took: list[float] = []
    entry = 0
    with tempfile.TemporaryDirectory(prefix="agui-bench-") as folder:
        for _ in range(n):
            began = time.perf_counter()
            made = build("bench", Path(folder))
            took.append(time.perf_counter() - began)
            entry = made.report["entryGzipBytes"]
    return [
        Figure("frontend.entry_gzip_kb", round(entry / 1000, 1), 1, "scripts of the first load, gzip -9, kB of 1000"),
        Figure("frontend.build_s", round(median(took), 1), n, "vite build, integrity, archive; median"),
    ]


def first_loads(n: int) -> list[Figure]:
    """Releases the application with the operator and opens its page `n` times through the local edge, cache empty."""
    chromium = browser.find()
    if chromium is None:
        raise RuntimeError("there is no Chromium on PATH (or set CHROMIUM to one)")
    with ControlPlane() as plane, running_demo_stage(plane) as stage:
        stage.apply(stage.document("v1"))
        stage.settle("Healthy")
        done = subprocess.run(
            ["node", "e2e/first-load.mjs", stage.origin, str(n)],
            cwd=FRONTEND,
            env=os.environ | {"CHROMIUM": str(chromium)},
            capture_output=True,
            text=True,
            timeout=_BROWSER_SECONDS,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"the page did not become usable: {done.stderr[-2000:]}")
    seconds = json.loads(done.stdout.splitlines()[-1])
    note = "Chromium, empty cache, local edge: navigation -> words can be sent; median"
    return [Figure("frontend.first_load_s", round(median(seconds), 2), n, note)]


def figures() -> list[Figure]:
    """All figures of the browser application."""
    return [*builds(3), *first_loads(5)]
