"""What may happen to a rollout while it runs: deaths of processes, outages, hands, lost statuses, requests, edits."""

from __future__ import annotations

import contextlib
import itertools
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from agui_dev.testbed.kube_api import ApiRefused, KubeApi
from agui_dev.testbed.local_cloud import CloudRefused, LocalCloud
from agui_dev.testbed.operator_process import OperatorProcess
from agui_dev.testbed.releases import NAME, URL_MAP
from agui_dev.testbed.system import System

Json = dict[str, Any]
_RUN = "/v2/projects/demo/locations/us-central1"
_APIS = {
    "run": "Services.*",
    "jobs": "Jobs.*",
    "compute": "compute.*",
    "monitoring": "AlertPolicyService.*",
    "time series": "MetricService.*",
    "sql": "sql*",
    "storage": "storage.*",
}


class Outages:
    """Fault rules of the local cloud that end one by one."""

    def __init__(self, cloud: LocalCloud) -> None:
        self._cloud, self._lock = cloud, threading.Lock()
        self._rules: dict[int, Json] = {}
        self._ids = itertools.count(1)

    @contextlib.contextmanager
    def of(self, **rule: Any) -> Iterator[None]:
        with self._lock:
            key = next(self._ids)
            self._rules[key] = {"count": 1_000_000, **rule}
            self._cloud.fault(**self._rules[key])
        try:
            yield
        finally:
            with self._lock:
                del self._rules[key]
                self._cloud.clear_faults()
                for other in self._rules.values():
                    self._cloud.fault(**other)


class Supervisor:
    """One operator that is started again whenever it was killed, as its Deployment would do."""

    def __init__(self, operator: OperatorProcess) -> None:
        self._operator, self._lock = operator, threading.Lock()

    def kill(self) -> None:
        with self._lock:
            self._operator.kill()
            self._operator.start()

    def suspend(self, seconds: float) -> None:
        """Longer than the lease: it must not write when it wakes."""
        with self._lock:
            self._operator.send(signal.SIGSTOP)
            time.sleep(seconds)
            self._operator.send(signal.SIGCONT)


@dataclass(slots=True)
class Target:
    """One deployment under fire, and what was done to it."""

    system: System
    api: KubeApi
    namespace: str
    supervisor: Supervisor
    outages: Outages
    rng: random.Random
    statuses: list[Json] = field(default_factory=list)  # earlier ones, to be restored

    def service(self) -> Json | None:
        """The Cloud Run service, whatever it is called."""
        found = self.system.gcp.items(f"{_RUN}/services", "services")
        return next((s for s in found if f"/services/{self.namespace}-" in s["name"]), None)

    def status(self) -> Json:
        found: Json = self.api.get(self.namespace, NAME).get("status") or {}
        return found

    def put_status(self, status: Json | None) -> None:
        """Replaces the status, as a restore from a backup does."""
        path = self.api.path(self.namespace, name=NAME) + "/status"
        for _ in range(20):
            document = self.api.get(self.namespace, NAME)
            document["status"] = status or {}
            try:
                self.api.call("PUT", path, document)
                return
            except ApiRefused as refused:
                if refused.code != 409:
                    raise


@dataclass(frozen=True, slots=True)
class Event:
    """`harms`: the event itself may hurt users or the candidate: failed requests and a roll-back of a good release are
    right then."""

    act: Callable[[Target], None]
    weight: int = 2
    harms: bool = True


def _operator_killed(target: Target) -> None:
    target.supervisor.kill()


def _operator_suspended(target: Target) -> None:
    target.supervisor.suspend(target.rng.uniform(1, 6))


def _outage(target: Target, api: str) -> None:
    answer: Json = target.rng.choice(({"code": "503"}, {"code": "403"}, {"code": "429"}, {"hang": True}))
    with target.outages.of(method=_APIS[api], **answer):
        time.sleep(target.rng.uniform(1, 6))


def _outage_of(api: str) -> Callable[[Target], None]:
    return lambda target: _outage(target, api)


