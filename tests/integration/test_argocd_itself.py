"""The real Argo CD syncs releases from git, with our scripts, beside the real operator: AGUI_ARGOCD=1 (built once,
about ten minutes of work)."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agui_dev.argocd.customizations import FOLDER
from agui_dev.argocd.server import NAMESPACE, ArgoCd, Repository, running_argo_cd
from agui_dev.go_program import NoProgram
from agui_dev.paths import ROOT
from agui_dev.testbed.kube_api import PATIENCE
from agui_dev.testbed.releases import AT_ONCE, ENVIRONMENT, HELD, NAME, environment, release
from agui_dev.testbed.system import System, wait_for
from localgcp.cli.init import Plan, create_environment

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(1800),
    pytest.mark.usefixtures("operator"),
    pytest.mark.skipif(not os.environ.get("AGUI_ARGOCD"), reason="AGUI_ARGOCD=1 builds and runs Argo CD"),
]
Json = dict[str, Any]
EXAMPLES = ROOT / FOLDER / "examples"


@pytest.fixture(scope="module")
def argo_cd(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArgoCd]:
    try:
        with running_argo_cd(system.plane, tmp_path_factory.mktemp("argocd")) as running:
            running.apply(project("tests", "*"))
            yield running
    except NoProgram as reason:
        pytest.skip(str(reason))


def project(name: str, sources: str) -> Json:
    kinds = [{"group": "*", "kind": "*"}]
    spec = {
        "sourceRepos": [sources],
        "destinations": [{"server": "*", "namespace": "*"}],
        "clusterResourceWhitelist": kinds,
        "namespaceResourceWhitelist": kinds,
    }
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AppProject",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }


class Place:
    """A namespace, a repository and the Application between them."""

    def __init__(self, system: System, argo_cd: ArgoCd, folder: Path) -> None:
        self.system, self.argo_cd, self.name = system, argo_cd, system.case()
        self.repository = Repository(folder)
        plan = Plan(self.name, self.name, f"{self.name}-{NAME}", domain=system.origin(self.name))
        printed = create_environment(system.endpoint, plan)
        self.environment = in_wave(environment(printed, self.name), "-1")

    def push(self, tag: str, **parts: Any) -> None:
        document = in_wave(release(self.name, tag, **parts), "10")
        self.repository.commit(release=document, environment=self.environment)
        if self.shown():
            self.argo_cd.refresh(self.name)

    def follow(self) -> None:
        """The Application of the example, for this repository."""
        document: Json = yaml.safe_load((EXAMPLES / "application.yaml").read_text())
        document["metadata"]["name"] = self.name
        document["spec"] |= {"project": "tests"}
        document["spec"]["source"] = {"repoURL": self.repository.url, "targetRevision": "main", "path": "deploy"}
        document["spec"]["destination"]["namespace"] = self.name
        self.argo_cd.apply(document)

    def shown(self) -> Json:
        return self.argo_cd.application(self.name)

    def health(self) -> tuple[str, str, str]:
        """Sync status, health and message of the release, as Argo CD shows them."""
        status = self.shown().get("status") or {}
        found = next((r for r in status.get("resources") or () if r["kind"] == "AgUiDeployment"), {})
        health = found.get("health") or {}
        return (status.get("sync") or {}).get("status", ""), health.get("status", ""), health.get("message", "")

    def becomes(self, health: str, words: str = "", phase: str = "") -> str:
        """Waits until Argo CD shows this health with these words, Synced; the message."""

        def there() -> bool:
            sync, status, message = self.health()
            reached = not phase or self.deployment()["status"]["phase"] == phase
            return (sync, status) == ("Synced", health) and words in message and reached

        try:
            wait_for(there, f"{health} {words!r}", PATIENCE)
        except AssertionError as late:
            raise AssertionError(f"{late}; shown: {self.health()}, {self.shown().get('status')}") from None
        return self.health()[2]

    def deployment(self) -> Json:
        return self.system.api.get(self.name, NAME)

    def act(self, action: str) -> None:
        """An action by Argo CD's command line."""
        words = ["app", "actions", "run", self.name, action, "--kind", "AgUiDeployment", "--resource-name", NAME]
        done = self.argo_cd.command(*words)
        assert done.returncode == 0, done.stderr

    def settled(self, test: Callable[[Json], bool], what: str) -> Json:
        return self.system.api.until(self.name, NAME, test, what)


def in_wave(document: Json, wave: str) -> Json:
    document = copy.deepcopy(document)
    document["metadata"].setdefault("annotations", {})["argocd.argoproj.io/sync-wave"] = wave
    return document


@pytest.fixture
def place(system: System, argo_cd: ArgoCd, tmp_path: Path) -> Place:
    """v1 by git, Healthy."""
    found = Place(system, argo_cd, tmp_path)
    found.push("v1", strategy=AT_ONCE)
    found.follow()
    found.becomes("Healthy", "v1")
    return found


