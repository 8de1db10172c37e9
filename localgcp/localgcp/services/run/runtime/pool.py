"""The instances of one revision: how many there are, which one gets a request, and who waits for one.

Cloud Run's autoscaler in small: at least `min_instances` while the revision has traffic or a tag, at most
`max_instances`, more as soon as requests in flight exceed the target utilisation, none when idle. Requests wait in a
queue while an instance starts. Source: https://cloud.google.com/run/docs/about-instance-autoscaling
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Coroutine
from typing import Any

from localgcp.edge.interfaces import NoInstance
from localgcp.kit.interfaces import RevisionProcess, StartFailed
from localgcp.services.run.runtime.instances import Host, Instance, InstanceFailed, State
from localgcp.services.run.runtime.probes import wait_until_dead

_TARGET_UTILISATION = 0.6  # of the concurrency, as Cloud Run aims for
_SHORTEST_QUEUE_WAIT = 10.0  # seconds; Cloud Run: 3.5 times the average start, at least 10 s
_FIRST_BACKOFF, _LONGEST_BACKOFF, _STABLE_AFTER = 0.1, 10.0, 10.0
_SENDING = 0.05  # until a request that was given to an instance has surely reached it: SIGTERM may close its port
_LIVENESS_GRACE = 1.0  # an instance that fails its liveness probe rarely honours SIGTERM


class RevisionPool:
    """`serving` says whether the revision has traffic or a tag: only then min_instances hold."""

    def __init__(self, spec: RevisionProcess, host: Host, most_instances: int) -> None:
        self.spec = spec
        self.instances: list[Instance] = []
        self.serving = False
        self._host = host
        self._max = max(1, min(spec.max_instances or most_instances, most_instances))
        self._min = min(spec.min_instances, self._max)
        self._waiting: deque[asyncio.Future[Instance]] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._start_seconds = 0.0
        self._backoff = 0.0
        self._failed_at = 0.0
        self._launching = 0  # decided, and not yet in `instances`
        self._retry: asyncio.TimerHandle | None = None
        self._last_failure = ""
        self._closed = False

    async def start(self) -> None:
        """Starts max(1, min_instances) instances. Raises StartFailed, with none left, if one does not become ready."""
        starting = [asyncio.ensure_future(self._launch()) for _ in range(max(1, self._min) - len(self._alive()))]
        failures = [f for f in await asyncio.gather(*starting, return_exceptions=True) if isinstance(f, BaseException)]
        if failures:
            await self.stop(0)
            if isinstance(failures[0], InstanceFailed):
                raise StartFailed(str(failures[0])) from failures[0]
            raise failures[0]

    async def stop(self, grace: float) -> None:
        """Ends every instance; waiting requests get 503."""
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        self._fail_waiting(503, "The revision is being shut down.")
        if grace and any(instance.in_flight for instance in self.instances):
            await asyncio.sleep(_SENDING)
        await asyncio.gather(*(self._end(instance, grace) for instance in list(self.instances)))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def set_serving(self, serving: bool) -> None:
        self.serving = serving
        self._scale()

    async def acquire(self, affine: str | None = None) -> Instance:
        """An instance with room for one more request; counts the request in. Waits while instances start.
        `affine` is the id of the instance that a session prefers. Raises NoInstance."""
        instance = None if self._closed else self._pick(affine)
        if instance is None:
            instance = await self._wait_in_queue()
        else:
            self._count_in(instance)
        return instance

    def release(self, instance: Instance) -> None:
        """Counts one request out and lets the next waiting one in."""
        instance.in_flight -= 1
        if not instance.in_flight:
            instance.idle_since = time.monotonic()
        self._serve_waiting()

    def sweep(self, serving_idle: float, retired_idle: float) -> None:
        """Ends idle instances above the floor; called now and then. Instances that get no traffic go sooner."""
        floor = self._floor()
        idle_for = serving_idle if self.serving else retired_idle
        now = time.monotonic()
        for instance in [i for i in self.instances if i.state is State.READY]:
            if len(self._alive()) <= floor:
                return
            if not instance.in_flight and now - instance.idle_since >= idle_for:
                instance.state = State.DRAINING
                self._spawn(self._end(instance, 10))

    def _floor(self) -> int:
        return self._min if self.serving else 0

    def _alive(self) -> list[Instance]:
        return [i for i in self.instances if i.state in (State.STARTING, State.READY)]

    def _pick(self, affine: str | None) -> Instance | None:
        best: Instance | None = None
        for instance in self.instances:
            if instance.state is not State.READY or instance.in_flight >= self.spec.concurrency:
                continue
            if instance.id == affine:
                return instance
            if best is None or instance.in_flight < best.in_flight:
                best = instance
        return best

    def _count_in(self, instance: Instance) -> None:
        instance.in_flight += 1
        instance.requests += 1
        if instance.in_flight > self.spec.concurrency * _TARGET_UTILISATION:
            self._scale()

    async def _wait_in_queue(self) -> Instance:
        if self._closed:
            raise NoInstance(503, "The revision is being shut down.")
        ticket: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()
        self._waiting.append(ticket)
        self._scale()
        longest = max(_SHORTEST_QUEUE_WAIT, 3.5 * self._start_seconds)
        try:
            return await asyncio.wait_for(ticket, longest)
        except TimeoutError:
            reason = f" Last start: {self._last_failure}" if self._last_failure else ""
            raise NoInstance(429, f"The request was aborted because there was no available instance.{reason}") from None
        except asyncio.CancelledError:
            if ticket.done() and not ticket.cancelled() and ticket.exception() is None:
                self.release(ticket.result())  # the client left in the moment its turn came
            raise

    def _serve_waiting(self) -> None:
        while self._waiting:
            if self._waiting[0].done():
                self._waiting.popleft()
                continue
            instance = self._pick(None)
            if instance is None:
                return
            ticket = self._waiting.popleft()
            self._count_in(instance)
            ticket.set_result(instance)

    def _fail_waiting(self, code: int, message: str) -> None:
        while self._waiting:
            ticket = self._waiting.popleft()
            if not ticket.done():
                ticket.set_exception(NoInstance(code, message))

    def _wanted(self) -> int:
        waiting = sum(not ticket.done() for ticket in self._waiting)
        busy = sum(i.in_flight for i in self.instances if i.state is State.READY)
        demand = math.ceil((busy + waiting) / max(1.0, self.spec.concurrency * _TARGET_UTILISATION))
        return min(self._max, max(self._floor(), demand))

    def _scale(self) -> None:
        """Starts what is missing, unless the last starts failed and their back-off is not over."""
        missing = self._wanted() - len(self._alive()) - self._launching
        if missing <= 0 or self._closed or self._retry is not None:
            return
        if self._backoff and time.monotonic() - self._failed_at < _STABLE_AFTER:
            self._retry = asyncio.get_running_loop().call_later(self._backoff, self._scale_again)
            return
        self._launching += missing
        for _ in range(missing):
            self._spawn(self._launch_or_back_off())

    def _scale_again(self) -> None:
        self._retry = None
        self._failed_at = 0.0
        self._scale()

    def _back_off(self, *, lived_long: bool = False) -> None:
        self._failed_at = time.monotonic()
        self._backoff = _FIRST_BACKOFF if lived_long else min(_LONGEST_BACKOFF, self._backoff * 2 or _FIRST_BACKOFF)
        self._scale()

    async def _launch_or_back_off(self) -> None:
        self._launching -= 1
        try:
            await self._launch()
        except InstanceFailed as failure:
            self._last_failure = str(failure)
            if not self._alive():
                self._fail_waiting(503, f"The instance could not start. {failure}")
            self._back_off()

    async def _launch(self) -> None:
        began = time.monotonic()
        instance = Instance(self.spec, self._host)
        self.instances.append(instance)
        try:
            await instance.become_ready()
        except BaseException:
            self._drop(instance)
            raise
        self._start_seconds = time.monotonic() - began
        self._last_failure = ""
        self._spawn(self._watch(instance))
        self._serve_waiting()

    async def _watch(self, instance: Instance) -> None:
        """Until the instance ends. A crash or a failed liveness probe makes room for a new one, with back-off."""
        ready_since = time.monotonic()
        liveness = asyncio.ensure_future(self._liveness(instance))
        either: set[asyncio.Future[Any]] = {liveness, instance.child.exited}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            liveness.cancel()
        if instance.state is not State.READY:
            return  # it was ended on purpose
        if not instance.child.exited.done():
            await instance.end(_LIVENESS_GRACE)
        self._drop(instance)
        self._back_off(lived_long=time.monotonic() - ready_since >= _STABLE_AFTER)

    async def _liveness(self, instance: Instance) -> str:
        if self.spec.liveness is None:
            await asyncio.Event().wait()
            return ""
        return await wait_until_dead(instance.port, self.spec.liveness)

    async def _end(self, instance: Instance, grace: float) -> None:
        await instance.end(grace)
        self._drop(instance)

    def _drop(self, instance: Instance) -> None:
        instance.state = State.GONE
        if instance in self.instances:
            self.instances.remove(instance)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
