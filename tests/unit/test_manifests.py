"""The manifests: least privilege, a hardened pod, samples that fit together and name the bundles that are built."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from agui_dev.steps import StepFailed
from agui_dev.testbed import pages
from agui_operator.api.parse import parse_deployment, parse_environment, parse_policy
from agui_operator.core.blockers import place_of
from agui_operator.core.names import Names
from agui_operator.core.permitted import refusals
from agui_operator.core.uses import of_spec

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests"
VERSIONS = ("v1", "v2", "v3", "v4", "v5")


def documents(folder: str) -> list[dict[str, Any]]:
    paths = sorted((MANIFESTS / folder).glob("*.yaml"))
    assert paths, folder
    return [d for path in paths for d in yaml.safe_load_all(path.read_text()) if d]


def one(kind: str, name: str | None = None) -> dict[str, Any]:
    (found,) = [d for d in documents("base") if d["kind"] == kind and name in (None, d["metadata"]["name"])]
    return found


def rules() -> list[dict[str, Any]]:
    return list(one("ClusterRole", "agui-operator")["rules"]) + list(one("Role")["rules"])


def test_the_operator_has_no_right_that_it_does_not_need() -> None:
    granted = {
        (g, r, v) for rule in rules() for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]
    }
    own = "agui.dev"
    read = {
        (own, r, v) for r in ("aguideployments", "aguienvironments", "aguipolicies") for v in ("get", "list", "watch")
    }
    assert granted == read | {
        (own, "aguideployments", "patch"),
        (own, "aguienvironments", "patch"),
        ("", "namespaces", "get"),
        (own, "aguideployments/status", "patch"),
        (own, "aguienvironments/status", "patch"),
        (own, "aguipolicies/status", "patch"),
        ("", "events", "create"),
        ("", "events", "patch"),
        ("apiextensions.k8s.io", "customresourcedefinitions", "get"),
        ("apiextensions.k8s.io", "customresourcedefinitions", "list"),
        ("apiextensions.k8s.io", "customresourcedefinitions", "watch"),
        ("coordination.k8s.io", "leases", "create"),
        ("coordination.k8s.io", "leases", "get"),
        ("coordination.k8s.io", "leases", "update"),
    }


def test_leases_are_read_and_changed_by_name_in_the_own_namespace() -> None:
    for rule in one("Role")["rules"]:
        assert rule["resources"] == ["leases"]
        assert rule["verbs"] == ["create"] or rule["resourceNames"] == ["agui-operator"]
    assert one("Role")["metadata"]["namespace"] == "agui-system"
    assert not any("leases" in rule["resources"] for rule in one("ClusterRole", "agui-operator")["rules"])


def test_nobody_is_given_policies_or_wildcards() -> None:
    for document in documents("base"):
        for rule in document.get("rules", []):
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
            if document["metadata"]["name"] != "agui-operator":
                assert "aguipolicies" not in rule["resources"]


def test_the_memory_limit_is_what_a_thousand_deployments_need() -> None:
    """The limit and the rule of docs/scale.md agree; 317 MiB was the measured peak of 1,000 first releases at once."""
    (container,) = one("Deployment")["spec"]["template"]["spec"]["containers"]
    limit = container["resources"]["limits"]["memory"]
    assert f"up to 1,000 | {limit} " in (ROOT / "docs/scale.md").read_text()
    assert int(limit.removesuffix("Mi")) >= 317 * 1.5


def test_bindings_name_the_operator_only() -> None:
    account = one("ServiceAccount")["metadata"]
    for kind in ("ClusterRoleBinding", "RoleBinding"):
        (subject,) = one(kind)["subjects"]
        assert (subject["kind"], subject["name"], subject["namespace"]) == (
            "ServiceAccount",
            account["name"],
            account["namespace"],
        )


def test_the_pod_meets_the_restricted_standard() -> None:
    assert one("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    pod = one("Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert all(set(volume) == {"name", "emptyDir"} for volume in pod["volumes"])
    (container,) = pod["containers"]
    context = container["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}


def test_one_replica_that_is_watched() -> None:
    spec = one("Deployment")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["serviceAccountName"] == one("ServiceAccount")["metadata"]["name"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    env = {e["name"]: e.get("value") for e in container["env"]}
    assert ports["http"] == 8080
    assert env["AGUI_HTTP_PORT"] == "8080"
    assert env["AGUI_HTTP_HOST"] == "0.0.0.0"
    assert "memory" in container["resources"]["limits"]
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


def test_the_settings_exist() -> None:
    source = (ROOT / "operator/agui_operator/engine/settings.py").read_text()
    source += (ROOT / "operator/agui_operator/__main__.py").read_text()
    texts = [path.read_text() for path in (MANIFESTS / "overlays").rglob("*.yaml")]
    for setting in {
        word.strip("{},")
        for text in [yaml.safe_dump(one("Deployment")), *texts]
        for word in text.split()
        if word.startswith("AGUI_")
    }:
        assert setting in source or setting.removeprefix("AGUI_") in source, setting


@pytest.mark.parametrize("overlay", ["local", "dev", "staging", "prod"])
def test_overlays_build_on_base_and_patch_what_exists(overlay: str) -> None:
    (kustomization,) = documents(f"overlays/{overlay}")
    assert kustomization["resources"] == ["../../base"]
    assert [image["name"] for image in kustomization["images"]] == ["agui-operator"]
    known = {(d["kind"], d["metadata"]["name"]) for d in documents("base") if d["kind"] != "Kustomization"}
    for patch in kustomization["patches"]:
        assert (patch["target"]["kind"], patch["target"]["name"]) in known
        assert yaml.safe_load(patch["patch"])


def test_base_lists_all_of_its_files() -> None:
    (kustomization,) = [d for d in documents("base") if d["kind"] == "Kustomization"]
    files = {path.name for path in (MANIFESTS / "base").glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == files


def sample(name: str) -> dict[str, Any]:
    document = yaml.safe_load((MANIFESTS / "samples" / f"{name}.yaml").read_text())
    assert isinstance(document, dict)
    return document


def bundle_maker() -> ModuleType:
    path = ROOT / "demo" / "images" / "make_bundle.py"
    spec = importlib.util.spec_from_file_location("sample_bundle_maker", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_samples_name_the_bundles_that_are_built() -> None:
    maker = bundle_maker()
    assert tuple(v.name for v in maker.VERSIONS) == VERSIONS
    for version in maker.VERSIONS:
        spec = sample(f"release-{version.name}")["spec"]
        digest = hashlib.sha256(maker.archive(maker.files_of(version))).hexdigest()
        want = {"object": f"bundles/concierge-{version.name}.tar.gz", "sha256": digest}
        assert spec["frontend"]["bundle"] == want
        assert spec["version"] == version.version


def test_samples_name_the_images_of_the_catalogue() -> None:
    catalogue = yaml.safe_load((ROOT / "demo" / "images" / "catalog.yaml").read_text())["images"]
    for version in VERSIONS:
        spec = sample(f"release-{version}")["spec"]
        repository, _, tag = spec["backend"]["image"].rpartition(":")
        assert tag == version
        assert catalogue[repository][tag]["env"]["AGUI_VERSION"] == spec["version"]


def test_releases_differ_in_nothing_that_could_give_them_away() -> None:
    shapes = []
    for version in VERSIONS:
        document = copy.deepcopy(sample(f"release-{version}"))
        spec = document["spec"]
        del spec["version"], spec["backend"]["image"], spec["frontend"]["bundle"]
        shapes.append(document)
    assert all(shape == shapes[0] for shape in shapes)


def test_the_policy_permits_the_releases() -> None:
    policy, environment = parse_policy(sample("policy")["spec"]), parse_environment(sample("environment")["spec"])
    namespace = sample("namespace")["metadata"]["name"]
    for version in VERSIONS:
        document = sample(f"release-{version}")
        assert document["metadata"]["namespace"] == namespace
        assert refusals(of_spec(parse_deployment(document["spec"]), place_of(environment)), namespace, [policy]) == ()
        assert refusals(of_spec(parse_deployment(document["spec"]), place_of(environment)), "elsewhere", [policy]) != ()


def test_the_load_balancer_leads_to_the_service_that_the_operator_makes() -> None:
    source = (ROOT / "localgcp/localgcp/cli/commands.py").read_text()
    document, environment = sample("release-v1"), sample("environment")["spec"]
    meta = document["metadata"]
    names = Names(meta["namespace"], meta["name"], "uid", environment["projectId"], environment["region"])
    assert f'"--service", default="{names.service}"' in " ".join(source.split())


def test_the_browser_sample_is_the_fix_with_a_browser_check() -> None:
    fix, browser = sample("release-v5"), sample("release-browser")
    check = browser["spec"]["smoke"].pop()
    for document in (fix, browser):
        del document["spec"]["strategy"]["canary"]
    assert browser["spec"]["backend"]["scaling"].pop("concurrency") != fix["spec"]["backend"]["scaling"].pop(
        "concurrency"
    )
    assert browser == fix
    repository, _, tag = check["job"]["image"].rpartition(":")
    image = yaml.safe_load((ROOT / "demo" / "images" / "catalog.yaml").read_text())["images"][repository][tag]
    assert "frontend/check" in image["content"]
    assert (ROOT / "frontend" / image["command"][-1]).is_file()
    sources = [path.read_text() for path in (ROOT / "frontend" / "check").glob("*.ts")]
    assert sources
    assert not [line for text in sources for line in text.splitlines() if 'from "../' in line], "not in the image"
    policy, environment = parse_policy(sample("policy")["spec"]), parse_environment(sample("environment")["spec"])
    spec = parse_deployment(sample("release-browser")["spec"])
    assert refusals(of_spec(spec, place_of(environment)), "demo", [policy]) == ()


def test_a_sample_is_pinned_to_the_page_that_is_published() -> None:
    """The digest alone changes: the rest of what people apply is what stands in the repository."""
    published = pages.Pages(
        {f"bundles/concierge-{version}.tar.gz": version.encode() for version in VERSIONS}, real=True
    )
    for version in VERSIONS:
        text = (MANIFESTS / "samples" / f"release-{version}.yaml").read_text()
        want, have = yaml.safe_load(text), yaml.safe_load(published.pinned(text))
        assert want["spec"]["frontend"]["bundle"].pop("sha256") != hashlib.sha256(version.encode()).hexdigest()
        assert have["spec"]["frontend"]["bundle"].pop("sha256") == hashlib.sha256(version.encode()).hexdigest()
        assert have == want


def test_the_small_pages_are_those_that_the_samples_pin(capsys: pytest.CaptureFixture[str]) -> None:
    made = pages.make(print, small=True)
    assert not made.real
    for text in pages.releases().values():
        assert made.pinned(text) == text


def test_without_node_the_small_pages_stand_in_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise StepFailed("Install Node.js")

    monkeypatch.setattr(pages.bundle, "kept", missing)
    said: list[str] = []
    assert not pages.make(said.append).real
    assert "Install Node.js" in said[0]
