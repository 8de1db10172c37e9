"""The whole system without an operator: a control plane, a local Google Cloud, and a place for each case.

The operator runs with the token of exactly the ServiceAccount that manifests/base gives it. One `System` per run, an
operator per module or measurement, a namespace with an environment of its own per case.
"""

from __future__ import annotations

import base64
import contextlib
import os
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agui_dev.controlplane import ControlPlane
from agui_dev.testbed.api_proxy import ApiProxy
from agui_dev.testbed.fork_server import ForkServer
from agui_dev.testbed.foundations import SERVICE_ACCOUNT, SYSTEM_NAMESPACE, apply_foundations
from agui_dev.testbed.images import SHOP_IMAGES
from agui_dev.testbed.kube_api import PATIENCE, ApiRefused, KubeApi
from agui_dev.testbed.local_cloud import CloudRefused, LocalCloud
from agui_dev.testbed.operator_process import OperatorProcess
from agui_dev.testbed.releases import ARTIFACTS, NAME, SECRET, SECRET_VALUE, URL_MAP, bundle, environment, policy
from agui_operator.core.names import owner_of, service_name
from localgcp.cli.init import Plan, create_environment

Json = dict[str, Any]


def service_of(namespace: str) -> str:
    """Name of the Cloud Run service of a case."""
    return service_name(namespace, NAME)


