"""What must be so when a rollout rests: users get the stable release, the status says what is so, nothing is left over,
and nothing happened twice."""

from __future__ import annotations

import re
import urllib.error
from collections.abc import Iterator, Sequence
from typing import Any

from agui_dev.campaign.hands import missing_files, owned
from agui_dev.campaign.stage import Json, Target
from agui_dev.testbed.belongings import Belongings
from agui_dev.testbed.kube_api import condition
from agui_dev.testbed.releases import NAME
from agui_dev.testbed.system import service_of

# phase -> condition -> what it says at rest
_TOLD = {
    "Healthy": {"Ready": "True", "Reconciling": "False", "Stalled": "False", "Promoted": "True"},
    "RolledBack": {"Ready": "False", "Reconciling": "False", "Stalled": "True", "Promoted": "False"},
}
_RELEASE = re.compile(r"[0-9a-f]{10}(-[0-9]+)?")
_ALWAYS = {"SpecAccepted": "True", "EnvironmentReady": "True", "Paused": "False"}
_ALERTS, _LIMITS = ("error rate", "latency p95"), {0.05, 2000.0}  # of each release here


def untrue(target: Target, found: Json) -> list[str]:
    """Sentences about what is wrong with an object at rest; empty: nothing."""
    have = owned(target)
    return [
        *_serving(target, found, have),
        *_users(target, found),
        *_page_lacks(target, found),
        *_conditions(found),
        *_way_back(target, found, have),
        *_watched(target, found, have),
        *_left_over(target, found, have),
        *_done_twice(have),
    ]


def stable_of(found: Json) -> Json:
    stable: Json = found["status"].get("stable") or {}
    return stable


def _serving(target: Target, found: Json, have: Belongings) -> Iterator[str]:
    """Traffic, tags and release pointer are those of the stable release."""
    stable, status = stable_of(found), found["status"]
    service = have.service or {}
    revision = f"{service_of(target.namespace)}-{stable.get('id', '?')}"
    traffic = service.get("traffic", [])
    if [t.get("revision") for t in traffic if t.get("percent")] != [revision]:
        yield f"traffic is {traffic}, stable is {revision}"
    tagged = {t["revision"] for t in traffic if str(t.get("tag", "")).startswith("r-")}
    kept = {f"{service_of(target.namespace)}-{release}" for release in _kept(status)}
    if tagged - kept:
        yield f"{sorted(tagged - kept)} keep their tags and were never promoted, or were taken back"
    described = str((have.matcher or {}).get("description", ""))
    if not described.endswith(f"release={stable.get('id')} frontend={stable.get('frontend') or '-'}"):
        yield f"the URL map says {described!r}, stable is {stable.get('id')} with page {stable.get('frontend')}"
    weight = (status.get("rollout") or {}).get("weight")
    if weight != (100 if status["phase"] == "Healthy" else 0):
        yield f"{status['phase']} with weight {weight}"


def _kept(status: Json) -> set[str]:
    """Releases whose revisions are kept ready."""
    return {stable_of({"status": status}).get("id", ""), *(p["release"]["id"] for p in status.get("promoted") or [])}


def _users(target: Target, found: Json) -> Iterator[str]:
    stable = stable_of(found).get("id", "?")
    try:
        page, _, _ = target.system.get(target.namespace, "/")
        code, revision, _ = target.system.get(target.namespace, "/api/orders/1")
    except (OSError, urllib.error.URLError) as error:
        yield f"the edge does not answer: {error}"
        return
    if page != 200:
        yield f"the page answers {page}"
    if code not in ((200, 500) if stable_of(found).get("version") == "degrading" else (200,)):
        yield f"the API answers {code}"
    if not revision.endswith(f"-{stable}"):
        yield f"the API is answered by {revision or 'nobody'}, stable is {stable}"


def _page_lacks(target: Target, found: Json) -> Iterator[str]:
    """Every file that the manifest of the stable release's page lists exists."""
    frontend = stable_of(found).get("frontend")
    missing = missing_files(target, frontend) if frontend else []
    if missing:
        yield f"files of the page are missing: {missing}"


