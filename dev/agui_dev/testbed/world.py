"""The system as the demo shows it: API server, local Google Cloud and operator, with the samples of manifests/."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from agui_dev.controlplane import ControlPlane
from agui_dev.paths import ROOT
from agui_dev.ports import free_port
from agui_dev.testbed import pages
from agui_dev.testbed.foundations import SERVICE_ACCOUNT, SYSTEM_NAMESPACE, apply_foundations
from agui_dev.testbed.local_cloud import LocalCloud
from agui_dev.testbed.operator_process import OperatorProcess
from agui_dev.testbed.pages import SAMPLES, Pages

NAMESPACE, NAME = "demo", "concierge"
OPERATOR_ACCOUNT = "agui-operator@demo.iam.gserviceaccount.com"  # as the samples name it
CATALOGUE = ROOT / "demo" / "images" / "catalog.yaml"


@dataclass(slots=True)
class World:
    """`report` gets one line for each part that is up. `small_pages`: publish the pages that need no Node.js."""

    state: Path
    report: Callable[[str], None]
    cloud_options: tuple[str, ...] = ()  # more words for `localgcp serve`
    small_pages: bool = False
    with_identity: bool = False  # the operator has an account, whose ID tokens come from the local metadata server
    control_plane: ControlPlane | None = None
    pages: Pages | None = None
    dashboard_port: int = field(default_factory=free_port)
    cloud: LocalCloud = field(init=False)
    operator: OperatorProcess | None = None
    _own_control_plane: ControlPlane | None = None

    def __post_init__(self) -> None:
        account = ("--metadata-email", OPERATOR_ACCOUNT) if self.with_identity else ()
        self.cloud = LocalCloud(self.state / "localgcp", "--catalogue", str(CATALOGUE), *account, *self.cloud_options)

    @property
    def edge(self) -> str:
        """Address of the public edge."""
        return self.cloud.edge

    # --- start and stop ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Starts everything up to and including the operator, and applies the CRDs and the administrator's objects."""
        self._own_control_plane = await asyncio.to_thread(self._start_control_plane)
        await asyncio.to_thread(self.start_on, self._own_control_plane)

    def start_on(self, control_plane: ControlPlane) -> None:
        """Starts what runs beside a control plane: the local cloud, the objects in both, the operator."""
        self.control_plane = control_plane
        self.cloud.start()
        self.report(f"local Google Cloud at {self.cloud.endpoint}, its public edge at {self.edge}")
        self._init_cloud()
        apply_foundations(control_plane)
        for sample in ("namespace.yaml", "policy.yaml", "environment.yaml"):
            self.apply((SAMPLES / sample).read_text())
        self.publish_pages()
        self.operator = self._operator(control_plane).start()

    def stop(self, *, kill_cloud: bool = False) -> None:
        """Stops what was started here, the operator first, so that it can release its lease."""
        if self.operator is not None:
            self.operator.stop()
        self.cloud.stop(kill=kill_cloud)
        if self._own_control_plane is not None:
            self._own_control_plane.stop()

    def _start_control_plane(self) -> ControlPlane:
        control_plane = ControlPlane(self.state / "controlplane")
        control_plane.start()
        self.report(f"API server at {control_plane.url}")
        return control_plane

    def _operator(self, control_plane: ControlPlane) -> OperatorProcess:
        """An operator with the rights of its ServiceAccount and nothing more."""
        settings = {
            "AGUI_DASHBOARD_PORT": str(self.dashboard_port),
            "AGUI_LEASE_SECONDS": "5",
            "AGUI_LEASE_HOLDER": f"demo-{uuid.uuid4().hex[:6]}",
        }
        if self.with_identity:
            settings |= {"GCE_METADATA_HOST": self.cloud.address, "GCE_METADATA_IP": self.cloud.address}
        return OperatorProcess(
            self.state,
            control_plane.service_account_kubeconfig(SYSTEM_NAMESPACE, SERVICE_ACCOUNT),
            self.cloud.endpoint,
            forks=None,
            **settings,
        )

    # --- content -------------------------------------------------------------------------------------------------

    def _init_cloud(self) -> None:
        """What a platform team would create with Terraform: instance, buckets, load balancer, secret."""
        command = [sys.executable, "-m", "localgcp", "init", "--endpoint", self.cloud.endpoint]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"localgcp init failed: {done.stderr.strip() or done.stdout.strip()}")

    def publish_pages(self) -> None:
        """What the application's CI does: build the bundles and upload them to the artifact bucket."""
        began = time.monotonic()
        self.pages = pages.make(self.report, small=self.small_pages)
        what = "the browser application" if self.pages.real else "the small page"
        self.report(f"{len(self.pages.archives)} versions of {what}, ready after {time.monotonic() - began:.1f} s")
        spec = yaml.safe_load((SAMPLES / "environment.yaml").read_text())["spec"]
        for name, data in self.pages.archives.items():
            self.cloud.upload(spec["storage"]["artifacts"]["bucket"], name, data)

    def fill(self, text: str) -> str:
        """A sample as it stands, but with this run's edge address: ports are random here."""
        own = text.replace("http://127.0.0.1:8086", self.edge)
        return own.replace(".run.localhost:8086", f".run.localhost:{self.cloud.edge_port}")

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
