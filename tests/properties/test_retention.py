"""Old releases of several deployments in one bucket: whatever is deleted, in whatever order, cut off wherever, no kept
release ever misses a file, nothing is left over, and what is being uploaded is not touched."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agui_operator.core import past
from agui_operator.core.memory import HistoryEntry, Memory
from agui_operator.core.release import Release
from agui_operator.core.retention import (
    ABANDONED,
    Folder,
    Kept,
    Made,
    Stored,
    collect_assets,
    collect_run,
    due,
    forgotten_since,
    kept_by,
    unneeded_since,
)
from agui_operator.core.rollout import Phase
from agui_operator.core.traffic import Target
from world_model import FIRST, SECOND, Luck, look, start_second

NOW = datetime(2026, 6, 1, tzinfo=UTC)
WINDOW = timedelta(hours=24)
OWNERS = ("uid-a", "uid-b", "uid-c")
FRONTENDS = ("f1", "f2", "f3", "f4")
POOL = tuple(f"assets/{n}.js" for n in range(6))
ages = st.sampled_from([timedelta(minutes=5), timedelta(hours=23), timedelta(hours=25), timedelta(days=30)])


@dataclass(frozen=True)
class Bucket:
    """Folders, pool, and what each deployment keeps."""

    folders: tuple[Folder, ...]
    pool: tuple[Stored, ...]
    kept: dict[str, frozenset[str]]

    def without(self, gone: tuple[Stored, ...]) -> Bucket:
        """The bucket after deletions; a folder is gone with its last object, its needs with its manifest."""
        names = {stored.name for stored in gone}
        folders = []
        for folder in self.folders:
            files = tuple(f for f in folder.files if f.name not in names)
            claims = {owner: c for owner, c in folder.claims.items() if c.name not in names}
            whole = f"releases/{folder.frontend}/manifest.json" in {f.name for f in files}
            if files or claims:
                folders.append(Folder(folder.frontend, files, claims, folder.needs if whole else None))
        return replace(self, folders=tuple(folders), pool=tuple(p for p in self.pool if p.name not in names))

    def plan(self, owner: str) -> tuple[Stored, ...]:
        since = {f.frontend: NOW - 2 * WINDOW for f in self.folders if f.frontend not in self.kept[owner]}
        going = due(self.folders, owner, Kept(frozenset(), self.kept[owner]), since, NOW - WINDOW)
        return collect_assets(self.folders, self.pool, owner, going, NOW, WINDOW)

    def is_whole(self, folder: Folder) -> bool:
        """Everything that a browser may ask for is there."""
        found = next((f for f in self.folders if f.frontend == folder.frontend), None)
        have = {p.name for p in self.pool}
        return found is not None and found.files == folder.files and (folder.needs or frozenset()) <= have


@st.composite
def buckets(draw: st.DrawFn) -> Bucket:
    folders = []
    for frontend in draw(st.lists(st.sampled_from(FRONTENDS), unique=True, min_size=1)):
        age = NOW - draw(ages)
        complete = draw(st.booleans()) or draw(st.booleans())
        names = ["index.html", "favicon.svg", "manifest.json"] if complete else draw(st.sampled_from([[], ["x.txt"]]))
        files = tuple(Stored(f"releases/{frontend}/{name}", "1", age) for name in names)
        owners = draw(st.lists(st.sampled_from(OWNERS), unique=True, min_size=0 if complete else 1))
        claims = {o: Stored(f"releases/{frontend}/.claims/{o}", "1", age) for o in owners}
        needs = frozenset(draw(st.lists(st.sampled_from(POOL), unique=True))) if complete else None
        folders.append(Folder(frontend, files, claims, needs))
    needed = {name for folder in folders for name in folder.needs or ()}
    pool = [
        Stored(name, "1", NOW - draw(ages), draw(st.booleans()) or draw(st.booleans()))
        for name in POOL
        if name in needed or draw(st.booleans())
    ]
    kept = {o: frozenset(draw(st.lists(st.sampled_from(FRONTENDS), unique=True))) for o in OWNERS}
    return Bucket(tuple(folders), tuple(pool), kept)


def is_kept(bucket: Bucket, folder: Folder, tidying: str) -> bool:
    """By the one who tidies, by anybody else's claim, or because nobody of ours ever claimed it."""
    mine = tidying in folder.claims and folder.frontend not in bucket.kept[tidying]
    return not mine or len(folder.claims) > 1


@given(buckets(), st.sampled_from(OWNERS), st.integers(0, 40))
def test_nothing_that_a_kept_release_needs_is_deleted_wherever_it_is_cut_off(
    bucket: Bucket, owner: str, cut: int
) -> None:
    after = bucket.without(bucket.plan(owner)[:cut])
    for folder in bucket.folders:
        if is_kept(bucket, folder, owner) and folder.files:
            assert after.is_whole(folder), f"{folder.frontend} misses something"


