"""One run: a release under random events, and what is wrong with its end.

A run holds when, after the last event, the object comes to rest by itself; users then get the page and the API of the
release that the status calls stable; a release that fails its checks never became stable; users were not hurt by
events that cannot hurt them; and a newer release then becomes Healthy.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from agui_dev.campaign.events import EVENTS, Target
from agui_dev.testbed.kube_api import condition
from agui_dev.testbed.releases import NAME, full_release

Json = dict[str, Any]
REST_SECONDS = 150.0
_GOOD, _BAD = ("v2", "v3"), ("broken", "degrading", "crashing", "bad-migration")
_RESTING = ("Healthy", "RolledBack")


@dataclass(slots=True)
class Run:
    """`deviations` are sentences; empty: the run held."""

    number: int
    tag: str
    events: list[str] = field(default_factory=list)
    deviations: list[str] = field(default_factory=list)
    seconds: float = 0.0
    ended: str = ""


def play(target: Target, number: int) -> Run:
    """One run in a namespace whose deployment is Healthy."""
    rng = target.rng
    began, stable = time.monotonic(), target.status()["stable"]["id"]
    target.statuses = [target.status()]
    tag = rng.choice(_GOOD) if rng.random() < 0.5 else rng.choice(_BAD)
    run = Run(number, tag)
    names = rng.choices(list(EVENTS), [e.weight for e in EVENTS.values()], k=rng.choice((1, 1, 2, 2, 3)))
    with users(target) as failures:
        target.api.apply(_release(target, tag, number))
        for name in names:
            time.sleep(rng.uniform(0, 5))
            run.events.append(f"{name} in {target.status().get('phase', 'no phase')}")
            EVENTS[name].act(target)
            if target.status():
                target.statuses.append(target.status())
        harmed = any(EVENTS[name].harms for name in names)
        _rest(target, run, tag, stable, harmed=harmed)
    if failures and not harmed and tag != "degrading":
        run.deviations.append(f"{len(failures)} requests of users failed: {sorted(set(failures))}")
    with users(target):
        _newer_release(target, run, number)
    run.seconds = time.monotonic() - began
    return run


def _release(target: Target, tag: str, number: int) -> Json:
    page = target.rng.choice(("v1", "v2", "v3"))
    document = full_release(target.namespace, tag, page)
    document["spec"]["backend"]["env"] = [{"name": "RUN", "value": str(number)}]  # a new release in every run
    document["spec"]["strategy"]["canary"]["steps"] = [
        {"setWeight": 50},
        {"analysis": {}},
        {"pause": {"duration": "1s"}},
    ]
    return document


def _rest(target: Target, run: Run, tag: str, stable: str, *, harmed: bool) -> None:
    found = _at_rest(target, run)
    if found is None:
        return
    status = found["status"]
    run.ended = status["phase"]
    _consistent(target, run, found)
    serving = (status.get("stable") or {}).get("id")
    if tag in _BAD and serving != stable and not (harmed and _is_known_good(status, serving)):
        run.deviations.append(f"stable is {serving} after the bad release {tag}, it was {stable}")
    if tag in _GOOD and status["phase"] != "Healthy" and not harmed:
        run.deviations.append(f"the good release {tag} ended in {status['phase']}: {status.get('message')}")


def _is_known_good(status: Json, release: str | None) -> bool:
    """A release that was promoted before, in the words of the status."""
    known = [*(status.get("promoted") or []), *(status.get("history") or [])]
    bad = (status.get("rejected") or {}).get("release")
    return release != bad and any((e.get("release") or {}).get("id") == release for e in known)


def _at_rest(target: Target, run: Run) -> Json | None:
    """The object when it rests; waits out pauses that the run asked for. None, with a deviation, when it does not."""
    deadline, last = time.monotonic() + REST_SECONDS, Json()
    while time.monotonic() < deadline:
        last = target.api.get(target.namespace, NAME)
        status = last.get("status") or {}
        current = status.get("observedGeneration") == last["metadata"]["generation"]
        asked = any(key.startswith("agui.dev/") for key in last["metadata"].get("annotations") or {})
        if current and not asked and status.get("phase") in _RESTING:
            return last
        if status.get("phase") == "Paused" and (status.get("rollout") or {}).get("heldBy") in ("Request", "Step"):
            target.api.annotate(target.namespace, NAME, resume="true")
            time.sleep(1)
        time.sleep(0.1)
    shown = {k: (last.get("status") or {}).get(k) for k in ("phase", "message", "waitingFor", "rollout")}
    run.deviations.append(f"not at rest after {REST_SECONDS:g} s: {shown}")
    return None


def _consistent(target: Target, run: Run, found: Json) -> None:
    """The status says what is so, and users get what it says; drift has some time to be corrected."""
    wrong: list[str] = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        wrong = _untrue(target, target.api.get(target.namespace, NAME))
        if not wrong:
            return
        time.sleep(0.5)
    run.deviations += wrong


def _untrue(target: Target, found: Json) -> list[str]:
    status, wrong = found["status"], list[str]()
    stable = (status.get("stable") or {}).get("id", "?")
    service = target.service() or {}
    shares = {t.get("revision", ""): t.get("percent", 0) for t in service.get("traffic", [])}
    full = [revision for revision, percent in shares.items() if percent == 100]
    if not (full and full[0].endswith(f"-{stable}")):
        wrong.append(f"traffic is {shares}, stable is {stable}")
    try:
        page, _, _ = target.system.get(target.namespace, "/")
        code, revision, _ = target.system.get(target.namespace, "/api/orders/1")
    except OSError as error:
        return [*wrong, f"the edge does not answer: {error}"]
    if page != 200:
        wrong.append(f"the page answers {page}")
    if code != 200 or not revision.endswith(f"-{stable}"):
        wrong.append(f"the API answers {code} from {revision or 'nobody'}, stable is {stable}")
    ready, stalled = condition(found, "Ready")["status"], condition(found, "Stalled")["status"]
    if status["phase"] == "Healthy" and (ready != "True" or stalled == "True"):
        wrong.append(f"Healthy with Ready={ready}, Stalled={stalled}: {status.get('message')}")
    if status["phase"] == "RolledBack" and ready == "True":
        wrong.append("RolledBack with Ready=True")
    return wrong


def _newer_release(target: Target, run: Run, number: int) -> None:
    """Every state has a way out: the next good release. It is the stable one of the next run."""
    target.api.apply(_release(target, target.rng.choice(_GOOD), -number - 1))
    found = _at_rest(target, run)
    if found is not None and found["status"]["phase"] != "Healthy":
        run.deviations.append(f"the newer release ended in {found['status']['phase']}: {found['status']['message']}")
    elif found is not None:
        _consistent(target, run, found)


@contextlib.contextmanager
def users(target: Target, rate: float = 15.0) -> Iterator[list[str]]:
    """Asks for the page and the API until the block ends; yields the failed answers."""
    stop, failures = threading.Event(), list[str]()

    def ask() -> None:
        paths = ("/", "/api/orders/1", "/api/orders/2", "/api/orders/3")
        while not stop.wait(1 / rate):
            path = random.choice(paths)
            with contextlib.suppress(OSError):
                code, revision, _ = target.system.get(target.namespace, path)
                if code != 200:
                    failures.append(f"{path} {code} {revision.rpartition('-')[2]}")

    thread = threading.Thread(target=ask, name="users")
    thread.start()
    try:
        yield failures
    finally:
        stop.set()
        thread.join(15)
