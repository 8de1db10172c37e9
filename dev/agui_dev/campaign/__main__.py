"""`make campaign RUNS=200 SEED=1`: rollouts under random deaths, outages, hands and lost statuses; 1 if one deviates.

Each run has a seed of its own, `SEED/number`; what happened is written to build/campaign.jsonl, a line a run.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
import threading
import time
import traceback
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click

from agui_dev.campaign.events import Outages, Supervisor, Target
from agui_dev.campaign.runs import Run, play
from agui_dev.controlplane import ControlPlane
from agui_dev.paths import ROOT
from agui_dev.testbed.kube_api import KubeApi
from agui_dev.testbed.releases import full_release
from agui_dev.testbed.system import System, running_system

_RUNS_PER_PLACE = 5


class Campaign:
    """Lanes that play runs side by side against one operator."""

    def __init__(self, system: System, runs: int, seed: str, report: Path) -> None:
        self._system, self._seed, self._report = system, seed, report
        operator = system.operator(AGUI_IDENTITY="operator-0", AGUI_RESYNC_SECONDS="5")
        self._supervisor, self._outages = Supervisor(operator), Outages(system.gcp)
        self._numbers, self._runs = itertools.count(1), runs
        self._lock = threading.Lock()
        self.done: list[Run] = []

    def lane(self) -> None:
        """Plays runs until all are done; a namespace serves for some of them."""
        api = KubeApi(self._system.plane.kubeconfig)
        target: Target | None = None
        left = 0
        while (number := self._next()) is not None:
            rng = random.Random(f"{self._seed}/{number}")
            try:
                if target is None or left == 0:
                    target, left = self._target(api, rng), _RUNS_PER_PLACE
                target.rng = rng
                run = play(target, number)
            except Exception:
                run = Run(number, "?", deviations=[traceback.format_exc(limit=4)])
            left -= 1
            if run.deviations:
                target = None  # the next run starts from a clean place
            self._record(run)
        api.close()

    def _next(self) -> int | None:
        with self._lock:
            number = next(self._numbers)
        return number if number <= self._runs else None

    def _target(self, api: KubeApi, rng: random.Random) -> Target:
        with self._lock:
            namespace = self._system.case()
        target = Target(self._system, api, namespace, self._supervisor, self._outages, rng)
        api.apply(full_release(namespace, "v1", "v1"))
        deadline = time.monotonic() + 180
        while (target.status() or {}).get("phase") != "Healthy":
            if time.monotonic() > deadline:
                raise AssertionError(f"v1 did not become Healthy in {namespace}: {target.status().get('message')}")
            time.sleep(0.2)
        return target

    def _record(self, run: Run) -> None:
        with self._lock:
            self.done.append(run)
            with self._report.open("a") as report:
                report.write(json.dumps(asdict(run)) + "\n")
            what = "; ".join(run.deviations) or run.ended
            count = len(self.done)
            click.echo(f"[{count}/{self._runs}] run {run.number} {run.tag}, {', '.join(run.events)}: {what}")


@click.command()
@click.option("--runs", default=200, show_default=True)
@click.option("--seed", default="1", show_default=True)
@click.option("--lanes", default=6, show_default=True, help="How many runs go on at the same time.")
def main(runs: int, seed: str, lanes: int) -> None:
    """Plays RUNS rollouts under random events."""
    report = ROOT / "build" / "campaign.jsonl"
    report.parent.mkdir(exist_ok=True)
    report.write_text("")
    began = time.monotonic()
    with (
        ControlPlane() as plane,
        running_system(plane, "--lro-seconds", "0", "--metric-period-seconds", "0.25") as system,
    ):
        campaign = Campaign(system, runs, seed, report)
        threads = [threading.Thread(target=campaign.lane, name=f"lane {n}") for n in range(lanes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    deviated = [run for run in campaign.done if run.deviations]
    events = Counter(event.partition(" in ")[0] for run in campaign.done for event in run.events)
    click.echo(f"events: {', '.join(f'{name} {count}' for name, count in events.most_common())}")
    click.echo(
        f"{len(campaign.done)} runs in {time.monotonic() - began:.0f} s, seed {seed}: {len(deviated)} deviated"
        f"{': ' + ', '.join(str(run.number) for run in deviated) if deviated else ''}"
    )
    sys.exit(1 if deviated else 0)


if __name__ == "__main__":
    main()
