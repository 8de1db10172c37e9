"""How each outcome reads: by `kubectl wait`, by the command for pipelines, by kstatus, and in `kubectl get -w`."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from agui_dev.controlplane import KubectlFailed
from agui_dev.testbed.kube_api import condition
from agui_dev.testbed.load import load
from agui_dev.testbed.releases import AT_ONCE, HELD, NAME, full_release, release
from agui_dev.testbed.system import System, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600), pytest.mark.usefixtures("operator")]

Json = dict[str, Any]
INVALID: Json = {"name": "bad", "agent": {"say": 5432, "expect": [{"finished": True}]}}
PAUSED: Json = {"canary": HELD}
MOST_REPEATED = 8  # lines; facts that no column shows, such as answers to requests and what was compared with the cloud


@dataclass(frozen=True, slots=True)
class Outcome:
    """`spec`: what is applied over a healthy v1 (`first`: over nothing). `phase` and `reason` (of Ready) are reached;
    then `exit_code` is that of `agui-operator wait`, and the other two are what `kubectl wait` and kstatus say."""

    spec: Callable[[str], Json]
    phase: str
    reason: str
    exit_code: int
    kstatus: str
    met: bool = False
    first: bool = False
    environment: bool = True
    before: Callable[[str], Json] | None = None  # applied in between


OUTCOMES = {
    "healthy": Outcome(
        lambda p: release(p, "v2", strategy=AT_ONCE), "Healthy", "Healthy", 0, "Current", met=True
    ),
    "rolled back": Outcome(lambda p: release(p, "broken"), "RolledBack", "SmokeFailed", 1, "Failed"),
    "failed": Outcome(lambda p: release(p, "broken"), "Failed", "SmokeFailed", 1, "Failed", first=True),
    "invalid": Outcome(lambda p: release(p, "v9", smoke=[INVALID]), "Healthy", "InvalidSpec", 1, "Failed"),
    "forbidden": Outcome(
        lambda p: release(p, "v2", backend={**release(p, "v2")["spec"]["backend"], "image": "docker.io/library/n:1"}),
        "Healthy", "NotPermitted", 1, "Failed",
    ),
    "paused": Outcome(lambda p: release(p, "v2", strategy=PAUSED), "Paused", "AwaitingPromotion", 2, "InProgress"),
    "suspended": Outcome(lambda p: release(p, "v2", suspend=True), "Suspended", "Suspended", 2, "InProgress"),
    "no environment": Outcome(
        lambda p: release(p, "v1"), "Pending", "EnvironmentNotReady", 2, "InProgress", first=True, environment=False
    ),
    "superseded": Outcome(
        lambda p: release(p, "v3", strategy=AT_ONCE), "Healthy", "Healthy", 0, "Current", met=True,
        before=lambda p: release(p, "v2", strategy=PAUSED),
    ),
    "superseded by a paused one": Outcome(
        lambda p: release(p, "v3", strategy=PAUSED), "Paused", "AwaitingPromotion", 2, "InProgress",
        before=lambda p: release(p, "broken", strategy=PAUSED),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def places(system: System, operator: object) -> dict[str, str]:
    """A namespace for each outcome, with its spec applied."""
    found = {name: system.case(environment_too=outcome.environment) for name, outcome in OUTCOMES.items()}
    for name, outcome in OUTCOMES.items():
        if not outcome.first:
            system.api.apply(release(found[name], "v1", strategy=AT_ONCE))
    for name, outcome in OUTCOMES.items():
        if not outcome.first:
            system.settle(found[name], "Healthy", version="v1")
        if outcome.before is not None:
            system.api.apply(outcome.before(found[name]))
    for name, outcome in OUTCOMES.items():
        if outcome.before is not None:
            system.api.until(found[name], NAME, _is_past_the_first_release, "the release in between")
        system.api.apply(outcome.spec(found[name]))
    return found


def _is_past_the_first_release(found: Json) -> bool:
    status = found["status"]
    return bool(status["phase"] in ("Paused", "RolledBack"))


def kubectl_wait(system: System, place: str, kind: str) -> bool:
    """`kubectl wait`, which looks once."""
    try:
        system.plane.kubectl("wait", f"--for=condition={kind}", "--timeout=0", "-n", place, f"agd/{NAME}")
    except KubectlFailed as failed:
        if "timed out" in str(failed) or "condition not met" in str(failed):
            return False
        raise
    return True


def kstatus(found: Json) -> str:
    """What kstatus computes, by its rules for custom resources."""
    status = found.get("status") or {}
    if status["observedGeneration"] != found["metadata"]["generation"]:
        return "InProgress"
    for about in status["conditions"]:
        if about["type"] in ("Reconciling", "Stalled") and about["status"] == "True":
            return "InProgress" if about["type"] == "Reconciling" else "Failed"
    return "Current" if condition(found, "Ready")["status"] == "True" else "InProgress"


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_wait_and_a_pipeline_end_as_the_table_says(system: System, places: dict[str, str], name: str) -> None:
    outcome, place = OUTCOMES[name], places[name]
    found = system.api.until(
        place,
        NAME,
        lambda d: (
            (d.get("status") or {}).get("phase") == outcome.phase
            and condition(d, "Ready")["reason"] == outcome.reason
            and d["status"]["observedGeneration"] == d["metadata"]["generation"]
        ),
        f"{outcome.phase}, {outcome.reason}",
    )
    said = {kind: condition(found, kind) for kind in ("Ready", "Promoted", "Reconciling", "Stalled")}
    assert {about["observedGeneration"] for about in said.values()} == {found["metadata"]["generation"]}
    assert kstatus(found) == outcome.kstatus, said
    assert (said["Reconciling"]["status"], said["Stalled"]["status"]) != ("True", "True")
    assert {kind: kubectl_wait(system, place, kind) for kind in ("Promoted", "Ready")} == {
        "Promoted": outcome.met,
        "Ready": outcome.met,
    }
    command = [sys.executable, "-m", "agui_operator", "wait", NAME, "-n", place, "--timeout", "2s"]
    env = {**os.environ, "KUBECONFIG": str(system.plane.kubeconfig)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == outcome.exit_code, done.stdout + done.stderr
    assert done.stdout.strip() or done.stderr.strip(), "it says what it saw"


def test_a_rollout_that_is_watched_repeats_few_lines(system: System) -> None:
    """`kubectl get -w` prints a line for each write of the object. The canary measures three times a second."""
    place = system.case()
    system.api.apply(full_release(place, "v1", "v1", strategy=AT_ONCE))
    system.settle(place, "Healthy", version="v1")
    log = system.folder / f"{place}.watch"
    argv = [str(system.plane.kubectl_path), f"--kubeconfig={system.plane.kubeconfig}", "get", "agd", "-n", place, "-w"]
    with log.open("w") as output, subprocess.Popen(argv, stdout=output) as watch, load(system, place, rate=10):
        try:
            wait_for(lambda: "Healthy" in log.read_text(), "the first line of the watch")
            first = len(log.read_text().splitlines())
            document = full_release(place, "v2", "v2")
            document["spec"]["strategy"]["canary"]["analysis"]["minSamples"] = 40
            system.api.apply(document)
            system.settle(place, "Healthy", version="v2")
            wait_for(lambda: _row(log.read_text().splitlines()[-1])[1:2] == ["Healthy"], "the last line of the watch")
        finally:
            watch.terminate()
    lines = [_row(line) for line in log.read_text().splitlines()[first:]]
    repeated = [line for before, line in itertools.pairwise(lines) if before == line]
    assert len(lines) > 6
    assert len(repeated) <= MOST_REPEATED, lines


def _row(line: str) -> list[str]:
    """A printed line without the age."""
    return line.split()[:-1]
