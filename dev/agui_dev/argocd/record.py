"""Records the test data of manifests/argocd from the real operator: `python -m agui_dev.argocd.record`.

Writes testdata/ of each kind, the outputs of the actions, health_test.yaml and action_test.yaml. The results are what
the scripts say now: read the difference before you commit it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml

from agui_dev.argocd.customizations import SCRIPTS
from agui_dev.argocd.lua import Lua, running_lua
from agui_dev.argocd.states import states
from agui_dev.controlplane import ControlPlane
from agui_dev.paths import ROOT
from agui_dev.testbed.system import running_system

Json = dict[str, Any]
# action: the state that it is tried on, its parameters
TRIED: dict[str, tuple[str, dict[str, str]]] = {
    "promote": ("paused_by_step", {}),
    "promote-full": ("paused_by_step", {}),
    "abort": ("paused_by_step", {}),
    "retry": ("rolled_back", {}),
    "pause": ("progressing", {}),
    "resume": ("paused_by_request", {}),
    "undo": ("healthy_again", {}),
}


def main() -> None:
    """The command line."""
    with tempfile.TemporaryDirectory(prefix="agui-argocd-") as folder:
        plane = ControlPlane(Path(folder))
        plane.start()
        try:
            with running_system(plane, "--lro-seconds", "0", "--metric-period-seconds", "0.25") as system:
                found = list(states(system))
        finally:
            plane.stop()
    for kind, state, document in found:
        path = ROOT / SCRIPTS / kind / "testdata" / f"{state}.yaml"
        path.write_text(text(document))
    with running_lua() as lua:
        for kind in sorted({kind for kind, _, _ in found}):
            write_tests(lua, kind, {state: document for other, state, document in found if other == kind})


def write_tests(lua: Lua, kind: str, documents: dict[str, Json]) -> None:
    """The test files of one kind in the format of Argo CD."""
    folder = ROOT / SCRIPTS / kind
    script = (folder / "health.lua").read_text()
    tests = [
        {"healthStatus": lua.health(script, document), "inputPath": f"testdata/{state}.yaml"}
        for state, document in sorted(documents.items())
    ]
    (folder / "health_test.yaml").write_text(text({"tests": tests}))
    discovery = folder / "actions" / "discovery.lua"
    if not discovery.exists():
        return
    offered = []
    for state, document in sorted(documents.items()):
        found = lua.actions(discovery.read_text(), document)
        result = [{"name": name, **found[name]} for name in sorted(found)]
        offered.append({"inputPath": f"../testdata/{state}.yaml", "result": result})
    acted = []
    for action, (state, parameters) in TRIED.items():
        output = lua.act((folder / "actions" / action / "action.lua").read_text(), documents[state], parameters)
        path = folder / "actions" / "testdata" / f"{action}.yaml"
        path.write_text(text(output))
        acted.append(
            {
                "action": action,
                "inputPath": f"../testdata/{state}.yaml",
                "expectedOutputPath": f"testdata/{path.name}",
            }
        )
    (folder / "actions" / "action_test.yaml").write_text(text({"discoveryTests": offered, "actionTests": acted}))


def text(document: Json) -> str:
    """YAML as kubectl prints it: keys sorted only where the object has no order of its own."""
    return yaml.safe_dump(document, sort_keys=False, width=1000)


if __name__ == "__main__":
    main()
