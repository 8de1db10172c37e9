"""Who gets a request: the traffic tables of all services, by host and by name. No waiting and no network in here.

A split must be exact in the long run and close to it in the short run, or a canary of 10 % would see 3 or 20 of its
first 100 requests. Drawing from the golden ratio's low-discrepancy sequence does that, without the fixed period of a
round robin that a client with a period of its own could lock on to.
"""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from dataclasses import dataclass, field

from localgcp.kit.interfaces import ServiceRoute, Workload

_GOLDEN_RATIO = 0.6180339887498949
_TAG_SEPARATOR = "---"


@dataclass(slots=True)
class TrafficTable:
    """One service's split. Replaced as a whole by `Routes.put`; `shares` holds percent by revision, without zeros."""

    route: ServiceRoute
    shares: dict[str, int] = field(init=False)
    tags: dict[str, str] = field(init=False)
    _position: float = 0.0
    _bounds: list[int] = field(init=False)
    _revisions: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.shares = {}
        for target in self.route.targets:
            if target.percent > 0:
                self.shares[target.revision] = self.shares.get(target.revision, 0) + target.percent
        self.tags = {target.tag: target.revision for target in self.route.targets if target.tag}
        self._revisions = list(self.shares)
        self._bounds = list(itertools.accumulate(self.shares.values()))

    @property
    def revisions(self) -> frozenset[Workload]:
        """Revisions with traffic or a tag."""
        return frozenset(self.workload(revision) for revision in (*self.shares, *self.tags.values()))

    def workload(self, revision: str) -> Workload:
        """A revision of this service, by its short name."""
        return Workload(self.route.project, self.route.location, revision)

    def choose(self, tag: str | None = None, affine: str | None = None) -> str | None:
        """The revision for one request, None when there is none. A session's own revision (`affine`) wins over the
        split for as long as it has any traffic. Source: https://cloud.google.com/run/docs/configuring/session-affinity"""
        if tag is not None:
            return self.tags.get(tag)
        if affine in self.shares:
            return affine
        if not self._bounds:
            return None
        self._position = (self._position + _GOLDEN_RATIO) % 1.0
        return self._revisions[bisect.bisect_right(self._bounds, self._position * self._bounds[-1])]


class Routes:
    """All services that the data plane knows."""

    def __init__(self) -> None:
        self._by_name: dict[tuple[str, str, str], TrafficTable] = {}
        self._by_host: dict[str, TrafficTable] = {}
        self._serving: Counter[Workload] = Counter()  # in how many tables a revision has traffic or a tag

    def put(self, route: ServiceRoute) -> None:
        self.drop(route.project, route.location, route.service)
        table = TrafficTable(route)
        self._by_name[route.project, route.location, route.service] = table
        self._by_host[route.host.lower()] = table
        self._serving.update(table.revisions)

    def drop(self, project: str, location: str, service: str) -> None:
        """No error when there is no such service."""
        table = self._by_name.pop((project, location, service), None)
        if table is not None:
            self._by_host.pop(table.route.host.lower(), None)
            for revision in table.revisions:
                self._serving[revision] -= 1
                if not self._serving[revision]:
                    del self._serving[revision]

    def clear(self) -> None:
        self._by_name.clear()
        self._by_host.clear()
        self._serving.clear()

    def by_name(self, project: str, location: str, service: str) -> TrafficTable | None:
        return self._by_name.get((project, location, service))

    def by_host(self, host: str) -> tuple[TrafficTable, str | None] | None:
        """Table and tag of a host without port, `<tag>---<host>` or `<host>`; None for an unknown host or tag."""
        table = self._by_host.get(host)
        if table is not None:
            return table, None
        tag, separator, rest = host.partition(_TAG_SEPARATOR)
        table = self._by_host.get(rest) if separator else None
        return (table, tag) if table is not None and tag in table.tags else None

    def serving(self) -> frozenset[Workload]:
        """Revisions with traffic or a tag in any service."""
        return frozenset(self._serving)

    def serves(self, revision: Workload) -> bool:
        """Whether a revision has traffic or a tag in any service."""
        return revision in self._serving
