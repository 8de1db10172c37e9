"""What a rollout does while it is exposed, held or asked: holds, steps edited in flight, verdicts, requests."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from agui_dev.testbed.kube_api import condition
from agui_dev.testbed.load import load
from agui_dev.testbed.releases import AT_ONCE, HELD, HTTP_CHECK, NAME, REPOSITORY, full_release, policy, release
from agui_dev.testbed.system import System, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600), pytest.mark.usefixtures("operator")]

Json = dict[str, Any]
HALF: Json = {"setWeight": 50}
PAUSE: Json = {"pause": {}}
LONG: Json = {"pause": {"duration": "10m"}}
JUDGE: Json = {"analysis": {}}
ERRORS: Json = {"name": "error-rate", "max": 0.05}
_number = itertools.count(1)


def canary(*steps: Json, progress: str = "60s", metrics: tuple[Json, ...] = (ERRORS,), **analysis: Any) -> Json:
    judge = {"minSamples": 10, "interval": "300ms", "deadline": "60s", "metrics": list(metrics)} | analysis
    return {"canary": {"steps": list(steps), "analysis": judge}, "progressDeadline": progress}


@pytest.fixture(scope="module")
def place(system: System, operator: object) -> str:
    """A namespace in which v1 is healthy at the start of each test; what was rejected before it does not matter."""
    namespace = system.case()
    system.api.apply(policy(f"stop-{namespace}", (namespace,)))
    system.api.apply(release(namespace, "v1", strategy=AT_ONCE))
    system.settle(namespace, "Healthy")
    return namespace


def fresh(place: str, tag: str, **parts: Any) -> Json:
    """A release that no test has had before."""
    return release(place, tag, env={"NUMBER": str(next(_number))}, **parts)


def apply(system: System, document: Json) -> Json:
    """Applies and waits until the status is about it."""
    generation = system.api.apply(document)["metadata"]["generation"]
    return system.api.until(
        document["metadata"]["namespace"],
        NAME,
        lambda d: (d.get("status") or {}).get("observedGeneration") == generation,
        "a status of the new spec",
    )


def serves(system: System, place: str, percent: int, *phases: str) -> Json:
    return system.api.until(
        place,
        NAME,
        lambda d: d["status"]["rollout"].get("weight") == percent and d["status"]["phase"] in phases,
        f"{percent} % in {phases}",
    )


def _phase(document: Json) -> str:
    return str((document.get("status") or {}).get("phase"))


def in_phase(system: System, place: str, *phases: str) -> Json:
    return system.api.until(place, NAME, lambda d: _phase(d) in phases, f"phase {phases}")


@contextmanager
def stopped(system: System, place: str) -> Iterator[None]:
    """The stop button of an administrator."""
    button = policy(f"stop-{place}", (place,), stop={"active": True, "reason": "an incident"})
    system.api.apply(button)
    try:
        yield
    finally:
        button["spec"]["stop"]["active"] = False
        system.api.apply(button)


def answer(system: System, place: str, kind: str, **annotations: str) -> Json:
    """Sets annotations, waits for the answer to one of them."""
    before = (system.api.get(place, NAME)["status"].get("lastRequest") or {}).get("at")
    system.api.annotate(place, NAME, **(annotations or {kind: "true"}))
    found = system.api.until(
        place,
        NAME,
        lambda d: (r := d["status"].get("lastRequest") or {}).get("kind") == kind and r["at"] != before,
        f"an answer to {kind}",
    )
    answered: Json = found["status"]["lastRequest"]
    return answered


def rejected(system: System, place: str) -> Json:
    found: Json = in_phase(system, place, "RolledBack")["status"]["rejected"]
    return found


# --- a hold still watches --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hold", ["pause step", "timed pause", "pause request", "stop button", "suspend"])
def test_a_canary_that_fails_while_it_is_held_is_taken_back_at_once(system: System, place: str, hold: str) -> None:
    document = fresh(place, "degrading", strategy=canary(HALF, PAUSE if hold == "pause step" else LONG))
    apply(system, document)
    serves(system, place, 50, "Progressing", "Paused")
    button = policy(f"stop-{place}", (place,), stop={"active": hold == "stop button"})
    system.api.apply(button)
    if hold == "suspend":
        document["spec"]["suspend"] = True
        system.api.apply(document)
    if hold == "pause request":
        assert answer(system, place, "pause")["accepted"] is True
    in_phase(system, place, "Progressing" if hold == "timed pause" else "Paused")
    with load(system, place):
        found = in_phase(system, place, "RollingBack", "RolledBack")["status"]
    assert found["rollout"]["cause"]["reason"] == "AnalysisFailed"
    assert rejected(system, place)["message"].startswith("Canary analysis failed: error-rate")
    button["spec"]["stop"]["active"] = False
    system.api.apply(button)


def test_without_background_only_analysis_steps_judge(system: System, place: str) -> None:
    apply(system, fresh(place, "degrading", strategy=canary(HALF, PAUSE, JUDGE, background=False)))
    serves(system, place, 50, "Paused")
    before = system.position
    with load(system, place) as answers:
        wait_for(lambda: len(answers) > 120, "two seconds of load")
        assert in_phase(system, place, "Paused")["status"]["rollout"].get("analysis") is None
        assert not [c for c in system.calls(before, writes=False) if "ListTimeSeries" in c["method"]]
        assert answer(system, place, "promote")["accepted"] is True
        assert rejected(system, place)["reason"] == "AnalysisFailed"


def test_an_analysis_without_any_series_ends_at_its_deadlines(system: System, place: str) -> None:
    strategy = canary(HALF, JUDGE, deadline="2s", inconclusive="RollBack")
    system.fault(method="*ListTimeSeries", code="UNAVAILABLE", count=0)
    try:
        apply(system, fresh(place, "v2", strategy=strategy))
        assert rejected(system, place)["reason"] == "AnalysisInconclusive"
    finally:
        system.clear_faults()
    apply(system, fresh(place, "v2", strategy=canary(HALF, JUDGE, progress="3s", deadline="10m")))
    assert rejected(system, place)["reason"] == "DeadlineExceeded"


def test_a_canary_that_answers_401_to_everybody_is_rejected(system: System, place: str) -> None:
    apply(system, fresh(place, "denying", strategy=canary(HALF, JUDGE)))
    with load(system, place):
        assert "client-error-rate" in rejected(system, place)["message"]


def test_at_the_full_weight_stable_is_not_asked_for(system: System, place: str) -> None:
    ratio = {"name": "latency-p95", "maxRatioToStable": 100}
    above = {"name": "error-rate", "maxAboveStable": 0.05, "maxRatioToStable": 1.5}
    document = fresh(place, "v2", strategy=canary(HALF, {"setWeight": 100}, JUDGE, metrics=(ratio, above)))
    apply(system, document)
    with load(system, place):
        system.settle(place, "Healthy", version="v2")


# --- steps and checks edited in flight -------------------------------------------------------------------------------


def test_fewer_steps_are_not_fewer_proofs(system: System, place: str) -> None:
    document = fresh(place, "degrading", strategy=canary(HALF, LONG, {"setWeight": 80}, JUDGE))
    apply(system, document)
    serves(system, place, 50, "Progressing")
    document["spec"]["strategy"]["canary"]["steps"] = [HALF]
    system.api.apply(document)
    found = system.api.until(place, NAME, lambda d: d["status"]["rollout"].get("progress") == "1/2", "the edited list")
    assert found["status"]["rollout"]["steps"] == ["setWeight=50", "analysis"]
    assert found["status"]["rollout"]["weight"] == 50
    with load(system, place):
        assert rejected(system, place)["reason"] == "AnalysisFailed"


def test_a_check_made_stricter_while_its_release_is_checked_runs_again(system: System, place: str) -> None:
    slow = {"name": "slow", "job": {"image": f"{REPOSITORY}:slow-migration", "args": ["check"], "timeout": "60s"}}
    document = fresh(place, "v3", smoke=[copy.deepcopy(HTTP_CHECK), slow])
    apply(system, document)
    system.api.until(
        place,
        NAME,
        lambda d: "version" in (d["status"]["rollout"].get("verdicts") or {}) and d["status"]["phase"] == "Smoking",
        "the first verdict",
    )
    document["spec"]["smoke"][0]["http"]["equals"] = "0002"
    system.api.apply(document)
    found = rejected(system, place)
    assert found["reason"] == "SmokeFailed"
    assert 'Check "version" failed at 0 %' in found["message"]


# --- the stop button, before the canary ------------------------------------------------------------------------------


def test_a_stop_in_a_migration_holds_what_comes_after_it(system: System) -> None:
    place, start = system.case(), system.position
    system.api.apply(full_release(place, "slow-migration", strategy={"progressDeadline": "20s"}))
    in_phase(system, place, "Migrating")
    wait_for(lambda: any("execution" in e["resource"] for e in system.effects(start)), "a migration that runs")
    before = system.position
    with stopped(system, place):
        told = system.api.until(
            place, NAME, lambda d: "was started" in d["status"]["waitingFor"]["what"], "what was begun"
        )
        assert "an incident" in told["status"]["message"]
        held = in_phase(system, place, "Publishing")
        assert (
            "held before the upload"
            in system.api.until(
                place, NAME, lambda d: "held before" in d["status"]["waitingFor"]["what"], "what is held"
            )["status"]["waitingFor"]["what"]
        )
        assert held["status"]["rollout"]["heldSince"]
        assert not [c for c in system.calls(before) if "insert" in c["method"] or "Service" in c["method"]]
    system.settle(place, "Healthy")


# --- requests --------------------------------------------------------------------------------------------------------


def test_an_abort_while_nothing_can_be_resolved_stays_an_abort(system: System, place: str) -> None:
    document = fresh(place, "v9")
    apply(system, document)
    in_phase(system, place, "Resolving")
    assert answer(system, place, "abort")["accepted"] is True
    found = in_phase(system, place, "RolledBack")
    assert found["status"]["rejected"]["reason"] == "Aborted"
    assert condition(found, "Stalled")["status"] == "True"
    document["spec"]["historyLimit"] = 9
    assert apply(system, document)["status"]["phase"] == "RolledBack", "an edit that makes no release starts nothing"
    assert answer(system, place, "retry")["accepted"] is True
    in_phase(system, place, "Resolving")
    answer(system, place, "abort")
    in_phase(system, place, "RolledBack")


def test_requests_at_once_are_all_answered_and_strange_ones_are_refused(system: System, place: str) -> None:
    apply(system, fresh(place, "v3", strategy={"canary": HELD}))
    serves(system, place, 20, "Paused")
    system.api.annotate(place, NAME, promote="🚀", pause="maybe", promot="true")
    messages: dict[str, str] = {}

    def told(*parts: str) -> bool:
        messages.update({e["metadata"]["name"]: f"{e['reason']} {e['message']}" for e in system.api.events(place)})
        return all(any(part in m for m in messages.values()) for part in parts)

    wait_for(lambda: told("RequestRefused promote refused: its value is '🚀'"), "an Event about the emoji")
    wait_for(lambda: told("pause refused: its value is 'maybe'", "did you mean agui.dev/promote?"), "the other Events")
    assert system.api.get(place, NAME)["status"]["rollout"]["weight"] == 20
    system.api.annotate(place, NAME, abort="true", promote="true")
    in_phase(system, place, "RolledBack")
    wait_for(lambda: told("RequestAccepted abort", "promote refused: not possible in phase"), "answers to both")
    system.api.merge(place, NAME, {"metadata": {"annotations": {"agui.dev/promot": None}}})


def test_a_request_that_git_keeps_is_obeyed_once(system: System, place: str) -> None:
    document = fresh(place, "v3", strategy={"canary": HELD})
    apply(system, document)
    serves(system, place, 20, "Paused")
    document["metadata"]["annotations"] = {"agui.dev/promote": "true"}
    system.api.apply(document)
    serves(system, place, 60, "Paused")
    system.api.until(place, NAME, lambda d: "agui.dev/promote" not in d["metadata"].get("annotations", {}), "removed")
    system.api.apply(document)
    found = system.api.until(
        place, NAME, lambda d: not (d["status"].get("lastRequest") or {}).get("accepted", True), "a refusal"
    )
    assert "remove the annotation from Git" in found["status"]["lastRequest"]["message"]
    assert found["status"]["rollout"]["weight"] == 60
    assert found["metadata"]["annotations"]["agui.dev/promote"] == "true", "no fight with the tool that applies it"
    assert answer(system, place, "promote", promote="2")["accepted"] is True
    system.settle(place, "Healthy", version="v3")


def test_without_policy_and_environment_nothing_is_promoted(system: System, place: str) -> None:
    apply(system, fresh(place, "v2", strategy={"canary": HELD}))
    serves(system, place, 20, "Paused")
    environment = system.api.get(place, "local", "aguienvironments")
    kept = {"apiVersion": environment["apiVersion"], "kind": "AgUiEnvironment", "spec": environment["spec"]}
    kept["metadata"] = {"name": "local", "namespace": place}
    shared = policy()
    try:
        system.api.delete(place, "local", "aguienvironments")
        gone = {"metadata": {"finalizers": None}}  # by force: it waits for the deployment that needs it
        system.api.merge(place, "local", gone, "aguienvironments")
        system.api.until(
            place, NAME, lambda d: condition(d, "EnvironmentReady").get("status") == "False", "no environment"
        )
        system.api.delete("", "tests", "aguipolicies")
        system.api.delete("", f"stop-{place}", "aguipolicies")
        for kind in ("promote-full", "promote", "resume"):
            refused = answer(system, place, kind)
            assert refused["accepted"] is False
            assert "does not exist" in refused["message"]
        assert system.api.get(place, NAME)["status"]["rollout"]["weight"] == 20
    finally:
        system.api.apply(shared)
        system.api.apply(kept)
    system.api.until(place, NAME, lambda d: condition(d, "EnvironmentReady")["status"] == "True", "the environment")
    assert answer(system, place, "promote-full")["accepted"] is True
    system.settle(place, "Healthy", version="v2")