def test_a_rejected_release_is_degraded_with_the_reason_and_what_serves(place: Place) -> None:
    place.push("broken")
    message = place.becomes("Degraded", "SmokeFailed")
    assert "v1" in message
    assert "serves all traffic" in message
    place.push("v2", strategy=AT_ONCE)
    place.becomes("Healthy", "v2")


def test_a_hold_is_suspended_and_an_action_is_obeyed_once(place: Place) -> None:
    place.push("v2", strategy={"canary": HELD})
    place.becomes("Suspended")
    assert place.deployment()["status"]["rollout"]["weight"] == 20
    place.act("promote")
    place.settled(lambda d: d["status"]["rollout"].get("weight") == 60, "60 %")
    first = place.deployment()["status"]["lastRequest"]
    for _ in range(3):  # self-heal looks again; a request that came back would end the second pause
        place.argo_cd.refresh(place.name)
        time.sleep(3)
    found = place.deployment()
    assert (found["status"]["phase"], found["status"]["rollout"]["weight"]) == ("Paused", 60)
    assert found["status"]["lastRequest"] == first
    assert "agui.dev/promote" not in found["metadata"].get("annotations", {})
    place.becomes("Suspended")
    place.act("promote-full")
    place.becomes("Healthy", "v2")


def test_a_disabled_action_that_is_run_all_the_same_is_refused(place: Place) -> None:
    place.act("abort")
    found = place.settled(lambda d: (d["status"].get("lastRequest") or {}).get("kind") == "abort", "the answer")
    assert found["status"]["lastRequest"]["accepted"] is False
    place.becomes("Healthy", "v1")


def test_after_an_undo_git_still_asks_for_the_undone_release_until_it_is_reverted(place: Place) -> None:
    place.push("v2", strategy=AT_ONCE)
    place.becomes("Healthy", "v2")
    place.act("undo")
    message = place.becomes("Degraded", "Undone")
    assert "v1" in message
    place.argo_cd.refresh(place.name)
    time.sleep(5)
    place.becomes("Degraded", "Undone")
    assert place.deployment()["spec"]["version"] == "v2"
    place.push("v1", strategy=AT_ONCE)
    place.becomes("Healthy", "v1")


def test_a_commit_that_corrects_an_invalid_spec_is_not_held_up_by_the_retries(place: Place) -> None:
    place.push("v2", strategy={"canary": {"steps": [{"setWeight": 900}]}})
    wait_for(lambda: bool((place.shown()["status"].get("operationState") or {}).get("retryCount")), "a retry")
    place.push("v2", strategy=AT_ONCE)
    place.becomes("Healthy", "v2")


def test_equal_notations_in_git_stay_in_sync(place: Place) -> None:
    resources = {"cpu": "1", "memory": "1Gi"}
    place.push("v2", strategy=AT_ONCE, backend=backend(place, resources))
    place.becomes("Healthy", "v2")
    place.push("v2", strategy=AT_ONCE, backend=backend(place, resources | {"memory": "1024Mi"}))
    wait_for(lambda: place.deployment()["spec"]["backend"]["resources"]["memory"] == "1024Mi", "the other notation")
    place.becomes("Healthy", "v2")


def backend(place: Place, resources: Json) -> Json:
    found: Json = copy.deepcopy(release(place.name, "v2")["spec"]["backend"])
    return found | {"resources": resources}


def test_deleting_the_application_ends_with_nothing_left(place: Place) -> None:
    place.argo_cd.delete(place.name)
    wait_for(lambda: not place.shown(), "the end of the Application")
    assert not place.system.api.exists(place.name, NAME)
    assert not place.system.api.exists(place.name, ENVIRONMENT, "aguienvironments")


@pytest.mark.parametrize("name", ["appproject", "application", "applicationset", "operator"])
def test_the_examples_fit_the_schema_of_argo_cd(argo_cd: ArgoCd, system: System, name: str) -> None:
    system.plane.kubectl("apply", "--server-side", "--dry-run=server", "-f", str(EXAMPLES / f"{name}.yaml"))


def test_the_example_set_generates_an_application_for_each_environment(argo_cd: ArgoCd) -> None:
    argo_cd.apply(yaml.safe_load((EXAMPLES / "appproject.yaml").read_text()))
    done = argo_cd.command("appset", "generate", str(EXAMPLES / "applicationset.yaml"), "--output", "json")
    assert done.returncode == 0, done.stderr
    found = {app["metadata"]["name"]: app["spec"]["syncPolicy"] for app in yaml.safe_load(done.stdout)}
    assert set(found) == {"concierge-dev", "concierge-prod"}
    assert "automated" in found["concierge-dev"]
    assert "automated" not in found["concierge-prod"]
