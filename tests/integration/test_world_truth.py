"""What the object, the Events and the command line say is so: a wait ends with the release of this spec or not at all,
waits are no failures, and every kind has a status that ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from agui_dev.controlplane import KubectlFailed
from agui_dev.testbed.kube_api import condition
from agui_dev.testbed.releases import AT_ONCE, ENVIRONMENT, HELD, NAME, full_release, policy, release
from agui_dev.testbed.system import System, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600), pytest.mark.usefixtures("operator")]

Json = dict[str, Any]


@pytest.fixture(scope="module")
def place(system: System) -> str:
    """A namespace with a healthy v1; the tests leave it healthy."""
    namespace = system.case()
    system.api.apply(release(namespace, "v1"))
    system.settle(namespace, "Healthy", version="v1")
    return namespace


def wait(system: System, namespace: str, timeout: str = "60s") -> tuple[int, str]:
    """`agui-operator wait` with a login of its own: exit code and what it printed."""
    command = [sys.executable, "-m", "agui_operator", "wait", NAME, "-n", namespace, "--timeout", timeout]
    env = {**os.environ, "KUBECONFIG": str(kubeconfig(system))}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    return done.returncode, done.stdout + done.stderr


def kubeconfig(system: System) -> Path:
    return Path(system.plane.kubeconfig)


def kubectl_waits(system: System, namespace: str) -> bool:
    """The two documented lines: the first ends in every outcome, the second tells which it was."""
    object_ = ("-n", namespace, f"agd/{NAME}")
    system.plane.kubectl("wait", "--for=condition=Reconciling=False", "--timeout=180s", *object_)
    try:
        system.plane.kubectl("wait", "--for=condition=Ready", "--timeout=1s", *object_)
    except KubectlFailed:
        return False
    return True


def kstatus(found: Json) -> str:
    """As kstatus computes it from a status that ends."""
    status = found.get("status") or {}
    if status.get("observedGeneration") != found["metadata"]["generation"]:
        return "InProgress"
    if condition(found, "Stalled").get("status") == "True":
        return "Failed"
    if condition(found, "Reconciling").get("status") == "True" or condition(found, "Ready").get("status") != "True":
        return "InProgress"
    return "Current"


def seen(system: System, namespace: str, generation: int, what: str = "the newest spec") -> Json:
    return system.api.until(
        namespace, NAME, lambda d: d["status"].get("observedGeneration", -1) >= generation, f"a status of {what}"
    )


def met(found: Json, kind: str) -> bool:
    """As `kubectl wait --for=condition=KIND` decides."""
    about = condition(found, kind)
    return about.get("status") == "True" and about["observedGeneration"] == found["metadata"]["generation"]


def test_a_wait_ends_with_zero_for_the_release_of_the_newest_spec_only(system: System, place: str) -> None:
    assert wait(system, place)[0] == 0
    code, text = wait(system, system.case(environment_too=False), "5s")
    assert (code, "not found" in text) == (1, True)


def test_an_invalid_spec_ends_no_wait_with_zero(system: System, place: str) -> None:
    bad = {"name": "bad", "agent": {"say": 5432, "expect": [{"finished": True}]}}
    applied = system.api.apply(release(place, "v9", smoke=[bad]))
    found = seen(system, place, applied["metadata"]["generation"])
    assert condition(found, "Stalled")["reason"] == "InvalidSpec"
    assert not met(found, "Promoted")
    assert not met(found, "Ready")
    assert found["status"]["release"]["version"] == "v9"
    code, text = wait(system, place)
    assert (code, "InvalidSpec" in text) == (1, True)
    system.api.apply(release(place, "v1"))
    system.settle(place, "Healthy")


def test_a_release_that_fails_its_checks_ends_a_wait_with_one(system: System, place: str) -> None:
    system.api.apply(release(place, "broken"))
    code, text = wait(system, place)
    found = system.settle(place, "RolledBack", version="broken")
    assert (code, "SmokeFailed" in text) == (1, True)
    assert not kubectl_waits(system, place)
    assert not met(found, "Promoted")
    assert found["status"]["rollout"]["weight"] == 0
    tried = found["status"]["rejected"]["release"]
    only = [{"name": "version", "http": {"path": "/version"}}]
    system.api.apply(release(place, "broken", smoke=only, strategy=AT_ONCE))
    assert wait(system, place)[0] == 0, "a corrected check is a request to try again"
    assert kubectl_waits(system, place)
    assert system.api.get(place, NAME)["status"]["stable"]["id"] == f"{tried}-2"
    system.api.apply(release(place, "v1"))
    assert wait(system, place)[0] == 0


def test_another_name_for_the_same_release_is_shown_and_releases_nothing(system: System, place: str) -> None:
    before = system.rested()
    document = release(place, "v1", version="v1-renamed")
    document["spec"]["backend"]["resources"] = {"cpu": "1000m", "memory": "1024Mi"}
    system.api.apply(document)
    found = system.api.until(
        place, NAME, lambda d: (d["status"].get("release") or {}).get("version") == "v1-renamed", "the new name"
    )
    assert found["status"]["phase"] == "Healthy"
    assert system.settle(place, "Healthy")["status"]["stable"]["version"] == "v1-renamed"
    assert not [e for e in system.effects(before) if place in e["resource"]]


def test_a_stop_is_a_wait_and_not_a_failure(system: System, place: str) -> None:
    stop = policy(f"stop-{place}", (place,), stop={"active": True, "reason": "a night"})
    system.api.apply(stop)
    try:
        wait_for(lambda: kstatus(policy_of(system, stop)) == "Current", "the status of the policy")
        applied = system.api.apply(release(place, "v2", strategy=AT_ONCE))
        found = seen(system, place, applied["metadata"]["generation"])
        assert (kstatus(found), condition(found, "Paused")["status"]) == ("InProgress", "True")
        assert (condition(found, "Paused")["reason"], condition(found, "SpecAccepted")["status"]) == ("Frozen", "True")
        code, text = wait(system, place, "2s")
        assert (code, "a night" in text) == (2, True)
    finally:
        system.api.call("DELETE", f"/apis/agui.dev/v1alpha1/aguipolicies/{stop['metadata']['name']}")
    assert wait(system, place)[0] == 0
    assert condition(system.api.get(place, NAME), "Paused")["status"] == "False"


def policy_of(system: System, document: Json) -> Json:
    return system.api.call("GET", f"/apis/agui.dev/v1alpha1/aguipolicies/{document['metadata']['name']}")


def test_a_suspended_release_is_paused_and_goes_on(system: System, place: str) -> None:
    applied = system.api.apply(release(place, "v1", strategy=AT_ONCE, suspend=True))
    seen(system, place, applied["metadata"]["generation"])
    found = system.api.until(place, NAME, lambda d: d["status"]["phase"] == "Suspended", "Suspended")
    assert (kstatus(found), condition(found, "Paused")["reason"]) == ("InProgress", "Suspended")
    system.api.apply(release(place, "v1", strategy=AT_ONCE))
    assert wait(system, place)[0] == 0


def test_a_pause_step_is_paused_and_a_policy_that_is_invalid_is_stalled(system: System, place: str) -> None:
    system.api.apply(release(place, "v2", strategy={"canary": HELD}))
    found = system.api.until(place, NAME, lambda d: d["status"]["phase"] == "Paused", "the pause step")
    assert (kstatus(found), condition(found, "Paused")["reason"]) == ("InProgress", "AwaitingPromotion")
    assert "is paused at 20 %" in found["status"]["message"]
    system.api.annotate(place, NAME, **{"promote-full": "true"})
    assert wait(system, place)[0] == 0
    assert condition(system.api.get(place, NAME), "AnalysisPassed")["reason"] == "Skipped"


def test_an_environment_that_arrives_with_the_same_sync_is_waited_for(system: System, place: str) -> None:
    late = system.case(environment_too=False)
    environment = system.api.get(place, ENVIRONMENT, "aguienvironments")
    environment["spec"].pop("edge")  # the host is that of `place`
    applied = system.api.apply(release(late, "v1"))
    found = seen(system, late, applied["metadata"]["generation"])
    assert (kstatus(found), condition(found, "Ready")["reason"]) == ("InProgress", "EnvironmentNotReady")
    kept = {k: environment[k] for k in ("apiVersion", "kind", "spec")}
    system.api.apply({**kept, "metadata": {"name": ENVIRONMENT, "namespace": late}})
    assert wait(system, late)[0] == 0
    found = system.api.get(late, NAME)
    assert condition(found, "Migrated")["reason"] == "NotRequested"
    assert condition(found, "RollbackReady")["reason"] == "NoEarlierRelease"
    wait_for(
        lambda: kstatus(system.api.get(late, ENVIRONMENT, "aguienvironments")) == "Current", "the environment's status"
    )


def events(system: System, namespace: str, reason: str) -> list[Json]:
    return [e for e in system.api.events(namespace) if e["reason"] == reason]


def test_a_wrong_digest_is_told_before_anything_is_backed_up_or_migrated_and_once(system: System, place: str) -> None:
    before = system.rested()
    document = full_release(place, "v2", "v1")
    document["spec"]["frontend"]["bundle"]["sha256"] = "ab" * 32
    system.api.apply(document)
    found = system.api.until(
        place, NAME, lambda d: condition(d, "Ready").get("reason") == "BundleRefused", "the refused bundle"
    )
    assert found["status"]["phase"] == "Resolving"
    assert "has another sha256 than spec.frontend.bundle.sha256 says" in found["status"]["message"]
    assert condition(found, "Stalled")["status"] == "True"
    assert not [e for e in system.effects(before) if place in e["resource"]]
    system.api.annotate(place, NAME, undo="nothing-like-it")
    wait_for(lambda: bool(events(system, place, "RequestRefused")), "an Event about the refused request")
    assert sum(e.get("count", 1) for e in events(system, place, "BundleRefused")) == 1
    system.api.apply(release(place, "v2", strategy=AT_ONCE))
    assert wait(system, place)[0] == 0


def test_a_missing_secret_has_one_event_and_a_field(system: System, place: str) -> None:
    document = release(place, "v1", strategy=AT_ONCE)
    document["spec"]["backend"]["secrets"] = [{"env": "S", "secret": "no-such-secret"}]
    system.api.apply(document)
    assert wait(system, place)[0] == 1
    wait_for(lambda: bool(events(system, place, "NotFound")), "an Event about the secret")
    (told,) = events(system, place, "NotFound")
    assert "spec.backend.secrets[0]: secret no-such-secret does not exist" in told["message"]
    system.api.apply(release(place, "v1", strategy=AT_ONCE))
    assert wait(system, place)[0] == 0


def plan(system: System, document: Json, kubeconfig: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "agui_operator", "plan", "-"]
    env = {**os.environ, "KUBECONFIG": str(kubeconfig), "AGUI_GCP_ENDPOINT": system.endpoint}
    text = yaml.safe_dump(document)
    done = subprocess.run(command, env=env, input=text, capture_output=True, text=True, timeout=240)
    return done.returncode, done.stdout + done.stderr


def test_a_plan_needs_the_rights_of_a_namespace_only_and_tells_what_can_not_go(system: System, place: str) -> None:
    developer = with_edit_rights(system, place)
    code, text = plan(system, full_release(place, "v1", "v1"), developer)
    assert (code, "ends in Healthy" in text, "may not read AgUiPolicies" in text) == (0, True, True), text
    wrong = full_release(place, "v1", "v1")
    wrong["spec"]["frontend"]["bundle"]["sha256"] = "ab" * 32
    code, text = plan(system, wrong, developer)
    assert (code, "Blocked: bundle refused" in text) == (1, True), text
    large = release(place, "v1")
    large["spec"]["backend"]["scaling"]["maxInstances"] = 30
    code, text = plan(system, large, kubeconfig(system))
    assert (code, "Blocked: spec.backend.scaling.maxInstances: 30 is not permitted" in text) == (1, True), text


def with_edit_rights(system: System, namespace: str) -> Path:
    """The login of somebody with the shipped rights of `view` and `edit` in one namespace."""
    rules = [
        {"apiGroups": ["agui.dev"], "resources": ["aguideployments", "aguienvironments"], "verbs": ["get", "list"]}
    ]
    meta = {"name": "developer", "namespace": namespace}
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces"
    system.api.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": meta})
    system.api.call("POST", f"{rbac}/{namespace}/roles", {"metadata": meta, "rules": rules})
    binding = {
        "metadata": meta,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "developer"},
        "subjects": [{"kind": "ServiceAccount", "name": "developer", "namespace": namespace}],
    }
    system.api.call("POST", f"{rbac}/{namespace}/rolebindings", binding)
    return system.plane.service_account_kubeconfig(namespace, "developer")
