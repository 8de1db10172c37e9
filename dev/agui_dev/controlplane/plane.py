"""One control plane, from start to stop."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from agui_dev.children import Child
from agui_dev.controlplane import flags
from agui_dev.controlplane.binaries import Binaries, ExistingCluster, NoControlPlane, Source, kubectl_for, locate
from agui_dev.controlplane.certificates import Pki, make_pki
from agui_dev.controlplane.kubeconfig import Cluster, certificate_user, read_cluster, write_kubeconfig
from agui_dev.ports import free_ports

READY_SECONDS = 90.0
STOP_SECONDS = 20.0
START_ATTEMPTS = 3
TEMPORARY_PREFIX = "agui-control-plane-"


class ControlPlaneFailed(Exception):
    """A program of the control plane did not start or ended on its own; the message ends with its last words."""


class KubectlFailed(Exception):
    """kubectl exited with an error; the message is what it wrote."""


class ControlPlane:
    """A control plane on random ports of 127.0.0.1, with RBAC; a context manager.

    `state_dir` keeps data, keys and logs between starts; without it everything is temporary. `source` defaults to what
    `locate()` finds. Where that is an existing cluster, nothing is started or stopped, and restarting it is refused.
    """

    def __init__(self, state_dir: Path | None = None, *, source: Source | None = None) -> None:
        self._source = source or _found()
        self._temporary = state_dir is None
        self.state_dir = state_dir or _temporary_folder()
        self.state_dir.mkdir(parents=True, exist_ok=True)
        self._kubectl = kubectl_for(self._source)
        self._pki: Pki | None = None
        self._ports: flags.Ports | None = None
        self._children: dict[str, Child] = {}
        external = isinstance(self._source, ExistingCluster)
        self.kubeconfig: Path = self._source.kubeconfig if external else self.state_dir / "kubeconfig"  # type: ignore[union-attr]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The API server's address, `https://127.0.0.1:<port>`. Raises KubeconfigError before the start."""
        return read_cluster(self.kubeconfig).server

    @property
    def kubectl_path(self) -> Path:
        """The kubectl that belongs to this cluster, for a command that must go on running."""
        return self._kubectl

    @property
    def is_existing_cluster(self) -> bool:
        """True where the user named a cluster: it isn't ours to restart."""
        return isinstance(self._source, ExistingCluster)

    @property
    def has_controller_manager(self) -> bool:
        """False where nothing finishes the deletion of namespaces or collects garbage."""
        return isinstance(self._source, ExistingCluster) or self._source.kube_controller_manager is not None

    @property
    def pids(self) -> dict[str, int]:
        """The running programs' process ids, by name."""
        return {name: child.pid for name, child in self._children.items() if child.is_alive}

    def start(self) -> Self:
        """Start the programs; returns when /readyz says ok (5 s on an idle machine). Raises ControlPlaneFailed."""
        if isinstance(self._source, ExistingCluster):
            read_cluster(self.kubeconfig)
            return self
        self._pki = make_pki(self.state_dir / "pki")
        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                self._start_all(self._source)
                return self
            except ControlPlaneFailed as failure:
                self._stop_all()
                # Between our look and the program's bind somebody may have taken the port.
                if "address already in use" not in str(failure) or attempt == START_ATTEMPTS:
                    self.stop()
                    raise
            except BaseException:
                self.stop()
                raise
        raise AssertionError("the last attempt returns or raises")

    def stop(self) -> None:
        """Stop everything that `start` started and remove what was temporary; harmless when repeated."""
        self._stop_all()
        if self._temporary:
            shutil.rmtree(self.state_dir, ignore_errors=True)

    def kubectl(self, *args: str, input: str | None = None) -> str:  # noqa: A002 - as in subprocess.run
        """kubectl's standard output, as the administrator. Raises KubectlFailed with its standard error."""
        # Its discovery cache is keyed by address: kept with the state, it can't be of another cluster.
        env = {**os.environ, "KUBECACHEDIR": str(self.state_dir / "kubectl-cache")}
        argv = [str(self._kubectl), f"--kubeconfig={self.kubeconfig}", *args]
        answer = subprocess.run(argv, input=input or "", env=env, capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            raise KubectlFailed(f"kubectl {' '.join(args)}: {answer.stderr.strip() or answer.stdout.strip()}")
        return answer.stdout

    def service_account_kubeconfig(self, namespace: str, name: str) -> Path:
        """A kubeconfig with a fresh token (24 h) of this ServiceAccount: exactly its rights. Raises KubectlFailed."""
        token = self.kubectl("create", "token", name, f"--namespace={namespace}", "--duration=24h").strip()
        target = self.state_dir / f"kubeconfig-{namespace}-{name}"
        return write_kubeconfig(target, read_cluster(self.kubeconfig), {"token": token}, namespace)

    def stop_apiserver(self, *, kill: bool = False) -> None:
        """Take the API server down (`kill`: SIGKILL); etcd keeps the data."""
        child = self._children[self._own("kube-apiserver")]
        child.kill() if kill else child.stop(STOP_SECONDS)

    def start_apiserver(self) -> None:
        """Bring the API server back at the same address; returns when it is ready."""
        self._own("kube-apiserver")
        assert isinstance(self._source, Binaries)
        assert self._pki is not None
        assert self._ports is not None
        self._start_child("kube-apiserver", flags.apiserver(self._source.kube_apiserver, self._pki, self._ports))
        self._wait_until_ready(self._pki, self._ports)

    def restart_apiserver(self, *, kill: bool = False) -> None:
        """Stop and start the API server; data, address and tokens stay. 3 s down at least."""
        self.stop_apiserver(kill=kill)
        self.start_apiserver()

    def restart_etcd(self, *, kill: bool = False) -> None:
        """Stop and start the API server's store; returns when the API server is ready again."""
        child = self._children[self._own("etcd")]
        child.kill() if kill else child.stop(STOP_SECONDS)
        assert isinstance(self._source, Binaries)
        assert self._pki is not None
        assert self._ports is not None
        self._start_child("etcd", flags.etcd(self._source.etcd, self._pki, self._ports, self.state_dir / "etcd"))
        self._wait_until_ready(self._pki, self._ports)

    @contextlib.contextmanager
    def apiserver_down(self, *, kill: bool = False) -> Iterator[None]:
        """The API server is down inside the block and ready again after it."""
        self.stop_apiserver(kill=kill)
        try:
            yield
        finally:
            self.start_apiserver()

    def _own(self, name: str) -> str:
        if name not in self._children:
            raise ControlPlaneFailed(f"{name} was not started here, so it is not ours to stop or start.")
        return name

    def _start_all(self, binaries: Binaries) -> None:
        assert self._pki is not None
        pki = self._pki
        ports = self._ports = flags.Ports(*free_ports(4))
        cluster = Cluster(f"https://127.0.0.1:{ports.apiserver}", pki.authority.certificate.read_bytes())
        self._start_child("etcd", flags.etcd(binaries.etcd, pki, ports, self.state_dir / "etcd"))
        self._start_child("kube-apiserver", flags.apiserver(binaries.kube_apiserver, pki, ports))
        self._wait_until_ready(pki, ports)
        if binaries.kube_controller_manager is not None:
            pair = pki.controller_manager
            user = certificate_user(pair.certificate.read_bytes(), pair.key.read_bytes())
            kubeconfig = write_kubeconfig(self.state_dir / "kubeconfig-controller-manager", cluster, user)
            argv = flags.controller_manager(binaries.kube_controller_manager, pki, ports, kubeconfig)
            self._start_child("kube-controller-manager", argv)
        # Last: whoever sees this file may use the cluster.
        user = certificate_user(pki.admin.certificate.read_bytes(), pki.admin.key.read_bytes())
        write_kubeconfig(self.kubeconfig, cluster, user)

    def _start_child(self, name: str, argv: list[str]) -> None:
        self._children[name] = Child(name, argv, self.state_dir / f"{name}.log")

    def _stop_all(self) -> None:
        """The API server must be gone before etcd goes: without its store it does not end when asked to."""
        if not self.is_existing_cluster:
            self.kubeconfig.unlink(missing_ok=True)
        for name in ("kube-controller-manager", "kube-apiserver", "etcd"):
            child = self._children.pop(name, None)
            if child is not None:
                child.stop(STOP_SECONDS if "etcd" in self.pids or name == "etcd" else 0)

    def _wait_until_ready(self, pki: Pki, ports: flags.Ports) -> None:
        context = ssl.create_default_context(cafile=str(pki.authority.certificate))
        context.load_cert_chain(pki.admin.certificate, pki.admin.key)
        deadline = time.monotonic() + READY_SECONDS
        answer = "no answer"
        while time.monotonic() < deadline:
            for child in self._children.values():
                if not child.is_alive:
                    last_words = "\n".join(child.output().splitlines()[-15:])
                    raise ControlPlaneFailed(f"{child.name} ended on its own:\n{last_words}")
            answer = _readyz(ports.apiserver, context)
            if answer == "ok":
                return
            time.sleep(0.05)
        raise ControlPlaneFailed(f"kube-apiserver was not ready within {READY_SECONDS:.0f} s; /readyz said: {answer}")


def _readyz(port: int, context: ssl.SSLContext) -> str:
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return str(error)
    finally:
        connection.close()


def _found() -> Source:
    source = locate()
    if source is None:
        raise NoControlPlane("There is no Kubernetes control plane here yet. Run `make controlplane`.")
    return source


def _temporary_folder() -> Path:
    """A new folder named after our process; those of processes that were killed are removed on the way."""
    for old in Path(tempfile.gettempdir()).glob(f"{TEMPORARY_PREFIX}*"):
        owner = old.name.removeprefix(TEMPORARY_PREFIX).split("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists() and Path("/proc/self").exists():
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{TEMPORARY_PREFIX}{os.getpid()}-"))
