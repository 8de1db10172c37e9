"""Another cluster takes over in the middle of canaries: the first one is gone, and comes back later.

The new cluster gets what the runbook says, by the runbook's own commands: the manifests, and the status of some of the
deployments. The first cluster has a control plane of its own; the one that all tests share is the new one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agui_dev.controlplane import ControlPlane
from agui_dev.paths import ROOT
from agui_dev.testbed.belongings import Belongings
from agui_dev.testbed.kube_api import condition
from agui_dev.testbed.load import Answer, load
from agui_dev.testbed.operator_process import OperatorProcess
from agui_dev.testbed.releases import AT_ONCE, ENVIRONMENT, HELD, NAME, full_release, release
from agui_dev.testbed.system import System, service_of, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

Json = dict[str, Any]
SERVICES = "/v2/projects/demo/locations/us-central1/services"
HALF: Json = {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}], "analysis": {
    "minSamples": 10, "interval": "300ms", "deadline": "60s", "metrics": [{"name": "error-rate", "max": 0.05}]}},
    "progressDeadline": "60s"}  # fmt: skip
HANGING: Json = {"migrations": {"target": "head", "backup": "Never"}, "env": {"APP_JOB_SECONDS": "600"}}


def commands(after: str) -> str:
    """The commands of the runbook's section that follow a sentence."""
    section = (ROOT / "RUNBOOK.md").read_text().partition("### Another cluster takes over")[2].partition("\n## ")[0]
    found = re.search(re.escape(after) + r"[^\n]*(?:\n[^\n ][^\n]*)*\n\n((?:    [^\n]*\n)+)", section)
    assert found, f"no commands after {after!r}"
    return "\n".join(line[4:] for line in found[1].splitlines() if not line.startswith("    NS="))


SAVE, INSTALL, RESTORE, ADOPT, AFTERWARDS = map(
    commands, ("Save it on", "In the new cluster", "The saved status", "Permission and", "When the deployments")
)


@dataclass(slots=True)
class Move:
    """Two clusters, and the deployments (by what they are examples of) that go from one to the other."""

    first: System
    second: System
    folder: Path
    old: OperatorProcess  # of the first
    load: ExitStack = field(default_factory=ExitStack)
    places: dict[str, str] = field(default_factory=dict)
    before: dict[str, Json] = field(default_factory=dict)  # the objects as the first cluster had them at the end
    answers: dict[str, list[Answer]] = field(default_factory=dict)

    def run(self, system: System, script: str, name: str = "") -> str:
        """Runs commands of the runbook with kubectl for one of the clusters; what they print."""
        tools = self.folder / "bin"
        if not tools.is_dir():
            tools.mkdir()
            for repository in ("crds", "manifests"):
                shutil.copytree(ROOT / repository, self.folder / repository)
            (tools / "kubectl").symlink_to(system.plane.kubectl_path)
        env = {
            **os.environ,
            "PATH": f"{tools}:{os.environ['PATH']}",
            "KUBECONFIG": str(system.plane.kubeconfig),
            "KUBECACHEDIR": str(system.plane.state_dir / "kubectl-cache"),
            "NS": self.places.get(name, ""),
            "NAME": NAME,
            "POLICY": "tests",
        }
        command = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def stable(self, name: str) -> str:
        """Id of the release that was stable in the first cluster."""
        return str(self.before[name]["status"]["stable"]["id"])

    def settle(self, name: str, phase: str, version: str = "") -> Json:
        return self.second.settle(self.places[name], phase, version=version)

    def shares(self, name: str) -> dict[str, int]:
        """Traffic by release id."""
        service = service_of(self.places[name])
        traffic = self.second.cloud(f"{SERVICES}/{service}")["traffic"]
        return {t["revision"].removeprefix(f"{service}-"): t["percent"] for t in traffic if t.get("percent")}


