"""The command lines of the control plane's programs: data only, each unusual flag with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agui_dev.controlplane.certificates import Pki

# Not the whole set: what has no use without nodes, or writes for ever, stays off.
CONTROLLERS = (
    "namespace-controller",
    "garbage-collector-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "root-ca-certificate-publisher-controller",
    "clusterrole-aggregation-controller",
)


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports on 127.0.0.1."""

    etcd: int
    etcd_peer: int
    apiserver: int
    controller_manager: int


def etcd(program: Path, pki: Pki, ports: Ports, data: Path) -> list[str]:
    """https://etcd.io/docs/v3.6/op-guide/configuration/"""
    client, peer = f"https://127.0.0.1:{ports.etcd}", f"https://127.0.0.1:{ports.etcd_peer}"
    return [
        str(program),
        "--name=agui",
        f"--data-dir={data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=agui={peer}",
        f"--trusted-ca-file={pki.authority.certificate}",
        f"--cert-file={pki.server.certificate}",
        f"--key-file={pki.server.key}",
        "--client-cert-auth",
        f"--peer-trusted-ca-file={pki.authority.certificate}",
        f"--peer-cert-file={pki.server.certificate}",
        f"--peer-key-file={pki.server.key}",
        "--peer-client-cert-auth",
        # Data that lives for one test need not survive a power cut; a killed process loses nothing by this.
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def apiserver(program: Path, pki: Pki, ports: Ports) -> list[str]:
    """https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/"""
    return [
        str(program),
        f"--etcd-servers=https://127.0.0.1:{ports.etcd}",
        f"--etcd-cafile={pki.authority.certificate}",
        f"--etcd-certfile={pki.server.certificate}",
        f"--etcd-keyfile={pki.server.key}",
        "--bind-address=127.0.0.1",
        f"--secure-port={ports.apiserver}",
        # The reconciler refuses a loopback address; without nodes nobody reads the endpoints it would write.
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        f"--tls-cert-file={pki.server.certificate}",
        f"--tls-private-key-file={pki.server.key}",
        f"--client-ca-file={pki.authority.certificate}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki.sa_public}",
        f"--service-account-signing-key-file={pki.sa_private}",
        "--service-cluster-ip-range=10.0.0.0/24",
        # Asked to stop, it ends its clients' watches; else it would wait for them for as long as a request may last.
        "--shutdown-watch-termination-grace-period=1s",
        "--profiling=false",
    ]


def controller_manager(program: Path, pki: Pki, ports: Ports, kubeconfig: Path) -> list[str]:
    """https://kubernetes.io/docs/reference/command-line-tools-reference/kube-controller-manager/"""
    return [
        str(program),
        f"--kubeconfig={kubeconfig}",
        f"--controllers={','.join(CONTROLLERS)}",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={pki.sa_private}",
        f"--root-ca-file={pki.authority.certificate}",
        "--bind-address=127.0.0.1",
        f"--secure-port={ports.controller_manager}",
        f"--tls-cert-file={pki.server.certificate}",
        f"--tls-private-key-file={pki.server.key}",
        "--authentication-skip-lookup=true",
        "--profiling=false",
    ]