class System:
    """A control plane, a local cloud and what cases do with them."""

    def __init__(
        self,
        plane: ControlPlane,
        folder: Path,
        cloud_options: tuple[str, ...] = (),
        forks: ForkServer | None = None,
        gcp: LocalCloud | None = None,
    ) -> None:
        """With `forks` operators are started as forks of that server. `gcp`: a cloud that runs already and is another
        system's; this one is a second cluster beside it."""
        self.plane, self.folder, self._forks = plane, folder, forks
        self._owns_cloud = gcp is None
        self.gcp = gcp or LocalCloud(folder / "localgcp", "--catalogue", str(SHOP_IMAGES), *cloud_options)
        self.api = KubeApi(plane.kubeconfig)
        self.proxy = ApiProxy(plane.kubeconfig)
        self._operators: list[OperatorProcess] = []
        self._namespaces: list[str] = []

    # --- start and stop ------------------------------------------------------------------------------------------

    def start(self) -> System:
        if self._owns_cloud:
            self.gcp.start()
        self.proxy.start()
        apply_foundations(self.plane)
        self.api.apply(policy())
        if self._owns_cloud:
            self._furnish()
        return self

    def _furnish(self) -> None:
        """What all cases share in the cloud."""
        create_environment(self.endpoint, Plan(URL_MAP, "t-base", "nobody", domain=self.gcp.edge))
        for page in ("v1", "v2", "v3"):
            self.gcp.upload(ARTIFACTS, f"bundles/{page}.tar.gz", bundle(page)[0])
        self._secret()

    def stop(self) -> None:
        """Stops what was started; in a cluster that outlives the tests, what they did not delete is released."""
        for operator in self._operators:
            operator.stop()
        if self.plane.is_existing_cluster:
            for namespace in self._namespaces:
                self._sweep(namespace)
        self.proxy.stop()
        if self._owns_cloud:
            self.gcp.stop(kill=True)  # its children die with it; a grace time would be for users
        self.api.close()

    def _secret(self) -> None:
        payload = base64.b64encode(SECRET_VALUE.encode()).decode()
        secrets = "/v1/projects/demo/secrets"
        with contextlib.suppress(CloudRefused):
            self.cloud(f"{secrets}?secretId={SECRET}", {"replication": {"automatic": {}}})
        self.cloud(f"{secrets}/{SECRET}:addVersion", {"payload": {"data": payload}})

    def _sweep(self, namespace: str) -> None:
        """Finalizers go, because no operator is there any more to take them off."""
        with contextlib.suppress(ApiRefused):
            for plural in ("aguideployments", "aguienvironments"):
                for found in self.api.call("GET", self.api.path(namespace, plural))["items"]:
                    self.api.merge(namespace, found["metadata"]["name"], {"metadata": {"finalizers": None}}, plural)
            self.api.call("DELETE", f"/api/v1/namespaces/{namespace}")

    # --- operators -----------------------------------------------------------------------------------------------

    def operator(
        self, *, direct: bool = False, start: bool = True, proxy: ApiProxy | None = None, **settings: str
    ) -> OperatorProcess:
        """An operator with the rights of its ServiceAccount; its calls to Kubernetes pass the proxy unless `direct`."""
        token = self.plane.service_account_kubeconfig(SYSTEM_NAMESPACE, SERVICE_ACCOUNT)
        config = token
        if not direct:
            config = (proxy or self.proxy).kubeconfig(token, self.folder / f"kubeconfig-{uuid.uuid4().hex[:6]}")
        defaults = {"AGUI_LEASE_SECONDS": "3", "AGUI_PROPAGATION_SECONDS": "10", "AGUI_RESYNC_SECONDS": "300"}
        settings = defaults | settings
        operator = OperatorProcess(self.folder, config, self.endpoint, log_level="debug", forks=self._forks, **settings)
        self._operators.append(operator)
        return operator.start() if start else operator

    def retire(self, operator: OperatorProcess) -> None:
        """Tells an operator to stop, without waiting for its end, and removes the objects of the cases so far: they
        would be the next operator's work. Finalizers go first, because no operator is to take them off."""
        operator.stop(wait=False)
        for plural in ("aguideployments", "aguienvironments"):
            for found in self.api.call("GET", self.api.path("", plural))["items"]:
                self._remove(found["metadata"]["namespace"], found["metadata"]["name"], plural)

    def _remove(self, namespace: str, name: str, plural: str) -> None:
        if namespace in self._namespaces:
            with contextlib.suppress(ApiRefused):
                self.api.merge(namespace, name, {"metadata": {"finalizers": None}}, plural)
                self.api.delete(namespace, name, plural)

    # --- places for cases ----------------------------------------------------------------------------------------

    def case(self, *, environment_too: bool = True) -> str:
        """A namespace of its own, with an environment whose public origin is `origin(namespace)`."""
        namespace = f"t-{uuid.uuid4().hex[:8]}"
        self.place(namespace, environment_too=environment_too)
        return namespace

    def place(self, namespace: str, *, environment_too: bool = True) -> None:
        """Creates a namespace, and an environment in it unless that is not wanted."""
        document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        self.api.call("POST", "/api/v1/namespaces", document)
        self._namespaces.append(namespace)
        if environment_too:
            plan = Plan(namespace, namespace, service_of(namespace), domain=self.origin(namespace))
            printed = create_environment(self.endpoint, plan)
            self._assets(namespace)
            self.api.apply(environment(printed, namespace))

    def _assets(self, namespace: str) -> None:
        """A bucket of its own: equal bundles would else be found published already."""
        self.cloud("/storage/v1/b?project=demo", {"name": f"{namespace}-assets"})
        backend = {"name": f"{namespace}-pages", "bucketName": f"{namespace}-assets"}
        self.cloud("/compute/v1/projects/demo/global/backendBuckets", backend)

    def owner(self, namespace: str, name: str = NAME) -> str:
        """The value of the owner label on what a deployment owns."""
        cluster = self.api.call("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"]
        return owner_of(cluster, namespace, name)

    def origin(self, namespace: str) -> str:
        return f"http://{namespace}.apps.localhost:{self.gcp.edge.rpartition(':')[2]}"

    # --- the cloud -----------------------------------------------------------------------------------------------

    @property
    def endpoint(self) -> str:
        return self.gcp.endpoint

    def cloud(self, path: str, body: Any = None, method: str = "") -> Any:
        """Calls an API of the local cloud, not as the operator. Raises CloudRefused."""
        return self.gcp.call(path, method or ("GET" if body is None else "POST"), body)

    def fault(self, **rule: Any) -> None:
        self.gcp.fault(**rule)

    def clear_faults(self) -> None:
        self.gcp.clear_faults()

    @property
    def position(self) -> int:
        """Where the ledger is now."""
        return self.gcp.last

    def rested(self) -> int:
        """Where the ledger is once nothing was written for a second: a status is written before the effects of its
        phase, so what a test counts from here on is not of what came before. Raises AssertionError."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            before = self.position
            time.sleep(1)
            if not self.calls(before) and not self.effects(before):
                return before
        raise AssertionError(f"the cloud was written to for {PATIENCE:g} s")

    def calls(self, since: int, *, writes: bool = True) -> list[Json]:
        """The operator's calls after `since`, oldest first."""
        found = self.gcp.ledger(since)
        return [
            e for e in found if e["kind"] == "call" and "agui-operator" in e["caller"] and (e["write"] or not writes)
        ]

    def effects(self, since: int) -> list[Json]:
        return [e for e in self.gcp.ledger(since) if e["kind"] == "effect"]

    def get(self, namespace: str, path: str) -> tuple[int, str, str]:
        """A user's request through the public edge: status, revision that answered, body."""
        port = self.gcp.edge.rpartition(":")[2]
        host = self.origin(namespace).removeprefix("http://")
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Host": host})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.headers.get("x-agui-revision", ""), answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.headers.get("x-agui-revision", ""), refused.read().decode()

    # --- releases ------------------------------------------------------------------------------------------------

    def settle(self, namespace: str, phase: str, *, version: str = "", seconds: float = PATIENCE) -> Json:
        """The deployment when it rests in a phase, with a status about its newest spec."""

        def rests(found: Json) -> bool:
            status = found.get("status") or {}
            newest = (status.get("history") or [{}])[0].get("release") or {}
            current = status.get("observedGeneration") == found["metadata"]["generation"]
            return current and status.get("phase") == phase and version in ("", newest.get("version"))

        return self.api.until(namespace, NAME, rests, f"{version or 'a release'} in phase {phase}", seconds)

    def reaches(self, namespace: str, phase: str, seconds: float = PATIENCE) -> Json:
        """The deployment as soon as it is in a phase, however shortly it stays there."""
        return self.api.until(
            namespace, NAME, lambda d: (d.get("status") or {}).get("phase") == phase, f"phase {phase}", seconds
        )


@contextlib.contextmanager
def running_system(plane: ControlPlane, *cloud_options: str, forks: ForkServer | None = None) -> Iterator[System]:
    """A system without an operator, for the duration of the block. AGUI_KEEP_LOGS names a folder for the logs."""
    with tempfile.TemporaryDirectory(prefix="agui-system-", ignore_cleanup_errors=True) as folder:
        system = System(plane, Path(folder), cloud_options, forks)
        try:
            yield system.start()
        finally:
            system.stop()
            keep = os.environ.get("AGUI_KEEP_LOGS")
            for log in Path(folder).glob("*.log") if keep else ():
                Path(keep or "", log.name).write_bytes(log.read_bytes())


def wait_for(test: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Raises AssertionError when `test` does not hold within `seconds`."""
    deadline = time.monotonic() + seconds
    while not test():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {seconds:g} s")
        time.sleep(0.05)
