"""What a cluster administrator applies once: CRDs, namespace, ServiceAccount and RBAC of the operator."""

from __future__ import annotations

import yaml

from agui_dev.controlplane import ControlPlane
from agui_dev.paths import ROOT

SYSTEM_NAMESPACE, SERVICE_ACCOUNT = "agui-system", "agui-operator"
_NEEDS_A_KUBELET = ("Deployment", "Kustomization", "NetworkPolicy")


def apply_foundations(plane: ControlPlane) -> None:
    """Returns when the API server serves the CRDs."""
    plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    plane.kubectl("apply", "-f", "-", input=foundation_manifests())


def foundation_manifests() -> str:
    """manifests/base without what needs a kubelet (the Deployment): namespace, ServiceAccount, RBAC."""
    documents: list[str] = []
    for path in sorted((ROOT / "manifests" / "base").glob("*.yaml")):
        found = [d for d in yaml.safe_load_all(path.read_text()) if d and d.get("kind") not in _NEEDS_A_KUBELET]
        documents += [yaml.safe_dump(document, sort_keys=False) for document in found]
    documents.sort(key=lambda text: "kind: Namespace" not in text)
    return "---\n".join(documents)
