"""What serves although the status does not know it, templates as JSON, and the older release to go back to."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from agui_operator.api.conditions import Reason
from agui_operator.core.actions import ContainerTemplate, HttpProbe, Pointer, PointerSet, RevisionTemplate, SecretEnv
from agui_operator.core.decide import decide
from agui_operator.core.memory import Cause, HistoryEntry, Memory, Rejected, from_status, to_status
from agui_operator.core.past import Promotion
from agui_operator.core.phases import actions_of, event_of
from agui_operator.core.phases.case import Case
from agui_operator.core.phases.restoring import with_fallback
from agui_operator.core.recovery import recovered, unknown_revision
from agui_operator.core.release import Release
from agui_operator.core.retention import forgotten_since, unneeded_since
from agui_operator.core.rollout import Phase
from agui_operator.core.snapshot import Found, ServiceView, Snapshot
from agui_operator.core.templates import from_json, to_json
from agui_operator.core.traffic import Target
from world_model import FIRST, NAMES, NOW, SECOND, blueprint

HOUR = timedelta(hours=1)
A, B = NAMES.revision("aaaa"), NAMES.revision("bbbb")
TEMPLATE = RevisionTemplate(
    "s-1",
    "1",
    ContainerTemplate("img", "sa", ("run",), ("x",), {"A": "b"}, (SecretEnv("E", "s", "3"),), sql_instances=("p:r:i",)),
    startup=HttpProbe("/readyz", 1, 2, 3),
    record="left out",
)


def service(*serving: tuple[str, int], template: str = B, tags: tuple[str, ...] = ()) -> ServiceView:
    targets = tuple(Target(revision, percent) for revision, percent in serving)
    targets += tuple(Target(revision, 0, "tag") for revision in tags)
    return ServiceView("s", "e", "uid-1", "", targets, targets, {}, template, template, template, False, True)


def seen(view: ServiceView | None, pointer: Pointer | None = None, *, edge: bool = True) -> Snapshot:
    return Snapshot(service=view, service_known=True, pointer=pointer, pointer_known=True, has_edge=edge)


def test_a_template_is_read_back_without_its_record() -> None:
    assert from_json(to_json(TEMPLATE)) == replace(TEMPLATE, record="")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"container": {}}', '{"container": null}', "7"])
def test_a_damaged_template_is_none(text: str) -> None:
    assert from_json(text) is None


def test_a_template_of_another_version_is_none() -> None:
    assert from_json(json.dumps({**json.loads(to_json(TEMPLATE)), "gpu": 1})) is None


def test_a_record_is_read_back_and_a_damaged_one_is_none() -> None:
    release = replace(SECOND, schema="0002", requires="0001", template=to_json(TEMPLATE))
    assert Release.from_record(release.record) == replace(release, schema=None, requires=None)
    assert Release.from_record("{") is None
    assert Release.from_record("[]") is None
    assert Release.from_record('{"id": "x"}') is None


@pytest.mark.parametrize(
    ("view", "pointer", "edge", "expected"),
    [
        pytest.param(service((A, 100)), Pointer("fa", "aaaa"), True, A, id="all traffic and the page"),
        pytest.param(service((A, 80), (B, 20)), Pointer("fa", "aaaa"), True, A, id="a canary: the page decides"),
        pytest.param(service((B, 100), tags=(A,)), Pointer("fa", "aaaa"), True, A, id="promoting: the page decides"),
        pytest.param(service((A, 50), (B, 50)), Pointer("?", "gone"), True, A, id="the older of two"),
        pytest.param(service((A, 30), (B, 70)), None, False, B, id="no edge: the larger share"),
        pytest.param(service((B, 100)), None, True, None, id="nothing is public"),
        pytest.param(None, Pointer("fa", "aaaa"), True, None, id="no service"),
        pytest.param(service(), Pointer("fa", "aaaa"), True, None, id="no traffic"),
    ],
)
def test_a_lost_status_is_told_what_serves(
    view: ServiceView | None, pointer: Pointer | None, edge: bool, expected: str | None
) -> None:
    assert unknown_revision(Memory(), seen(view, pointer, edge=edge), NAMES) == expected


def test_a_first_release_that_failed_is_not_what_serves() -> None:
    failed = Memory(history=(HistoryEntry(SECOND, "Failed", "", NOW, 0),))
    assert unknown_revision(failed, seen(service((B, 100)), None, edge=False), NAMES) is None


HEALTHY = Memory(phase=Phase.HEALTHY, stable=FIRST)
NEWER = seen(service((B, 100)), Pointer("fb", "bbbb"))


def test_a_status_of_an_older_time_is_told_what_serves() -> None:
    assert unknown_revision(HEALTHY, NEWER, NAMES) == B
    assert unknown_revision(replace(HEALTHY, phase=Phase.BAKING), NEWER, NAMES) is None, "a rollout is under way"
    rejected = Rejected("fp-b", "bbbb", "2", Reason.SMOKE_FAILED, "", NOW)
    assert unknown_revision(replace(HEALTHY, rejected=rejected), NEWER, NAMES) is None, "what failed is not stable"
    assert unknown_revision(HEALTHY, seen(service((A, 100)), Pointer("fa", "aaaa")), NAMES) is None
    assert unknown_revision(HEALTHY, seen(service((B, 100)), Pointer("fa", "aaaa")), NAMES) is None, "moved by hand"
    assert unknown_revision(HEALTHY, seen(service((B, 100)), None), NAMES) is None
    assert unknown_revision(HEALTHY, replace(NEWER, pointer_known=False), NAMES) is None


def test_what_was_found_is_stable_and_without_an_edge_is_proven_again() -> None:
    found = replace(NEWER, found=Found(SECOND, B))
    assert recovered(Memory(), found, NAMES, NOW).stable == SECOND
    assert recovered(Memory(), replace(found, has_edge=False), NAMES, NOW).stable == replace(SECOND, fingerprint="")
    assert recovered(Memory(), replace(found, found=Found(None, B)), NAMES, NOW) == Memory()
    assert recovered(Memory(), NEWER, NAMES, NOW) == Memory()
    assert recovered(replace(HEALTHY, phase=Phase.SMOKING), found, NAMES, NOW).stable == FIRST


@pytest.mark.parametrize("memory", [Memory(), HEALTHY, replace(HEALTHY, promoted=(Promotion(FIRST, NOW - 9 * HOUR),))])
def test_leftovers_age_from_the_moment_in_which_a_lost_status_was_found_again(memory: Memory) -> None:
    """That moment is in the status, so that processes that end sooner than the window do not start it again."""
    case = Case(memory, replace(NEWER, found=Found(SECOND, B), fingerprint="fp-b"), None, NAMES, NOW)
    found = decide(case, 20).memory
    assert found.stable == SECOND
    later = NOW + 2 * HOUR
    kept = from_status(to_status(found))
    assert unneeded_since({"gone"}, {}, kept, later) == {"gone": NOW}, "as a new process counts it"


def test_a_promotion_that_is_in_an_older_status_counts_from_the_moment_in_which_it_was_found_again() -> None:
    """What was promoted in between, and is not known, may have served until now."""
    ring = (Promotion(FIRST, NOW - HOUR), Promotion(SECOND, NOW - 9 * HOUR, "x", {"c": {}}))
    case = Case(replace(HEALTHY, promoted=ring), replace(NEWER, found=Found(SECOND, B)), None, NAMES, NOW)
    found = decide(case, 20).memory
    assert found.promoted == (ring[0], Promotion(SECOND, NOW, "x", {"c": {}}))
    assert forgotten_since(found) == NOW


@pytest.mark.parametrize("phase", [Phase.HEALTHY, Phase.ROLLED_BACK])
def test_a_stable_release_whose_promotion_was_lost_counts_from_now(phase: Phase) -> None:
    memory = replace(HEALTHY, phase=phase, promoted=(Promotion(THIRD, NOW - HOUR),))
    found = decide(Case(memory, Snapshot(), None, NAMES, NOW), 20).memory
    assert found.promoted == (Promotion(FIRST, NOW), *memory.promoted)
    again = decide(Case(found, Snapshot(), None, NAMES, NOW + HOUR), 20).memory
    assert again.promoted == found.promoted


THIRD = replace(FIRST, id="cccc", version="0", template="")
BACK = Memory(
    phase=Phase.ROLLING_BACK,
    candidate=SECOND,
    stable=replace(FIRST, template=""),
    cause=Cause(Reason.SMOKE_FAILED, "a check failed", Phase.BAKING, NOW),
    promoted=(Promotion(FIRST, NOW, THIRD.id), Promotion(THIRD, NOW)),
)
GONE = replace(seen(service((B, 100))), missing=frozenset({A}))


def fallback(memory: Memory, view: Snapshot) -> Memory:
    return with_fallback(Case(memory, view, None, NAMES, NOW))


def test_a_release_that_can_not_be_made_again_gives_way_to_an_older_one() -> None:
    after = fallback(BACK, GONE)
    assert after.undo_to == THIRD
    assert after.cause is not None
    assert after.cause.message == "a check failed; release 1 (aaaa) can't be restored, so 0 (cccc) serves"
    assert fallback(replace(BACK, cause=None), GONE).undo_to == THIRD
    everything_gone = replace(GONE, missing=frozenset({A, NAMES.revision("cccc")}))
    assert fallback(after, everything_gone) == after, "nothing older is left"


def test_a_release_that_serves_or_can_be_made_again_does_not_give_way() -> None:
    assert fallback(BACK, replace(GONE, missing=frozenset())) == BACK
    assert fallback(replace(BACK, stable=FIRST), GONE).undo_to is None
    assert fallback(replace(BACK, phase=Phase.HEALTHY), GONE).undo_to is None


def test_a_release_whose_revision_does_not_start_gives_way() -> None:
    asked = (Target(A, 100), Target(B, 0, "r-bbbb"))
    dead = replace(service((B, 100)), traffic=asked, ready=False)
    assert fallback(BACK, seen(dead)).undo_to == THIRD
    assert fallback(BACK, seen(replace(dead, reconciling=True))) == BACK


def test_an_older_release_that_was_not_promoted_or_was_rejected_is_no_target() -> None:
    rejected = Rejected("", "cccc", "0", Reason.SMOKE_FAILED, "", NOW)
    assert fallback(replace(BACK, rejected=rejected), GONE).undo_to is None
    unlisted = replace(BACK, promoted=BACK.promoted[1:])
    assert fallback(unlisted, GONE).undo_to == THIRD


def test_a_promotion_names_the_release_in_the_url_map_although_its_page_is_the_same() -> None:
    """Else a lost status would find the release before it, and give it the traffic again."""
    same = replace(SECOND, frontend=FIRST.frontend)
    memory = Memory(phase=Phase.PROMOTING, since=NOW, candidate=same, stable=FIRST)
    serving = tuple(Target(NAMES.revision(r), share, NAMES.tag(r)) for r, share in ((FIRST.id, 0), (same.id, 100)))
    view = replace(service(), traffic=serving, serving=serving)
    old = seen(view, Pointer(FIRST.frontend, FIRST.id))
    case = Case(memory, old, blueprint(memory, same.fingerprint), NAMES, NOW)
    assert event_of(case) is None
    assert actions_of(case) == (PointerSet(Pointer(same.frontend, same.id)),)
    after = replace(old, pointer=Pointer(same.frontend, same.id))
    assert unknown_revision(Memory(), after, NAMES) == NAMES.revision(same.id)
