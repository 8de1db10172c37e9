"""Which Cloud Run service is a deployment's, what it may take over, and what it may not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agui_operator.api.parse import parse_policy
from agui_operator.core.errors import NotOwned
from agui_operator.core.memory import Memory
from agui_operator.core.names import Names
from agui_operator.core.ownership import Claims, Refused, Settled, candidates, needs_settling, owned, settle
from agui_operator.core.rollout import Phase
from agui_operator.core.snapshot import ServiceView
from engine_fakes import sample
from place_model import RECORD

NAMES = Names("a", "b-c", "uid-1", "p", "r", "cluster")
NEW, OLD = NAMES.service, "a-b-c"
POLICY = sample("policy.yaml")


def claims(*, adopt: bool = False, allow: str | None = None, holder: str | None = None) -> Claims:
    policy = parse_policy({**POLICY, "namespaces": ["a"], "adopt": [allow] if allow else []})
    return Claims(adopt, [policy], lambda label: holder if label == "theirs" else None)


def test_a_first_release_gets_the_new_name() -> None:
    assert settle(NAMES, (NEW, OLD), {}, claims()) == Settled(NEW, NAMES.owner)


def test_what_a_deployment_owns_is_found_under_either_name_and_label() -> None:
    assert settle(NAMES, (NEW, OLD), {NEW: NAMES.owner}, claims()) == Settled(NEW, NAMES.owner)
    assert settle(NAMES, (OLD, NEW), {OLD: "uid-1"}, claims()) == Settled(OLD, NAMES.owner, "uid-1")


def test_the_old_name_of_another_living_deployment_is_left_alone() -> None:
    for adopt in (False, True):
        found = settle(NAMES, (NEW, OLD), {OLD: "theirs"}, claims(adopt=adopt, allow="*", holder="a-b/c"))
        assert found == Settled(NEW, NAMES.owner)
    assert settle(NAMES, (NEW, OLD), {OLD: ""}, claims()) == Settled(NEW, NAMES.owner), "made by hand"


def test_a_service_of_nobody_known_is_taken_over_only_when_asked_for_and_allowed() -> None:
    for service in (NEW, OLD):
        found = {service: "theirs"}
        plain = settle(NAMES, (NEW, OLD), found, claims(allow="*"))
        assert isinstance(plain, Refused)
        assert "agui.dev/adopt=true" in plain.message
        forbidden = settle(NAMES, (NEW, OLD), found, claims(adopt=True, allow="other-*"))
        assert isinstance(forbidden, Refused)
        assert f"add {service} to its spec.adopt" in forbidden.message
        assert settle(NAMES, (NEW, OLD), found, claims(adopt=True, allow="a-*")) == Settled(
            service, NAMES.owner, "theirs"
        )


def test_a_name_that_was_taken_by_hand_is_refused() -> None:
    found = settle(NAMES, (NEW, OLD), {NEW: ""}, claims())
    assert isinstance(found, Refused)
    assert "has no label agui-owner" in found.message


def test_a_living_deployment_is_never_robbed() -> None:
    found = settle(NAMES, (NEW,), {NEW: "theirs"}, claims(adopt=True, allow="*", holder="x/y"))
    assert isinstance(found, Refused)
    assert "AgUiDeployment x/y" in found.message


@pytest.mark.parametrize(
    ("owner", "phase", "needed"),
    [
        (None, Phase.PENDING, False),
        (None, Phase.SUSPENDED, False),
        (None, Phase.RESOLVING, True),
        (None, Phase.HEALTHY, True),
        (NAMES.owner, Phase.RESOLVING, False),
        ("uid-1", Phase.HEALTHY, False),
        ("uid-1", Phase.RESOLVING, True),
        ("theirs", Phase.PENDING, True),
    ],
)
def test_when_it_has_to_be_settled(owner: str | None, phase: Phase, needed: bool) -> None:
    place = replace(RECORD, owner=owner) if owner is not None else None
    assert needs_settling(Memory(phase=phase, place=place), NAMES) is needed


def test_where_the_service_may_be() -> None:
    assert candidates(Memory(), NAMES, released=False) == (NEW, OLD)
    assert candidates(Memory(), NAMES, released=True) == (OLD, NEW)
    assert candidates(Memory(place=RECORD), NAMES, released=True) == (RECORD.service,)


def test_a_service_that_is_looked_at_has_to_be_ones_own() -> None:
    view = ServiceView(NEW, "e", NAMES.owner, "", (), (), {}, "", "", "", False, True)
    assert owned(NAMES, "service", view) is view
    for owner, text in (("", "has no label agui-owner"), ("somebody", "belongs to somebody")):
        with pytest.raises(NotOwned, match=f"{text}; .*agui.dev/adopt"):
            owned(NAMES, "service", replace(view, owner=owner))
