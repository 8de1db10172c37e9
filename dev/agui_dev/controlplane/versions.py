"""Which Kubernetes the launcher stands for: read from the Go module that builds it, so there is one place to change."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from agui_dev.paths import ROOT

MODULE = ROOT / "dev" / "controlplane"
PACKAGES: Mapping[str, str] = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
}


def kubernetes_version(module: Path = MODULE) -> str:
    """`v1.36.3`, as the module requires it. Raises ValueError when go.mod names none."""
    found = re.search(r"^\s*(?:require )?k8s\.io/kubernetes (v\S+)", (module / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"{module / 'go.mod'} requires no version of k8s.io/kubernetes")
    return found.group(1)


def cache_key(module: Path = MODULE) -> str:
    """SHA-256 over go.mod and go.sum: binaries built from other inputs never meet this name."""
    return hashlib.sha256((module / "go.mod").read_bytes() + (module / "go.sum").read_bytes()).hexdigest()
