"""Where runs take place: one system with one operator, and what may happen to its processes.

Every program is started again when it was killed, as a Deployment or a service manager does it. The campaign's own
calls go on until they are answered, because the outage of one run is met by the others too.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import random
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from agui_dev.children import ChildFailed
from agui_dev.testbed.kube_api import ApiRefused, KubeApi
from agui_dev.testbed.local_cloud import CloudRefused, LocalCloud
from agui_dev.testbed.operator_process import OperatorProcess
from agui_dev.testbed.releases import NAME
from agui_dev.testbed.system import System, service_of

Json = dict[str, Any]
T = TypeVar("T")
RUN = "/v2/projects/demo/locations/us-central1"
_PATIENCE = 120.0  # seconds in which an API answers again
_TIMEOUT = 4.0  # of one call to the local cloud, which may be made to hang
_PASSING = {403, 429, 500, 502, 503, 504}  # what an outage answers


def patiently(ask: Callable[[], T]) -> T:
    """The answer, asked for until the outages of other runs are over."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return ask()
        except (OSError, http.client.HTTPException, ChildFailed):
            if time.monotonic() > deadline:
                raise
        except (ApiRefused, CloudRefused) as refused:
            if refused.code not in _PASSING or time.monotonic() > deadline:
                raise
        time.sleep(0.3)


