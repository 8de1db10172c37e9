"""Cloud Run traffic as a whole list. Splits stick on Cloud Run, so the full list is always written; the user's own tags
are carried along at 0 % and never lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """One entry of a service's traffic: share in percent and an optional tag with an own URL."""

    revision: str
    percent: int = 0
    tag: str | None = None


def foreign_tags(targets: Iterable[Target], prefix: str = "r-") -> tuple[Target, ...]:
    """Tagged targets that people made; they keep their revision and get 0 %."""
    return tuple(Target(t.revision, 0, t.tag) for t in targets if t.tag and not t.tag.startswith(prefix))


def split(
    candidate: Target | None, stable: Target | None, percent: int, have: Sequence[Target] = ()
) -> tuple[Target, ...]:
    """The full traffic list with `percent` on the candidate and the rest on stable. Without a stable revision the
    candidate has to hold 100 %, because Cloud Run accepts no service without traffic; it is not public before the
    release pointer names it."""
    if not 0 <= percent <= 100:
        raise ValueError(f"percent must be 0..100, got {percent}")
    if candidate is None and stable is None:
        raise ValueError("traffic needs a revision")
    if candidate is not None and stable is not None and candidate.revision == stable.revision:
        candidate = None
    targets: list[Target] = []
    if stable is not None:
        targets.append(Target(stable.revision, 100 - (percent if candidate else 0), stable.tag))
    if candidate is not None:
        targets.append(Target(candidate.revision, percent if stable else 100, candidate.tag))
    return (*targets, *foreign_tags(have))


def share(targets: Iterable[Target], revision: str) -> int:
    """Percent of the traffic that goes to a revision."""
    return sum(t.percent for t in targets if t.revision == revision)


def same_split(want: Iterable[Target], have: Iterable[Target]) -> bool:
    """True if both lists say the same, whatever their order."""

    def key(t: Target) -> tuple[str, str]:
        return t.revision, t.tag or ""

    return sorted(want, key=key) == sorted(have, key=key)
