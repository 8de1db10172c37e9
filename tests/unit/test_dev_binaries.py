"""Which control plane is used: what the user named first, what the machine happens to have last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agui_dev.controlplane import versions
from agui_dev.controlplane.binaries import (
    Binaries,
    ExistingCluster,
    NoControlPlane,
    built_folder,
    kubectl_for,
    locate,
    prebuilt_folder,
)

ALL = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
Fill = Callable[..., Path]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A machine that has nothing: an empty cache and an empty PATH."""
    (tmp_path / "path").mkdir()
    return {"AGUI_CACHE_DIR": str(tmp_path / "cache"), "PATH": str(tmp_path / "path")}


@pytest.fixture
def fill() -> Fill:
    def fill(folder: Path, *names: str) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / name).write_text("#!/bin/sh\n")
            (folder / name).chmod(0o755)
        return folder

    return fill


def test_nothing_is_found_where_nothing_is(env: dict[str, str]) -> None:
    assert locate(env) is None


def test_each_source_hides_the_ones_after_it(env: dict[str, str], tmp_path: Path, fill: Fill) -> None:
    prebuilt = fill(prebuilt_folder(env), "etcd", "kube-apiserver", "kubectl")
    assert locate(env) == Binaries(
        "prebuilt", prebuilt / "etcd", prebuilt / "kube-apiserver", prebuilt / "kubectl", None
    )
    built = fill(built_folder(env), *ALL)
    assert locate(env) == Binaries("built", *(built / n for n in ("etcd", "kube-apiserver", "kubectl", ALL[2])))
    assets = fill(tmp_path / "assets", "etcd", "kube-apiserver", "kubectl")
    env["KUBEBUILDER_ASSETS"] = str(assets)
    found = locate(env)
    assert isinstance(found, Binaries)
    assert (found.origin, found.etcd, found.kube_controller_manager) == ("KUBEBUILDER_ASSETS", assets / "etcd", None)
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text("{}")
    env["AGUI_KUBECONFIG"] = str(kubeconfig)
    assert locate(env) == ExistingCluster(kubeconfig)


def test_kubeconfig_of_the_shell_is_never_taken(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "production").write_text("{}")
    assert locate({**env, "KUBECONFIG": str(tmp_path / "production")}) is None


@pytest.mark.parametrize("missing", ["etcd", "kube-apiserver"])
def test_a_cache_that_lacks_a_program_is_no_cache(env: dict[str, str], fill: Fill, missing: str) -> None:
    fill(built_folder(env), *(name for name in ALL if name != missing))
    assert locate(env) is None


def test_a_file_that_can_not_be_run_is_no_program(env: dict[str, str], fill: Fill) -> None:
    (fill(built_folder(env), *ALL) / "etcd").chmod(0o644)
    assert locate(env) is None


def test_what_was_named_and_is_not_there_is_an_error(env: dict[str, str], tmp_path: Path, fill: Fill) -> None:
    fill(built_folder(env), *ALL)
    with pytest.raises(NoControlPlane, match=r"AGUI_KUBECONFIG is set to /nowhere, and there is no such file"):
        locate({**env, "AGUI_KUBECONFIG": "/nowhere"})
    half = fill(tmp_path / "half", "etcd", "kubectl")
    with pytest.raises(NoControlPlane, match=rf"KUBEBUILDER_ASSETS is set to {half}, which does not hold"):
        locate({**env, "KUBEBUILDER_ASSETS": str(half)})


def test_kubectl_may_come_from_path(env: dict[str, str], tmp_path: Path, fill: Fill) -> None:
    env["KUBEBUILDER_ASSETS"] = str(fill(tmp_path / "assets", "etcd", "kube-apiserver"))
    with pytest.raises(NoControlPlane):
        locate(env)
    on_path = fill(tmp_path / "path", "kubectl")
    found = locate(env)
    assert isinstance(found, Binaries)
    assert found.kubectl == on_path / "kubectl"


def test_an_existing_cluster_is_asked_by_our_kubectl_if_there_is_one(
    env: dict[str, str], tmp_path: Path, fill: Fill
) -> None:
    cluster = ExistingCluster(tmp_path / "kubeconfig")
    with pytest.raises(NoControlPlane, match="Install kubectl"):
        kubectl_for(cluster, env)
    on_path = fill(tmp_path / "path", "kubectl")
    assert kubectl_for(cluster, env) == on_path / "kubectl"
    ours = fill(built_folder(env), "kubectl")
    assert kubectl_for(cluster, env) == ours / "kubectl"


def test_the_cache_folder_changes_with_the_modules(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module m\n\nrequire k8s.io/kubernetes v1.36.3\n")
    (tmp_path / "go.sum").write_text("one\n")
    before = versions.cache_key(tmp_path)
    (tmp_path / "go.sum").write_text("two\n")
    assert versions.cache_key(tmp_path) != before


@pytest.mark.parametrize(
    "line",
    ["require k8s.io/kubernetes v1.36.3", "\tk8s.io/kubernetes v1.36.3 // indirect", "\tk8s.io/kubernetes v1.36.3"],
)
def test_the_version_is_read_from_the_module(tmp_path: Path, line: str) -> None:
    (tmp_path / "go.mod").write_text(f"module m\n\n{line}\nreplace k8s.io/kubernetes-x => v9.9.9\n")
    assert versions.kubernetes_version(tmp_path) == "v1.36.3"


def test_a_module_without_kubernetes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module m\n")
    with pytest.raises(ValueError, match="requires no version"):
        versions.kubernetes_version(tmp_path)
