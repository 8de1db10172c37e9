"""What the process knows about one object for the moment: views that are fresh, waits and checks under way.

All of it may be lost at any time; the next turn then looks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from agui_operator.checks.synthetic import SyntheticConversations
from agui_operator.core.actions import Pointer
from agui_operator.core.environment import Place
from agui_operator.core.memory import Memory
from agui_operator.core.names import Names
from agui_operator.core.snapshot import AlertView, BackupView, CheckResult, Finding, JobView, ServiceView
from agui_operator.core.status import FaultSeen

SERVICE, POINTER, ALERTS, BACKUP, ASSETS = "service", "pointer", "alerts", "backup", "assets"


@dataclass(slots=True)
class ObjectCache:
    """One object's volatile state. `fresh` names the views that need no new look; `pending` the long operations under
    way, by the view that they will change."""

    uid: str
    memory: Memory | None = None
    status: dict[str, Any] | None = None  # as last written
    names: Names | None = None
    place: Place | None = None
    fresh: set[str] = field(default_factory=set)
    service: ServiceView | None = None
    pointer: Pointer | None = None
    candidate_pointer: Pointer | None = None  # the candidate that is met by its name
    jobs: dict[str, JobView | None] = field(default_factory=dict)
    backup: BackupView | None = None
    assets: bool | None = None
    alerts: tuple[AlertView, ...] = ()
    fresh_release: str | None = None  # release whose id was made by this process and met no fault since
    schema: str | None = None
    analysis: Finding | None = None
    analysed_at: float = 0.0
    results: dict[tuple[str, str, str], CheckResult] = field(default_factory=dict)
    pending: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    tasks: dict[tuple[str, str, str], asyncio.Task[None]] = field(default_factory=dict)
    fault: FaultSeen | None = None
    failures: int = 0
    collecting: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    collect_due: float | None = None  # monotonic time of the next look for what may be deleted
    unneeded_releases: dict[str, datetime] = field(default_factory=dict)  # since when nobody needs them
    unneeded_folders: dict[str, datetime] = field(default_factory=dict)
    synthetic: SyntheticConversations | None = None
    drift: str | None = None
    drift_due: float = 0.0
    answered: str | None = None  # request that was obeyed or refused, and whose annotation is still to be removed
    answered_at: int = 0  # resourceVersion without that annotation: an older body tells of requests of the past
    failed_at: float | None = None  # monotonic time of the failed check that is being rolled back

    def keep(self, view: str, *, fresh: bool = True) -> None:
        if fresh:
            self.fresh.add(view)
        else:
            self.fresh.discard(view)

    def is_known(self, view: str) -> bool:
        """True if the view may be used without looking: it is fresh, or an operation that changes it is under way."""
        return view in self.fresh or view in self.pending

    def forget_views(self) -> None:
        """After a fault nothing is believed any more."""
        self.fresh.clear()
        self.fresh_release = None

    def spawn(self, store: dict[Any, asyncio.Task[None]], key: Any, work: Coroutine[Any, Any, None]) -> None:
        """Runs `work` beside the loop, once per key; it leaves the store when it ends, unless it left before and the
        key is another's by now."""
        if key in store:
            work.close()
            return
        task = asyncio.create_task(work)
        store[key] = task
        task.add_done_callback(lambda ended: store.pop(key) if store.get(key) is ended else None)

    def reset(self) -> None:
        """A new rollout begins: what belongs to the last one is dropped; checks under way are ended."""
        for task in self.tasks.values():
            task.cancel()
        self.results.clear()
        self.backup, self.assets, self.schema, self.analysis = None, None, None, None
        self.fresh -= {BACKUP, ASSETS}
        self.fresh_release = None

    def begin(self, release: str, *, published: bool) -> None:
        """The release got its id just now: nothing under that id can be in the cloud, so nothing has to be looked up
        before it is made. Forgotten after any fault and any restart; creating is idempotent by name all the same.
        `published`: its bundle is that of an earlier release, so its files may be there."""
        self.fresh_release = release
        self.backup, self.assets = None, False
        self.fresh |= {BACKUP} if published else {BACKUP, ASSETS}

    def close(self) -> None:
        for task in (*self.pending.values(), *self.tasks.values(), *self.collecting.values()):
            task.cancel()
