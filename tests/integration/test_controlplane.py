"""The control plane that every other integration test stands on: does it behave as a cluster, and does it go away?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from agui_dev.controlplane import ControlPlane, ControlPlaneFailed, KubectlFailed

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "probes.test.agui.dev"},
    "spec": {
        "group": "test.agui.dev",
        "scope": "Namespaced",
        "names": {"plural": "probes", "singular": "probe", "kind": "Probe"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "region": {"type": "string", "maxLength": 40},
                                    "steps": {"type": "integer", "default": 3},
                                },
                                "x-kubernetes-validations": [
                                    {"rule": "self.region == oldSelf.region", "message": "region is immutable"}
                                ],
                            },
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}


def probe(name: str, region: str = "us-central1") -> str:
    return yaml.safe_dump(
        {"apiVersion": "test.agui.dev/v1", "kind": "Probe", "metadata": {"name": name}, "spec": {"region": region}}
    )


def eventually(what: Callable[[], bool], seconds: float = 120) -> bool:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def all_gone(pids: list[int]) -> bool:
    """A zombie is gone too: its parent, who must collect it, may be this container's first process."""
    living = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    return all(process.status() == psutil.STATUS_ZOMBIE for process in living)


@pytest.fixture(scope="module")
def probes(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """The control plane with the resource of this file."""
    control_plane.kubectl("apply", "-f", "-", input=yaml.safe_dump(CRD))
    control_plane.kubectl("wait", "--for=condition=Established", "crd/probes.test.agui.dev", "--timeout=180s")
    yield control_plane
    control_plane.kubectl("delete", "crd", "probes.test.agui.dev", "--wait=false")


def test_custom_resources_get_defaults_and_rules(probes: ControlPlane, namespace: str) -> None:
    probes.kubectl("apply", f"--namespace={namespace}", "-f", "-", input=probe("one"))
    stored = json.loads(probes.kubectl("get", "probe", "one", f"--namespace={namespace}", "-o", "json"))
    assert stored["spec"] == {"region": "us-central1", "steps": 3}
    with pytest.raises(KubectlFailed, match="region is immutable"):
        probes.kubectl("apply", f"--namespace={namespace}", "-f", "-", input=probe("one", region="europe-west1"))


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_data_address_and_tokens_outlive_the_api_server(probes: ControlPlane, namespace: str, kill: bool) -> None:
    if probes.is_existing_cluster:
        pytest.skip("the cluster of AGUI_KUBECONFIG is not ours to restart")
    probes.kubectl("create", "serviceaccount", "robot", f"--namespace={namespace}")
    kubeconfig = probes.service_account_kubeconfig(namespace, "robot")
    probes.kubectl("apply", f"--namespace={namespace}", "-f", "-", input=probe("kept"))
    url, before = probes.url, probes.pids
    with probes.apiserver_down(kill=kill), pytest.raises(KubectlFailed):
        probes.kubectl("get", "namespaces", "--request-timeout=2s")
    assert probes.url == url
    assert probes.pids["kube-apiserver"] != before["kube-apiserver"]
    assert probes.pids["etcd"] == before["etcd"]
    assert "us-central1" in probes.kubectl("get", "probe", "kept", f"--namespace={namespace}", "-o", "yaml")
    who = probes.kubectl(f"--kubeconfig={kubeconfig}", "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")
    assert who == f"system:serviceaccount:{namespace}:robot"


def test_a_service_account_has_exactly_its_rights(control_plane: ControlPlane, namespace: str) -> None:
    here = f"--namespace={namespace}"
    control_plane.kubectl("create", "serviceaccount", "reader", here)
    control_plane.kubectl("create", "role", "reader", "--verb=get,list", "--resource=configmaps", here)
    control_plane.kubectl(
        "create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={namespace}:reader", here
    )
    as_reader = f"--kubeconfig={control_plane.service_account_kubeconfig(namespace, 'reader')}"
    control_plane.kubectl(as_reader, "get", "configmaps")
    with pytest.raises(KubectlFailed, match=r"secrets is forbidden: User .*:reader"):
        control_plane.kubectl(as_reader, "get", "secrets")
    with pytest.raises(KubectlFailed, match="forbidden"):
        control_plane.kubectl(as_reader, "get", "configmaps", "--namespace=default")


def test_deleting_an_owner_and_a_namespace_comes_to_an_end(control_plane: ControlPlane, namespace: str) -> None:
    if not control_plane.has_controller_manager:
        pytest.skip("this set of programs has no kube-controller-manager")
    here = f"--namespace={namespace}"
    owner = json.loads(control_plane.kubectl("create", "configmap", "owner", here, "-o", "json"))
    child = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "child",
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
            ],
        },
    }
    control_plane.kubectl("apply", here, "-f", "-", input=yaml.safe_dump(child))
    control_plane.kubectl("delete", "configmap", "owner", here)
    # After a restart of the API server the collector waits for its next look at the resources.
    assert eventually(lambda: "child" not in control_plane.kubectl("get", "configmaps", here, "-o", "name"))
    control_plane.kubectl("delete", "namespace", namespace, "--timeout=180s")
    assert control_plane.kubectl("get", "namespace", namespace, "--ignore-not-found") == ""


