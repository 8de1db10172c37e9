"""Starts and stops the three real parts: API server, local Google Cloud, operator. Nothing here is simulated."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from agui_dev.children import Child
from agui_dev.controlplane import ControlPlane
from agui_dev.paths import ROOT
from agui_dev.ports import free_port
from agui_dev.testbed import pages
from agui_dev.testbed.pages import SAMPLES, Pages

NAMESPACE, NAME = "demo", "concierge"
SYSTEM_NAMESPACE, SERVICE_ACCOUNT = "agui-system", "agui-operator"
VERSIONS = ("v1", "v2", "v3", "v4", "v5")
OPERATOR_AGENT = "agui-operator"  # how the operator's calls are told from others in the ledger


@dataclass(slots=True)
class World:
    """Paths and addresses of what runs."""

    state: Path
    say: Callable[[str], None]
    environment: dict[str, str] = field(default_factory=dict)
    catalogue: Path = ROOT / "demo" / "images" / "catalog.yaml"
    cloud_options: tuple[str, ...] = ()  # more words for `localgcp serve`
    control_plane: ControlPlane | None = None
    endpoint: str = ""
    edge: str = ""
    health_port: int = 0
    dashboard_port: int = 0
    small_pages: bool = False  # publish the pages that need no Node.js, even where it is there
    pages: Pages | None = None
    as_told: bool = False  # the whole story was played, and every chapter ended as it should
    _children: dict[str, Child] = field(default_factory=dict)

    # --- start and stop ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Everything up to and including the operator; takes the CRDs and the administrator's objects along."""
        self.control_plane = await asyncio.to_thread(self._start_control_plane)
        await asyncio.to_thread(self.stand_up)

    def stand_up(self) -> None:
        """What stands on a control plane: the local cloud, the objects in both, the operator."""
        self.start_cloud()
        self._init_cloud()
        self._apply_foundations()
        self.publish_pages()
        self.start_operator()

    def stop(self) -> None:
        """Stops what was started, the operator first, so that it can let its lease go."""
        for name in ("operator", "localgcp"):
            self.end(name)
        if self.control_plane is not None:
            self.control_plane.stop()

    def _start_control_plane(self) -> ControlPlane:
        control_plane = ControlPlane(self.state / "controlplane")
        control_plane.start()
        self.say(f"API server at {control_plane.url}")
        return control_plane

    def start_cloud(self) -> None:
        ready = self.state / "localgcp-ready.json"
        ready.unlink(missing_ok=True)
        command = ["localgcp", "serve", "--port", str(_port(self.endpoint)), "--edge-port", str(_port(self.edge))]
        command += ["--state-dir", str(self.state / "cloud"), "--ready-file", str(ready)]
        command += ["--catalogue", str(self.catalogue), *self.cloud_options]
        self.spawn("localgcp", [sys.executable, "-m", *command])
        where = json.loads(self.await_file(ready, "localgcp", 60))
        self.endpoint, self.edge = where["endpoint"], where["edge"]
        self.say(f"local Google Cloud at {self.endpoint}, its public edge at {self.edge}")

    def start_operator(self, kubeconfig: Path | None = None) -> None:
        """Starts the operator with the rights of its ServiceAccount and nothing more."""
        assert self.control_plane is not None
        config = kubeconfig or self.control_plane.service_account_kubeconfig(SYSTEM_NAMESPACE, SERVICE_ACCOUNT)
        self.health_port = self.health_port or free_port()
        self.dashboard_port = self.dashboard_port or free_port()
        environment = {
            "KUBECONFIG": str(config),
            "AGUI_GCP_ENDPOINT": self.endpoint,
            "AGUI_HTTP_PORT": str(self.health_port),
            "AGUI_DASHBOARD_PORT": str(self.dashboard_port),
            "AGUI_LEASE_SECONDS": "5",
            "AGUI_IDENTITY": f"demo-{time.monotonic_ns()}",
        } | self.environment
        self.spawn("operator", [sys.executable, "-m", "agui_operator", "run"], environment)
        self.await_http(f"http://127.0.0.1:{self.health_port}/readyz", "operator", 60)

    def spawn(self, name: str, command: list[str], environment: dict[str, str] | None = None) -> None:
        self._children[name] = Child(name, command, self.state / f"{name}.log", env=environment, cwd=ROOT)

    def pid(self, name: str) -> int:
        return self._children[name].pid

    def end(self, name: str, *, hard: bool = False) -> None:
        """Ends a child that this object started, and only that."""
        child = self._children.pop(name, None)
        if child is not None:
            child.kill() if hard else child.stop(20)

    # --- content -------------------------------------------------------------------------------------------------

    def _init_cloud(self) -> None:
        """What a platform team would have made with Terraform: instance, buckets, load balancer, secret."""
        command = [sys.executable, "-m", "localgcp", "init", "--endpoint", self.endpoint]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"localgcp init failed: {done.stderr.strip() or done.stdout.strip()}")

    def _apply_foundations(self) -> None:
        cluster = self.control_plane
        assert cluster is not None
        cluster.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        cluster.kubectl("apply", "-f", "-", input=foundation_manifests())
        for sample in ("namespace.yaml", "policy.yaml", "environment.yaml"):
            self.apply((SAMPLES / sample).read_text())

    def publish_pages(self) -> None:
        """What the application's CI does: build the bundles, put them into the artifact bucket."""
        began = time.monotonic()
        self.pages = pages.make(self.say, small=self.small_pages)
        what = "the browser application" if self.pages.real else "the small page"
        self.say(f"{len(self.pages.archives)} versions of {what}, ready after {time.monotonic() - began:.1f} s")
        spec = yaml.safe_load((SAMPLES / "environment.yaml").read_text())["spec"]
        for name, data in self.pages.archives.items():
            self.upload(spec["storage"]["artifacts"]["bucket"], name, data)

    def upload(self, bucket: str, name: str, data: bytes) -> str:
        """Puts an object; returns its sha256."""
        quoted = name.replace("/", "%2F")
        url = f"{self.endpoint}/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quoted}"
        request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/gzip"}, method="POST")
        urllib.request.urlopen(request, timeout=30).read()
        return hashlib.sha256(data).hexdigest()

    def fill(self, text: str) -> str:
        """A sample as it stands, but with this run's edge address: ports are random here."""
        return text.replace("http://127.0.0.1:8086", self.edge)

    def write_samples(self, folder: Path) -> None:
        """All samples as they are applied here, so that they can be edited and applied by hand."""
        assert self.pages is not None
        folder.mkdir(exist_ok=True)
        for path in sorted(SAMPLES.glob("*.yaml")):
            text = path.read_text()
            pinned = self.pages.pinned(text) if path.stem in pages.releases() else text
            (folder / path.name).write_text(self.fill(pinned))

    def apply(self, text: str) -> float:
        """kubectl apply; returns the Unix time just before it."""
        assert self.control_plane is not None
        now = time.time()
        self.control_plane.kubectl("apply", "-f", "-", input=self.fill(text))
        return now

    def release(self, version: str) -> str:
        """A release's sample, pinned to the page that is published here."""
        assert self.pages is not None
        return self.pages.pinned((SAMPLES / f"release-{version}.yaml").read_text())

    # --- looking -------------------------------------------------------------------------------------------------

    def ledger(self, since: int = 0) -> list[dict[str, Any]]:
        """Entries of the local cloud's ledger after `since`."""
        with urllib.request.urlopen(f"{self.endpoint}/_localgcp/ledger?since={since}", timeout=30) as response:
            answer = json.load(response)
        return list(answer["entries"])

    def ledger_position(self) -> int:
        entries = self.ledger()
        return int(entries[-1]["seq"]) if entries else 0

    def await_file(self, path: Path, child: str, timeout: float) -> str:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if path.exists() and path.read_text().strip():
                return path.read_text()
            self._check(child)
            time.sleep(0.02)
        raise TimeoutError(f"{child} was not ready after {timeout:g} s; see {self.state / f'{child}.log'}")

    def await_http(self, url: str, child: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(url, timeout=2):
                    return
            except OSError:
                self._check(child)
                time.sleep(0.05)
        raise TimeoutError(f"{child} was not ready after {timeout:g} s; see {self.state / f'{child}.log'}")

    def _check(self, child: str) -> None:
        if not self._children[child].is_alive:
            raise RuntimeError(f"{child} ended:\n{self._children[child].output()[-800:]}")


_NEEDS_A_KUBELET = ("Deployment", "Kustomization", "NetworkPolicy")


def foundation_manifests() -> str:
    """manifests/base without what needs a kubelet (the Deployment): namespace, ServiceAccount, RBAC."""
    documents: list[str] = []
    for path in sorted((ROOT / "manifests" / "base").glob("*.yaml")):
        found = [d for d in yaml.safe_load_all(path.read_text()) if d and d.get("kind") not in _NEEDS_A_KUBELET]
        documents += [yaml.safe_dump(document, sort_keys=False) for document in found]
    documents.sort(key=lambda text: "kind: Namespace" not in text)
    return "---\n".join(documents)


def _port(address: str) -> int:
    """The port of an address that was in use before (a restart keeps it), 0 at the first start."""
    return int(address.rsplit(":", 1)[1]) if address else 0
