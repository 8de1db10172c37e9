"""What may happen to a rollout while it runs: deaths of processes, outages, hands, lost statuses, requests, edits."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Flag, auto

from agui_dev.campaign import hands
from agui_dev.campaign.stage import Json, Target
from agui_dev.testbed.kube_api import ApiRefused
from agui_dev.testbed.releases import NAME, full_release, policy

_APIS = {
    "run": "Services.*",
    "jobs": "Jobs.*",
    "compute": "compute.*",
    "monitoring": "AlertPolicyService.*",
    "time series": "MetricService.*",
    "sql": "sql*",
    "storage": "storage.*",
    "secrets": "SecretManagerService.*",
}
REQUESTS = ("abort", "retry", "promote", "promote-full", "pause", "resume", "undo")
GOOD = ("v2", "v3")


class Excuse(Flag):
    """What an event explains at the end of its run; everything else that deviates is a fault."""

    NONE = 0
    USERS = auto()  # requests of users failed: the hand took from them what serves
    RELEASE = auto()  # a good release was rolled back: a check failed by the event, or it was asked for
    EXPOSURE = auto()  # users met a release that had not passed: the hand moved them there
    RISK = auto()  # a release that degrades became stable: somebody skipped the analysis


# With the service its revisions go, and with them the records of what serves: a status that is lost too is found again
# nowhere, and the release is a first one, which has no canary.
_NOTHING_LEFT = ("service deleted", "status wiped, operator killed")


@dataclass(frozen=True, slots=True)
class Event:
    act: Callable[[Target], None]
    weight: int = 2
    excuses: Excuse = Excuse.NONE


# --- processes and APIs ----------------------------------------------------------------------------------------------


def _seconds(target: Target, least: float = 1, most: float = 6) -> float:
    return target.rng.uniform(least, most)


def _operator_suspended(target: Target) -> None:
    """Often longer than the lease: it must not write when it wakes."""
    with target.stage.operator.suspended():
        time.sleep(_seconds(target, 1, 9))


def _outage_of(api: str) -> Callable[[Target], None]:
    def happens(target: Target) -> None:
        answer: Json = target.rng.choice(({"code": "503"}, {"code": "403"}, {"code": "429"}, {"hang": True}))
        with target.stage.outage(method=_APIS[api], **answer):
            time.sleep(_seconds(target))

    return happens


# --- the object ------------------------------------------------------------------------------------------------------


def _status_restored(target: Target) -> None:
    if target.statuses:
        target.put_status(target.rng.choice(target.statuses))


def _process_lost_with(change: Callable[[Target], None]) -> Callable[[Target], None]:
    """Process and status are lost together, so that nothing is remembered but what the change leaves."""

    def happens(target: Target) -> None:
        with target.stage.operator.suspended():
            change(target)
            target.stage.operator.kill()

    return happens


def _status_of_another_version(target: Target) -> None:
    """A newer version wrote a phase and a field that this one does not know."""
    status = target.status()
    if status:
        status["phase"] = "Rehearsing"
        status.setdefault("rollout", {})["phase"] = "Rehearsing"
        target.put_status({**status, "rehearsal": {"of": "a newer version"}})


def _environment_replaced(target: Target) -> None:
    """Deleted and applied again, as a GitOps tool replaces an object."""
    found = target.api.call("GET", target.api.path(target.namespace, "aguienvironments"))["items"]
    for document in found:
        document["metadata"] = {k: document["metadata"][k] for k in ("name", "namespace")}
        document.pop("status", None)
        target.api.delete(target.namespace, document["metadata"]["name"], "aguienvironments")
        time.sleep(_seconds(target, 0, 2))
        _applied_in_the_end(target, {"apiVersion": "agui.dev/v1alpha1", "kind": "AgUiEnvironment", **document})


def _applied_in_the_end(target: Target, document: Json) -> None:
    """The object that was deleted may have to go first."""
    for _ in range(100):
        with contextlib.suppress(ApiRefused):
            if "deletionTimestamp" not in target.api.apply(document)["metadata"]:
                return
        time.sleep(0.2)


def _policy_replaced(target: Target) -> None:
    name = target.namespace
    target.api.call("DELETE", f"/apis/agui.dev/v1alpha1/aguipolicies/{name}")
    time.sleep(_seconds(target, 0, 3))
    target.api.apply(policy(name, (name,)))


def _abandoned_and_applied(target: Target) -> None:
    """The object is made again, with another uid, on what it left in the cloud."""
    target.api.merge(target.namespace, NAME, {"metadata": {"annotations": {"agui.dev/abandon": "true"}}})
    target.api.delete(target.namespace, NAME)
    while target.api.exists(target.namespace, NAME):
        time.sleep(0.1)
    target.apply(target.document)


def _paused_a_while(target: Target) -> None:
    target.annotate("pause")
    time.sleep(_seconds(target, 0.5, 3))
    target.annotate("resume")


def _several_requests(target: Target) -> None:
    target.annotate(*target.rng.sample(REQUESTS, target.rng.choice((2, 3))))


# --- the spec --------------------------------------------------------------------------------------------------------


def release(target: Target, tag: str, number: object) -> Json:
    """A release that no other run has, with all parts."""
    document = full_release(target.namespace, tag, target.rng.choice(("v1", "v2", "v3")))
    spec = document["spec"]
    spec["backend"]["env"] = [{"name": "RUN", "value": str(number)}]
    spec["strategy"]["canary"]["steps"] = [{"setWeight": 50}, {"analysis": {}}, {"pause": {"duration": "1s"}}]
    spec["strategy"]["progressDeadline"] = "180s"  # a busy machine is no reason to roll back
    if target.rng.random() < 0.6:
        spec["migrations"]["backup"] = "Never"  # an instance makes one backup at a time
    spec["rollback"] = {"window": "20s"}  # leftovers go while the campaign runs
    spec["frontend"]["skewWindow"] = "20s"
    return document


def _newer_spec(target: Target) -> None:
    target.apply(release(target, target.rng.choice(GOOD), target.rng.random()))


def _spec_reverted(target: Target) -> None:
    target.apply(target.good)


def _steps_edited(target: Target) -> None:
    document = copy.deepcopy(target.document)
    weight = target.rng.choice(([{"setWeight": 20}], [{"setWeight": 20}, {"pause": {"duration": "2s"}}], []))
    document["spec"]["strategy"]["canary"]["steps"] = [*weight, {"setWeight": 70}, {"analysis": {}}]
    target.apply(document)


def _checks_edited(target: Target) -> None:
    document = copy.deepcopy(target.document)
    document["spec"]["smoke"].append({"name": f"ready-{target.rng.randrange(99)}", "http": {"path": "/readyz"}})
    target.apply(document)


def _suspended_a_while(target: Target) -> None:
    document = copy.deepcopy(target.document)
    target.api.apply({**document, "spec": {**document["spec"], "suspend": True}})
    time.sleep(_seconds(target, 0.5, 4))
    target.apply(document)


def excuse_of(happened: Sequence[str]) -> Excuse:
    """What the events of a run explain, by their names."""
    found = Excuse.RISK if all(name in happened for name in _NOTHING_LEFT) else Excuse.NONE
    for name in happened:
        found |= EVENTS[name].excuses
    return found


_E, _BY_HAND = Excuse, Excuse.USERS | Excuse.RELEASE
EVENTS: Mapping[str, Event] = {
    "operator killed": Event(lambda t: t.stage.operator.kill(), 6),
    "operator suspended": Event(_operator_suspended, 3),
    "operator cut off": Event(lambda t: t.stage.cut_off(_seconds(t)), 2),
    "API server killed": Event(lambda t: t.stage.kill_api_server(), 1),
    "API server suspended": Event(lambda t: t.stage.suspend_plane("kube-apiserver", _seconds(t)), 1),
    "etcd killed": Event(lambda t: t.stage.kill_etcd(), 1),
    "etcd suspended": Event(lambda t: t.stage.suspend_plane("etcd", _seconds(t)), 1),
    "cloud killed": Event(lambda t: t.stage.kill_cloud(), 1),
    "cloud suspended": Event(lambda t: t.stage.suspend_cloud(_seconds(t, 1, 4)), 1),
    **{f"{api} outage": Event(_outage_of(api)) for api in _APIS},
    "traffic moved": Event(hands.traffic_moved, 3, _BY_HAND | _E.EXPOSURE),
    "template edited": Event(hands.template_edited, 1, _E.RELEASE),
    "service deleted": Event(hands.service_deleted, 1, _BY_HAND),
    "idle revisions deleted": Event(hands.idle_revisions_deleted),
    "candidate deleted": Event(hands.candidate_deleted, 2, _E.RELEASE),
    "jobs deleted": Event(hands.jobs_deleted, 2, _E.RELEASE),
    "page rules deleted": Event(hands.page_rules_deleted, 1, _BY_HAND),
    "page rules edited": Event(hands.page_rules_edited, 1, _BY_HAND),
    "page deleted": Event(hands.page_deleted, 2, _BY_HAND),
    "alert policies deleted": Event(hands.alerts_deleted, 1),
    "alert policies edited": Event(hands.alerts_edited, 1),
    "status wiped": Event(lambda t: t.put_status(None), 3),
    "status restored": Event(_status_restored, 3),
    "status wiped, operator killed": Event(_process_lost_with(lambda t: t.put_status(None)), 3),
    "status restored, operator killed": Event(_process_lost_with(_status_restored), 3),
    "status of another version": Event(_status_of_another_version, 2),
    "other version, operator killed": Event(_process_lost_with(_status_of_another_version), 2),
    "environment replaced": Event(_environment_replaced),
    "policy replaced": Event(_policy_replaced),
    "abandoned and applied": Event(_abandoned_and_applied, 1),
    "abort": Event(lambda t: t.annotate("abort"), 2, _E.RELEASE),
    "retry": Event(lambda t: t.annotate("retry"), 1),
    "promote": Event(lambda t: t.annotate("promote"), 1, _E.RISK),
    "pause and resume": Event(_paused_a_while),
    "undo": Event(lambda t: t.annotate("undo"), 2, _E.RELEASE),
    "several requests": Event(_several_requests, 2, _E.RELEASE | _E.RISK),
    "newer spec": Event(_newer_spec),
    "spec reverted": Event(_spec_reverted),
    "steps edited": Event(_steps_edited),
    "checks edited": Event(_checks_edited, 1),
    "suspended a while": Event(_suspended_a_while),
}
