"""Generates what Argo CD reads from what it is said by: `argocd-cm.yaml` from the Lua files of manifests/argocd, and
`discovery.lua` from the transition table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from agui_dev.paths import ROOT
from agui_operator.core.memory import HeldBy
from agui_operator.core.requests import EVENTS
from agui_operator.core.rollout import Phase, allowed
from agui_operator.core.snapshot import RequestKind

FOLDER = Path("manifests/argocd")
GROUP = "agui.dev"
SCRIPTS = FOLDER / "resource_customizations" / GROUP
DISCOVERED = SCRIPTS / "AgUiDeployment"
DISCOVERY = DISCOVERED / "actions" / "discovery.lua"
CONFIG = FOLDER / "argocd-cm.yaml"

# order in the menu, its words, its icon
MENU: Mapping[RequestKind, tuple[str, str]] = {
    RequestKind.PROMOTE: ("Promote: end this step", "fa fa-fw fa-step-forward"),
    RequestKind.PROMOTE_FULL: ("Promote in full: skip all steps", "fa fa-fw fa-fast-forward"),
    RequestKind.PAUSE: ("Pause", "fa fa-fw fa-pause"),
    RequestKind.RESUME: ("Resume", "fa fa-fw fa-play"),
    RequestKind.ABORT: ("Abort: restore the stable release", "fa fa-fw fa-stop"),
    RequestKind.RETRY: ("Retry the rejected release", "fa fa-fw fa-redo"),
    RequestKind.UNDO: ("Undo: restore the release before", "fa fa-fw fa-undo"),
}
_CONTINUES = (RequestKind.PROMOTE, RequestKind.PROMOTE_FULL, RequestKind.RESUME)  # not while a policy holds
_RELEASE_PARAMETER = '    ["params"] = {{["name"] = "release"}},\n'

_DISCOVERY = """\
-- Generated from the transition table by `make generate`: the phases in which a request changes something.
-- `disabled` is display only: the operator refuses what the phase does not allow, and answers in .status.lastRequest.

local phases = {{
{phases}}}

local status = obj.status or {{}}
local rollout = status.rollout or {{}}
local deleting = obj.metadata.deletionTimestamp ~= nil
local held_by_policy = status.phase == "{paused}" and rollout.heldBy == "{policy}"
local returnable = false
if status.conditions ~= nil then
  for _, condition in ipairs(status.conditions) do
    if condition.type == "RollbackReady" and condition.status == "True" then
      returnable = true
    end
  end
end

local function disabled(request)
  return deleting or status.phase == nil or phases[request][status.phase] == nil
end

local actions = {{}}
{actions}
return actions
"""


def possible_phases(kind: RequestKind) -> list[Phase]:
    """In which phases the table lets a request change something. Only `spec.suspend` ends a suspension."""
    return [
        phase
        for phase in Phase
        if allowed(phase, EVENTS[kind]) and not (kind is RequestKind.RESUME and phase is Phase.SUSPENDED)
    ]


def render_discovery() -> str:
    """discovery.lua: one action for each request."""
    phases, actions = "", ""
    for kind, (words, icon) in MENU.items():
        inside = ", ".join(f'["{phase}"] = true' for phase in possible_phases(kind))
        phases += f'  ["{kind}"] = {{{inside}}},\n'
        more = " or held_by_policy" if kind in _CONTINUES else ""
        more = " or not returnable" if kind is RequestKind.UNDO else more
        actions += (
            f'actions["{kind}"] = {{\n'
            f'    ["disabled"] = disabled("{kind}"){more},\n'
            f"{_RELEASE_PARAMETER if kind is RequestKind.UNDO else ''}"
            f'    ["displayName"] = "{words}",\n'
            f'    ["iconClass"] = "{icon}",\n'
            f"}}\n"
        )
    return _DISCOVERY.format(phases=phases, actions=actions, paused=Phase.PAUSED, policy=HeldBy.POLICY)


def kinds(root: Path = ROOT) -> list[str]:
    """The kinds that have scripts."""
    return sorted(path.parent.name for path in (root / SCRIPTS).glob("*/health.lua"))


def settings(root: Path) -> dict[str, str]:
    """The keys of ConfigMap argocd-cm: the health of each kind, and the actions of those that have some."""
    found: dict[str, str] = {}
    for kind in kinds(root):
        folder = root / SCRIPTS / kind
        found[f"resource.customizations.health.{GROUP}_{kind}"] = (folder / "health.lua").read_text()
        names = sorted(path.parent.name for path in folder.glob("actions/*/action.lua"))
        if names:
            actions = {
                "discovery.lua": render_discovery() if folder == root / DISCOVERED else _read(folder, "discovery"),
                "definitions": [{"name": name, "action.lua": _read(folder, f"{name}/action")} for name in names],
            }
            found[f"resource.customizations.actions.{GROUP}_{kind}"] = dump(actions)
    return found


def _read(folder: Path, script: str) -> str:
    return (folder / "actions" / f"{script}.lua").read_text()


class _Literal(yaml.SafeDumper):
    """Writes texts of several lines as blocks, so that Lua stays readable."""


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Literal.add_representer(str, _represent)


def dump(document: Any) -> str:
    """YAML with literal blocks, keys in the order given."""
    return yaml.dump(document, Dumper=_Literal, sort_keys=False, width=200)


def render_config(root: Path) -> str:
    """argocd-cm.yaml: a patch of the ConfigMap that Argo CD reads its settings from."""
    document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "argocd-cm",
            "namespace": "argocd",
            "labels": {"app.kubernetes.io/name": "argocd-cm", "app.kubernetes.io/part-of": "argocd"},
        },
        "data": settings(root),
    }
    return "# Generated from resource_customizations/ by `make generate`.\n" + dump(document)


def _files(root: Path) -> dict[Path, str]:
    return {DISCOVERY: render_discovery(), CONFIG: render_config(root)}


def write(root: Path) -> list[Path]:
    """Writes the two files below `root`; returns their paths."""
    for name, text in _files(root).items():
        (root / name).write_text(text)
    return [root / name for name in _files(root)]


def check(root: Path) -> list[str]:
    """One sentence for each file that differs from what would be generated."""
    stale = [name for name, text in _files(root).items() if not _holds(root / name, text)]
    return [f"{name} is not what the Lua files and the transition table say" for name in stale]


def _holds(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text