# what each deployment is an example of; "kept": its status is saved and restored
EXAMPLES = ("kept", "kept late", "kept bad", "lost", "lost bad", "plain", "migrating", "resting")
GOOD = ("kept", "kept late", "lost", "plain", "resting")
LATER = ("kept late", "resting")  # what nobody has asked for when the operator starts


def begin(first: System, name: str) -> str:
    place = first.case()
    make = release if name in ("plain", "migrating") else full_release
    first.api.apply(make(place, "v1", strategy=AT_ONCE))
    return place


def go_on(first: System, name: str, place: str) -> None:
    first.settle(place, "Healthy", version="v1")
    if name in ("kept", "kept late", "lost"):
        first.api.apply(full_release(place, "v2", "v2", strategy={"canary": HELD}))
    elif name in ("kept bad", "lost bad"):
        first.api.apply(full_release(place, "degrading", "v2", strategy=HALF))
    elif name == "plain":
        first.api.apply(release(place, "v2", strategy={"canary": HELD}))
    elif name == "migrating":
        first.api.apply(release(place, "v2", **HANGING))


def arrived(first: System, name: str, place: str) -> Json:
    """The object where the cluster is lost."""
    if name == "resting":
        return first.settle(place, "Healthy", version="v1")
    if name == "migrating":
        wait_for(lambda: bool(executions(first, place, running=True)), "a migration that hangs")
        return first.api.get(place, NAME)
    weight = 50 if "bad" in name else 20
    return first.api.until(
        place, NAME, lambda d: d["status"]["phase"] == "Paused" and d["status"]["rollout"].get("weight") == weight, name
    )


def executions(system: System, place: str, *, running: bool) -> list[str]:
    """Names of the executions of a deployment's migrations."""
    found = []
    for job in system.gcp.items("/v2/projects/demo/locations/us-central1/jobs", "jobs"):
        if f"/jobs/{service_of(place)}-m-" in job["name"]:
            listed = system.gcp.items(f"/v2/{job['name']}/executions", "executions")
            found += [e["name"] for e in listed if ("completionTime" not in e) is running]
    return found


@pytest.fixture(scope="module")
def move(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Move]:
    """The first cluster is dead, the second one has been told to take over; its operator does not run yet."""
    if system.plane.is_existing_cluster:
        pytest.skip("a second control plane is needed, and AGUI_KUBECONFIG names the only one")
    folder = tmp_path_factory.mktemp("move")
    with ControlPlane() as plane:
        first = System(plane, folder, gcp=system.gcp).start()
        moved = Move(first, system, folder, first.operator(AGUI_RESYNC_SECONDS="2"))
        try:
            _lose(moved)
            for name in GOOD:
                moved.answers[name] = moved.load.enter_context(load(system, moved.places[name], rate=4))
            _take_over(moved)
            yield moved
        finally:
            moved.load.close()
            first.stop()


def _lose(moved: Move) -> None:
    """Everything is under way; then API server and operator of the first cluster die, and only files are left."""
    first = moved.first
    moved.places |= {name: begin(first, name) for name in EXAMPLES}
    for name, place in moved.places.items():
        go_on(first, name, place)
    moved.before |= {name: arrived(first, name, place) for name, place in moved.places.items()}
    for name in EXAMPLES:
        if name.startswith("kept"):
            moved.run(first, SAVE, name)
    manifests = moved.folder / "manifests-from-git"
    manifests.mkdir()
    for name, place in moved.places.items():
        environment = first.api.get(place, ENVIRONMENT, "aguienvironments")
        for kept in (environment, moved.before[name]):
            document = {key: kept[key] for key in ("apiVersion", "kind", "spec")}
            document["metadata"] = {"name": kept["metadata"]["name"], "namespace": place}
            (manifests / f"{place}-{kept['kind']}.json").write_text(json.dumps(document))
    moved.old.kill()
    first.plane.stop_apiserver(kill=True)


