"""Finds a control plane to use. Only looks: nothing is started, downloaded or built here.

The order is from what the user said to what this machine happens to have: a cluster named on purpose, a folder named on
purpose (https://book.kubebuilder.io/reference/envtest), what an earlier run built, what an earlier run downloaded.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agui_dev.controlplane import versions
from agui_dev.paths import cache_dir


class NoControlPlane(Exception):
    """There is none, or what the user named can't be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class ExistingCluster:
    """A cluster that runs already: it is used, never started, stopped or restarted."""

    kubeconfig: Path


@dataclass(frozen=True, slots=True)
class Binaries:
    """Programs to start a control plane from. Prebuilt sets have no controller manager: then namespaces never finish
    deleting, and nothing collects garbage."""

    origin: str
    etcd: Path
    kube_apiserver: Path
    kubectl: Path
    kube_controller_manager: Path | None


Source = ExistingCluster | Binaries


def built_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the build puts its programs; its name changes with go.mod and go.sum."""
    return cache_dir(environ) / "controlplane" / versions.cache_key() / "bin"


def prebuilt_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where downloaded programs go."""
    minor = ".".join(versions.kubernetes_version().split(".")[:2])
    return cache_dir(environ) / "controlplane" / f"prebuilt-{minor}" / "bin"


def locate(environ: Mapping[str, str] = os.environ) -> Source | None:
    """The first control plane in the documented order; None when one must be downloaded or built.

    Raises NoControlPlane when AGUI_KUBECONFIG or KUBEBUILDER_ASSETS is set and can't be used: what was named on purpose
    is never passed over in silence.
    """
    if named := environ.get("AGUI_KUBECONFIG"):
        kubeconfig = Path(named).expanduser()
        if not kubeconfig.is_file():
            raise NoControlPlane(
                f"AGUI_KUBECONFIG is set to {named}, and there is no such file. Correct it or unset it."
            )
        return ExistingCluster(kubeconfig)
    if assets := environ.get("KUBEBUILDER_ASSETS"):
        found = in_folder(Path(assets).expanduser(), "KUBEBUILDER_ASSETS", environ)
        if found is None:
            raise NoControlPlane(
                f"KUBEBUILDER_ASSETS is set to {assets}, which does not hold the programs etcd and kube-apiserver "
                "(and kubectl, unless it is on PATH). Correct it or unset it."
            )
        return found
    return in_folder(built_folder(environ), "built", environ) or in_folder(
        prebuilt_folder(environ), "prebuilt", environ
    )


def in_folder(folder: Path, origin: str, environ: Mapping[str, str] = os.environ) -> Binaries | None:
    """The programs in `folder`, or None when it lacks one that we can't do without."""

    def program(name: str) -> Path | None:
        return folder / name if os.access(folder / name, os.X_OK) and (folder / name).is_file() else None

    etcd, apiserver = program("etcd"), program("kube-apiserver")
    kubectl = program("kubectl") or on_path("kubectl", environ)
    if etcd is None or apiserver is None or kubectl is None:
        return None
    return Binaries(origin, etcd, apiserver, kubectl, program("kube-controller-manager"))


def on_path(name: str, environ: Mapping[str, str] = os.environ) -> Path | None:
    """A program on PATH."""
    found = shutil.which(name, path=environ.get("PATH", os.defpath))
    return Path(found) if found else None


def kubectl_for(source: Source, environ: Mapping[str, str] = os.environ) -> Path:
    """kubectl for this source: its own, else one from our caches, else the one on PATH. Raises NoControlPlane."""
    if isinstance(source, Binaries):
        return source.kubectl
    for folder in (built_folder(environ), prebuilt_folder(environ)):
        if os.access(folder / "kubectl", os.X_OK):
            return folder / "kubectl"
    found = on_path("kubectl", environ)
    if found is None:
        raise NoControlPlane("A cluster is named by AGUI_KUBECONFIG, and there is no kubectl on PATH. Install kubectl.")
    return found
