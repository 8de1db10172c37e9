"""`lint` and `plan` in a pipeline: an exit code and one sentence for each reason, and never a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from agui_operator.__main__ import main

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "manifests/samples"


def run(*arguments: str, given: str | None = None) -> Result:
    environment = {"KUBECONFIG": "/nowhere", "GOOGLE_APPLICATION_CREDENTIALS": "/nowhere", "HOME": "/nowhere"}
    return CliRunner().invoke(main, arguments, input=given, env=environment)


def documents(*names: str) -> list[dict[str, Any]]:
    return [d for name in names for d in yaml.safe_load_all((SAMPLES / name).read_text())]


def text(*found: dict[str, Any]) -> str:
    return yaml.safe_dump_all(found)


ENVIRONMENT, POLICY = documents("environment.yaml")[0], documents("policy.yaml")[0]
RELEASE = next(d for d in documents("release-v2.yaml") if d["kind"] == "AgUiDeployment")


def released(**backend: Any) -> dict[str, Any]:
    return {**RELEASE, "spec": {**RELEASE["spec"], "backend": {**RELEASE["spec"]["backend"], **backend}}}


def test_lint_takes_folders_and_standard_input(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/release.yaml").write_text(text(RELEASE))
    (tmp_path / "environment.yml").write_text(text(ENVIRONMENT, POLICY))
    (tmp_path / "README.md").write_text("not a manifest: [")
    folder = run("lint", str(tmp_path))
    assert (folder.exit_code, folder.output) == (0, "2 files checked, no problems\n")
    piped = run("lint", "-", given=text(ENVIRONMENT, RELEASE))
    assert (piped.exit_code, piped.output) == (0, "1 file checked, no problems\n")


def test_lint_tells_of_each_file_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe")
    (tmp_path / "b.yaml").write_text("a: [")
    found = run("lint", str(tmp_path))
    assert found.exit_code == 1
    assert "a.yaml: is not UTF-8" in found.output
    assert "b.yaml: not readable as YAML" in found.output
    (tmp_path / "none").mkdir()
    empty = run("lint", str(tmp_path / "none"))
    assert (empty.exit_code, "has no .yaml" in empty.output) == (1, True)
    other = run("lint", "-", given="apiVersion: agui.deb/v1\nkind: AgUiDeployment\n")
    assert (other.exit_code, "no AgUiDeployment" in other.output) == (1, True)


def test_an_offline_plan_needs_no_credentials() -> None:
    planned = run("plan", "--offline", "-", given=text(ENVIRONMENT, POLICY, RELEASE))
    assert planned.exit_code == 0, planned.output
    assert "planned as a first release" in planned.output
    assert "ends in Healthy" in planned.output
    assert "demo/concierge:" in planned.output


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        pytest.param(
            text(ENVIRONMENT, POLICY, released(image="docker.io/library/nginx:1")),
            "Blocked: spec.backend.image: docker.io/library/nginx:1 is not permitted",
            id="forbidden",
        ),
        pytest.param(text(POLICY, RELEASE), "Blocked: AgUiEnvironment demo/demo not found", id="no environment"),
        pytest.param("a: [", "not readable as YAML", id="bad YAML"),
        pytest.param(text({**RELEASE, "kind": "AgUiDeploymnet"}), "did you mean AgUiDeployment?", id="misspelt kind"),
        pytest.param(text(released(serviceAcount="x")), "did you mean serviceAccount?", id="misspelt key"),
        pytest.param(text(ENVIRONMENT), "nothing to plan", id="nothing to plan"),
    ],
)
def test_a_plan_that_can_not_go_exits_with_one_and_a_sentence(given: str, sentence: str) -> None:
    planned = run("plan", "--offline", "-", given=given)
    assert planned.exit_code == 1
    assert sentence in planned.output
    assert isinstance(planned.exception, SystemExit), planned.exception


def test_a_stop_is_waited_for_and_blocks_nothing() -> None:
    stopped = {**POLICY, "spec": {**POLICY["spec"], "stop": {"active": True, "reason": "night"}}}
    planned = run("plan", "--offline", "-", given=text(ENVIRONMENT, stopped, RELEASE))
    assert (planned.exit_code, "waits: stopped by an administrator: night" in planned.output) == (0, True)


def test_without_a_policy_in_the_files_nothing_is_held_against_one() -> None:
    assert run("plan", "--offline", "-", given=text(ENVIRONMENT, RELEASE)).exit_code == 0


def test_without_a_login_one_sentence_says_so() -> None:
    for command in (("plan", "-"), ("wait", "concierge")):
        done = run(*command, given=text(ENVIRONMENT, RELEASE))
        assert (done.exit_code, "no way to log in to Kubernetes" in done.output) == (1, True)
    assert run("wait", "concierge", "--timeout", "soon").exit_code == 2


@pytest.mark.parametrize("command", ["lint", "plan"])
def test_a_file_that_is_not_there_is_a_usage_error(command: str) -> None:
    assert run(command, "/nowhere/x.yaml").exit_code == 2
