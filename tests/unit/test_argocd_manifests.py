"""manifests/argocd: the ConfigMap is what the Lua files say, the examples fit Argo CD's schema and the operator's."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from agui_dev.argocd import customizations
from agui_dev.argocd.customizations import CONFIG, DISCOVERY, FOLDER, SCRIPTS
from agui_dev.paths import ROOT
from agui_operator.api.parse import parse_deployment, parse_environment, parse_policy
from agui_operator.core.requests import ANNOTATIONS, EVENTS
from agui_operator.core.rollout import Phase, allowed
from agui_operator.core.snapshot import RequestKind

EXAMPLES = ROOT / FOLDER / "examples"
ENVIRONMENTS = ("dev", "prod")
PARSERS = {"AgUiDeployment": parse_deployment, "AgUiEnvironment": parse_environment, "AgUiPolicy": parse_policy}


def test_the_config_map_holds_each_script_as_it_is() -> None:
    data = yaml.safe_load((ROOT / CONFIG).read_text())["data"]
    for script in (ROOT / SCRIPTS).glob("*/health.lua"):
        assert data.pop(f"resource.customizations.health.agui.dev_{script.parent.name}") == script.read_text()
    actions = yaml.safe_load(data.pop("resource.customizations.actions.agui.dev_AgUiDeployment"))
    assert actions["discovery.lua"] == (ROOT / DISCOVERY).read_text()
    folder = (ROOT / DISCOVERY).parent
    scripts = {path.parent.name: path.read_text() for path in folder.glob("*/action.lua")}
    assert {entry["name"]: entry["action.lua"] for entry in actions["definitions"]} == scripts
    assert data == {}


def test_what_is_committed_is_what_is_generated(tmp_path: Path) -> None:
    assert customizations.check(ROOT) == []
    copied = tmp_path / SCRIPTS / "AgUiDeployment"
    copied.mkdir(parents=True)
    (copied / "health.lua").write_text("return {}")
    assert len(customizations.check(tmp_path)) == 2
    (copied / "actions").mkdir()
    customizations.write(tmp_path)
    assert customizations.check(tmp_path) == []
    (copied / "health.lua").write_text("return {status = 'Healthy'}")
    assert customizations.check(tmp_path) == [f"{CONFIG} is not what the Lua files and the transition table say"]


def test_an_action_is_offered_where_the_table_allows_its_request() -> None:
    for kind in RequestKind:
        offered = set(customizations.possible_phases(kind))
        assert offered
        assert offered <= {phase for phase in Phase if allowed(phase, EVENTS[kind])}
    assert Phase.SUSPENDED not in customizations.possible_phases(RequestKind.RESUME)


def deployed(environment: str) -> dict[str, dict[str, Any]]:
    found = [yaml.safe_load(path.read_text()) for path in (EXAMPLES / "deploy" / environment).glob("*.yaml")]
    return {document["kind"]: document for document in found}


def example(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    return document


def committed() -> list[dict[str, Any]]:
    paths = sorted((ROOT / "manifests" / "samples").glob("*.yaml")) + sorted(EXAMPLES.rglob("*.yaml"))
    return [document for path in paths for document in yaml.safe_load_all(path.read_text())]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_example_is_what_the_operator_accepts(environment: str) -> None:
    found = deployed(environment)
    for kind, parse in PARSERS.items():
        parse(found[kind]["spec"])
    place = found["AgUiDeployment"]["metadata"]["namespace"]
    assert found["AgUiEnvironment"]["metadata"]["namespace"] == place
    assert found["AgUiPolicy"]["spec"]["namespaces"] == [place]
    assert found["AgUiDeployment"]["spec"]["environmentRef"]["name"] == found["AgUiEnvironment"]["metadata"]["name"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_release_is_the_last_wave_so_that_it_is_deleted_first(environment: str) -> None:
    found = deployed(environment)
    waves = [
        int(found[kind]["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"])
        for kind in ("AgUiPolicy", "AgUiEnvironment", "AgUiDeployment")
    ]
    assert waves == sorted(set(waves))


def test_each_application_applies_on_the_server_and_looks_at_git_between_retries() -> None:
    for spec in (example("application")["spec"], example("applicationset")["spec"]["template"]["spec"]):
        policy = spec["syncPolicy"]
        assert {"ServerSideApply=true", "CreateNamespace=true"} <= set(policy["syncOptions"])
        assert policy["retry"]["refresh"] is True
    generated = example("applicationset")["spec"]["generators"][0]["list"]["elements"]
    assert {element["environment"] for element in generated} == set(ENVIRONMENTS)


def test_the_application_of_the_operator_removes_no_crd_and_names_what_is_there() -> None:
    application = example("operator")
    assert "finalizers" not in application["metadata"]
    assert application["spec"]["syncPolicy"]["automated"]["prune"] is False
    assert "ServerSideApply=true" in application["spec"]["syncPolicy"]["syncOptions"]
    assert all((ROOT / source["path"]).is_dir() for source in application["spec"]["sources"])


def test_the_project_permits_what_the_examples_deploy() -> None:
    project = example("appproject")
    spec, meta = project["spec"], project["metadata"]
    permitted = {entry["kind"] for entry in spec["clusterResourceWhitelist"] + spec["namespaceResourceWhitelist"]}
    assert {kind for name in ENVIRONMENTS for kind in deployed(name)} <= permitted
    application = example("application")["spec"]
    assert application["project"] == meta["name"]
    assert application["source"]["repoURL"] in spec["sourceRepos"]
    places = [
        d["metadata"]["namespace"]
        for name in ENVIRONMENTS
        for d in deployed(name).values()
        if "Policy" not in d["kind"]
    ]
    assert all(fnmatch(place, spec["destinations"][0]["namespace"]) for place in places)


def test_git_holds_no_finalizer_no_request_and_no_status_of_an_object_of_agui_dev() -> None:
    own = [document for document in committed() if document["apiVersion"].startswith("agui.dev/")]
    assert len(own) > 6
    for document in own:
        meta = document["metadata"]
        assert "finalizers" not in meta
        assert not set(meta.get("annotations") or {}) & set(ANNOTATIONS.values())
        assert "status" not in document