@given(buckets(), st.sampled_from(OWNERS))
def test_a_release_in_mid_upload_keeps_the_whole_pool(bucket: Bucket, owner: str) -> None:
    young = Stored("releases/new/.claims/uid-x", "1", NOW - timedelta(minutes=1))
    uploading = Folder("new", (), {"uid-x": young})
    bucket = replace(bucket, folders=(*bucket.folders, uploading))
    gone = bucket.plan(owner)
    assert not [stored for stored in gone if stored.name.startswith("assets/")]
    assert young not in gone


@given(buckets(), st.sampled_from(OWNERS), st.lists(st.integers(1, 6), max_size=8))
def test_it_ends_in_the_same_bucket_however_often_it_is_cut_off(bucket: Bucket, owner: str, cuts: list[int]) -> None:
    at_once = bucket.without(bucket.plan(owner))
    assert at_once.plan(owner) == (), "a second go finds nothing to do"
    piecewise = bucket
    for cut in cuts:
        piecewise = piecewise.without(piecewise.plan(owner)[:cut])
    for _ in range(50):
        gone = piecewise.plan(owner)
        if not gone:
            break
        piecewise = piecewise.without(gone[:3])
    assert piecewise.folders == at_once.folders
    assert set(piecewise.pool) == set(at_once.pool)


@given(buckets(), st.permutations(OWNERS))
def test_whoever_tidies_what_is_kept_by_somebody_stays(bucket: Bucket, order: list[str]) -> None:
    after = bucket
    for owner in order:
        after = after.without(after.plan(owner))
    for folder in bucket.folders:
        if folder.files and any(folder.frontend in bucket.kept[o] for o in folder.claims):
            assert after.is_whole(folder)


@given(buckets(), st.sampled_from(OWNERS))
def test_only_what_is_ours_old_and_named_by_nobody_leaves_the_pool(bucket: Bucket, owner: str) -> None:
    gone = bucket.plan(owner)
    after = bucket.without(gone)
    needed = {name for folder in after.folders for name in folder.needs or ()}
    for stored in gone:
        if stored.name.startswith("assets/"):
            assert stored.ours
            assert stored.created <= NOW - WINDOW
            assert stored.name not in needed


def test_the_last_claim_takes_the_folder_and_what_only_it_needs() -> None:
    old = NOW - timedelta(days=3)
    files = tuple(Stored(f"releases/f1/{n}", "1", old) for n in ("manifest.json", "favicon.svg", "index.html"))
    claim = Stored("releases/f1/.claims/uid-a", "1", old)
    both = Folder("f2", (Stored("releases/f2/manifest.json", "1", old),), {}, frozenset({"assets/1.js"}))
    folders = (Folder("f1", files, {"uid-a": claim}, frozenset({"assets/0.js", "assets/1.js"})), both)
    pool = tuple(Stored(name, "1", old) for name in POOL[:2])
    gone = Bucket(folders, pool, {"uid-a": frozenset()}).plan("uid-a")
    assert [s.name.rpartition("/")[2] for s in gone] == ["index.html", "favicon.svg", "manifest.json", "0.js", "uid-a"]


def test_an_upload_that_was_given_up_long_ago_holds_nobody_up() -> None:
    left = Folder("half", (), {"uid-b": Stored("c", "1", NOW - ABANDONED)})
    old = NOW - timedelta(days=3)
    mine = Folder("f1", (), {"uid-a": Stored("m", "1", old)}, frozenset())
    orphan = Stored("assets/0.js", "1", old)
    assert orphan in Bucket((left, mine), (orphan,), {"uid-a": frozenset()}).plan("uid-a")


# --- what stays, and since when the rest is not needed ---------------------------------------------------------------


def entry(release: Release, outcome: str, hours: float) -> HistoryEntry:
    return HistoryEntry(release, outcome, outcome, NOW - timedelta(hours=hours), 1.0)


def test_everything_that_the_status_names_is_kept() -> None:
    third = replace(FIRST, id="cccc", frontend="fc")
    fourth = replace(FIRST, id="dddd", frontend="fd")
    memory = Memory(
        phase=Phase.HEALTHY,
        stable=FIRST,
        undo_to=third,
        history=(entry(SECOND, "RolledBack", 1),),
        promoted=(past.Promotion(FIRST, NOW), past.Promotion(fourth, NOW)),
    )
    kept = kept_by(memory, ["fx", None])
    assert kept.releases == {"aaaa", "bbbb", "cccc", "dddd"}
    assert kept.frontends == {"fa", "fb", "fc", "fd", "fx"}


