"""`make campaign RUNS=200 SEED=1`: rollouts under random deaths, outages, hands and lost statuses; 1 if one deviates.

Each run has a seed of its own, `SEED/number`; what happened is written to build/campaign.jsonl, a line a run, and what
a run that deviated left behind to build/campaign/.
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
from typing import Any

import click

from agui_dev.campaign.runs import Run, play, prepared, taken_down
from agui_dev.campaign.stage import Operator, PatientApi, PatientCloud, Stage, Target
from agui_dev.controlplane import ControlPlane
from agui_dev.paths import ROOT
from agui_dev.testbed.local_cloud import CloudRefused
from agui_dev.testbed.operator_process import OperatorProcess
from agui_dev.testbed.releases import NAME
from agui_dev.testbed.system import System, running_system
from localgcp.cli.init import InitError

_RUNS_PER_PLACE = 5


def _operator(system: System) -> OperatorProcess:
    """Looks and tidies up often, so that the end of a run comes soon."""
    return system.operator(
        AGUI_LEASE_HOLDER="operator-0", AGUI_RESYNC_SECONDS="5", AGUI_RETENTION_SECONDS="5", AGUI_LEASE_SECONDS="5"
    )


class Campaign:
    """Lanes that play runs side by side against one operator."""

    def __init__(self, system: System, runs: int, seed: str, folder: Path) -> None:
        system.api.call("DELETE", "/apis/agui.dev/v1alpha1/aguipolicies/tests")  # each place has its own
        system.api = PatientApi(system.plane.kubeconfig)
        self.stage = Stage(system, Operator(_operator(system)), PatientCloud(system.gcp))
        self._seed, self._folder = seed, folder
        self._numbers, self._runs = itertools.count(1), runs
        self._lock = threading.Lock()
        self.done: list[Run] = []

    def lane(self) -> None:
        """Plays runs until all are done; a place serves for some of them and is then deleted."""
        api = PatientApi(self.stage.system.plane.kubeconfig)
        target: Target | None = None
        left = 0
        while (number := self._next()) is not None:
            rng = random.Random(f"{self._seed}/{number}")
            since = self.stage.cloud.last
            try:
                if target is None:
                    target, left = self._target(api, rng), _RUNS_PER_PLACE
                target.rng = rng
                run = play(target, number)
                left -= 1
                if left == 0 and not run.deviations:
                    run.events.append("deleted in Healthy")
                    run.deviations += taken_down(target)
            except Exception:
                run = Run(number, "?", deviations=[traceback.format_exc(limit=6)])
            if run.deviations and target is not None:
                self._keep(run, target, since)
            if run.deviations or left == 0:
                target = None  # the next run starts in a clean place
            self._record(run)
        api.close()

    def _next(self) -> int | None:
        with self._lock:
            number = next(self._numbers)
        return number if number <= self._runs else None

    def _target(self, api: PatientApi, rng: random.Random) -> Target:
        """A new place. While an outage of another lane keeps it from being made, it is tried again in another one."""
        deadline = time.monotonic() + 120
        while True:
            try:
                with self._lock:
                    namespace = self.stage.system.case()
                return prepared(self.stage, api, namespace, rng)
            except (InitError, CloudRefused, OSError):
                if time.monotonic() > deadline:
                    raise
            time.sleep(2)

    def _keep(self, run: Run, target: Target, since: int) -> None:
        """What helps to find out why: the object, its status writes, and what happened in the cloud."""
        namespace = target.namespace
        writes = [
            {"at": w.at, "code": w.code, "body": w.body} for w in self.stage.system.proxy.writes if namespace in w.path
        ]
        try:
            ledger = [e for e in self.stage.cloud.ledger(since) if e["kind"] == "effect" or e["write"]]
            found: dict[str, Any] = {
                "object": target.api.get(namespace, NAME),
                "service": target.service(),
                "ledger": ledger,
            }
        except Exception:
            found = {"lost": traceback.format_exc(limit=3)}
        text = json.dumps({"run": asdict(run), "namespace": namespace, **found, "writes": writes}, indent=1)
        (self._folder / f"{self._seed}-{run.number}.json").write_text(text)

    def _record(self, run: Run) -> None:
        with self._lock:
            self.done.append(run)
            with self._folder.with_suffix(".jsonl").open("a") as report:
                report.write(json.dumps(asdict(run)) + "\n")
            what = "; ".join(run.deviations) or run.ended
            count = f"[{len(self.done)}/{self._runs}]"
            click.echo(f"{count} run {run.number} {run.tag}, {', '.join(run.events)}: {what} ({run.seconds:.0f} s)")


@click.command()
@click.option("--runs", default=200, show_default=True)
@click.option("--seed", default="1", show_default=True)
@click.option("--lanes", default=6, show_default=True, help="How many runs go on at the same time.")
def main(runs: int, seed: str, lanes: int) -> None:
    """Plays RUNS rollouts under random events."""
    folder = ROOT / "build" / "campaign"
    folder.mkdir(parents=True, exist_ok=True)
    folder.with_suffix(".jsonl").write_text("")
    began = time.monotonic()
    with (
        ControlPlane() as plane,
        running_system(plane, "--lro-seconds", "0", "--metric-period-seconds", "0.25") as system,
    ):
        campaign = Campaign(system, runs, seed, folder)
        threads = [threading.Thread(target=campaign.lane, name=f"lane {n}") for n in range(lanes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        campaign.stage.operator.close()
    deviated = [run for run in campaign.done if run.deviations]
    events = Counter(event.partition(" in ")[0] for run in campaign.done for event in run.events)
    click.echo(f"events: {', '.join(f'{name} {count}' for name, count in events.most_common())}")
    click.echo(
        f"{len(campaign.done)} runs in {time.monotonic() - began:.0f} s, seed {seed}, {lanes} lanes,"
        f" {sum(run.requests for run in campaign.done)} requests of users,"
        f" the operator ended by itself {campaign.stage.operator.ended_itself} times: {len(deviated)} deviated"
        f"{': ' + ', '.join(str(run.number) for run in deviated) if deviated else ''}"
    )
    sys.exit(1 if deviated else 0)


if __name__ == "__main__":
    main()
