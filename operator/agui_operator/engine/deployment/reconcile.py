"""One turn of one object: look, decide, write the intent, act.

    scope    = scopes.build(...)                         what the object says, and where it stands
    snapshot = await observer.look(...)                  reads the cloud, writes nothing there
    decision = decide(memory, snapshot, ..., now)        pure
    status   = summarize(...)                            pure; written before the first effect of the phase
               await executor.execute(actions)           idempotent, stops at the first fault

Turns are chained while events are read, so that a phase with nothing to do costs neither a write nor a wait.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from agui_operator.api.conditions import Reason
from agui_operator.core import requests
from agui_operator.core.actions import describe
from agui_operator.core.decide import Decision, decide
from agui_operator.core.errors import Fault, IllegalTransition, backoff, classify, reason_of, told
from agui_operator.core.memory import Memory
from agui_operator.core.notices import REQUEST_ACCEPTED, REQUEST_REFUSED, UNKNOWN_ANNOTATION, notices
from agui_operator.core.phases.case import Case
from agui_operator.core.phases.weights import is_between_weights
from agui_operator.core.rollout import CANARY, PHASES, RESTING, Phase
from agui_operator.core.served import astray
from agui_operator.core.snapshot import Request, RequestKind, Snapshot
from agui_operator.core.status import FaultSeen, Inputs, summarize
from agui_operator.core.words import UNDISCLOSED, Disclosure
from agui_operator.engine.cluster import metrics
from agui_operator.engine.cluster.records import Recorder
from agui_operator.engine.deployment.cache import ObjectCache
from agui_operator.engine.deployment.check_runner import CheckRunner
from agui_operator.engine.deployment.execute import Executor
from agui_operator.engine.deployment.gc import GarbageCollector
from agui_operator.engine.deployment.observe import Observer
from agui_operator.engine.deployment.placing import Placer
from agui_operator.engine.deployment.report import Reporter
from agui_operator.engine.deployment.scope import Directory, Scope, Scopes
from agui_operator.engine.deployment.shared import first_due
from agui_operator.engine.deployment.views import ALERTS, SERVICE, TARGET
from agui_operator.engine.settings import Settings

logger = logging.getLogger(__name__)
_EXPOSED = frozenset({Phase.PROGRESSING, Phase.PAUSED, Phase.PROMOTING, Phase.BAKING, Phase.ROLLING_BACK})
_FAILED_LOOK = 20.0  # seconds until a resting object is looked at again where that failed
_RECHECK = 10.0  # seconds from a correction of drift to the comparison that proves it
_UNPLACED = 30.0  # seconds until an object without environment is looked at again: the grace of its conditions ends
_GRACE_POLL = 5.0  # seconds
_CHAIN = 25  # events read in one go; more would be a loop in the table


class Engine:
    """Keeps every AgUiDeployment as its spec says. One instance per process; one turn at a time per object."""

    def __init__(
        self,
        *,
        settings: Settings,
        observer: Observer,
        checks: CheckRunner,
        executor: Executor,
        directory: Directory,
        recorder: Recorder,
        reporter: Reporter,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        collector: GarbageCollector | None = None,
        placer: Placer | None = None,
    ) -> None:
        self._settings, self._clock = settings, clock
        self._observer, self._checks, self._executor = observer, checks, executor
        self._recorder, self._reporter, self._collector = recorder, reporter, collector
        self._placer, self._scopes = placer, Scopes(directory, clock, settings.cluster_id, settings.permission_grace)
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
        self._checks.end(uid)
        self._scopes.forget(uid)
        if self._collector is not None:
            self._collector.forget(uid)

    def scope(self, cache: ObjectCache, body: Mapping[str, Any], *, deleting: bool = False) -> Scope:
        """The object as it is now; the place that was known before serves while its environment is gone."""
        scope = self._scopes.build(body, cache.load(body), cache.location, deleting=deleting)
        scope = scope.having(cache.views.service)
        cache.locate(scope.location)
        return scope

    async def turn(self, body: Mapping[str, Any]) -> float | None:
        """Takes turns until there is nothing to do now. Returns after how many seconds to look again (None: resync).
        Never raises: a fault becomes a condition and a delay."""
        began = time.monotonic()
        cache = self.cache(str(body["metadata"]["uid"]))
        async with cache.lock:
            if body["metadata"].get("deletionTimestamp"):
                return None  # deletion decides from here on
            try:
                delay = await self._chain(cache, body)
                metrics.TURNS.labels("ok").inc()
            except Exception as exc:
                delay = await self._failed(cache, body, exc)
        metrics.TURN_SECONDS.observe(time.monotonic() - began)
        return delay

    async def _chain(self, cache: ObjectCache, body: Mapping[str, Any]) -> float | None:
        for _ in range(_CHAIN):
            scope = self.scope(cache, body)  # the body is live: a newer spec counts at once
            if scope.location is None:
                await self._write(cache, scope, None)
                return None if cache.is_stalled else _UNPLACED
            if self._placer is not None and (self._placer.is_needed(scope) or _lost_owner(cache)):
                cache.remember(replace(scope.memory, place=await self._placer.settle(scope)))
                scope = self.scope(cache, body)
            seen, fault = await self._look(cache, scope)
            case = Case(scope.memory, seen, scope.blueprint, scope.names, self._clock())
            decision = decide(case, scope.parsed.history_limit)
            if seen.request is not None:
                self._answered(cache, scope, seen.request, decision.memory)
            if decision.event is not None:
                self._moved(cache, scope, decision)
                continue
            cache.remember(decision.memory)
            scope = scope.remembering(decision.memory)
            if fault is not None and not decision.actions:
                raise fault
            drift = _drift(replace(case, memory=decision.memory), decision)
            if drift is not None and decision.memory.phase not in RESTING:
                text = f"The traffic was changed by somebody else and is set back: {describe(decision.actions[0])}"
                self._recorder.post(scope.namespace, scope.name, scope.uid, "Warning", Reason.DRIFTED, text)
            cache.succeeded(drift)
            cache.served(astray(decision.memory, seen, scope.names))
            await self._write(cache, scope, seen)
            await self._reporter.acknowledge(scope, cache)
            if not decision.actions:
                if self._collector is not None:
                    self._collector.consider(scope, cache)
                return self._delay(cache, scope, decision)
            await self._act(cache, scope, decision)
            if decision.memory.phase in RESTING:
                cache.compared_at(None)  # corrected, and not compared since
                cache.compare_after(min(_RECHECK, self._settings.resync))
            if fault is not None:
                raise fault
        raise IllegalTransition(f"more than {_CHAIN} events in one turn, last phase {cache.load(body).phase}")

    async def _look(self, cache: ObjectCache, scope: Scope) -> tuple[Snapshot, Exception | None]:
        """The snapshot, and the fault of a look that failed. What is known without it still counts: a newer spec, a
        request and a deadline are read, and what needs no other API is done."""
        self._name_unknown(cache, scope)
        basic = Snapshot(
            fingerprint=scope.parsed.fingerprint,
            procedure=scope.parsed.procedure,
            blockers=scope.every_blocker,
            disclosure=scope.disclosure,
            forbidden=scope.forbidden,
            request=_request(cache, scope),
            has_edge=scope.place.edge is not None,
            channels=scope.place.channels,
            assets_bucket=scope.place.assets_bucket,
            artifacts_bucket=scope.place.artifacts_bucket,
        )
        # an edit at rest, and a permission given or withdrawn, are compared with the cloud at once
        changed = cache.compared not in (None, scope.generation) or cache.forbidden not in (None, scope.forbidden)
        cache.forbidden = scope.forbidden
        drift = scope.memory.phase in RESTING and (changed or time.monotonic() >= cache.drift_due)
        sight = await self._observer.look(scope, cache, basic, drift=drift)
        if sight.foreign:
            self._checks.end(scope.uid)  # nothing more is sent to a service of somebody else
            return basic, sight.fault
        if drift and not sight.pending:
            self._compared(cache, scope, sight.seen)
        report = await self._checks.run(scope, cache.views.service)
        seen = replace(sight.seen, checks={**sight.seen.checks, **report.results}, schema=report.schema)
        return seen, sight.fault

    def _compared(self, cache: ObjectCache, scope: Scope, seen: Snapshot) -> None:
        """Sets when a resting object is compared with the cloud again."""
        resync = self._settings.resync
        due = first_due(cache.uid, resync) if cache.drift_due == 0.0 else resync
        cache.compare_after(min(due, _FAILED_LOOK) if seen.failed else due)
        cache.compared_at(scope.generation)

    def _answered(self, cache: ObjectCache, scope: Scope, request: Request, memory: Memory) -> None:
        """The answer goes out as an Event too: another request may overwrite the one in the status. An annotation that
        would only come back stays where it is."""
        if not requests.is_settled(memory, request, scope.parsed.fingerprint):
            cache.answer(request)
        answer = memory.acknowledged
        assert answer is not None
        kind, reason = ("Normal", REQUEST_ACCEPTED) if answer.accepted else ("Warning", REQUEST_REFUSED)
        self._recorder.post(scope.namespace, scope.name, scope.uid, kind, reason, answer.message)

    def _name_unknown(self, cache: ObjectCache, scope: Scope) -> None:
        """Says once of every misspelt annotation that it means nothing."""
        for key, sentence in requests.misspelt(scope.annotations).items():
            if key not in cache.told:
                cache.told.add(key)
                self._recorder.post(scope.namespace, scope.name, scope.uid, "Warning", UNKNOWN_ANNOTATION, sentence)

    def _moved(self, cache: ObjectCache, scope: Scope, decision: Decision) -> None:
        """An event was read: what was kept for the last phase is dropped."""
        before, memory = scope.memory, decision.memory
        assert decision.event is not None
        cache.remember(memory)
        self._recorder.moved(scope.namespace, scope.name, scope.uid, before, memory, decision.event)
        if memory.phase is Phase.RESOLVING:
            cache.views.begin_rollout()
            self._checks.begin_rollout(scope.uid)
        if before.phase is Phase.RESOLVING and memory.candidate is not None:
            earlier = {release.frontend for release in memory.past}
            cache.views.begin_release(memory.candidate.id, published=memory.candidate.frontend in earlier)
        if memory.phase in (Phase.BAKING, Phase.ROLLING_BACK):
            cache.views.mark_stale(ALERTS)
        if memory.phase is Phase.UNDOING:
            cache.views.mark_stale(TARGET)
            cache.views.mark_stale(SERVICE)
            self._checks.begin_rollout(scope.uid)
        if memory.phase is Phase.ROLLING_BACK:
            cache.begin_restoring(self._checks.failed_at(scope.uid) or time.monotonic())
        elif before.phase is Phase.ROLLING_BACK and (seconds := cache.end_restoring()) is not None:
            metrics.RESTORE_SECONDS.observe(seconds)
        if memory.phase is not before.phase:
            self._checks.begin_phase(scope.uid)
        cache.keep_failed(PHASES[memory.phase].looks_at)
        looked = memory.phase in RESTING and before.phase in (Phase.BAKING, Phase.ROLLING_BACK)
        cache.compared_at(scope.generation if looked else None)  # what ended those phases was a look at the cloud
        if memory.phase in RESTING:
            unfinished = cache.failed_looks or len(cache.looking) or ALERTS in cache.operations
            cache.views.end_rollout()
            self._checks.end(scope.uid)
            cache.compare_after(_FAILED_LOOK if unfinished else first_due(cache.uid, self._settings.resync))

    async def _act(self, cache: ObjectCache, scope: Scope, decision: Decision) -> None:
        urgent = decision.memory.phase is Phase.ROLLING_BACK

        def changed() -> None:
            self._observer.changed(scope.names, decision.actions)

        changed()
        try:
            await self._executor.execute(scope, cache, decision.actions, changed, urgent=urgent)
        finally:
            changed()

    async def _write(self, cache: ObjectCache, scope: Scope, seen: Snapshot | None) -> None:
        """Writes the status if it says anything new."""
        before = cache.status  # unpacked once
        inputs = Inputs(
            memory=scope.memory,
            generation=scope.generation,
            now=self._clock(),
            previous=before,
            asked=scope.parsed.asked,
            version=scope.parsed.version,
            ignored=scope.parsed.ignored,
            plan=scope.blueprint,
            seen=seen,
            blockers=scope.every_blocker,
            spec_error=scope.parsed.error,
            fault=cache.fault,
            url=_url(cache, scope),
            drift=cache.drift,
            forbidden=scope.forbidden,
            astray=cache.astray,
            compared=cache.compared == scope.generation,
        )
        status = summarize(inputs)
        await self._reporter.write(scope, cache, status)
        for notice in notices(before, status):
            self._recorder.post(scope.namespace, scope.name, scope.uid, notice.kind, notice.reason, notice.message)

    def _delay(self, cache: ObjectCache, scope: Scope, decision: Decision) -> float | None:
        if cache.operations or self._checks.is_running(scope.uid):
            return self._deadline_delay(scope, decision)
        if decision.requeue_after is not None:
            soon = any(b.reason is Reason.NOT_PERMITTED for b in scope.every_blocker)  # the end of the grace
            return min(decision.requeue_after.total_seconds(), _GRACE_POLL if soon else math.inf)
        return max(0.1, cache.drift_due - time.monotonic()) if scope.memory.phase in RESTING else None

    def _deadline_delay(self, scope: Scope, decision: Decision) -> float:
        """The end of the operation or check wakes the object; otherwise it looks again when the deadline is over."""
        since, blueprint = scope.memory.since, scope.blueprint
        if blueprint is None or since is None:
            return 30.0
        left = since + blueprint.progress_deadline - self._clock() + timedelta(seconds=1)
        waits = scope.memory.phase in CANARY
        cap = decision.requeue_after.total_seconds() if waits and decision.requeue_after is not None else 60.0
        return max(1.0, min(left.total_seconds(), cap))

    def _disclosure(self, cache: ObjectCache, body: Mapping[str, Any]) -> Disclosure:
        """What may be shown of the object; nothing where it can't be understood."""
        try:
            return self.scope(cache, body).disclosure
        except Exception:
            return UNDISCLOSED

    async def _failed(self, cache: ObjectCache, body: Mapping[str, Any], exc: Exception) -> float:
        """Turns a fault into a condition and a delay."""
        fault = classify(exc)
        metrics.FAULTS.labels(str(fault)).inc()
        metrics.TURNS.labels("fault").inc()
        attempt = cache.count_failure()
        delay = max(backoff(attempt, fault), getattr(exc, "retry_after", None) or 0.0)
        text = told(exc, self._disclosure(cache, body))
        if fault is Fault.BUG:
            logger.exception("internal error in a turn")
        else:
            logger.warning("turn failed: %s", text, extra={"fault": str(fault), "attempt": attempt})
        retry_at = self._clock() + timedelta(seconds=delay)
        message = text if fault is not Fault.BUG else f"internal error: {type(exc).__name__}"
        cache.failed(FaultSeen(fault, reason_of(exc), message, attempt, retry_at))
        try:
            await self._write(cache, self.scope(cache, body), None)
        except Exception as second:
            logger.warning("the fault could not be written to the status: %s", second)
        return delay


