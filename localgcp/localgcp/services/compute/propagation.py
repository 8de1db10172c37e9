"""A change of a URL map reaches the load balancer's front ends one after the other, after its operation is DONE.

Google names no time. Others measured about 8 s (github.com/argoproj/argo-rollouts/issues/4710), and gRPC's
interoperability tests wait up to 10 minutes (github.com/grpc/grpc/pull/28004).
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping

FRONT_ENDS = 3  # a connection stays with one of them

Body = Mapping[str, object]


class Propagation:
    """`seconds` is how long the last front end takes; the others learn at equal intervals before. What was changed
    before a restart of localgcp has arrived everywhere."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._before: dict[str, list[tuple[float, Body]]] = defaultdict(list)  # oldest first: (changed at, body before)

    def changed(self, key: str, before: Body) -> None:
        """The map `key` was `before` until now."""
        if self._seconds > 0:
            now = self._clock()
            recent = [(at, body) for at, body in self._before[key] if at > now - self._seconds]
            self._before[key] = [*recent, (now, before)]

    def seen(self, key: str, current: Body | None, front_end: int) -> Body | None:
        """The map as one front end has it by now."""
        if current is None or key not in self._before:
            return current
        delay = self._seconds * (front_end % FRONT_ENDS + 1) / FRONT_ENDS
        arrived = self._clock() - delay
        return next((body for at, body in self._before[key] if at > arrived), current)

    def reset(self) -> None:
        self._before.clear()
