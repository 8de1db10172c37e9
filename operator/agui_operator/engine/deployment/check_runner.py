"""Runs smoke checks and synthetic conversations beside the loop, and hands their results over as a value.

A result belongs to a release, a stage and the content of a check. It is kept until the phase changes; a check that is
running goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from agui_operator.api.deployment import SmokeCheck
from agui_operator.checks.arrival import PROPAGATION, arrived
from agui_operator.checks.guard import Guard
from agui_operator.checks.run import CheckTarget, reported_schema, run_check
from agui_operator.checks.synthetic import SyntheticConversations
from agui_operator.core.blueprint import CANDIDATE
from agui_operator.core.phases.case import stage_of
from agui_operator.core.release import Release
from agui_operator.core.rollout import Phase
from agui_operator.core.snapshot import CheckResult, SchemaReport, ServiceView
from agui_operator.core.undo import checks_of
from agui_operator.core.verdicts import check_digest, verdict_on
from agui_operator.engine.cluster.wakeups import Wakeups
from agui_operator.engine.deployment.scope import Scope
from agui_operator.engine.tasks import Tasks
from agui_operator.fair import FairGate

AT_ONCE, PER_NAMESPACE = 128, 16  # checks that run; the others of a namespace wait for its own
_SCHEMA = "/version"  # key of the question for the schema; no check can be called so
Key = tuple[str, str, str, str]  # release, stage, check and the digest of the check: an edited one runs again


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Results of the checks that ended, by name, and the schema that the candidate reported."""

    results: Mapping[str, CheckResult] = field(default_factory=dict)
    schema: SchemaReport | None = None


@dataclass(slots=True)
class _Checks:
    """What is known of one object's checks."""

    tasks: Tasks = field(default_factory=Tasks)
    arrivals: dict[tuple[str, str, bool], asyncio.Task[str | None]] = field(default_factory=dict)
    results: dict[Key, CheckResult] = field(default_factory=dict)
    schema: SchemaReport | None = None
    failed_at: float | None = None
    synthetic: SyntheticConversations | None = None
    spoken: object = None  # what the synthetic conversations were made from

    def forget_arrivals(self) -> None:
        for task in self.arrivals.values():
            task.cancel()
        self.arrivals.clear()


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is checked now, and how. Checks that run as jobs belong to the core."""

    release: Release
    stage: str
    checks: tuple[SmokeCheck, ...]
    runtime_url: str | None


def _subject(scope: Scope) -> _Subject | None:
    memory, blueprint = scope.memory, scope.blueprint
    if memory.phase is Phase.UNDOING and memory.undo_to is not None:
        return _Subject(memory.undo_to, CANDIDATE, checks_of(memory), None)
    stage = stage_of(memory.phase)
    if stage is None or blueprint is None:
        return None
    checks = tuple(c for c in blueprint.checks(stage) if (stage, c.name) not in blueprint.check_jobs)
    return _Subject(blueprint.release, stage, checks, blueprint.runtime_url)


def _backend(scope: Scope, service: ServiceView, release: str, origin: str) -> CheckTarget:
    """A release's backend before users meet it."""
    stable = scope.memory.stable
    return CheckTarget(
        origin=origin,
        public=False,
        release=release,
        audience=service.uri,
        tenant=scope.names.namespace,
        disclosure=scope.disclosure,
        others=frozenset(
            {p.release.id for p in scope.memory.promoted} | ({stable.id} if stable is not None else set())
        ),
    )