def _conditions(found: Json) -> Iterator[str]:
    status = found["status"]
    for kind, value in {**_ALWAYS, **_TOLD.get(status["phase"], {})}.items():
        told = condition(found, kind)
        if told.get("status") != value:
            yield f"{status['phase']} with {kind}={told.get('status')}: {told.get('reason')}: {told.get('message')}"
        elif told.get("observedGeneration") != found["metadata"]["generation"]:
            yield f"{kind} is about generation {told.get('observedGeneration')}"
    drift = condition(found, "DriftFree")
    if drift.get("status") == "False":
        yield f"DriftFree=False: {drift.get('message')}"
    if not status.get("message"):
        yield "the status has no message"
    if status["phase"] == "Healthy" and status.get("waitingFor"):
        yield f"Healthy, and waits for {status['waitingFor']}"
    if status["phase"] == "RolledBack" and not status.get("rejected"):
        yield "RolledBack, and nothing is rejected"


def _way_back(target: Target, found: Json, have: Belongings) -> Iterator[str]:
    """RollbackReady is about a revision that is looked at."""
    told = condition(found, "RollbackReady")
    named = _release_in(told.get("message", ""), [p["release"]["id"] for p in found["status"].get("promoted") or []])
    if told.get("status") == "True" and named is not None:
        revision = f"{service_of(target.namespace)}-{named}"
        if revision not in have.revisions:
            yield f"RollbackReady=True about {revision}, which does not exist"


def _release_in(message: str, known: Sequence[str]) -> str | None:
    return next((release for release in known if f"({release})" in message), None)


def _watched(target: Target, found: Json, have: Belongings) -> Iterator[str]:
    names = sorted(policy["displayName"] for policy in have.alerts)
    if names != [f"{target.namespace}/{NAME}: {title}" for title in _ALERTS]:
        yield f"the alert policies are {names}"
    limits = {c["conditionThreshold"]["thresholdValue"] for policy in have.alerts for c in policy["conditions"]}
    if limits != _LIMITS:
        yield f"the limits of the alert policies are {limits}"
    if condition(found, "AlertsConfigured").get("status") != "True" and found["status"]["phase"] == "Healthy":
        yield f"Healthy with AlertsConfigured: {condition(found, 'AlertsConfigured')}"


def _left_over(target: Target, found: Json, have: Belongings) -> Iterator[str]:
    """What is owned is of a release that the status names; what nobody needs goes within the windows of the spec."""
    status, known = found["status"], _kept(found["status"])
    known |= {entry["release"]["id"] for entry in status.get("history") or []}
    known |= {(status.get(key) or {}).get(name, "") for key, name in (("release", "id"), ("rejected", "release"))}
    prefix = f"{service_of(target.namespace)}-"
    # a revision that somebody made by hand has a name of Cloud Run's making, and stays
    newest = str((have.service or {}).get("latestCreatedRevision", "")).rpartition("/")[2]
    for name in have.revisions:
        release = name.removeprefix(prefix)
        if _RELEASE.fullmatch(release) and release not in known and name != newest:
            yield f"revision {name} is of no release that the status names ({sorted(known)})"
    for job in have.jobs:
        if job.startswith(f"{prefix}m-") and job.removeprefix(f"{prefix}m-") not in known:
            yield f"job {job} is of no release that the status names ({sorted(known)})"


def _done_twice(have: Belongings) -> Iterator[str]:
    for job, count in have.jobs.items():
        if count > 1:
            yield f"job {job} was executed {count} times"
    twice = {name for name in have.backups if have.backups.count(name) > 1}
    if twice:
        yield f"backups were made twice: {sorted(twice)}"


def left_after_deletion(target: Target) -> list[str]:
    """What is still owned when the object is gone. Published files and backups are retained (spec.deletionPolicy)."""
    have = owned(target)
    found: list[Any] = [*have.jobs, *have.revisions, *(policy["displayName"] for policy in have.alerts)]
    if have.matcher is not None:
        found.append(f"path matcher {have.matcher['name']}")
    return [f"{one} is left after the deletion" for one in found]
