"""A real Kubernetes control plane on this machine: etcd, kube-apiserver and kube-controller-manager, no nodes.

`ControlPlane` (in `plane`) starts and stops one; `python -m agui_dev.controlplane` does so from the command line.
"""

from agui_dev.controlplane.binaries import NoControlPlane
from agui_dev.controlplane.plane import ControlPlane, ControlPlaneFailed, KubectlFailed

__all__ = ["ControlPlane", "ControlPlaneFailed", "KubectlFailed", "NoControlPlane"]
