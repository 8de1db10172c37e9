"""Linting: every kind of finding once, and nothing to say about what is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from agui_operator.api.lint import lint, lint_documents

ENVIRONMENT = """
apiVersion: agui.dev/v1alpha1
kind: AgUiEnvironment
metadata: {name: prod, namespace: shop}
spec:
  projectId: acme
  region: us-central1
  identities: [{name: concierge}]
  secrets: [{name: concierge-db}]
"""
DEPLOYMENT = """
apiVersion: agui.dev/v1alpha1
kind: AgUiDeployment
metadata: {name: concierge, namespace: shop}
spec:
  environmentRef: {name: prod}
  backend: {image: "us-docker.pkg.dev/acme/agui/app:v1", serviceAccount: concierge}
"""
PREFIX = "f[1] AgUiDeployment shop/concierge: "
SHA = "ab" * 32


def added(line: str, text: str = DEPLOYMENT) -> str:
    return text + line + "\n"


def test_the_samples_are_right() -> None:
    folder = Path(__file__).resolve().parents[3] / "manifests" / "samples"
    texts = [path.read_text() for path in sorted(folder.glob("*.yaml"))]
    assert len(texts) >= 8
    together = "\n---\n".join(t for t in texts if "kind: AgUiDeployment" not in t)
    for release in (t for t in texts if "kind: AgUiDeployment" in t):
        assert lint_documents(f"{together}\n---\n{release}", "samples") == []


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        pytest.param("a: [", "f: not readable as YAML: ", id="not-yaml"),
        pytest.param("- 1", "f[1]: must be an object with apiVersion, kind, metadata and spec", id="a-list"),
        pytest.param("just text", "f[1]: must be an object with apiVersion, kind, metadata and spec", id="a-text"),
        pytest.param(
            DEPLOYMENT.replace("v1alpha1", "v1"),
            "f[1]: apiVersion: must be agui.dev/v1alpha1, got agui.dev/v1; correct it",
            id="version",
        ),
        pytest.param(
            DEPLOYMENT.replace("AgUiDeployment", "AguiDeployment"),
            "f[1]: kind: must be one of AgUiDeployment, AgUiEnvironment, AgUiPolicy, got AguiDeployment; "
            "did you mean AgUiDeployment?",
            id="kind",
        ),
        pytest.param(
            DEPLOYMENT.replace("name: concierge,", ""), "f[1]: metadata.name: is required; add it", id="no-name"
        ),
        pytest.param(
            added("data: {}"), f"{PREFIX}data: is not a known field; correct its name or remove it", id="unknown-field"
        ),
        pytest.param(
            DEPLOYMENT.replace("namespace: shop", "namespace: shop, finalizers: [x]"),
            f"{PREFIX}metadata.finalizers: is the operator's; remove it, or a sync takes the operator's away",
            id="finalizer",
        ),
        pytest.param(
            added("  suspend: 'yes'"),
            f'{PREFIX}spec.suspend: must be true or false, got "yes"; write it without quotes',
            id="spec",
        ),
        pytest.param(added("  suspend: true\n  suspend: false"), "f: not readable as YAML: ", id="key-twice"),
    ],
)
def test_each_finding(text: str, finding: str) -> None:
    found = lint_documents(text, "f")
    assert len(found) == 1
    assert found[0].startswith(finding)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        pytest.param(added("  migrations: {}"), "spec.migrations", id="no-database"),
        pytest.param(
            added(f"  frontend: {{bundle: {{object: b.tar.gz, sha256: '{SHA}'}}}}"), "spec.frontend", id="no-edge"
        ),
        pytest.param(added("  alerts: {channels: [oncall]}"), "spec.alerts.channels[0]", id="no-channel"),
        pytest.param(
            DEPLOYMENT.replace("concierge}", "concierge, secrets: [{env: A, secret: other}]}"),
            "spec.backend.secrets[0].secret",
            id="no-secret",
        ),
        pytest.param(
            DEPLOYMENT.replace("serviceAccount: concierge", "serviceAccount: somebody"),
            "spec.backend.serviceAccount",
            id="no-identity",
        ),
        pytest.param(
            DEPLOYMENT.replace("environmentRef: {name: prod}", "environmentRef: {name: staging}"),
            "spec.environmentRef.name",
            id="no-environment",
        ),
        pytest.param(
            DEPLOYMENT.replace("namespace: shop", "namespace: other"), "spec.environmentRef.name", id="other-namespace"
        ),
    ],
)
def test_a_deployment_is_held_against_its_environment(text: str, path: str) -> None:
    found = lint_documents(f"{ENVIRONMENT}---{text}", "f")
    assert len(found) == 1
    assert f": {path}: " in found[0]
    assert found[0].startswith("f[2] AgUiDeployment ")


def test_a_broken_environment_is_told_once() -> None:
    found = lint_documents(f"{ENVIRONMENT.replace('us-central1', 'US')}---{DEPLOYMENT}", "f")
    assert len(found) == 1
    assert "spec.region" in found[0]


def test_a_deployment_alone_is_right() -> None:
    assert lint_documents(DEPLOYMENT, "f") == []


def test_the_same_object_twice() -> None:
    assert "defined twice in this file" in lint_documents(f"{DEPLOYMENT}---{DEPLOYMENT}", "f")[0]


def test_other_kinds_are_passed_over_with_a_note() -> None:
    text = f"apiVersion: v1\nkind: ConfigMap\n---\n{DEPLOYMENT}"
    assert lint_documents(text, "f") == []
    assert lint([("f", text)]).passed_over == ("f[1]: ConfigMap is not a kind of agui.dev; passed over",)


def test_aliases_work_and_a_bomb_ends() -> None:
    assert lint_documents(added("  smoke: [{name: a, http: &h {path: /}}, {name: b, http: *h}]"), "f") == []
    layers = "".join(f"    - &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    found = lint_documents(f"{DEPLOYMENT}  smoke:\n    - &a0 x\n{layers}", "f")
    assert found == [f"{PREFIX}spec: must be at most 65536 bytes of JSON; shorten its longest texts and lists"]


def test_a_date_stays_a_text() -> None:
    text = """
apiVersion: agui.dev/v1alpha1
kind: AgUiPolicy
metadata: {name: p}
spec:
  namespaces: [a]
  projects: ["*"]
  regions: ["*"]
  serviceAccounts: ["*"]
  imageRepositories: ["*"]
  freezes: [{name: x, from: 2026-12-20T00:00:00Z, until: 2027-01-02T00:00:00Z}]
"""
    assert lint_documents(text, "f") == []