def _traffic_moved(target: Target) -> None:
    service = target.service()
    if service is None:
        return
    revisions = [t["revision"] for t in service.get("traffic", []) if t.get("revision")]
    if revisions:
        one = target.rng.choice(revisions)
        traffic = [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": one, "percent": 100}]
        _refusable(target, f"/v2/{service['name']}?updateMask=traffic", {"name": service["name"], "traffic": traffic})


def _service_deleted(target: Target) -> None:
    service = target.service()
    if service is not None:
        _refusable(target, f"/v2/{service['name']}", None, "DELETE")


def _idle_revisions_deleted(target: Target) -> None:
    service = target.service()
    if service is None:
        return
    reached = {t.get("revision") for t in service.get("traffic", [])}
    for revision in target.system.gcp.items(f"/v2/{service['name']}/revisions", "revisions"):
        if revision["name"].rpartition("/")[2] not in reached:
            _refusable(target, f"/v2/{revision['name']}", None, "DELETE")


def _jobs_deleted(target: Target) -> None:
    for job in target.system.gcp.items(f"{_RUN}/jobs", "jobs"):
        if f"/jobs/{target.namespace}-" in job["name"]:
            _refusable(target, f"/v2/{job['name']}", None, "DELETE")


def _page_rules_deleted(target: Target) -> None:
    path = f"/compute/v1/projects/demo/global/urlMaps/{URL_MAP}"
    for _ in range(5):
        url_map = target.system.cloud(path)
        host = target.system.origin(target.namespace).removeprefix("http://").partition(":")[0]
        rules = [r for r in url_map.get("hostRules", []) if not any(h.startswith(host) for h in r["hosts"])]
        kept = {r["pathMatcher"] for r in rules}
        matchers = [m for m in url_map.get("pathMatchers", []) if m["name"] in kept]
        if len(rules) == len(url_map.get("hostRules", [])):
            return
        body = {"fingerprint": url_map["fingerprint"], "hostRules": rules, "pathMatchers": matchers}
        if _refusable(target, path, body, "PATCH"):
            return


def _refusable(target: Target, path: str, body: Any, method: str = "PATCH") -> bool:
    try:
        target.system.cloud(path, body, method)
    except CloudRefused as refused:
        if refused.code not in (400, 404, 409, 412, 429, 503):
            raise
        return False
    return True


def _alerts_deleted(target: Target) -> None:
    for policy in target.system.gcp.items("/v3/projects/demo/alertPolicies", "alertPolicies"):
        if policy["displayName"].startswith(f"{target.namespace}/"):
            _refusable(target, f"/v3/{policy['name']}", None, "DELETE")


def _status_wiped(target: Target) -> None:
    target.put_status(None)


def _status_restored(target: Target) -> None:
    if target.statuses:
        target.put_status(target.rng.choice(target.statuses))


def _environment_replaced(target: Target) -> None:
    """Deleted and applied again, as a GitOps tool replaces an object."""
    found = target.api.call("GET", target.api.path(target.namespace, "aguienvironments"))["items"]
    for document in found:
        document["metadata"] = {k: document["metadata"][k] for k in ("name", "namespace")}
        document.pop("status", None)
        target.api.delete(target.namespace, document["metadata"]["name"], "aguienvironments")
        time.sleep(target.rng.uniform(0, 2))
        with contextlib.suppress(ApiRefused):  # it may wait for the deployment that refers to it
            target.api.apply({"apiVersion": "agui.dev/v1alpha1", "kind": "AgUiEnvironment", **document})


def _asked(kind: str) -> Callable[[Target], None]:
    return lambda target: _annotate(target, kind)


def _annotate(target: Target, kind: str) -> None:
    target.api.annotate(target.namespace, NAME, **{kind: "true"})


def _paused_a_while(target: Target) -> None:
    _annotate(target, "pause")
    time.sleep(target.rng.uniform(0.5, 3))
    _annotate(target, "resume")


EVENTS: Mapping[str, Event] = {
    "operator killed": Event(_operator_killed, 6, harms=False),
    "operator suspended": Event(_operator_suspended, 3, harms=False),
    "monitoring outage": Event(_outage_of("monitoring"), harms=False),
    "time series outage": Event(_outage_of("time series"), harms=False),
    "run outage": Event(_outage_of("run")),
    "jobs outage": Event(_outage_of("jobs")),
    "compute outage": Event(_outage_of("compute")),
    "sql outage": Event(_outage_of("sql"), harms=False),
    "storage outage": Event(_outage_of("storage"), harms=False),
    "traffic moved": Event(_traffic_moved),
    "service deleted": Event(_service_deleted, 1),
    "idle revisions deleted": Event(_idle_revisions_deleted),
    "jobs deleted": Event(_jobs_deleted),
    "page rules deleted": Event(_page_rules_deleted),
    "alert policies deleted": Event(_alerts_deleted, harms=False),
    "status wiped": Event(_status_wiped),
    "status restored": Event(_status_restored),
    "environment replaced": Event(_environment_replaced),
    "abort": Event(_asked("abort")),
    "retry": Event(_asked("retry"), 1, harms=False),
    "promote": Event(_asked("promote"), 1, harms=False),
    "pause and resume": Event(_paused_a_while, harms=False),
}
