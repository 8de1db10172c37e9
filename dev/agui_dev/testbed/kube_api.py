"""The Kubernetes API for tests, as the administrator: one kept-alive connection, JSON in and out.

kubectl is a process and a discovery a call; a test that waits for a state of an object watches it.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from agui_dev.controlplane.kubeconfig import read_cluster
from agui_dev.testbed.kube_watch import WATCH_SECONDS, Watch, each_version

GROUP_VERSION = "agui.dev/v1alpha1"
Json = dict[str, Any]
# How long a test waits for what must happen: sized for a machine that has other things to do.
PATIENCE = 180.0
# What a test waits for may be something else than a change of the object.
_RECHECK_SECONDS = 0.1


class ApiRefused(AssertionError):
    """The API server refused; `code` is its HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class KubeApi:
    """Calls an API server as the user of a kubeconfig that holds a client certificate; `acting_as`: as another user,
    by impersonation."""

    def __init__(self, kubeconfig: Path, acting_as: str = "") -> None:
        who = {"Impersonate-User": acting_as, "Impersonate-Group": "system:authenticated"}
        self._headers = who if acting_as else {}
        cluster = read_cluster(kubeconfig)
        assert cluster.ca_pem is not None
        user = yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]
        context = ssl.create_default_context(cadata=cluster.ca_pem.decode())
        with tempfile.TemporaryDirectory() as folder:
            for part in ("client-certificate-data", "client-key-data"):
                Path(folder, part).write_bytes(base64.b64decode(user[part]))
            context.load_cert_chain(Path(folder, "client-certificate-data"), Path(folder, "client-key-data"))
        address = urlsplit(cluster.server)
        self._address, self._tls = (str(address.hostname), address.port), context
        self._connection = self._connect(30)

    def _connect(self, seconds: float) -> http.client.HTTPSConnection:
        host, port = self._address
        return http.client.HTTPSConnection(host, port, timeout=seconds, context=self._tls)

    def call(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Json:
        """The parsed answer; a lost connection is opened again, twice. Raises ApiRefused."""
        data = None if body is None else json.dumps(body)
        for last in (False, False, True):
            try:
                headers = {"Content-Type": content_type, **self._headers}
                self._connection.request(method, path, data, headers)
                answer = self._connection.getresponse()
                text = answer.read()
                break
            except (OSError, http.client.HTTPException):
                self._connection.close()
                if last:
                    raise
                time.sleep(0.3)
        document: Json = json.loads(text) if text else {}
        if answer.status >= 400:
            raise ApiRefused(answer.status, str(document.get("message", text[:300])))
        return document

    # --- AgUiDeployments ---------------------------------------------------------------------------------------------

    def path(self, namespace: str, plural: str = "aguideployments", name: str = "") -> str:
        where = f"/apis/{GROUP_VERSION}"
        where += f"/namespaces/{namespace}" if namespace else ""
        return f"{where}/{plural}/{name}".rstrip("/")

    def apply(self, document: Json) -> Json:
        """Server-side apply, as `kubectl apply --server-side --force-conflicts` does it."""
        meta, kind = document["metadata"], document["kind"]
        plural = {"AgUiPolicy": "aguipolicies"}.get(kind, f"{kind.lower()}s")
        group = "/api/v1" if document["apiVersion"] == "v1" else f"/apis/{document['apiVersion']}"
        space = f"/namespaces/{meta['namespace']}" if "namespace" in meta else ""
        path = f"{group}{space}/{plural}/{meta['name']}?fieldManager=tests&force=true"
        return self.call("PATCH", path, document, "application/apply-patch+yaml")

    def get(self, namespace: str, name: str, plural: str = "aguideployments") -> Json:
        return self.call("GET", self.path(namespace, plural, name))

    def merge(self, namespace: str, name: str, patch: Json, plural: str = "aguideployments") -> Json:
        return self.call("PATCH", self.path(namespace, plural, name), patch, "application/merge-patch+json")

    def annotate(self, namespace: str, name: str, **annotations: str) -> Json:
        """`annotate(ns, name, promote="true")` sets agui.dev/promote."""
        keys = {f"agui.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
        return self.merge(namespace, name, {"metadata": {"annotations": keys}})

    def delete(self, namespace: str, name: str, plural: str = "aguideployments") -> None:
        self.call("DELETE", self.path(namespace, plural, name))

    def exists(self, namespace: str, name: str, plural: str = "aguideployments") -> bool:
        try:
            self.get(namespace, name, plural)
        except ApiRefused as refused:
            if refused.code == 404:
                return False
            raise
        return True

    def until(
        self, namespace: str, name: str, test: Callable[[Json], bool], what: str, seconds: float = PATIENCE
    ) -> Json:
        """The object as soon as `test` holds. Raises AssertionError that shows the last status."""
        deadline = time.monotonic() + seconds
        watch = partial(self._watch, self.path(namespace, "aguideployments"), name)
        with closing(each_version(partial(self.get, namespace, name), watch, _RECHECK_SECONDS)) as versions:
            for found in versions:
                if test(found):
                    return found
                if time.monotonic() > deadline:
                    break
        status = found.get("status") or {}
        shown = {key: status.get(key) for key in ("phase", "message", "rollout", "waitingFor", "lastRequest")}
        raise AssertionError(f"{what} did not happen within {seconds:g} s: {json.dumps(shown, indent=1)}")

    def _watch(self, collection: str, name: str, version: str) -> Watch:
        return Watch(self._connect(WATCH_SECONDS + 30), collection, name, version)

    def events(self, namespace: str) -> list[Json]:
        return list(self.call("GET", f"/api/v1/namespaces/{namespace}/events")["items"])

    def close(self) -> None:
        self._connection.close()


def condition(document: Json, kind: str) -> Json:
    """A condition of an object; {} if it is not set."""
    conditions = (document.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] == kind), {})
