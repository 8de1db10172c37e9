"""What people ask for by annotation: obeyed where the phase allows it, answered always, and taken off the object."""

from __future__ import annotations

from typing import Any

import pytest

from agui_dev.testbed.kube_api import condition
from agui_dev.testbed.releases import AT_ONCE, HELD, NAME, release
from agui_dev.testbed.system import System, service_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600), pytest.mark.usefixtures("operator")]

Json = dict[str, Any]


@pytest.fixture
def place(system: System) -> str:
    """A namespace in which v1 is healthy."""
    namespace = system.case()
    system.api.apply(release(namespace, "v1"))
    system.settle(namespace, "Healthy", version="v1")
    return namespace


def ask(system: System, place: str, kind: str, value: str = "true") -> Json:
    """Sets the annotation and waits for the answer; the request as the status tells it."""
    key = f"agui.dev/{kind}"
    system.api.annotate(place, NAME, **{kind: value})
    found = system.api.until(
        place,
        NAME,
        lambda d: (
            key not in (d["metadata"].get("annotations") or {})
            and (d["status"].get("lastRequest") or {}).get("kind") == kind
        ),
        f"an answer to {kind}",
    )
    answer: Json = found["status"]["lastRequest"]
    return answer


def weight(system: System, place: str, phase: str, percent: int) -> Json:
    return system.api.until(
        place,
        NAME,
        lambda d: d["status"]["phase"] == phase and d["status"]["rollout"].get("weight") == percent,
        f"{phase} at {percent} %",
    )


def test_promote_ends_a_pause_and_nothing_else(system: System, place: str) -> None:
    system.api.apply(release(place, "v2", strategy={"canary": HELD}))
    held = weight(system, place, "Paused", 20)
    assert "promote" in held["status"]["waitingFor"]["unblockWith"]
    assert ask(system, place, "promote")["accepted"] is True
    weight(system, place, "Paused", 60)
    assert ask(system, place, "promote")["accepted"] is True
    system.settle(place, "Healthy", version="v2")
    refused = ask(system, place, "promote")
    assert refused["accepted"] is False
    assert "not possible in phase Healthy" in refused["message"]


def test_promote_full_skips_what_is_left(system: System, place: str) -> None:
    system.api.apply(release(place, "v2", strategy={"canary": HELD}))
    weight(system, place, "Paused", 20)
    assert ask(system, place, "promote-full")["accepted"] is True
    system.settle(place, "Healthy", version="v2")


def test_abort_takes_back_retry_tries_again(system: System, place: str) -> None:
    system.api.apply(release(place, "v2", strategy={"canary": HELD}))
    weight(system, place, "Paused", 20)
    assert ask(system, place, "abort")["accepted"] is True
    found = system.settle(place, "RolledBack", version="v2")
    assert found["status"]["rejected"]["reason"] == "Aborted"
    first = found["status"]["rejected"]["release"]
    assert ask(system, place, "abort")["accepted"] is False
    assert ask(system, place, "retry")["accepted"] is True
    again = weight(system, place, "Paused", 20)
    assert again["status"]["release"]["id"] == f"{first}-2", "a second try needs names of its own"
    ask(system, place, "promote-full")
    assert system.settle(place, "Healthy", version="v2")["status"].get("rejected") is None


def test_a_rejected_release_is_not_tried_again_by_itself(system: System, place: str) -> None:
    system.api.apply(release(place, "broken"))
    system.settle(place, "RolledBack", version="broken")
    before = system.position
    system.api.apply(release(place, "broken", historyLimit=9))
    found = system.settle(place, "RolledBack")
    assert condition(found, "Stalled")["status"] == "True"
    assert not [e for e in system.effects(before) if place in e["resource"] and e["effect"] == "create"]


def test_pause_holds_a_running_canary_and_resume_lets_it_go_on(system: System, place: str) -> None:
    slow = {"canary": {"steps": [{"setWeight": 30}, {"pause": {"duration": "8s"}}, {"setWeight": 70}]}}
    system.api.apply(release(place, "v2", strategy=slow))
    weight(system, place, "Progressing", 30)
    assert ask(system, place, "pause")["accepted"] is True
    held = weight(system, place, "Paused", 30)
    assert held["status"]["rollout"]["heldBy"] == "Request"
    assert ask(system, place, "pause")["accepted"] is False
    assert ask(system, place, "resume")["accepted"] is True
    system.settle(place, "Healthy", version="v2")


def test_undo_goes_back_to_the_release_before(system: System, place: str) -> None:
    first = system.api.get(place, NAME)["status"]["stable"]["id"]
    system.api.apply(release(place, "v2", strategy=AT_ONCE))
    system.settle(place, "Healthy", version="v2")
    refused = ask(system, place, "undo", "no-such-release")
    assert refused["accepted"] is False
    assert "release no-such-release can't be restored" in refused["message"]
    assert ask(system, place, "undo", "previous")["accepted"] is True
    found = system.api.until(place, NAME, lambda d: d["status"]["phase"] == "RolledBack", "the release before v2")
    assert found["status"]["stable"]["id"] == first
    assert system.get(place, "/api/orders/1")[1] == f"{service_of(place)}-{first}"
    assert found["status"]["rejected"]["reason"] == "Undone"


@pytest.mark.parametrize("kind", ["abort", "pause", "resume", "promote", "promote-full", "retry", "undo"])
def test_a_request_with_nothing_to_act_on_is_refused_and_removed(system: System, place: str, kind: str) -> None:
    before = system.rested()
    answer = ask(system, place, kind)
    assert answer["accepted"] is False
    assert answer["message"].startswith(f"{kind} refused")
    assert not [c for c in system.calls(before) if place in c["resource"]]