def _drift(case: Case, decision: Decision) -> str | None:
    """What somebody else changed, by the actions that correct it."""
    at_rest = case.memory.phase in RESTING and case.seen.service_known
    if not decision.actions or not (at_rest or is_between_weights(case)):
        return None
    return "; ".join(type(action).__name__ for action in decision.actions)


def _lost_owner(cache: ObjectCache) -> bool:
    return cache.fault is not None and cache.fault.reason is Reason.NOT_OWNED


def is_older(version: str, than: int) -> bool:
    """True if a resourceVersion is a number below `than`; what can't be compared is taken for new."""
    return version.isdecimal() and int(version) < than


def _request(cache: ObjectCache, scope: Scope) -> Request | None:
    """The most urgent request without an answer. The others get theirs one by one, each written before the next; only
    an abort does not wait for that."""
    if is_older(scope.version, cache.answered_at):
        return None
    for request in requests.parse(scope.annotations, scope.kept):
        settled = requests.is_settled(scope.memory, request, scope.parsed.fingerprint)
        if not cache.is_answered(request) and not settled:
            return request if not cache.answered or request.kind is RequestKind.ABORT else None
    return None


def _url(cache: ObjectCache, scope: Scope) -> str | None:
    if scope.location is not None and scope.location.place.edge is not None:
        return scope.location.place.edge.origin
    service = cache.views.service
    return service.uri if service is not None else None