class CheckRunner:
    """One per process. The guard decides whether a check brings an ID token; here is said for whom one may be.
    `propagation`: seconds in which an answer of another release means "not yet"."""

    def __init__(self, guard: Guard, wakeups: Wakeups, *, propagation: float = PROPAGATION) -> None:
        self._guard, self._wakeups, self._propagation = guard, wakeups, propagation
        self._objects: dict[str, _Checks] = {}
        self._stopping = Tasks()
        self._turns = FairGate(AT_ONCE, PER_NAMESPACE)

    async def run(self, scope: Scope, service: ServiceView | None) -> CheckReport:
        """Starts the checks of this stage that have no verdict, and reports those that ended. `service`: the last look
        at it; without one nothing can be asked."""
        await self._converse(scope, service)
        subject, known = _subject(scope), self._objects.get(scope.uid)
        if subject is None or service is None:
            return CheckReport({}, known.schema if known is not None else None)
        checks = self._of(scope.uid)
        results: dict[str, CheckResult] = {}
        for check in subject.checks:
            key = (subject.release.id, subject.stage, check.name, check_digest(check))
            if verdict_on(scope.memory.verdicts, check) is not None:
                continue
            if key in checks.results:
                results[check.name] = checks.results[key]
            elif (target := self._target(scope, check, subject, service)) is not None:
                checks.tasks.start(key, self._run(scope.uid, checks, key, check, target))
        if scope.memory.phase is Phase.SMOKING and checks.schema is None:
            self._ask_schema(scope, checks, service)
        return CheckReport(results, checks.schema)

    def is_running(self, uid: str) -> bool:
        checks = self._objects.get(uid)
        return checks is not None and len(checks.tasks) > 0

    def failed_at(self, uid: str) -> float | None:
        """Monotonic time at which the newest failed check ended."""
        checks = self._objects.get(uid)
        return checks.failed_at if checks is not None else None

    def begin_phase(self, uid: str) -> None:
        """Results of the last phase count no more."""
        if uid in self._objects:
            self._objects[uid].results.clear()
            self._objects[uid].forget_arrivals()

    def begin_rollout(self, uid: str) -> None:
        """Ends the checks of the last release."""
        checks = self._objects.get(uid)
        if checks is not None:
            checks.tasks.cancel()
            checks.forget_arrivals()
            checks.results.clear()
            checks.schema = checks.failed_at = None

    def end(self, uid: str) -> None:
        """The object is gone, or at rest."""
        checks = self._objects.pop(uid, None)
        if checks is not None:
            checks.tasks.cancel()
            checks.forget_arrivals()
            if checks.synthetic is not None:
                self._stopping.start(checks.synthetic, checks.synthetic.stop())

    def _of(self, uid: str) -> _Checks:
        return self._objects.setdefault(uid, _Checks())

    def _target(self, scope: Scope, check: SmokeCheck, subject: _Subject, service: ServiceView) -> CheckTarget | None:
        edge, release, stage = scope.place.edge, subject.release, subject.stage
        backend = service.tag_uris.get(scope.names.tag(release.id)) if stage == CANDIDATE else service.uri
        origin = edge.origin if check.assets is not None and edge else backend
        if origin is None:
            return None
        return replace(
            _backend(scope, service, release.id, origin),
            public=stage != CANDIDATE,
            runtime_url=subject.runtime_url,
            frontend=release.frontend,
            by_name=release.id if check.assets is not None and stage == CANDIDATE and edge else None,
            audience=service.uri if check.assets is None else None,
        )

    async def _run(self, uid: str, checks: _Checks, key: Key, check: SmokeCheck, target: CheckTarget) -> None:
        wrong = await self._arrival(checks, key, target, page=check.assets is not None)
        if wrong is not None:
            result = CheckResult(check.name, False, wrong, check=key[3])
        else:
            async with self._turns.turn(target.tenant):
                result = replace(await run_check(check, target, self._guard), check=key[3])
        if result.passed is False:
            checks.failed_at = time.monotonic()
        checks.results[key] = result
        checks.tasks.leave(key)
        self._wakeups.wake(uid)

    async def _arrival(self, checks: _Checks, key: Key, target: CheckTarget, *, page: bool) -> str | None:
        """Why the release does not answer at the target; all checks of a stage wait for one look."""
        where = (key[0], key[1], page)
        if where not in checks.arrivals:
            work = arrived(target, self._guard, page=page, propagation=self._propagation)
            checks.arrivals[where] = asyncio.create_task(work)
        return await asyncio.shield(checks.arrivals[where])

    def _ask_schema(self, scope: Scope, checks: _Checks, service: ServiceView) -> None:
        blueprint = scope.blueprint
        assert blueprint is not None
        origin = service.tag_uris.get(scope.names.tag(blueprint.release.id))
        key = (blueprint.release.id, CANDIDATE, _SCHEMA, "")
        if origin is not None and key not in checks.results:
            target = _backend(scope, service, blueprint.release.id, origin)
            checks.tasks.start(key, self._read_schema(checks, key, target))

    async def _read_schema(self, checks: _Checks, key: Key, target: CheckTarget) -> None:
        await self._arrival(checks, key, target, page=False)
        checks.schema = await reported_schema(
            self._guard, target.origin, audience=target.audience, disclosure=target.disclosure
        )
        checks.results[key] = CheckResult(_SCHEMA, checks.schema is not None)

    async def _converse(self, scope: Scope, service: ServiceView | None) -> None:
        """Conversations that fill a quiet canary, for as long as its steps last, held or not."""
        known, blueprint = self._objects.get(scope.uid), scope.blueprint
        rate = blueprint.analysis.synthetic_per_minute if blueprint is not None and blueprint.analysis else None
        wanted = scope.memory.phase in (Phase.PROGRESSING, Phase.PAUSED) and rate is not None
        spoken = (rate, blueprint.smoke) if wanted and blueprint is not None else None
        if known is not None and known.synthetic is not None and known.spoken != spoken:  # ended, or edited in flight
            await known.synthetic.stop()
            known.synthetic = None
        if not wanted or blueprint is None or service is None or rate is None:
            return
        checks = self._of(scope.uid)
        if checks.synthetic is None:
            checks.synthetic = SyntheticConversations(self._guard, blueprint.smoke, self._targets(scope, service), rate)
            checks.spoken = spoken
            checks.synthetic.start()

    def _targets(self, scope: Scope, service: ServiceView) -> list[CheckTarget]:
        releases = [r.id for r in (scope.memory.stable, scope.memory.candidate) if r is not None]
        return [
            _backend(scope, service, release, uri)
            for release in releases
            if (uri := service.tag_uris.get(scope.names.tag(release)))
        ]
