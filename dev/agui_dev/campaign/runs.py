"""One run: a release under random events, and what is wrong with its end.

A run holds when, after the last event, the object comes to rest by itself; what `truth` says is then so; a release that
fails its checks met no user and never became stable; users were not hurt by events that cannot hurt them; and a newer
release then becomes Healthy.
"""

from __future__ import annotations

import copy
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agui_dev.campaign.events import EVENTS, GOOD, Excuse, excuse_of, release
from agui_dev.campaign.stage import Json, Stage, Target, patiently
from agui_dev.campaign.truth import left_after_deletion, stable_of, untrue
from agui_dev.testbed.kube_api import ApiRefused, KubeApi
from agui_dev.testbed.load import Answer, load
from agui_dev.testbed.releases import ENVIRONMENT, NAME, policy

_STUCK_SECONDS = 240.0  # without any change of the status, longer than every deadline of the releases here
_REST_SECONDS = 900.0  # in all: then it goes round in circles
_TRUE_SECONDS = 90.0  # for what is corrected at rest, and for leftovers
_BAD = ("broken", "degrading", "crashing", "bad-migration")
_NEVER_PUBLIC = ("broken", "crashing", "bad-migration")
_RESTING = ("Healthy", "RolledBack", "Failed")
_ORDER = ("Pending", "Resolving", "BackingUp", "Migrating", "Publishing", "Staging", "Smoking", "Progressing", "Paused",
          "Promoting", "Baking", "RollingBack", *_RESTING)  # fmt: skip
_MOMENTS = (*_ORDER[1:7], *("Progressing",) * 6, "Promoting", "Baking", "RollingBack", "Healthy")
_PATHS = ("/", "/api/orders/1", "/api/orders/2", "/api/orders/3")


@dataclass(slots=True)
class Run:
    """`deviations` are sentences; empty: the run held."""

    number: int
    tag: str
    events: list[str] = field(default_factory=list)
    deviations: list[str] = field(default_factory=list)
    seconds: float = 0.0
    ended: str = ""
    requests: int = 0  # of users


@dataclass(slots=True)
class Play:
    """What is under way."""

    target: Target
    run: Run
    stable: str  # the release that was stable before
    began: float = field(default_factory=time.monotonic)
    happened: list[str] = field(default_factory=list)  # names of events
    bad: set[str] = field(default_factory=set)  # ids of releases that never pass, as far as they were seen

    @property
    def shaken(self) -> bool:
        return self.target.stage.shaken(self.began, time.monotonic())

    @property
    def excuses(self) -> Excuse:
        return excuse_of(self.happened)

    def excused(self, excuse: Excuse) -> bool:
        return bool(self.excuses & excuse) or self.shaken

    def wrong(self, *sentences: str) -> None:
        self.run.deviations += sentences


def prepared(stage: Stage, api: KubeApi, namespace: str, rng: random.Random) -> Target:
    """A place of its own in which a release is Healthy."""
    api.apply(policy(namespace, (namespace,)))
    target = Target(stage, api, namespace, rng)
    target.apply(release(target, "v1", "first"))
    found, why = at_rest(target)
    if found is None or found["status"]["phase"] != "Healthy":
        raise AssertionError(f"v1 did not become Healthy in {namespace}: {why}")
    target.good = target.document
    return target


def play(target: Target, number: int) -> Run:
    """One run in a place whose deployment is Healthy."""
    rng = target.rng
    tag = rng.choice(GOOD) if rng.random() < 0.5 else rng.choice(_BAD)
    now = Play(target, Run(number, tag), target.status()["stable"]["id"])
    target.statuses = [target.status()]
    names = rng.choices(list(EVENTS), [e.weight for e in EVENTS.values()], k=rng.choice((1, 1, 2, 2, 3)))
    with load(target.system, target.namespace, 15, _PATHS) as answers:
        target.apply(release(target, tag, number))
        for name in names:
            _happens(now, name)
        _ends(now)
    _served(now, answers)
    if not now.run.deviations:
        with load(target.system, target.namespace, 15, _PATHS):
            _newer_release(now)
    now.run.requests = len(answers)
    now.run.seconds = time.monotonic() - now.began
    return now.run


def _happens(now: Play, name: str) -> None:
    target = now.target
    _moment(target)
    before = _look(now)
    now.run.events.append(f"{name} in {before.get('phase', 'no phase')}")
    now.happened.append(name)
    EVENTS[name].act(target)
    _look(now)


def _moment(target: Target) -> None:
    """Waits until the rollout has come to some phase, and a little, because most of a phase is not its begin."""
    wanted, deadline = _ORDER.index(target.rng.choice(_MOMENTS)), time.monotonic() + 30
    while time.monotonic() < deadline:
        found = target.api.get(target.namespace, NAME)
        status, phase = found.get("status") or {}, (found.get("status") or {}).get("phase")
        current = status.get("observedGeneration") == found["metadata"]["generation"]
        if current and phase in _ORDER and _ORDER.index(phase) >= wanted:
            break
        time.sleep(0.05)
    time.sleep(target.rng.uniform(0, 0.6))


