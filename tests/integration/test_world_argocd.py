"""What Argo CD shows of real objects: its scripts on what the operator writes, the ConfigMap as Argo CD's installation
gets it, and CRDs that stay in sync."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from agui_dev.argocd.customizations import CONFIG, FOLDER, SCRIPTS
from agui_dev.argocd.lua import running_lua
from agui_dev.argocd.states import states
from agui_dev.controlplane import ControlPlane
from agui_dev.go_program import NoProgram
from agui_dev.paths import ROOT
from agui_dev.testbed.system import System

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
Json = dict[str, Any]

WAITS = "Progressing, Degraded"  # what may arrive with the same sync is waited for; after a while it is missed
SHOWN = {
    ("AgUiDeployment", "new"): ("Progressing", ""),
    ("AgUiDeployment", "not_observed"): ("Progressing", "generation"),
    ("AgUiDeployment", "healthy"): ("Healthy", "v1"),
    ("AgUiDeployment", "healthy_again"): ("Healthy", "v2"),
    ("AgUiDeployment", "progressing"): ("Progressing", "v2"),
    ("AgUiDeployment", "paused_by_step"): ("Suspended", ""),
    ("AgUiDeployment", "paused_by_request"): ("Suspended", ""),
    ("AgUiDeployment", "frozen"): ("Suspended", "public holiday"),
    ("AgUiDeployment", "suspended"): ("Suspended", ""),
    ("AgUiDeployment", "aborted"): ("Degraded", "serves all traffic"),
    ("AgUiDeployment", "undone"): ("Degraded", "serves all traffic"),
    ("AgUiDeployment", "rolled_back"): ("Degraded", "serves all traffic"),
    ("AgUiDeployment", "failed"): ("Degraded", "never received user traffic"),
    ("AgUiDeployment", "environment_missing"): (WAITS, ""),
    ("AgUiDeployment", "invalid_spec"): ("Degraded", "spec.smoke[0].agent.say"),
    ("AgUiEnvironment", "new"): ("Progressing", ""),
    ("AgUiEnvironment", "complete"): ("Healthy", ""),
    ("AgUiEnvironment", "part_missing"): (WAITS, "forgotten"),
    ("AgUiPolicy", "in_force"): ("Healthy", ""),
}


def test_argo_cd_shows_what_is_so_in_each_state(system: System) -> None:
    wrong = []
    try:
        with running_lua() as lua:
            seen = set()
            for kind, state, obj in states(system):
                found = lua.health((ROOT / SCRIPTS / kind / "health.lua").read_text(), obj)
                seen.add((kind, state))
                status, words = SHOWN[kind, state]
                if found["status"] not in status or words not in found.get("message", ""):
                    wrong.append((kind, state, found))
    except NoProgram as reason:
        pytest.skip(str(reason))
    assert wrong == []
    assert seen == set(SHOWN)


def test_the_component_adds_the_scripts_to_the_config_map(control_plane: ControlPlane, tmp_path: Path) -> None:
    installed = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm", "namespace": "argocd"}}
    (tmp_path / "argocd-cm.yaml").write_text(yaml.safe_dump(installed | {"data": {"url": "https://argocd.example"}}))
    up = Path(*[".."] * (len(tmp_path.parts) - 1))
    component = up / (ROOT / FOLDER).relative_to("/")
    document = {"resources": ["argocd-cm.yaml"], "components": [str(component)]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(document))
    built = yaml.safe_load(control_plane.kubectl("kustomize", str(tmp_path)))
    expected = yaml.safe_load((ROOT / CONFIG).read_text())["data"]
    assert built["data"] == expected | {"url": "https://argocd.example"}


@pytest.mark.parametrize("path", sorted((ROOT / "crds").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_api_server_stores_all_that_a_crd_says(system: System, path: Path) -> None:
    """What is in git and not in the cluster is a difference that no sync removes."""
    wanted = yaml.safe_load(path.read_text())
    stored = json.loads(system.plane.kubectl("get", "crd", wanted["metadata"]["name"], "-o", "json"))
    assert list(lost(wanted, stored, "")) == []


def lost(wanted: Any, stored: Any, where: str) -> list[str]:
    """Where `stored` lacks what `wanted` says."""
    if isinstance(wanted, dict) and isinstance(stored, dict):
        found = [f"{where}.{key} is not stored" for key in wanted if key not in stored]
        return found + [
            text for key in wanted if key in stored for text in lost(wanted[key], stored[key], f"{where}.{key}")
        ]
    if isinstance(wanted, list) and isinstance(stored, list) and len(wanted) == len(stored):
        return [text for at, value in enumerate(wanted) for text in lost(value, stored[at], f"{where}[{at}]")]
    return [] if wanted == stored else [f"{where}: {stored!r} is stored for {wanted!r}"]
