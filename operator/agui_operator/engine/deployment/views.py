"""Views: what was last seen of the cloud resources of one object, and which of it may be used without a new look.

A view is fresh when it came from a look, the answer to a write or the end of an operation, and nothing has happened
since that could have changed it. After a fault nothing is fresh.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from agui_operator.core.actions import Pointer
from agui_operator.core.snapshot import AlertView, BackupView, Found, JobView, ServiceView, TargetView

SERVICE, POINTER, ALERTS, BACKUP, ASSETS = "service", "pointer", "alerts", "backup", "assets"
TARGET = "target"
LEFT_RUNNING = "left-running"


def of_job(job: str) -> str:
    """Name of the view of a job."""
    return f"job/{job}"


@dataclass(slots=True)
class Views:
    """Read by anybody, changed by its methods."""

    service: ServiceView | None = None
    service_at: float = float("-inf")  # monotonic time of that look
    pointer: Pointer | None = None
    candidate_pointer: Pointer | None = None  # of the candidate that is reached by its name
    missing: frozenset[str] = frozenset()
    missing_at: str | None = None  # the service's etag then
    found: Found | None = None
    jobs: dict[str, JobView | None] = field(default_factory=dict)
    backup: BackupView | None = None
    assets: bool | None = None
    alerts: tuple[AlertView, ...] = ()
    target: TargetView | None = None  # of the release that an undo would go back to
    target_at: float = float("-inf")  # monotonic time of that look
    fresh: set[str] = field(default_factory=set)
    fresh_release: str | None = None  # release whose id was made by this process and that met no fault since
    analysed_at: float = 0.0  # monotonic time of the last analysis

    def mark_fresh(self, view: str) -> None:
        self.fresh.add(view)

    def mark_stale(self, view: str) -> None:
        self.fresh.discard(view)

    def invalidate(self) -> None:
        """After a fault every view is looked up again."""
        self.fresh.clear()
        self.fresh_release = None

    def put_service(self, service: ServiceView | None) -> None:
        self.service, self.service_at = service, time.monotonic()

    def disown(self) -> None:
        """The service by this name is somebody else's: nothing that was seen of it counts."""
        self.put_service(None)
        self.found = self.target = None
        self.fresh -= {SERVICE, TARGET}

    def put_missing(self, missing: frozenset[str], etag: str) -> None:
        self.missing, self.missing_at = missing, etag

    def put_found(self, found: Found) -> None:
        self.found = found

    def put_routing(self, pointer: Pointer | None, candidate: Pointer | None) -> None:
        self.pointer, self.candidate_pointer = pointer, candidate

    def put_job(self, job: str, view: JobView | None) -> None:
        self.jobs[job] = view

    def drop_job(self, job: str) -> None:
        self.jobs.pop(job, None)

    def put_backup(self, backup: BackupView | None) -> None:
        self.backup = backup

    def put_assets(self, complete: bool) -> None:
        self.assets = complete

    def put_target(self, target: TargetView | None) -> None:
        self.target, self.target_at = target, time.monotonic()

    def put_alerts(self, alerts: tuple[AlertView, ...]) -> None:
        self.alerts = alerts

    def analysed(self, at: float) -> None:
        self.analysed_at = at

    def begin_rollout(self) -> None:
        """Drops what belongs to the last release; the service and the pointer are the deployment's."""
        self.backup, self.assets = None, None
        self.fresh -= {BACKUP, ASSETS, LEFT_RUNNING, *map(of_job, self.jobs)}
        self.jobs.clear()
        self.fresh_release = None

    def begin_release(self, release: str, *, published: bool) -> None:
        """The release got its id just now. What is created by name, and so twice without harm, is not looked up before.
        Forgotten after any fault and any restart. A backup is looked up: it has no name of its own, and an attempt
        whose status was lost may have taken it. `published`: its bundle is that of an earlier release, so its files may
        be there."""
        self.fresh_release = release
        self.backup, self.assets = None, False
        self.fresh -= {BACKUP}
        self.fresh |= set() if published else {ASSETS}

    def end_rollout(self) -> None:
        """At rest nobody asks for jobs any more."""
        self.fresh -= set(map(of_job, self.jobs))
        self.jobs.clear()
