"""The past of a deployment is three things that do not depend on each other: the audit log (`history`), the promoted
releases that an undo can go back to (`promoted`), and the numbers of attempts that are never used again (`attempts`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from agui_operator.core.parsing import items, mapping, time_of, time_text
from agui_operator.core.release import Release

PROMOTED_KEPT = 6  # the stable release and those before it
ATTEMPTS_KEPT = 50  # releases whose attempts are numbered
PREVIOUS = ("", "true", "previous")  # values of agui.dev/undo that name no release


@dataclass(frozen=True, slots=True)
class Promotion:
    """A release that was promoted and not undone since. `before`: the release that was stable until then. `checks`:
    those that an undo runs against its revision at 0 %, by name, as in `spec.smoke`."""

    release: Release
    at: datetime
    before: str | None = None
    checks: Mapping[str, Any] = field(default_factory=dict)


Ring = tuple[Promotion, ...]  # newest first


def promoted(ring: Ring, newest: Promotion) -> Ring:
    """The ring after a promotion."""
    return (newest, *without(ring, newest.release.id))[:PROMOTED_KEPT]


def with_stable(ring: Ring, stable: Release | None, now: datetime) -> Ring:
    """The ring with the stable release, which a lost status did not name."""
    return ring if stable is None or find(ring, stable.id) is not None else (Promotion(stable, now), *ring)


def found_again(ring: Ring, stable: Release, now: datetime) -> Ring:
    """The ring after the stable release was found in the cloud: what served before is not known, so that its promotion
    counts from now. What nobody names any more ages from that moment (core/retention.py)."""
    if find(ring, stable.id) is None:
        return with_stable(ring, stable, now)[:PROMOTED_KEPT]
    return tuple(replace(one, at=now) if one.release.id == stable.id else one for one in ring)


def without(ring: Ring, release: str) -> Ring:
    """The ring after a release was undone: no undo goes back to it."""
    return tuple(one for one in ring if one.release.id != release)


def with_bundle(ring: Ring, stable: Release) -> Ring:
    """The ring with what the stable release's page was made from, which an earlier version did not record."""
    own = find(ring, stable.id)
    if own is None or own.release.bundle == stable.bundle:
        return ring
    known = replace(own, release=replace(own.release, bundle=stable.bundle))
    return tuple(known if one is own else one for one in ring)


def find(ring: Ring, release: str | None) -> Promotion | None:
    return next((one for one in ring if one.release.id == release), None)


def undo_target(ring: Ring, stable: str | None, value: str) -> Release | None:
    """The release that an undo goes back to: one by id, or the one that was stable before the stable one."""
    if value not in PREVIOUS:
        named = find(ring, value) if value != stable else None
        return named.release if named is not None else None
    current = find(ring, stable)
    if current is None:
        return ring[0].release if ring else None
    before = find(ring, current.before)
    older = ring[ring.index(current) + 1 :]
    found = before or (older[0] if older else None)
    return found.release if found is not None else None


def restored(entries: Iterable[tuple[Release, str, datetime]], stable: Release | None) -> Ring:
    """The ring from the audit log of an operator that had no ring. `entries`: release, outcome and time, newest first.
    What was taken back after its promotion is no target."""
    taken_back: set[str] = set()
    found: list[Promotion] = []
    for release, outcome, at in entries:
        if outcome != "Promoted":
            taken_back.add(release.id)
        elif release.id not in taken_back and find(tuple(found), release.id) is None:
            found.append(Promotion(release, at))
    ring = tuple(
        Promotion(one.release, one.at, found[n].release.id if n < len(found) else None)
        for n, one in enumerate(found, start=1)
    )
    kept = ring[:PROMOTED_KEPT]
    own = find(ring, stable.id) if stable is not None else None
    return kept if own is None or own in kept else (*kept[:-1], own)


def number_of_attempt(tried: str, release: str) -> int:
    """1 for the release id itself, 2 for `<id>-2`, 0 for another release."""
    suffix = tried.removeprefix(f"{release}-")
    if tried == release:
        return 1
    return int(suffix) if suffix != tried and suffix.isdecimal() else 0


def attempted(attempts: Mapping[str, int], release: str, number: int) -> dict[str, int]:
    """The numbers after one more attempt, the newest last."""
    others = {key: value for key, value in attempts.items() if key != release}
    return dict([*others.items(), (release, number)][-ATTEMPTS_KEPT:])


def promoted_to_status(ring: Ring) -> list[dict[str, Any]]:
    return [
        {
            "release": one.release.to_status(),
            "at": time_text(one.at),
            **({"before": one.before} if one.before else {}),
            **({"checks": dict(one.checks)} if one.checks else {}),
        }
        for one in ring
    ]


def promoted_from_status(raw: Any) -> Ring:
    found = []
    for item in items(raw):
        release, at, before = Release.from_status(item.get("release")), time_of(item.get("at")), item.get("before")
        if release is not None and at is not None:
            known = before if isinstance(before, str) and before else None
            found.append(Promotion(release, at, known, dict(mapping(item.get("checks")))))
    return tuple(found)


def attempts_to_status(attempts: Mapping[str, int]) -> list[dict[str, Any]]:
    """A list, newest last: the API server keeps no order of keys."""
    return [{"release": release, "number": number} for release, number in attempts.items()]


def attempts_from_status(raw: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for item in items(raw):
        release, number = item.get("release"), item.get("number")
        if isinstance(release, str) and release and isinstance(number, int) and number > 0:
            found[release] = max(int(number), found.get(release, 0))
    return found
