"""Undo goes where it says: what was stable before is recorded, and what was taken back is no target."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agui_operator.core import past
from agui_operator.core.decide import decide
from agui_operator.core.memory import HistoryEntry, Memory, begin_attempt, from_status, to_status
from agui_operator.core.past import Promotion, Ring
from agui_operator.core.phases.case import Case
from agui_operator.core.release import Release
from agui_operator.core.rollout import Phase
from agui_operator.core.snapshot import Snapshot
from world_model import FIRST, NAMES, NOW


def named(release: str) -> Release:
    return replace(FIRST, id=release, fingerprint=f"fp-{release}")


A, B, C, D = (named(n) for n in "ABCD")


class Story:
    """Promotions and undoes, one after the other."""

    def __init__(self) -> None:
        self.ring: Ring = ()
        self.stable: Release | None = None

    def promote(self, release: Release) -> Story:
        self.ring = past.promoted(self.ring, Promotion(release, NOW, self.stable.id if self.stable else None))
        self.stable = release
        return self

    def target(self, value: str = "previous") -> str | None:
        found = past.undo_target(self.ring, self.stable.id if self.stable else None, value)
        return found.id if found else None

    def undo(self, value: str = "previous") -> Story:
        target = past.undo_target(self.ring, self.stable.id if self.stable else None, value)
        assert target is not None
        assert self.stable is not None
        self.ring, self.stable = past.without(self.ring, self.stable.id), target
        return self


def test_an_undone_release_is_no_target() -> None:
    story = Story().promote(A).promote(B).undo().promote(C)
    assert story.target() == "A", "B was taken back"
    assert story.target("B") is None
    assert story.undo().target() is None, "nothing was stable before A"


def test_several_steps_back_by_repetition_and_by_id() -> None:
    story = Story().promote(A).promote(B).promote(C).promote(D)
    assert story.target("B") == "B"
    assert story.undo().undo().target() == "A"
    by_id = Story().promote(A).promote(B).promote(C).undo("A")
    assert by_id.target() is None
    assert by_id.target("B") == "B", "it was passed over, not taken back"


def test_without_a_record_of_what_was_before_the_next_older_one_counts() -> None:
    story = Story().promote(A).promote(B).promote(C)
    story.ring = past.without(story.ring, "B")
    assert story.target() == "A"
    assert past.undo_target(story.ring, "unknown", "previous") == C, "the newest that is known"
    assert past.undo_target((), None, "") is None


def test_no_number_of_an_attempt_is_used_again_when_the_status_is_lost() -> None:
    """Of an earlier attempt the cloud has a job or a revision, whose verdict is not that of a new one."""
    lost = begin_attempt(Memory(), A, ("B", "A", "A-3", "A-x", "AA-7"))
    assert lost.candidate is not None
    assert (lost.candidate.id, lost.attempts) == ("A-4", {"A": 4})
    restored = begin_attempt(Memory(attempts={"A": 2}), A, ("A", "A-2", "A-3"))
    assert restored.candidate is not None
    assert restored.candidate.id == "A-4"
    seen = Snapshot(fingerprint=A.fingerprint, resolved=A, tried=("A",), service_known=True)
    turn = decide(Case(Memory(phase=Phase.RESOLVING, since=NOW), seen, None, NAMES, NOW), 10)
    assert turn.memory.candidate is not None
    assert turn.memory.candidate.id == "A-2"


def test_failures_never_push_a_promoted_release_out() -> None:
    failed = tuple(HistoryEntry(named(f"x{n}"), "RolledBack", "", NOW, 1) for n in range(30))
    story = Story().promote(A).promote(B)
    memory = Memory(phase=Phase.HEALTHY, stable=B, history=failed[:10], promoted=story.ring)
    read = from_status(to_status(memory))
    assert past.undo_target(read.promoted, "B", "previous") == A
    many = Story()
    for number in range(20):
        many.promote(named(f"r{number}"))
    assert [p.release.id for p in many.ring] == [f"r{n}" for n in range(19, 13, -1)]


@pytest.mark.parametrize(
    ("entries", "stable", "ring"),
    [
        pytest.param([(B, "Promoted"), (A, "Promoted")], B, [("B", "A"), ("A", None)], id="two promoted"),
        pytest.param(
            [(C, "Promoted"), (B, "RolledBack"), (B, "Promoted"), (A, "Promoted")],
            C,
            [("C", "A"), ("A", None)],
            id="one was undone",
        ),
        pytest.param([(D, "RolledBack"), (A, "Promoted"), (A, "Promoted")], A, [("A", None)], id="failures"),
        pytest.param([], None, [], id="nothing"),
    ],
)
def test_the_ring_of_a_status_without_one(
    entries: list[tuple[Release, str]], stable: Release | None, ring: list[tuple[str, str | None]]
) -> None:
    history = tuple(HistoryEntry(release, outcome, "", NOW, 1) for release, outcome in entries)
    status = to_status(Memory(phase=Phase.HEALTHY, stable=stable, history=history))
    del status["promoted"]
    assert [(p.release.id, p.before) for p in from_status(status).promoted] == ring


def test_the_stable_release_is_kept_when_the_ring_is_made_from_a_long_log() -> None:
    releases = [named(f"r{n}") for n in range(20)]
    ring = past.restored(((r, "Promoted", NOW) for r in releases), releases[15])
    assert [p.release.id for p in ring] == ["r0", "r1", "r2", "r3", "r4", "r15"]


def test_damaged_records_are_left_out() -> None:
    good = past.promoted_to_status((Promotion(A, NOW, "B", {"ready": {"http": {"path": "/"}}}),))
    assert past.promoted_from_status([*good, 5, {}, {"release": A.to_status(), "at": "never"}]) == (
        Promotion(A, NOW, "B", {"ready": {"http": {"path": "/"}}}),
    )
    raw = [{"release": "a", "number": 3}, {"release": "a", "number": 2}, {"release": "", "number": 1}, {"number": 1}]
    assert past.attempts_from_status([*raw, {"release": "b", "number": "x"}, {"release": "c", "number": 0}]) == {"a": 3}


def test_numbers_of_attempts_are_bounded_by_the_newest() -> None:
    attempts: dict[str, int] = {}
    for number in range(60):
        attempts = past.attempted(attempts, f"r{number}", 1)
    attempts = past.attempted(attempts, "r10", 2)
    assert len(attempts) == past.ATTEMPTS_KEPT
    assert list(attempts)[-1] == "r10"
    assert "r9" not in attempts
