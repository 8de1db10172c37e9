"""The Lua of manifests/argocd in the interpreter of Argo CD, with the libraries that Argo CD gives it: none but base
and table. The test files are those that Argo CD's own repository asks for, read as its tests read them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agui_dev.argocd.customizations import SCRIPTS, kinds
from agui_dev.argocd.lua import Lua, LuaFailed, running_lua
from agui_dev.go_program import NoProgram
from agui_dev.paths import ROOT
from agui_operator.core.requests import ANNOTATIONS
from agui_operator.core.rollout import Phase
from agui_operator.core.snapshot import RequestKind

pytestmark = pytest.mark.contract
Json = dict[str, Any]
FOLDER = ROOT / SCRIPTS
DEPLOYMENT = FOLDER / "AgUiDeployment"
ACTIONS = DEPLOYMENT / "actions"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


HEALTH_TESTS = [
    pytest.param(kind, test, id=f"{kind}/{Path(test['inputPath']).stem}")
    for kind in kinds()
    for test in read(FOLDER / kind / "health_test.yaml")["tests"]
]
ACTION_FILE = read(ACTIONS / "action_test.yaml")


@pytest.fixture(scope="module")
def lua() -> Iterator[Lua]:
    try:
        with running_lua() as running:
            yield running
    except NoProgram as reason:
        pytest.skip(str(reason))


def health(lua: Lua, obj: Json) -> Json:
    return lua.health((FOLDER / obj["kind"] / "health.lua").read_text(), obj)


def recorded(state: str) -> Json:
    found: Json = read(DEPLOYMENT / "testdata" / f"{state}.yaml")
    return found


def with_conditions(obj: Json, **conditions: str | None) -> Json:
    """The object with conditions of these statuses; a status of None takes the condition away."""
    changed = copy.deepcopy(obj)
    listed = {c["type"]: c for c in changed["status"]["conditions"]}
    for kind, status in conditions.items():
        if status is None:
            listed.pop(kind, None)
        else:
            text = {"reason": f"{kind}Reason", "message": f"the message of {kind}"}
            listed[kind] = {"type": kind, "status": status, **text}
    changed["status"]["conditions"] = list(listed.values())
    return changed


# --- the interpreter ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["string", "math", "io", "os", "coroutine", "debug"])
def test_no_library_is_open(lua: Lua, library: str) -> None:
    with pytest.raises(LuaFailed, match="attempt to index a non-table object"):
        lua.run(f"return {library}.anything", {})


def test_a_script_that_does_not_end_is_ended(lua: Lua) -> None:
    with pytest.raises(LuaFailed, match="deadline exceeded"):
        lua.run("while true do end", {})


def test_an_empty_map_stays_a_map(lua: Lua) -> None:
    obj = {"metadata": {"labels": {}, "finalizers": []}}
    assert lua.act("return obj", obj) == obj


# --- health ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "test"), HEALTH_TESTS)
def test_health_is_as_the_test_file_says(lua: Lua, kind: str, test: Json) -> None:
    obj = read(FOLDER / kind / test["inputPath"])
    assert obj["kind"] == kind
    assert health(lua, obj) == test["healthStatus"]


@pytest.mark.parametrize("kind", kinds())
def test_each_recorded_object_is_tested(kind: str) -> None:
    tested = {Path(test["inputPath"]).name for test in read(FOLDER / kind / "health_test.yaml")["tests"]}
    assert tested == {path.name for path in (FOLDER / kind / "testdata").glob("*.yaml")}


@pytest.mark.parametrize(("state", "status"), [("rolled_back", "Degraded"), ("undone", "Degraded")])
def test_a_release_that_was_rolled_back_says_why_and_what_serves(lua: Lua, state: str, status: str) -> None:
    obj = recorded(state)
    found = health(lua, obj)
    assert found["status"] == status
    assert obj["status"]["rejected"]["reason"] in found["message"]
    assert obj["status"]["rejected"]["message"] in found["message"]
    assert f"{obj['status']['stable']['id']}) serves all traffic" in found["message"]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"Stalled": "True"}, ("Degraded", "StalledReason: the message of Stalled")),
        ({"Stalled": "True", "Paused": "True"}, ("Degraded", "StalledReason: the message of Stalled")),
        ({"Paused": "True", "Reconciling": "True"}, ("Suspended", "PausedReason: the message of Paused")),
        ({"Reconciling": "True", "Ready": "False"}, ("Progressing", "the message of Ready")),
        ({"Ready": "True"}, ("Healthy", "the message of Ready")),
        ({"Ready": "Unknown"}, ("Progressing", "ReadyReason: the message of Ready")),
        ({"Ready": None, "Reconciling": None, "Stalled": None}, ("Progressing", None)),
    ],
)
def test_conditions_decide_in_the_order_of_urgency(
    lua: Lua, conditions: dict[str, str | None], expected: tuple[str, str | None]
) -> None:
    usual = {"Ready": "True", "Reconciling": "False", "Stalled": "False", "Paused": "False"}
    found = health(lua, with_conditions(recorded("healthy"), **(usual | conditions)))
    assert (found["status"], found.get("message") or None) == expected


@pytest.mark.parametrize("phase", ["Paused", "Suspended"])
def test_the_condition_paused_outweighs_the_phase(lua: Lua, phase: str) -> None:
    obj = with_conditions(recorded("healthy"), Ready="False", Reconciling="True", Stalled="False")
    obj["status"]["phase"] = phase
    assert health(lua, with_conditions(obj, Paused=None))["status"] == "Suspended"
    assert health(lua, with_conditions(obj, Paused="False"))["status"] == "Progressing"


@pytest.mark.parametrize(
    ("kind", "conditions", "expected"),
    [
        ("AgUiEnvironment", {"Ready": "False", "Stalled": "True"}, "Degraded"),
        ("AgUiEnvironment", {"Ready": "False", "Stalled": "False", "Reconciling": "True"}, "Progressing"),
        ("AgUiEnvironment", {"Ready": "False", "Stalled": "False"}, "Progressing"),
        ("AgUiEnvironment", {"Ready": "Unknown"}, "Progressing"),
        ("AgUiEnvironment", {"Ready": "True"}, "Healthy"),
        ("AgUiPolicy", {"Ready": "True"}, "Healthy"),
        ("AgUiPolicy", {"Ready": "False"}, "Degraded"),
        ("AgUiPolicy", {"Ready": "True", "Stalled": "True"}, "Degraded"),
        ("AgUiPolicy", {"Ready": "Unknown"}, "Progressing"),
        ("AgUiPolicy", {"Ready": "False", "Reconciling": "True"}, "Progressing"),
    ],
)
def test_environments_and_policies_follow_their_conditions(
    lua: Lua, kind: str, conditions: dict[str, str], expected: str
) -> None:
    obj = read(FOLDER / kind / "testdata" / {"AgUiEnvironment": "complete.yaml", "AgUiPolicy": "in_force.yaml"}[kind])
    obj["status"] = {"observedGeneration": obj["metadata"]["generation"], "conditions": []}
    obj = with_conditions(obj, **conditions)
    assert health(lua, obj)["status"] == expected
    obj["metadata"]["generation"] += 1
    assert health(lua, obj)["status"] == "Progressing", "the status is that of an older spec"


@pytest.mark.parametrize("kind", kinds())
@pytest.mark.parametrize("status", [None, {}, {"conditions": []}, {"observedGeneration": -1}])
def test_a_status_that_says_nothing_is_no_error(lua: Lua, kind: str, status: Json | None) -> None:
    obj: Json = {"kind": kind, "metadata": {"name": "x", "generation": 1}, "spec": {}}
    if status is not None:
        obj["status"] = status
    without_conditions = "Healthy" if kind == "AgUiPolicy" and (status or {}).get("conditions") != [] else None
    assert health(lua, obj)["status"] == (without_conditions or "Progressing")


# --- actions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("test", ACTION_FILE["discoveryTests"], ids=lambda test: Path(test["inputPath"]).stem)
def test_the_offered_actions_are_as_the_test_file_says(lua: Lua, test: Json) -> None:
    found = lua.actions((ACTIONS / "discovery.lua").read_text(), read(ACTIONS / test["inputPath"]))
    assert found == {entry.pop("name"): entry for entry in copy.deepcopy(test["result"])}


@pytest.mark.parametrize("test", ACTION_FILE["actionTests"], ids=lambda test: test["action"])
def test_an_action_changes_what_the_test_file_says(lua: Lua, test: Json) -> None:
    script = (ACTIONS / test["action"] / "action.lua").read_text()
    found = lua.act(script, read(ACTIONS / test["inputPath"]), test.get("parameters"))
    assert found == read(ACTIONS / test["expectedOutputPath"])


def test_each_request_is_an_action_and_each_action_is_tested() -> None:
    requests = {str(kind) for kind in RequestKind}
    assert {path.parent.name for path in ACTIONS.glob("*/action.lua")} == requests
    assert {test["action"] for test in ACTION_FILE["actionTests"]} == requests


@pytest.mark.parametrize("kind", RequestKind)
@pytest.mark.parametrize("annotations", [None, {}, {"team": "shop"}])
def test_an_action_sets_its_annotation_and_nothing_else(
    lua: Lua, kind: RequestKind, annotations: dict[str, str] | None
) -> None:
    obj = recorded("healthy")
    obj["metadata"].pop("annotations", None)
    if annotations is not None:
        obj["metadata"]["annotations"] = annotations
    found = lua.act((ACTIONS / kind / "action.lua").read_text(), obj)
    value = "previous" if kind is RequestKind.UNDO else "true"
    expected = copy.deepcopy(obj)
    expected["metadata"]["annotations"] = {**(annotations or {}), ANNOTATIONS[kind]: value}
    assert found == expected


@pytest.mark.parametrize(("given", "value"), [({"release": "5c4034243e"}, "5c4034243e"), ({"release": ""}, "previous")])
def test_undo_goes_to_the_release_that_is_named(lua: Lua, given: dict[str, str], value: str) -> None:
    found = lua.act((ACTIONS / "undo" / "action.lua").read_text(), recorded("healthy"), given)
    assert found["metadata"]["annotations"][ANNOTATIONS[RequestKind.UNDO]] == value


@pytest.mark.parametrize("phase", Phase)
def test_an_object_that_is_deleted_or_unknown_offers_nothing(lua: Lua, phase: Phase) -> None:
    script, obj = (ACTIONS / "discovery.lua").read_text(), recorded("healthy")
    obj["status"]["phase"] = phase
    obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    for changed in (obj, {"metadata": {}, "status": {"phase": "Unheard"}}, {"metadata": {}}):
        assert all(action["disabled"] for action in lua.actions(script, changed).values())


def test_a_policy_that_holds_cannot_be_outvoted(lua: Lua) -> None:
    script, obj = (ACTIONS / "discovery.lua").read_text(), recorded("paused_by_step")
    open_for = {name for name, action in lua.actions(script, obj).items() if not action["disabled"]}
    assert open_for == {"promote", "promote-full", "resume", "abort"}
    obj["status"]["rollout"]["heldBy"] = "Policy"
    assert {name for name, action in lua.actions(script, obj).items() if not action["disabled"]} == {"abort"}
