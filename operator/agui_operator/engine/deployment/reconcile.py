"""One turn of one object: look, decide, write the intent, act.

    snapshot = await observe(...)                        may look, changes nothing
    turn     = decide(memory, snapshot, ..., now)     pure
    status   = summarize(...)                            pure; written before the first effect of the phase
    outcomes = await execute(actions)                    idempotent, stops at the first fault

Turns are chained while events are read, so that a phase with nothing to do costs neither a write nor a wait.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from agui_operator.api.deployment import AgUiDeploymentSpec
from agui_operator.api.environment import AgUiEnvironmentSpec
from agui_operator.api.parse import SpecInvalid, parse_deployment
from agui_operator.api.policy import AgUiPolicySpec
from agui_operator.core import memory as memories
from agui_operator.core import requests
from agui_operator.core.blockers import blockers, place_of
from agui_operator.core.blueprint import Blueprint, build_blueprint
from agui_operator.core.decide import Decision, decide
from agui_operator.core.environment import Place
from agui_operator.core.errors import Fault, IllegalTransition, LeaseLost, backoff, classify, reason_of
from agui_operator.core.memory import Memory
from agui_operator.core.merge import merge_patch
from agui_operator.core.names import Names
from agui_operator.core.phases.case import Case, has_steps
from agui_operator.core.release import Release, fingerprint_of
from agui_operator.core.rollout import IN_FLIGHT, RESTING, Phase
from agui_operator.core.snapshot import Blocker, Snapshot
from agui_operator.core.status import FaultSeen, Inputs, summarize
from agui_operator.engine.cluster import metrics
from agui_operator.engine.cluster.feed import SILENT, Feed
from agui_operator.engine.cluster.kube import Kube
from agui_operator.engine.cluster.records import Recorder
from agui_operator.engine.deployment.cache import ALERTS, ObjectCache
from agui_operator.engine.deployment.execute import Executor
from agui_operator.engine.deployment.gc import GarbageCollector
from agui_operator.engine.deployment.observe import Observer, Scope
from agui_operator.engine.deployment.shared import first_due
from agui_operator.engine.settings import Settings

logger = logging.getLogger(__name__)
_EXPOSED = frozenset({Phase.PROGRESSING, Phase.PAUSED, Phase.PROMOTING, Phase.BAKING, Phase.ROLLING_BACK})
_CHAIN = 25  # events read in one go; more would be a loop in the table


class Directory(Protocol):
    """The environments and policies of the cluster, as last seen by the watch."""

    def environment(self, namespace: str, name: str) -> tuple[AgUiEnvironmentSpec | None, str | None]:
        """The environment, or why there is none (None, None: it does not exist)."""
        ...

    def policies(self) -> Sequence[AgUiPolicySpec]: ...


@dataclass(frozen=True, slots=True)
class View:
    """One object's spec as understood at this moment."""

    namespace: str
    name: str
    uid: str
    generation: int
    spec: AgUiDeploymentSpec | None
    spec_error: str | None
    environment: AgUiEnvironmentSpec | None
    blockers: tuple[Blocker, ...]
    annotations: Mapping[str, str]
    version: str = ""

    @property
    def fingerprint(self) -> str | None:
        return fingerprint_of(self.spec) if self.spec is not None else None


