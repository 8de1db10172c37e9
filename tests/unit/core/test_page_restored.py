"""Files of the stable release's page that somebody deleted: published again from the bundle that its record names."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from agui_operator.core.actions import Action, AlertDeleted, AssetsPublished, Bundle, PointerSet, describe
from agui_operator.core.decide import decide
from agui_operator.core.memory import Memory, from_status, to_status
from agui_operator.core.past import Promotion
from agui_operator.core.phases.case import Case
from agui_operator.core.release import Release
from agui_operator.core.rollout import Phase
from agui_operator.core.snapshot import Snapshot
from world_model import FIRST, NAMES, NOW, SECOND, SUSPEND, Luck, blueprint, look, start_second

WORLD = start_second()
HEALTHY = WORLD.memory
ROLLED_BACK = replace(HEALTHY, phase=Phase.ROLLED_BACK)
SEEN = replace(
    look(WORLD, Luck()),
    fingerprint=FIRST.fingerprint,
    assets_complete=False,
    assets_bucket="assets",
    artifacts_bucket="artifacts",
)
AGAIN = AssetsPublished(Bundle("artifacts", "a.tar.gz", "fa"), "fa", "assets", restores="1 (aaaa)")


def actions(memory: Memory, seen: Snapshot = SEEN, *, planned: bool = False) -> tuple[Action, ...]:
    plan = blueprint(memory, FIRST.fingerprint) if planned else None
    return decide(Case(memory, seen, plan, NAMES, NOW + timedelta(minutes=5)), 10).actions


@pytest.mark.parametrize("planned", [True, False])
def test_missing_files_are_published_again_while_the_spec_asks_for_the_release_or_for_another(planned: bool) -> None:
    assert actions(HEALTHY, planned=planned) == (AGAIN,)


def test_missing_files_are_published_again_while_the_spec_asks_for_a_rejected_release() -> None:
    seen = replace(SEEN, fingerprint=None)
    assert actions(ROLLED_BACK, seen) == (AGAIN,)
    assert actions(ROLLED_BACK, replace(seen, assets_complete=True)) == ()
    assert actions(ROLLED_BACK, replace(seen, assets_complete=None)) == ()


def test_users_get_the_release_before_its_files() -> None:
    found = actions(ROLLED_BACK, replace(SEEN, fingerprint=None, pointer=None))
    assert [type(action) for action in found] == [PointerSet, AssetsPublished]


def test_nothing_is_published_without_a_permission_for_the_release() -> None:
    forbidden = replace(SEEN, fingerprint=None, forbidden={FIRST.id: "buckets: assets is not permitted"})
    assert actions(ROLLED_BACK, forbidden) == ()
    stray = replace(forbidden, blockers=())
    assert not [a for a in actions(HEALTHY, stray) if not isinstance(a, AlertDeleted)]


@pytest.mark.parametrize("memory", [HEALTHY, ROLLED_BACK])
def test_nothing_is_published_while_the_object_is_suspended(memory: Memory) -> None:
    assert actions(memory, replace(SEEN, fingerprint=None, blockers=(SUSPEND,))) == ()


@pytest.mark.parametrize("bundle", ["", "a.tar.gz", "@sha256:fa", "a.tar.gz@sha256:fb", "a.tar.gz@sha256:"])
def test_a_record_that_does_not_name_the_bundle_of_its_page_publishes_nothing(bundle: str) -> None:
    old = replace(FIRST, bundle=bundle)
    assert old.source is None
    assert actions(replace(ROLLED_BACK, stable=old), replace(SEEN, fingerprint=None)) == ()
    assert replace(FIRST, frontend=None).source is None


def test_the_bundle_is_kept_in_the_status_and_in_the_record() -> None:
    status = to_status(HEALTHY)
    assert status["stable"]["bundle"] == "a.tar.gz@sha256:fa"
    assert from_status(status).stable == FIRST
    assert Release.from_record(FIRST.record) == FIRST


def test_a_status_of_an_older_version_learns_the_bundle_while_its_spec_is_applied() -> None:
    """Also for the promoted release, to which an undo goes back."""
    status = to_status(HEALTHY)
    for record in (status["stable"], *(p["release"] for p in status["promoted"])):
        del record["bundle"]
    old = from_status(status)
    assert old.stable == replace(FIRST, bundle="")
    plan = blueprint(HEALTHY, FIRST.fingerprint)
    learned = decide(Case(old, SEEN, plan, NAMES, NOW), 10).memory
    assert learned.stable is not None
    assert learned.stable.bundle == FIRST.bundle
    assert learned.promoted[0].release.bundle == FIRST.bundle
    unlisted = replace(old, promoted=(Promotion(SECOND, NOW),))
    assert decide(Case(unlisted, SEEN, plan, NAMES, NOW), 10).memory.promoted[1].release == SECOND


def test_a_candidate_of_an_older_version_learns_the_bundle() -> None:
    flying = replace(HEALTHY, phase=Phase.STAGING, candidate=replace(SECOND, bundle=""), since=NOW)
    plan = blueprint(replace(flying, candidate=SECOND), SECOND.fingerprint)
    seen = replace(SEEN, fingerprint=SECOND.fingerprint, service=None, service_known=False)
    learned = decide(Case(flying, seen, plan, NAMES, NOW), 10).memory.candidate
    assert learned is not None
    assert learned.bundle == SECOND.bundle


def test_what_is_restored_is_described() -> None:
    assert describe(AGAIN) == "Assets of bundle a.tar.gz published as release folder fa"