def test_what_was_not_started_here_is_not_restarted(control_plane: ControlPlane) -> None:
    from agui_dev.controlplane.binaries import ExistingCluster

    with ControlPlane(source=ExistingCluster(control_plane.kubeconfig)) as other:
        assert other.url == control_plane.url
        assert other.pids == {}
        with pytest.raises(ControlPlaneFailed, match="not ours"):
            other.restart_apiserver()
    control_plane.kubectl("get", "namespaces")


def test_stop_leaves_no_process_and_a_state_folder_keeps_the_data(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with ControlPlane(state) as plane:
        plane.kubectl("create", "configmap", "kept", "--from-literal=answer=42")
        pids = plane.pids
        token = plane.kubectl("create", "serviceaccount", "robot") and plane.service_account_kubeconfig(
            "default", "robot"
        )
        assert {"etcd", "kube-apiserver"} <= pids.keys()
    assert all_gone(list(pids.values()))
    assert not (state / "kubeconfig").exists(), "nobody may take a stopped control plane for a running one"
    assert token
    with ControlPlane(state) as plane:
        assert plane.kubectl("get", "configmap", "kept", "-o", "jsonpath={.data.answer}") == "42"
    plane.stop()


CRASHING = """
import os, signal, sys, threading
from agui_dev.controlplane import ControlPlane
# Started in a thread that ends at once: the programs must not take that for the end of their parent.
plane = ControlPlane()
starter = threading.Thread(target=plane.start)
starter.start()
starter.join()
plane.kubectl("get", "namespaces")
print(plane.state_dir, *plane.pids.values(), flush=True)
sys.stdin.read()
"""


def test_a_killed_parent_takes_its_programs_along() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CRASHING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        try:
            folder, *numbers = parent.stdout.readline().split()
            pids = [int(number) for number in numbers]
            assert len(pids) >= 2
            assert all(psutil.pid_exists(pid) for pid in pids)
        finally:
            parent.kill()
    assert eventually(lambda: all_gone(pids)), f"still running: {[p for p in pids if psutil.pid_exists(p)]}"
    ControlPlane().stop()
    assert not Path(folder).exists(), "the next start removes what the crash left"


def test_a_program_that_ends_on_its_own_is_reported_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "state" / "etcd").mkdir(parents=True)
    (tmp_path / "state" / "etcd" / "member").write_text("not a folder")
    with pytest.raises(ControlPlaneFailed, match=r"(?s)etcd ended on its own:\n.*cannot access member directory"):
        ControlPlane(tmp_path / "state").start()


def test_the_command_line_runs_one_until_told_to_stop(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "agui_dev.controlplane"]
    state = f"--state-dir={tmp_path / 'state'}"
    env = {name: value for name, value in os.environ.items() if name != "AGUI_KUBECONFIG"}
    before = subprocess.run([*command, "env", state], env=env, capture_output=True, text=True, check=False)
    assert before.returncode == 1
    assert "No control plane runs in" in before.stderr
    with subprocess.Popen(
        [*command, "up", state], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as up:
        try:
            assert up.stdout is not None
            assert up.stdout.readline().startswith("export KUBECONFIG=")
            pids = [process.pid for process in psutil.Process(up.pid).children(recursive=True)]
            during = subprocess.run([*command, "env", state], env=env, capture_output=True, text=True, check=True)
            script = f"{during.stdout}\nkubectl get namespaces -o name"
            names = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, check=True).stdout
            assert "namespace/default" in names
            up.send_signal(signal.SIGTERM)
            assert up.wait(180) == 0
        finally:
            up.kill()
    assert len(pids) >= 2
    assert all_gone(pids)
