"""What of earlier releases may go: pure, because a mistake here can't be undone.

Several deployments may share one assets bucket, and a file of the pool may belong to releases of all of them. So every
deployment that publishes a release folder leaves its claim in it, before it writes or relies on any file. A folder goes
when the last claim does; a file of the pool when no manifest in the bucket names it. Whatever is not understood (a
folder whose manifest is not there yet, files that carry no mark of ours) keeps everything that it may need.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from agui_operator.api.conditions import Reason
from agui_operator.core.memory import Memory
from agui_operator.core.snapshot import ServiceView

ABANDONED = timedelta(days=1)  # a folder that is incomplete for so long is not being uploaded any more


@dataclass(frozen=True, slots=True)
class Stored:
    """An object in the bucket. `generation` is this content of it; `ours`: it carries the mark of a publication."""

    name: str
    generation: str
    created: datetime
    ours: bool = True


@dataclass(frozen=True, slots=True)
class Folder:
    """A release folder. `claims` by the uid of the deployment that made them; `needs` are the files of the pool that
    its manifest names; None: it has no manifest."""

    frontend: str
    files: tuple[Stored, ...]
    claims: Mapping[str, Stored] = field(default_factory=dict)
    needs: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A Cloud Run revision or job that carries the deployment's label."""

    name: str
    release: str
    created: datetime
    etag: str = ""
    busy: bool = False  # a job whose execution has not ended


@dataclass(frozen=True, slots=True)
class Kept:
    """What must stay: ids of releases, release folders."""

    releases: frozenset[str]
    frontends: frozenset[str]


def kept_by(memory: Memory, served: Iterable[str | None] = ()) -> Kept:
    """Everything that the status names, and the folders that the URL map serves."""
    named = list(memory.past)
    named += [r for r in (memory.candidate, memory.stable, memory.undo_to) if r is not None]
    rejected = {memory.rejected.release} if memory.rejected else set()
    frontends = {r.frontend for r in named} | set(served)
    return Kept(frozenset({r.id for r in named} | rejected), frozenset(f for f in frontends if f))


def forgotten_since(memory: Memory) -> datetime | None:
    """No release that the status does not name received user traffic after this moment. None: not known.

    Whatever served before the stable release was replaced when that began to serve: when it was promoted, or when an
    undo restored it. What served since, as a canary, left the history before its oldest entry came to its end."""
    if memory.stable is None:
        return None
    stable = memory.stable.id
    promoted = [p.at for p in memory.promoted if p.release.id == stable]
    undone = [e.at for e in memory.history if e.reason == Reason.UNDONE]
    oldest = [min(e.at for e in memory.history)] if memory.history else []
    return max([*promoted, *undone, *oldest]) if promoted else None


def unneeded_since(
    dropped: Iterable[str], before: Mapping[str, datetime], memory: Memory, now: datetime
) -> dict[str, datetime]:
    """Since when each dropped release or folder is needed by nobody: as long as it has been seen so, or longer where
    the history proves it. `before` is the last answer; what is needed again is forgotten."""
    bound = forgotten_since(memory)
    since = {}
    for key in dropped:
        seen = before.get(key, now)
        since[key] = seen if bound is None else min(seen, bound)
    return since


def due(folders: Iterable[Folder], owner: str, kept: Kept, since: Mapping[str, datetime], until: datetime) -> set[str]:
    """Folders that the owner claims, does not keep and has not needed since before `until`."""
    claimed = (f.frontend for f in folders if owner in f.claims and f.frontend not in kept.frontends)
    return {frontend for frontend in claimed if frontend in since and since[frontend] <= until}


def collect_assets(
    folders: Sequence[Folder], pool: Sequence[Stored], owner: str, going: set[str], now: datetime, window: timedelta
) -> tuple[Stored, ...]:
    """Objects to delete, in an order of which every beginning is safe: page, files and manifest of each folder, then
    files of the pool, then the claims, so that what is left over after a crash is found again. `going`: see `due`."""
    mine = [f for f in folders if f.frontend in going and owner in f.claims]
    vanishing = [f for f in mine if set(f.claims) == {owner}]
    staying = [f for f in folders if f not in vanishing]
    deletions = [file for folder in vanishing for file in sorted(folder.files, key=_rank)]
    if vanishing and not any(_is_unknown(folder, now) for folder in staying):
        needed = {name for folder in staying for name in folder.needs or ()}
        deletions += [f for f in pool if f.ours and f.name not in needed and f.created <= now - window]
    return (*deletions, *(folder.claims[owner] for folder in mine))


def _is_unknown(folder: Folder, now: datetime) -> bool:
    """True if nobody can tell what a folder needs: its upload may be under way."""
    if folder.needs is not None:
        return False
    objects = (*folder.files, *folder.claims.values())
    pages = any(file.name.endswith(".html") for file in folder.files)
    return pages or any(stored.created > now - ABANDONED for stored in objects)


def _rank(file: Stored) -> tuple[int, str]:
    """Pages first: without them a folder is not complete. The manifest last: it says what the pool is needed for."""
    if file.name.endswith(".html"):
        return 0, file.name
    return (2 if file.name.endswith("/manifest.json") else 1), file.name


def collect_run(
    made: Sequence[Made], kept: Kept, since: Mapping[str, datetime], until: datetime, service: ServiceView | None
) -> tuple[Made, ...]:
    """Revisions and jobs to delete: of releases that nobody has needed since before `until`, reached by no traffic and
    no tag, not the service's newest, not running. A revision is told by the service's name."""
    reached: set[str] = set()
    if service is not None:
        reached = {t.revision for t in (*service.traffic, *service.serving)}
        reached |= {service.template_revision, service.latest_created, service.latest_ready}
    return tuple(
        one
        for one in made
        if one.release not in kept.releases
        and one.name not in reached
        and not one.busy
        and one.created <= until
        and one.release in since
        and since[one.release] <= until
    )