@given(
    st.lists(st.sampled_from(["promote", "fail", "undo"]), min_size=3, max_size=40),
    st.integers(2, 6),
    st.data(),
)
def test_no_forgotten_release_met_users_after_the_moment_that_is_told(
    story: list[str], limit: int, data: st.DataObject
) -> None:
    """Plays rollouts, notes until when each release served, and forgets the oldest as a turn does."""
    served: dict[str, datetime] = {}
    history: tuple[HistoryEntry, ...] = ()
    ring: past.Ring = ()
    stable: Release | None = None
    clock = NOW
    for number, kind in enumerate(story):
        clock += timedelta(minutes=data.draw(st.integers(1, 600)))
        release = replace(FIRST, id=f"r{number}")
        if stable is not None:
            served[stable.id] = clock
        earlier = past.undo_target(ring, stable.id, "previous") if stable is not None else None
        if kind == "promote" or stable is None:
            ring = past.promoted(ring, past.Promotion(release, clock, stable.id if stable else None))
            stable, outcome = release, "Promoted"
        elif kind == "undo" and earlier is not None:
            ring = past.without(ring, stable.id)
            release, stable, outcome = stable, earlier, "Undone"
        else:
            served[release.id] = clock  # as a canary
            outcome = "RolledBack"
        entry_ = HistoryEntry(release, "Promoted" if outcome == "Promoted" else "RolledBack", outcome, clock, 1.0)
        history = (entry_, *history)[:limit]
    memory = Memory(phase=Phase.HEALTHY, stable=stable, history=history, promoted=ring)
    named = kept_by(memory).releases
    bound = forgotten_since(memory)
    for release_id, until in served.items():
        if release_id not in named and bound is not None:
            assert until <= bound, f"{release_id} served until {until}, told was {bound}"


def test_a_stable_release_of_unknown_promotion_proves_nothing() -> None:
    assert forgotten_since(Memory(phase=Phase.HEALTHY, stable=FIRST, history=(entry(SECOND, "Failed", 90),))) is None


def test_without_a_stable_release_nothing_is_proven() -> None:
    assert forgotten_since(Memory(phase=Phase.FAILED, history=(entry(SECOND, "Promoted", 90),))) is None


def test_what_is_dropped_is_remembered_until_it_is_needed_again() -> None:
    memory = Memory(phase=Phase.HEALTHY, stable=FIRST)
    earlier = NOW - timedelta(hours=3)
    assert unneeded_since({"a", "b"}, {"a": earlier, "c": earlier}, memory, NOW) == {"a": earlier, "b": NOW}
    ring = (past.Promotion(FIRST, NOW - timedelta(hours=48)),)
    long_ago = replace(memory, history=(entry(SECOND, "RolledBack", 72),), promoted=ring)
    assert unneeded_since({"a"}, {}, long_ago, NOW) == {"a": NOW - timedelta(hours=48)}


# --- Cloud Run -------------------------------------------------------------------------------------------------------

SERVICE = look(start_second(), Luck()).service
OLD = NOW - timedelta(days=3)


@pytest.mark.parametrize(
    ("made", "goes"),
    [
        pytest.param(Made("x-1", "gone", OLD), True, id="forgotten"),
        pytest.param(Made("x-1", "aaaa", OLD), False, id="kept"),
        pytest.param(Made("x-1", "gone", NOW - timedelta(hours=1)), False, id="young"),
        pytest.param(Made("x-1", "gone", OLD, busy=True), False, id="a job that runs"),
        pytest.param(Made("x-1", "", OLD), False, id="of no release"),
        pytest.param(Made("tagged", "gone", OLD), False, id="a tag reaches it"),
        pytest.param(Made("newest", "gone", OLD), False, id="the newest one"),
    ],
)
def test_which_revisions_and_jobs_go(made: Made, goes: bool) -> None:
    assert SERVICE is not None
    service = replace(SERVICE, traffic=(*SERVICE.traffic, Target("tagged", 0, "mine")), latest_created="newest")
    kept = Kept(frozenset({"aaaa"}), frozenset())
    since = {"gone": NOW - timedelta(hours=30), "aaaa": OLD}
    assert (made in collect_run([made], kept, since, NOW - WINDOW, service)) is goes
    assert collect_run([made], kept, {"gone": NOW}, NOW - WINDOW, service) == ()


def test_jobs_are_told_without_a_service() -> None:
    jobs = [Made("newest", "gone", OLD), Made("kept", "aaaa", OLD)]
    assert collect_run(jobs, Kept(frozenset({"aaaa"}), frozenset()), {"gone": OLD}, NOW - WINDOW, None) == (jobs[0],)
