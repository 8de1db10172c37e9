"""Argo CD itself beside a control plane: one binary in four roles, and Redis. It syncs a git repository in a folder.

The metrics port of its application controller listens on all addresses, which no flag changes: for tests only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from agui_dev.argocd.customizations import CONFIG
from agui_dev.children import Child
from agui_dev.controlplane import ControlPlane
from agui_dev.go_program import GoProgram, NoProgram
from agui_dev.paths import ROOT
from agui_dev.ports import free_ports
from agui_dev.setup import packages
from agui_dev.steps import StepFailed
from agui_dev.testbed.kube_api import ApiRefused, KubeApi
from agui_dev.testbed.system import wait_for

Json = dict[str, Any]
VERSION = "3.2.11"
_PACKAGE = "github.com/argoproj/argo-cd/v3"
PROGRAM = GoProgram(
    "argocd",
    "Argo CD",
    "argocd",
    ROOT / "dev" / "argocd",
    f"{_PACKAGE}/cmd",
    cpu_seconds=650.0,
    link_flags=f"-s -w -X {_PACKAGE}/common.version={VERSION}",
)
NAMESPACE = "argocd"
_READY_SECONDS, _STOP_SECONDS = 120.0, 10.0
_PART = {"app.kubernetes.io/part-of": "argocd"}
_FOLDERS = {
    "ARGOCD_TLS_DATA_PATH": "tls",
    "ARGOCD_SSH_DATA_PATH": "ssh",
    "ARGOCD_GPG_DATA_PATH": "gpg",
    "ARGOCD_GNUPGHOME": "gnupg",
    "ARGOCD_PLUGINSOCKFILEPATH": "plugins",
}


def redis_server() -> str:
    """Path of redis-server, installed where that is permitted. Raises NoProgram."""
    if (found := shutil.which("redis-server")) is None:
        try:
            packages.install(["redis-server"], "Argo CD needs redis-server: install Redis.", estimate_s=20)
        except StepFailed as failure:
            raise NoProgram(str(failure)) from None
        found = shutil.which("redis-server")
    if found is None:
        raise NoProgram("Argo CD needs redis-server on PATH")
    return found


class ArgoCd:
    """A running Argo CD that trusts everybody on the loopback address."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self._plane, self._folder = plane, folder
        self._program, self._redis = PROGRAM.build(), redis_server()
        self._ports = dict(zip(("redis", "repo", "server", "m1", "m2", "m3"), free_ports(6), strict=True))
        self._children: list[Child] = []
        self.api = KubeApi(plane.kubeconfig)

    # --- start and stop ----------------------------------------------------------------------------------------------

    def start(self) -> ArgoCd:
        self._install()
        ports, redis = self._ports, f"127.0.0.1:{self._ports['redis']}"
        kubeconfig = f"--kubeconfig={self._plane.kubeconfig}"
        repo = ["--repo-server", f"127.0.0.1:{ports['repo']}", "--repo-server-plaintext"]
        self._child("redis", [self._redis, "--bind", "127.0.0.1", "--port", str(ports["redis"]), "--save", ""])
        words = ["--address", "127.0.0.1", "--port", str(ports["repo"]), "--disable-tls", "--redis", redis]
        words += ["--metrics-address", "127.0.0.1", "--metrics-port", str(ports["m1"])]
        self._child("argocd-repo-server", [self._role("argocd-repo-server"), *words])
        words = [kubeconfig, "-n", NAMESPACE, "--redis", redis, *repo, "--metrics-port", str(ports["m2"])]
        words += ["--persist-resource-health"]  # of each object, in the Application's status
        self._child("argocd-application-controller", [self._role("argocd-application-controller"), *words])
        words = [kubeconfig, "-n", NAMESPACE, "--redis", redis, *repo, "--insecure", "--disable-auth"]
        words += ["--address", "127.0.0.1", "--port", str(ports["server"]), "--dex-server", "http://127.0.0.1:1"]
        words += ["--metrics-address", "127.0.0.1", "--metrics-port", str(ports["m3"])]
        server = self._child("argocd-server", [self._role("argocd-server"), *words])
        for port in ("redis", "repo", "server"):
            server.until(lambda number=ports[port]: _listens(number), _READY_SECONDS)  # type: ignore[misc]
        return self

    def stop(self) -> None:
        for child in reversed(self._children):
            child.stop(_STOP_SECONDS)
        self.api.close()

    def _child(self, name: str, argv: list[str | Path]) -> Child:
        folders = {key: str(self._folder / name) for key, name in _FOLDERS.items()}
        for path in folders.values():
            Path(path).mkdir(exist_ok=True)
        environment = folders | {
            "ARGOCD_FAKE_IN_CLUSTER": "true",
            "ARGOCD_GPG_ENABLED": "false",
            "KUBECONFIG": str(self._plane.kubeconfig),
            "HOME": str(self._folder),
            "TMPDIR": str(self._folder),
            "PATH": f"{self._folder / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        }
        child = Child(name, argv, self._folder / f"{name}.log", env=environment, cwd=self._folder)
        self._children.append(child)
        return child

    def _role(self, name: str) -> Path:
        """The binary under the name of a role."""
        path = self._folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(self._program)
        return path

    def _install(self) -> None:
        """The CRDs of the same version, and the few objects that Argo CD does not start without."""
        module = ["go", "list", "-m", "-f", "{{.Dir}}", _PACKAGE]
        where = subprocess.run(module, cwd=PROGRAM.module, capture_output=True, text=True, check=True).stdout.strip()
        for crd in ("application", "appproject", "applicationset"):
            path = Path(where, "manifests", "crds", f"{crd}-crd.yaml")
            self._plane.kubectl("apply", "--server-side", "-f", str(path))
        wait_for(lambda: all(map(self._served, ("applications", "appprojects", "applicationsets"))), "Argo CD's kinds")
        config = yaml.safe_load((ROOT / CONFIG).read_text())
        config["data"]["timeout.reconciliation"] = "10s"
        metadata = {"namespace": NAMESPACE, "labels": _PART}
        documents: list[Json] = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": metadata | {"name": "argocd-secret"}},
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata | {"name": "argocd-rbac-cm"}},
            config,
        ]
        self._plane.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(documents))

    def _served(self, plural: str) -> bool:
        try:
            self.api.call("GET", f"/apis/argoproj.io/v1alpha1/{plural}")
        except (ApiRefused, ValueError):  # ValueError: "404 page not found" is no JSON
            return False
        return True

    # --- use ---------------------------------------------------------------------------------------------------------

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The command line client."""
        address = ["--server", f"127.0.0.1:{self._ports['server']}", "--plaintext", "--auth-token", "none"]
        environment = {**os.environ, "HOME": str(self._folder)}
        argv = [str(self._program), *address, *words]
        return subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=120, check=False)

    def application(self, name: str) -> Json:
        """The Application as it is now; {} when there is none."""
        listed = self.api.call("GET", _applications())["items"]
        return next((found for found in listed if found["metadata"]["name"] == name), {})

    def apply(self, document: Json) -> None:
        """An object of Argo CD."""
        self._plane.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump(document))

    def refresh(self, name: str) -> None:
        """Makes it look at git now."""
        patch = {"metadata": {"annotations": {"argocd.argoproj.io/refresh": "hard"}}}
        self.api.call("PATCH", _applications(name), patch, "application/merge-patch+json")

    def delete(self, name: str) -> None:
        """Deletes an Application with what it deployed."""
        self.api.call("DELETE", _applications(name))


class Repository:
    """A git repository in a folder, as a user's pushes leave it."""

    def __init__(self, folder: Path) -> None:
        self._work = folder / "work"
        self._work.mkdir()
        self._git("init", "--quiet", "--initial-branch=main")

    @property
    def url(self) -> str:
        return f"file://{self._work}"

    def commit(self, **documents: Json) -> None:
        """Replaces the files of these names: `commit(release=...)` writes deploy/release.yaml."""
        (self._work / "deploy").mkdir(exist_ok=True)
        for name, document in documents.items():
            (self._work / "deploy" / f"{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
        self._git("add", "--all")
        self._git("commit", "--quiet", "--allow-empty", "--message", ", ".join(documents))

    def _git(self, *words: str) -> None:
        author = ["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *author, *words], cwd=self._work, check=True, capture_output=True)


def _applications(name: str = "") -> str:
    return f"/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/applications/{name}".rstrip("/")


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def running_argo_cd(plane: ControlPlane, folder: Path) -> Iterator[ArgoCd]:
    """Argo CD for the duration of the block, built if need be. Raises NoProgram, StepFailed."""
    argo_cd = ArgoCd(plane, folder)
    try:
        yield argo_cd.start()
    finally:
        argo_cd.stop()