class Engine:
    """Keeps every AgUiDeployment as its spec says. One instance per process; one turn at a time per object."""

    def __init__(
        self,
        *,
        settings: Settings,
        kube: Kube,
        observer: Observer,
        executor: Executor,
        directory: Directory,
        recorder: Recorder,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        feed: Feed = SILENT,
        collector: GarbageCollector | None = None,
    ) -> None:
        self._settings, self._kube, self._directory = settings, kube, directory
        self._observer, self._executor, self._recorder = observer, executor, recorder
        self._clock, self._feed, self._tidier = clock, feed, collector
        self._caches: dict[str, ObjectCache] = {}

    def cache(self, uid: str) -> ObjectCache:
        return self._caches.setdefault(uid, ObjectCache(uid))

    def now(self) -> datetime:
        return self._clock()

    def serves_users(self, uid: str) -> bool:
        """True while a release that is not proven yet has user traffic, or is being rolled back."""
        cache = self._caches.get(uid)
        return cache is not None and cache.memory is not None and cache.memory.phase in _EXPOSED

    def forget(self, uid: str) -> None:
        """The object is gone: ends its waits and checks."""
        cache = self._caches.pop(uid, None)
        if cache is not None:
            cache.close()
            if cache.synthetic is not None:
                asyncio.get_running_loop().create_task(cache.synthetic.stop())

    async def turn(self, body: Mapping[str, Any]) -> float | None:
        """Takes turns until there is nothing to do now. Returns after how many seconds to look again (None: resync).
        Never raises: a fault becomes a condition and a delay."""
        if body["metadata"].get("deletionTimestamp"):
            return None  # the take-down has the word now
        began = time.monotonic()
        cache = self.cache(str(body["metadata"]["uid"]))
        try:
            delay = await self._chain(cache, body)
            metrics.TURNS.labels("ok").inc()
        except Exception as exc:
            delay = await self._failed(cache, body, exc)
        metrics.TURN_SECONDS.observe(time.monotonic() - began)
        return delay

    async def _chain(self, cache: ObjectCache, body: Mapping[str, Any]) -> float | None:
        if cache.memory is None:
            cache.memory = memories.from_status(body.get("status"))
            cache.status = dict(body.get("status") or {})
        for _ in range(_CHAIN):
            view = self._understand(body)
            names, place = self._where(cache, view)
            if names is None or place is None:
                await self._write(cache, view, None, None)
                return None
            seen, scope, fault = await self._look(cache, view, names, place)
            limit = view.spec.history_limit if view.spec is not None else None
            turn = decide(Case(scope.memory, seen, scope.plan, names, self._clock()), limit)
            self._remember(cache, view, scope.memory, turn)
            if seen.request is not None:
                cache.answered = seen.request.kind
            if turn.event is not None:
                if turn.memory.phase is not scope.memory.phase:
                    cache.results.clear()
                continue
            if fault is not None:
                raise fault
            actions = turn.actions
            cache.fault, cache.failures = None, 0
            cache.drift = "; ".join(type(a).__name__ for a in actions) if turn.memory.phase in RESTING else None
            await self._write(cache, view, scope.plan, seen)
            await self._acknowledge(cache, view)
            if not actions:
                if self._tidier is not None:
                    self._tidier.consider(scope)
                return self._delay(cache, turn, scope.plan)
            await self._act(cache, names, place, turn)
        raise IllegalTransition(f"more than {_CHAIN} events in one turn, last phase {cache.memory.phase}")

    def _understand(self, body: Mapping[str, Any]) -> View:
        meta = body["metadata"]
        spec: AgUiDeploymentSpec | None = None
        error: str | None = None
        environment: AgUiEnvironmentSpec | None = None
        found: tuple[Blocker, ...] = ()
        namespace = str(meta["namespace"])
        try:
            spec = parse_deployment(body.get("spec") or {})
        except SpecInvalid as exc:
            error = str(exc)
            environment = self._named_environment(namespace, body)
        if spec is not None:
            environment, why = self._directory.environment(namespace, spec.environment_ref.name)
            policies = self._directory.policies()
            found = blockers(spec, environment, why, namespace, policies, self._clock())
        return View(
            namespace=namespace,
            name=str(meta["name"]),
            uid=str(meta["uid"]),
            generation=int(meta.get("generation", 0)),
            spec=spec,
            spec_error=error,
            environment=environment,
            blockers=found,
            annotations=dict(meta.get("annotations") or {}),
            version=str(meta.get("resourceVersion", "")),
        )

    def _named_environment(self, namespace: str, body: Mapping[str, Any]) -> AgUiEnvironmentSpec | None:
        """The environment that an invalid spec names, if it gets that far: a rollout in flight must be rolled back
        there."""
        reference = (body.get("spec") or {}).get("environmentRef")
        name = reference.get("name") if isinstance(reference, Mapping) else None
        return self._directory.environment(namespace, str(name))[0] if name else None

    def _where(self, cache: ObjectCache, view: View) -> tuple[Names | None, Place | None]:
        """Names and place; the last known ones while the spec is invalid or the environment is gone."""
        if view.environment is not None:
            cache.names = Names(
                view.namespace, view.name, view.uid, view.environment.project_id, view.environment.region
            )
            cache.place = place_of(view.environment, view.spec)
        return cache.names, cache.place

    async def _look(
        self, cache: ObjectCache, view: View, names: Names, place: Place
    ) -> tuple[Snapshot, Scope, Exception | None]:
        """The snapshot. When looking fails, what is known without looking still counts: a newer spec, a request and a
        deadline are read, and the fault is handed back."""
        memory = cache.memory
        assert memory is not None
        request = None if is_older(view.version, cache.answered_at) else requests.parse(view.annotations)
        if request is not None and request.kind == cache.answered:
            request = None
        basic = Snapshot(
            fingerprint=view.fingerprint,
            blockers=view.blockers,
            request=request,
            has_edge=place.edge is not None,
            channels=place.channels,
        )
        scope = Scope(cache, memory, view.spec, names, place, plan_of(memory, view.spec, names, place))
        drift = memory.phase in RESTING and time.monotonic() >= cache.drift_due
        try:
            seen = await self._observer.look(scope, basic, drift=drift)
        except LeaseLost:
            raise
        except Exception as exc:
            return basic, scope, exc
        if drift:
            first = cache.drift_due == 0.0
            wait = first_due(cache.uid, self._settings.resync) if first else self._settings.resync
            cache.drift_due = time.monotonic() + wait
        return seen, scope, None

    def _remember(self, cache: ObjectCache, view: View, before: Memory, turn: Decision) -> None:
        cache.memory = turn.memory
        if turn.event is None:
            return
        self._recorder.moved(view.namespace, view.name, view.uid, before, turn.memory, turn.event)
        if turn.memory.phase is Phase.RESOLVING:
            cache.reset()
        if before.phase is Phase.RESOLVING and turn.memory.candidate is not None:
            earlier = {e.release.frontend for e in turn.memory.history}
            cache.begin(turn.memory.candidate.id, published=turn.memory.candidate.frontend in earlier)
        if turn.memory.phase in (Phase.BAKING, Phase.ROLLING_BACK):
            cache.keep(ALERTS, fresh=False)
        if turn.memory.phase is Phase.ROLLING_BACK and cache.failed_at is None:
            cache.failed_at = time.monotonic()
        if before.phase is Phase.ROLLING_BACK and cache.failed_at is not None:
            metrics.RESTORE_SECONDS.observe(time.monotonic() - cache.failed_at)
            cache.failed_at = None
        if turn.memory.phase in RESTING:
            cache.drift_due = time.monotonic() + first_due(cache.uid, self._settings.resync)

    async def _act(self, cache: ObjectCache, names: Names, place: Place, turn: Decision) -> None:
        urgent = turn.memory.phase is Phase.ROLLING_BACK
        self._observer.changed(names, turn.actions)
        try:
            await self._executor.execute(cache, names, place, turn.actions, urgent=urgent)
        finally:
            self._observer.changed(names, turn.actions)

    async def _write(self, cache: ObjectCache, view: View, plan: Blueprint | None, seen: Snapshot | None) -> None:
        """Writes the status if it says anything new."""
        memory = cache.memory
        assert memory is not None
        inputs = Inputs(
            memory=memory,
            generation=view.generation,
            now=self._clock(),
            previous=cache.status or {},
            plan=plan,
            seen=seen,
            blockers=view.blockers,
            spec_error=view.spec_error,
            fault=cache.fault,
            url=_url(cache),
            drift=cache.drift,
        )
        await self.write_status(cache, view.namespace, view.name, summarize(inputs))

    async def write_status(self, cache: ObjectCache, namespace: str, name: str, status: dict[str, Any]) -> None:
        patch = merge_patch(cache.status or {}, status)
        if not patch:
            return
        await self._kube.patch_status(namespace, name, cache.uid, patch)
        metrics.STATUS_WRITES.inc()
        cache.status = status
        self._feed.status_written(namespace, name, cache.uid, status)

    async def _acknowledge(self, cache: ObjectCache, view: View) -> None:
        """Removes the annotation of a request that was answered; the answer is in the status by now. Bodies that the
        watch delivered before are not asked for requests any more, or one would be obeyed twice."""
        if cache.answered is None:
            return
        version = await self._kube.remove_annotation(view.namespace, view.name, f"{requests.PREFIX}{cache.answered}")
        cache.answered = None
        cache.answered_at = int(version) if version is not None and version.isdecimal() else 0

    def _delay(self, cache: ObjectCache, turn: Decision, plan: Blueprint | None) -> float | None:
        if cache.pending or cache.tasks:
            return self._deadline_delay(turn, plan)
        if turn.requeue_after is not None:
            return turn.requeue_after.total_seconds()
        return max(0.1, cache.drift_due - time.monotonic()) if turn.memory.phase in RESTING else None

    def _deadline_delay(self, turn: Decision, plan: Blueprint | None) -> float:
        """A waiter will ring; look by oneself only when the deadline is over."""
        since = turn.memory.since
        if plan is None or since is None:
            return 30.0
        left = since + plan.progress_deadline - self._clock() + timedelta(seconds=1)
        waits = turn.memory.phase is Phase.PROGRESSING and has_steps(turn.memory, plan)
        cap = turn.requeue_after.total_seconds() if waits and turn.requeue_after is not None else 60.0
        return max(1.0, min(left.total_seconds(), cap))

    async def _failed(self, cache: ObjectCache, body: Mapping[str, Any], exc: Exception) -> float:
        """Turns a fault into a condition and a delay."""
        fault = classify(exc)
        metrics.FAULTS.labels(str(fault)).inc()
        metrics.TURNS.labels("fault").inc()
        cache.forget_views()
        cache.failures += 1
        delay = max(backoff(cache.failures, fault), getattr(exc, "retry_after", None) or 0.0)
        reason = reason_of(exc)
        if fault is Fault.BUG:
            logger.exception("internal error in a turn")
        else:
            logger.warning("turn failed: %s", exc, extra={"fault": str(fault), "attempt": cache.failures})
        retry_at = self._clock() + timedelta(seconds=delay)
        message = str(exc) if fault is not Fault.BUG else f"internal error: {type(exc).__name__}"
        cache.fault = FaultSeen(fault, reason, message, cache.failures, retry_at)
        try:
            view = self._understand(body)
            names, place = self._where(cache, view)
            plan = plan_of(cache.memory, view.spec, names, place) if names and place and cache.memory else None
            if cache.memory is not None:
                await self._write(cache, view, plan, None)
        except Exception as second:
            logger.warning("the fault could not be written to the status: %s", second)
        return delay


def plan_of(memory: Memory, spec: AgUiDeploymentSpec | None, names: Names, place: Place) -> Blueprint | None:
    """The blueprint of the release that this phase is about, or None when the spec is about another one."""
    if spec is None:
        return None
    fingerprint = fingerprint_of(spec)
    release: Release | None = memory.candidate if memory.phase in IN_FLIGHT else memory.stable
    if release is None or release.fingerprint != fingerprint:
        return None
    if memory.phase is Phase.HEALTHY:
        alerts = spec.alerts.model_dump(mode="json", exclude_none=True) if spec.alerts else {}
        release = replace(release, alerts=alerts)
    return build_blueprint(spec, names, place, release)


def is_older(version: str, than: int) -> bool:
    """True if a resourceVersion is a number below `than`; what can't be compared is believed to be new."""
    return version.isdecimal() and int(version) < than


def _url(cache: ObjectCache) -> str | None:
    place = cache.place
    if place is not None and place.edge is not None:
        return place.edge.origin
    return cache.service.uri if cache.service else None