def _look(now: Play) -> Json:
    """The status. Remembers what may be restored, and the ids of what must not be public."""
    status = now.target.status()
    if status and status.get("phase") != "Rehearsing":
        now.target.statuses.append(status)
    known = [status.get("release"), *(e.get("release") for e in status.get("history") or [])]
    now.bad |= {one["id"] for one in known if one and one.get("version") in _NEVER_PUBLIC and "id" in one}
    return status


def _ends(now: Play) -> None:
    found, why = at_rest(now.target)
    if found is None:
        now.wrong(why)
        return
    _look(now)
    status, tag = found["status"], now.target.document["spec"]["version"]
    now.run.ended = status["phase"]
    stable = stable_of(found)
    if stable.get("version") in _NEVER_PUBLIC:
        now.wrong(f"the bad release {stable['version']} ({stable['id']}) is stable")
    if stable.get("version") == "degrading" and not now.excused(Excuse.RISK):
        now.wrong(f"a release that degrades ({stable['id']}) is stable")
    if tag in _BAD and stable.get("id") != now.stable and not now.excused(Excuse.RISK | Excuse.RELEASE):
        now.wrong(f"stable is {stable.get('id')} after the bad release {tag}, it was {now.stable}")
    if tag not in _BAD and status["phase"] != "Healthy" and not now.excused(Excuse.RELEASE):
        now.wrong(f"the good release {tag} ended in {status['phase']}: {status.get('message')}")
    now.wrong(*in_the_end(now.target, _TRUE_SECONDS))


def _served(now: Play, answers: list[Answer]) -> None:
    """What users got while it happened."""
    shaken = now.target.stage.shaken
    failed = [a for a in answers if a.status != 200 and not shaken(a.at, a.at + 10) and now.run.tag != "degrading"]
    if failed and not now.excuses & Excuse.USERS:
        shown = sorted({f"{a.path} {a.status} {a.revision.rpartition('-')[2]}" for a in failed})
        now.wrong(f"{len(failed)} of {len(answers)} requests of users failed: {shown[:5]}")
    met = {a.revision.rpartition("-")[2] for a in answers if a.revision} & now.bad
    if met and not now.excuses & Excuse.EXPOSURE:
        now.wrong(f"users met {sorted(met)}, which never passed its checks")


def at_rest(target: Target) -> tuple[Json | None, str]:
    """The object when it rests; waits out pauses that the run asked for. None, and why, when it does not."""
    began = changed = time.monotonic()
    last: Any = None
    while True:
        found = target.api.get(target.namespace, NAME)
        status = found.get("status") or {}
        current = status.get("observedGeneration") == found["metadata"]["generation"]
        asked = any(key.startswith("agui.dev/") for key in found["metadata"].get("annotations") or {})
        if current and not asked and status.get("phase") in _RESTING:
            return found, ""
        if status.get("phase") == "Paused" and (status.get("rollout") or {}).get("heldBy") in ("Request", "Step"):
            target.annotate("resume")
            time.sleep(1)
        now, seen = time.monotonic(), (status, found["metadata"].get("annotations"))
        if seen != last:
            last, changed = seen, now
        if now - changed > _STUCK_SECONDS or now - began > _REST_SECONDS:
            shown = {k: status.get(k) for k in ("phase", "message", "waitingFor", "rollout")}
            return None, f"not at rest after {now - began:.0f} s: {json.dumps(shown)}"
        time.sleep(0.2)


def in_the_end(target: Target, seconds: float, look: Callable[[], list[str]] | None = None) -> list[str]:
    """What is still wrong after some time in which it may be corrected."""
    deadline = time.monotonic() + seconds
    while True:
        wrong = look() if look else untrue(target, target.api.get(target.namespace, NAME))
        if not wrong or time.monotonic() > deadline:
            return wrong
        time.sleep(1)


def _newer_release(now: Play) -> None:
    """Every state has a way out: the next good release. It is the stable one of the next run."""
    target = now.target
    target.apply(release(target, target.rng.choice(GOOD), -now.run.number - 1))
    target.good = copy.deepcopy(target.document)
    found, why = at_rest(target)
    if found is None:
        now.wrong(f"the newer release: {why}")
    elif found["status"]["phase"] != "Healthy" and not now.shaken:
        now.wrong(f"the newer release ended in {found['status']['phase']}: {found['status']['message']}")
    else:
        now.wrong(*in_the_end(target, _TRUE_SECONDS))


def taken_down(target: Target) -> list[str]:
    """Deletes everything of a place, in one of the orders in which people do it; what is left then."""
    api, rng, namespace = target.api, target.rng, target.namespace
    if rng.random() < 0.5:
        api.call("DELETE", f"/api/v1/namespaces/{namespace}")
    else:
        doomed = [(NAME, "aguideployments"), (ENVIRONMENT, "aguienvironments")]
        rng.shuffle(doomed)
        for name, plural in doomed:
            api.delete(namespace, name, plural)
    if rng.random() < 0.5:
        target.stage.operator.kill()
    left = in_the_end(target, _TRUE_SECONDS, lambda: ["the object stays"] if api.exists(namespace, NAME) else [])
    left = left or in_the_end(target, _TRUE_SECONDS, lambda: left_after_deletion(target))
    try:
        patiently(lambda: api.call("DELETE", f"/apis/agui.dev/v1alpha1/aguipolicies/{namespace}"))
    except ApiRefused as refused:
        if refused.code != 404:
            raise
    return left