def _take_over(moved: Move) -> None:
    second = moved.second
    for place in moved.places.values():
        second.place(place, environment_too=False)
    moved.run(second, INSTALL)
    permit, annotate, _ = ADOPT.splitlines()
    moved.run(second, permit)
    for name in EXAMPLES:
        if name not in LATER:
            if name.startswith("kept"):
                moved.run(second, RESTORE, name)
            moved.run(second, annotate, name)


@pytest.fixture(scope="module", autouse=True)
def operator(move: Move) -> Iterator[OperatorProcess]:
    """Of the new cluster."""
    running = move.second.operator(AGUI_RESYNC_SECONDS="2")
    yield running
    move.second.retire(running)


def adopt(move: Move, name: str) -> None:
    move.run(move.second, ADOPT.splitlines()[1], name)


def owned(move: Move, name: str) -> Json:
    """The deployment once it has taken its service over."""
    place = move.places[name]
    owner = move.second.owner(place)
    found = move.second.api.until(
        place, NAME, lambda d: ((d.get("status") or {}).get("place") or {}).get("owner") == owner, f"{name} owned"
    )
    service = move.second.cloud(f"{SERVICES}/{service_of(place)}")
    assert service["labels"]["agui-owner"] == owner
    return found


def paused(move: Move, name: str) -> Json:
    return move.second.api.until(
        move.places[name],
        NAME,
        lambda d: d["status"]["phase"] == "Paused" and d["status"]["rollout"].get("weight") == 20,
        "a pause at 20 %",
    )


def finished(move: Move, name: str) -> str:
    """Promotes what is paused; the id of the release that is stable then."""
    move.second.api.annotate(move.places[name], NAME, **{"promote-full": "true"})
    stable: Json = move.settle(name, "Healthy", "v2")["status"]["stable"]
    assert move.shares(name) == {stable["id"]: 100}
    return str(stable["id"])


def test_nothing_is_done_before_it_is_allowed_and_asked_for(move: Move) -> None:
    place = move.places["resting"]
    before = move.second.position
    found = move.second.api.until(place, NAME, lambda d: condition(d, "Ready").get("reason") == "NotOwned", "a refusal")
    assert "agui.dev/adopt=true" in found["status"]["message"]
    assert condition(found, "Stalled")["status"] == "True"
    assert not [e for e in move.second.effects(before) if place in e["resource"]]
    adopt(move, "resting")
    owned(move, "resting")
    found = move.settle("resting", "Healthy")
    assert found["status"]["stable"]["id"] == move.stable("resting"), "the release that serves is not released again"
    assert not [e for e in move.second.effects(before) if place in e["resource"] and e["effect"] == "create"]


def test_a_canary_goes_on_with_its_saved_status(move: Move) -> None:
    owned(move, "kept")
    found = paused(move, "kept")
    was = move.before["kept"]["status"]
    assert found["status"]["release"]["id"] == was["release"]["id"]
    assert found["status"]["promoted"] == was["promoted"]
    assert move.shares("kept") == {move.stable("kept"): 80, was["release"]["id"]: 20}
    assert finished(move, "kept") == was["release"]["id"]


def test_a_status_that_is_restored_while_the_operator_runs_counts_until_it_has_taken_over(move: Move) -> None:
    place = move.places["kept late"]
    move.second.api.until(place, NAME, lambda d: condition(d, "Ready").get("reason") == "NotOwned", "a refusal")
    move.run(move.second, RESTORE, "kept late")
    adopt(move, "kept late")
    owned(move, "kept late")
    found = paused(move, "kept late")
    was = move.before["kept late"]["status"]
    assert found["status"]["release"]["id"] == was["release"]["id"]
    assert found["status"]["promoted"] == was["promoted"]
    assert finished(move, "kept late") == was["release"]["id"]


