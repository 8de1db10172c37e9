"""What users get at rest, as far as it was seen, compared with the stable release."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agui_operator.api.conditions import Reason
from agui_operator.core.actions import Pointer
from agui_operator.core.memory import Memory
from agui_operator.core.rollout import Look, Phase
from agui_operator.core.served import Part, astray
from agui_operator.core.snapshot import Lacking, LookFault, ServiceView, Snapshot
from agui_operator.core.traffic import Target
from world_model import FIRST, NAMES, NOW, SUSPEND

HEALTHY = Memory(phase=Phase.HEALTHY, since=NOW, stable=FIRST)
OLD = NAMES.revision(FIRST.id)
ALL = (Target(OLD, 100),)
HALF = (Target(OLD, 50), Target("other", 50))


def service(traffic: tuple[Target, ...] = ALL, serving: tuple[Target, ...] = ALL) -> ServiceView:
    return ServiceView("s", "e", "o", "u", traffic, serving, {}, OLD, OLD, OLD, False, True)


SEEN = Snapshot(
    service=service(),
    service_known=True,
    pointer=Pointer("fa", "aaaa"),
    pointer_known=True,
    has_edge=True,
    artifacts_bucket="artifacts",
)


def test_nothing_differs_while_users_get_the_release() -> None:
    assert astray(HEALTHY, SEEN, NAMES) == {Part.TRAFFIC: None, Part.PAGE: None}
    assert astray(HEALTHY, replace(SEEN, has_edge=False, pointer=None), NAMES)[Part.PAGE] is None


@pytest.mark.parametrize("seen", [service(HALF, HALF), service(ALL, HALF), service(HALF, ALL)])
def test_traffic_counts_as_it_was_asked_for_and_as_it_is_served(seen: ServiceView) -> None:
    text = f"50 % of the traffic is not on revision {OLD}"
    assert astray(HEALTHY, replace(SEEN, service=seen), NAMES)[Part.TRAFFIC] == text
    last = replace(SEEN, service=None, service_known=False, last_service=seen)
    assert astray(HEALTHY, last, NAMES)[Part.TRAFFIC] == text


def test_a_service_or_a_page_that_is_gone_is_named() -> None:
    gone = astray(HEALTHY, replace(SEEN, service=None, pointer=None), NAMES)
    assert gone[Part.TRAFFIC] == f"Cloud Run service {NAMES.service} does not exist"
    assert gone[Part.PAGE] == "the URL map does not show the page of the stable release"
    assert astray(HEALTHY, replace(SEEN, pointer=Pointer("fb", "bbbb")), NAMES)[Part.PAGE] == gone[Part.PAGE]


@pytest.mark.parametrize("phase", [Phase.HEALTHY, Phase.ROLLED_BACK])
def test_a_page_with_missing_files_is_told_with_the_way_out(phase: Phase) -> None:
    found = astray(replace(HEALTHY, phase=phase), replace(SEEN, assets_complete=False), NAMES)
    assert found[Part.PAGE] is not None
    text = "files of the page of release 1 (aaaa) are missing in the assets bucket; they are published again from gs://"
    assert found[Part.PAGE] == f"{text}artifacts/a.tar.gz"
    assert astray(HEALTHY, replace(SEEN, assets_complete=True), NAMES)[Part.PAGE] is None


PAGE = "of the page of release 1 (aaaa)"
AGAIN = "they are published again from gs://artifacts/a.tar.gz"


@pytest.mark.parametrize(
    ("lacking", "change", "expected"),
    [
        pytest.param(
            Lacking("gs://a/x"), {}, f"1 file {PAGE} is missing in the assets bucket: gs://a/x; {AGAIN}", id="1"
        ),
        pytest.param(
            Lacking("gs://a/x", 3),
            {},
            f"3 files {PAGE} are missing in the assets bucket: gs://a/x and others; {AGAIN}",
            id="several",
        ),
        pytest.param(
            Lacking("gs://a/x"), {"blockers": (SUSPEND,)}, f"{AGAIN} when spec.suspend is false", id="suspended"
        ),
        pytest.param(
            Lacking("gs://a/x"),
            {"forbidden": {"aaaa": "no policy"}},
            f"{AGAIN} when an AgUiPolicy permits the release",
            id="forbidden",
        ),
        pytest.param(
            Lacking("gs://a/x", 1, "gs://artifacts/a.tar.gz does not exist"),
            {},
            "publishing them again from gs://artifacts/a.tar.gz failed and is retried automatically:"
            " gs://artifacts/a.tar.gz does not exist",
            id="failed",
        ),
    ],
)
def test_missing_files_are_named_and_counted_with_what_brings_them_back(
    lacking: Lacking, change: dict[str, Any], expected: str
) -> None:
    found = astray(HEALTHY, replace(SEEN, assets_complete=False, lacking=lacking, **change), NAMES)
    assert found[Part.PAGE] is not None
    assert found[Part.PAGE].endswith(expected)


def test_a_release_without_a_recorded_bundle_needs_its_spec() -> None:
    old = replace(HEALTHY, stable=replace(FIRST, bundle=""))
    found = astray(old, replace(SEEN, assets_complete=False, lacking=Lacking("gs://a/x")), NAMES)
    assert found[Part.PAGE] is not None
    assert found[Part.PAGE].endswith(
        "gs://a/x; its bundle is not recorded, so apply the spec of that release to publish them again"
    )


def test_what_was_missing_stays_told_while_nobody_can_look() -> None:
    failed = {Look.ASSETS: LookFault(Reason.CLOUD_UNAVAILABLE, "answered 503")}
    assert Part.PAGE not in astray(HEALTHY, replace(SEEN, failed=failed), NAMES)


def test_what_was_not_seen_is_left_out() -> None:
    blind = replace(SEEN, service=None, service_known=False, pointer_known=False)
    assert astray(HEALTHY, blind, NAMES) == {}


@pytest.mark.parametrize("memory", [Memory(), replace(HEALTHY, phase=Phase.PROGRESSING), replace(HEALTHY, stable=None)])
def test_in_a_rollout_or_without_a_stable_release_nothing_is_told(memory: Memory) -> None:
    moved = replace(SEEN, service=service(HALF, HALF))
    assert astray(memory, moved, NAMES) == {Part.TRAFFIC: None, Part.PAGE: None}