class PatientApi(KubeApi):
    """Waits for an API server that is away."""

    def call(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Json:
        return patiently(lambda: super(PatientApi, self).call(method, path, body, content_type))


class PatientCloud(LocalCloud):
    """The APIs of a local cloud that runs already, for a caller that waits for the end of outages."""

    def __init__(self, running: LocalCloud) -> None:
        super().__init__(running.state_dir)
        self.endpoint, self.edge = running.endpoint, running.edge

    def call(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> Any:
        return patiently(lambda: self._call(path, method, body, {"Content-Type": "application/json", **headers}))

    def _call(self, path: str, method: str, body: Any, headers: Mapping[str, str]) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.endpoint + path, data, dict(headers), method=method)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as refused:
            with refused:
                raise CloudRefused(refused.code, f"{method} {path}: {refused.read().decode()}") from None


@dataclass(slots=True)
class Window:
    """A time in which users could not be served, or only late, whatever the operator did."""

    began: float
    ended: float = float("inf")

    def holds(self, began: float, ended: float) -> bool:
        return self.began <= ended and began <= self.ended


class Operator:
    """The operator, started again whenever it has ended."""

    def __init__(self, process: OperatorProcess) -> None:
        self._process, self._closed = process, threading.Event()
        self.ended_itself = 0
        self._killed = 0
        self._thread = threading.Thread(target=self._watch, name="operator's supervisor", daemon=True)
        self._thread.start()

    def kill(self) -> None:
        self._killed += 1
        self._process.send(signal.SIGKILL)

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        pid = self._process.pid
        self._process.send(signal.SIGSTOP)
        try:
            yield
        finally:
            if pid == self._process.pid:
                self._process.send(signal.SIGCONT)

    def close(self) -> None:
        self._closed.set()
        self._thread.join(10)

    def _watch(self) -> None:
        while not self._closed.wait(0.2):
            if self._process.is_alive:
                continue
            if self._killed:
                self._killed -= 1
            else:
                self.ended_itself += 1
            self._process.start(wait=False)


@dataclass(slots=True)
class Stage:
    """The system, its operator, and the deaths and outages that all runs meet."""

    system: System
    operator: Operator
    cloud: PatientCloud
    windows: list[Window] = field(default_factory=list)
    _rules: dict[int, Json] = field(default_factory=dict)
    _ids: Iterator[int] = field(default_factory=itertools.count)
    _rules_lock: threading.Lock = field(default_factory=threading.Lock)
    _plane_lock: threading.Lock = field(default_factory=threading.Lock)
    _cloud_lock: threading.Lock = field(default_factory=threading.Lock)

    # --- the local cloud ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def outage(self, **rule: Any) -> Iterator[None]:
        """A fault rule of the local cloud for the duration of the block."""
        with self._rules_lock:
            key = next(self._ids)
            self._rules[key] = {"count": 0, **rule}
            self._set_rules()
        try:
            yield
        finally:
            with self._rules_lock:
                del self._rules[key]
                self._set_rules()

    def _set_rules(self) -> None:
        self.cloud.clear_faults()
        for rule in self._rules.values():
            self.cloud.fault(**rule)

    def kill_cloud(self) -> None:
        """The local cloud and its data plane; its state is on disk."""
        with self._cloud_lock, self._window():
            self.system.gcp.restart(kill=True)
            with self._rules_lock:
                self._set_rules()

    def suspend_cloud(self, seconds: float) -> None:
        with self._cloud_lock, self._window():
            _suspend(self.system.gcp.pid, seconds)

    @contextlib.contextmanager
    def _window(self) -> Iterator[None]:
        window = Window(time.monotonic())
        self.windows.append(window)
        try:
            yield
        finally:
            window.ended = time.monotonic() + 5  # instances start again with the first request

    def shaken(self, began: float, ended: float) -> bool:
        """True if the data plane was away at some moment between the two."""
        return any(window.holds(began, ended) for window in tuple(self.windows))

    # --- the control plane -------------------------------------------------------------------------------------------

    def kill_api_server(self) -> None:
        with self._plane_lock:
            self.system.plane.restart_apiserver(kill=True)

    def kill_etcd(self) -> None:
        with self._plane_lock:
            self.system.plane.restart_etcd(kill=True)

    def suspend_plane(self, program: str, seconds: float) -> None:
        with self._plane_lock:
            _suspend(self.system.plane.pids[program], seconds)

    def cut_off(self, seconds: float) -> None:
        """The operator does not reach the API server; everybody else does."""
        with self._plane_lock:
            self.system.proxy.cut = True
            try:
                time.sleep(seconds)
            finally:
                self.system.proxy.cut = False


@dataclass(slots=True)
class Target:
    """One deployment under fire, and what was done to it."""

    stage: Stage
    api: KubeApi
    namespace: str
    rng: random.Random
    document: Json = field(default_factory=dict)  # as last applied
    good: Json = field(default_factory=dict)  # as applied when it became Healthy
    statuses: list[Json] = field(default_factory=list)  # earlier ones, to be restored

    @property
    def system(self) -> System:
        return self.stage.system

    @property
    def cloud(self) -> PatientCloud:
        return self.stage.cloud

    def changed(self, path: str, body: Any, method: str = "PATCH") -> bool:
        """Changes something in the cloud by hand; False if it is not possible now."""
        try:
            self.cloud.call(path, method, body)
        except CloudRefused as refused:
            if refused.code not in (400, 404, 409, 412):
                raise
            return False
        return True

    def service(self) -> Json | None:
        """The Cloud Run service."""
        try:
            found: Json = self.cloud.call(f"{RUN}/services/{service_of(self.namespace)}")
        except CloudRefused as refused:
            if refused.code != 404:
                raise
            return None
        return found

    def status(self) -> Json:
        found: Json = self.api.get(self.namespace, NAME).get("status") or {}
        return found

    def put_status(self, status: Json | None) -> None:
        """Replaces the status, as a restore from a backup does."""
        path = self.api.path(self.namespace, name=NAME) + "/status"
        for _ in range(50):
            document = self.api.get(self.namespace, NAME)
            document["status"] = status or {}
            try:
                self.api.call("PUT", path, document)
                return
            except ApiRefused as refused:
                if refused.code != 409:
                    raise

    def apply(self, document: Json) -> None:
        """Applies a release."""
        self.document = document
        self.api.apply(document)

    def annotate(self, *kinds: str) -> None:
        """Asks for one or several requests at once."""
        keys = {f"agui.dev/{kind}": "previous" if kind == "undo" else "true" for kind in kinds}
        self.api.merge(self.namespace, NAME, {"metadata": {"annotations": keys}})


def _suspend(pid: int, seconds: float) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