@pytest.mark.parametrize("name", ["lost", "plain"])
def test_a_canary_whose_status_is_lost_is_taken_back_and_rolled_out_again(move: Move, name: str) -> None:
    """What the URL map names is stable; the spec's release starts again as a new attempt."""
    owned(move, name)
    found = paused(move, name)
    again = found["status"]["release"]["id"]
    assert found["status"]["stable"]["id"] == move.stable(name)
    assert again != move.before[name]["status"]["release"]["id"], "another attempt"
    assert move.shares(name) == {move.stable(name): 80, again: 20}
    assert finished(move, name) == again


@pytest.mark.parametrize("name", ["kept bad", "lost bad"])
def test_a_canary_that_fails_is_rolled_back_by_the_new_cluster(move: Move, name: str) -> None:
    owned(move, name)
    with load(move.second, move.places[name], rate=40):
        found = move.settle(name, "RolledBack", "degrading")
    assert found["status"]["rejected"]["reason"] == "AnalysisFailed"
    assert found["status"]["stable"]["id"] == move.stable(name)
    assert move.shares(name) == {move.stable(name): 100}


def test_a_migration_that_the_old_cluster_left_running_is_cancelled_before_the_next(move: Move) -> None:
    place = move.places["migrating"]
    owned(move, "migrating")
    move.second.api.apply(release(place, "v2", migrations={"target": "head", "backup": "Never"}, strategy=AT_ONCE))
    most = 0
    deadline = time.monotonic() + 120
    while (move.second.api.get(place, NAME)["status"].get("phase")) != "Healthy" and time.monotonic() < deadline:
        most = max(most, len(executions(move.second, place, running=True)))
        time.sleep(0.05)
    move.settle("migrating", "Healthy", "v2")
    assert most <= 1
    assert executions(move.second, place, running=True) == []


def test_users_lost_no_request(move: Move) -> None:
    move.load.close()
    lost = {name: [a for a in met if a.status != 200] for name, met in move.answers.items()}
    assert all(len(met) > 10 for met in move.answers.values())
    assert lost == {name: [] for name in GOOD}


def test_the_runbook_finds_service_revision_project_and_region(move: Move) -> None:
    text = (ROOT / "RUNBOOK.md").read_text().partition("Without the operator, traffic first.")[2]
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ") and "NS=" not in line]
    script = "\n".join(lines[: next(n for n, line in enumerate(lines) if "--region" in line) + 1])
    assert "gcloud run services update-traffic" in script
    said = move.run(move.second, script.replace("gcloud run", "echo run"), "resting")
    service = service_of(move.places["resting"])
    assert said.split() == [
        *("run", "services", "update-traffic", service),
        f"--to-revisions={service}-{move.stable('resting')}=100",
        *("--project=demo", "--region=us-central1"),
    ]


def test_the_cluster_that_comes_back_changes_nothing(move: Move) -> None:
    """It has the same manifests, also the permission and the request to take over. Deleting there deletes nothing."""
    move.run(move.second, AFTERWARDS, "resting")
    first, second = move.first, move.second
    before = {name: Belongings.of(second.gcp, place, second.owner(place)) for name, place in move.places.items()}
    position = second.position
    first.plane.start_apiserver()
    permit, annotate, _ = ADOPT.splitlines()
    move.run(first, permit)
    for name in EXAMPLES:
        move.run(first, annotate, name)
    move.old.start()
    for place in move.places.values():
        found = first.api.until(
            place, NAME, lambda d: "agui.dev/adopt=again" in d["status"].get("message", ""), "NotOwned in the first"
        )
        assert condition(found, "Ready")["reason"] == "NotOwned"
        assert condition(found, "Stalled")["status"] == "True"
        first.api.delete(place, NAME)
    for place in move.places.values():
        wait_for(lambda p=place: not first.api.exists(p, NAME), "the end of the object in the first")
    assert [e for e in second.effects(position) if any(p in e["resource"] for p in move.places.values())] == []
    after = {name: Belongings.of(second.gcp, place, second.owner(place)) for name, place in move.places.items()}
    assert after == before
    assert {name: second.get(move.places[name], "/api/orders/1")[0] for name in GOOD} == dict.fromkeys(GOOD, 200)
