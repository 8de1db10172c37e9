"""A model of the cloud, small enough to visit every state of it: what each action makes true, and what may go wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any

from agui_operator.api.conditions import ConditionType, Reason
from agui_operator.api.smoke import HttpCheck, SmokeCheck
from agui_operator.api.strategy import AnalysisStep, CanaryStep, Inconclusive, Pause
from agui_operator.core.actions import (
    Action,
    AlertCreated,
    AlertDeleted,
    AlertUpdated,
    AssetsPublished,
    BackupTaken,
    Bundle,
    ContainerTemplate,
    ExecutionCancelled,
    ExecutionStarted,
    JobDefined,
    JobTemplate,
    Pointer,
    PointerSet,
    RevisionStaged,
    RevisionTemplate,
    TrafficSplit,
)
from agui_operator.core.blueprint import CANDIDATE, PROMOTED, Analysis, Blueprint
from agui_operator.core.decide import Decision, decide
from agui_operator.core.memory import Cause, HistoryEntry, Memory
from agui_operator.core.names import Names
from agui_operator.core.past import Promotion
from agui_operator.core.phases.case import Case, stage_of
from agui_operator.core.recovery import unknown_revision
from agui_operator.core.release import Release
from agui_operator.core.rollout import IN_FLIGHT, Event, Look, Phase
from agui_operator.core.snapshot import (
    AnalysisResult,
    BackupView,
    Blocker,
    CheckResult,
    ExecutionView,
    Found,
    JobView,
    LookFault,
    Request,
    RequestKind,
    ServiceView,
    Snapshot,
    TargetView,
    Verdict,
)
from agui_operator.core.templates import to_json
from agui_operator.core.traffic import Target
from agui_operator.core.undo import checks_of, recorded
from fast_replace import replaced

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATE = NOW + timedelta(days=2)
NAMES = Names("demo", "concierge", "uid-1", "p", "r")


def revision_of(release: str, image: str) -> RevisionTemplate:
    """The template of a release's revision."""
    return RevisionTemplate(NAMES.revision(release), release, ContainerTemplate(image, "sa"))


FIRST = Release(
    "aaaa",
    "art-a",
    "fp-a",
    "1",
    "img@sha256:a",
    frontend="fa",
    bundle="a.tar.gz@sha256:fa",
    template=to_json(revision_of("aaaa", "img@sha256:a")),
)
SECOND = Release("bbbb", "art-b", "fp-b", "2", "img@sha256:b", "img@sha256:b", "head", "fb", "b.tar.gz@sha256:fb")
THIRD = "fp-c"  # a newer spec that is never resolved here
FOURTH = "fp-d"  # one that no world has seen, and so none has rejected
STEPS = (CanaryStep(set_weight=10), CanaryStep(analysis=AnalysisStep()), CanaryStep(pause=Pause()))
FEWER = STEPS[:1]  # what somebody makes of the list in flight
CHECK = SmokeCheck(name="smoke", http=HttpCheck(path="/readyz"))
FREEZE = Blocker(ConditionType.SPEC_ACCEPTED, Reason.FROZEN, "a freeze", "wait", holds_running=True)
REVOKED = Blocker(ConditionType.SPEC_ACCEPTED, Reason.NOT_PERMITTED, "withdrawn", "ask", revokes=True)
SUSPEND = Blocker(ConditionType.SPEC_ACCEPTED, Reason.SUSPENDED, "suspended", "resume", holds_running=True)


@dataclass(frozen=True)
class Cloud:
    """The truth outside. `migrated`, `published`: releases and folders that are complete."""

    backed_up: frozenset[str] = frozenset()
    jobs: frozenset[str] = frozenset()
    running: frozenset[str] = frozenset()
    migrated: frozenset[str] = frozenset()
    published: frozenset[str] = frozenset()
    revisions: frozenset[str] = frozenset()  # those that exist
    template: str = ""
    traffic: tuple[Target, ...] = ()  # as it was asked for
    serving: tuple[Target, ...] = ()  # what users get
    pointer: Pointer | None = None
    candidate_pointer: Pointer | None = None  # the candidate that is met by its name


@dataclass(frozen=True)
class World:
    memory: Memory
    cloud: Cloud
    verified: frozenset[str] = frozenset()  # revisions whose checks passed at 0 %
    fingerprint: str | None = "fp-b"
    had_stable: bool = False  # a release was stable once, whatever became of the status since
    by_hand: bool = False  # somebody moved traffic or the page, and nobody has corrected it yet


class Api(StrEnum):
    """The APIs that may be down one by one."""

    RUN = "run"
    EDGE = "compute"
    MONITORING = "monitoring"
    SQL = "sql"
    STORAGE = "storage"


_LOOKS = {
    Api.RUN: (Look.SERVICE, Look.MIGRATION, Look.CHECKS, Look.TARGET),
    Api.EDGE: (Look.ROUTING,),
    Api.MONITORING: (Look.ANALYSIS, Look.ALERTS),
    Api.SQL: (Look.BACKUP,),
    Api.STORAGE: (Look.ASSETS,),
}
_NOTHING: Mapping[Api, dict[str, Any]] = {
    Api.RUN: {"service": None, "service_known": False, "migration": None, "check_jobs": {}, "target": None},
    Api.EDGE: {"pointer": None, "candidate_pointer": None, "pointer_known": False},
    Api.MONITORING: {"analysis": None, "alerts": None},
    Api.SQL: {"backup": None},
    Api.STORAGE: {"assets_complete": None},
}


@dataclass(frozen=True)
class Luck:
    """One way for the outside to answer. Everything good by default."""

    now: datetime = NOW
    backup: bool | None = True
    migration: bool | None = True
    ready: bool | None = True
    checks: bool | None = True
    analysis: Verdict | None = Verdict.PASSED
    request: Request | None = None
    resolves: bool = True
    steps: tuple[CanaryStep, ...] = STEPS
    routes: bool = True  # False: the service can't get the routes that were asked for
    down: Api | None = None  # one API of Google Cloud that answers nothing but errors
    blockers: tuple[Blocker, ...] = ()


def blueprint(memory: Memory, fingerprint: str | None) -> Blueprint | None:
    release = memory.candidate if memory.phase in IN_FLIGHT else memory.stable
    if release is None or release.fingerprint != fingerprint:
        return None
    revision = revision_of(release.id, release.image)
    container = revision.container
    return Blueprint(
        release=replaced(release, template=_template_of(release.id, release.image)),
        revision=revision,
        migration=JobTemplate(NAMES.migration_job(release.id), release.id, container),
        backup_instance="main",
        bundle=Bundle("b", "o", "s"),
        assets_bucket="assets",
        runtime_url="/copilotkit",
        pointer=Pointer(release.frontend, release.id),
        steps=STEPS,
        analysis=Analysis(10, 1, 60, Inconclusive.HOLD, ()),
        smoke=(CHECK,),
    )


def look(world: World, luck: Luck) -> Snapshot:
    """What an observer would report of this world."""
    cloud, memory = world.cloud, world.memory
    release = memory.candidate
    job = NAMES.migration_job(release.id) if release else ""
    backup = BackupView("b", luck.backup) if release and release.id in cloud.backed_up else None
    stage = stage_of(memory.phase)
    finding = AnalysisResult(luck.analysis, "seen") if luck.analysis is not None else None
    seen = Snapshot(
        fingerprint=world.fingerprint,
        blockers=luck.blockers,
        request=luck.request,
        tried=_tried(cloud) if memory.phase is Phase.RESOLVING else (),
        resolved=SECOND if luck.resolves and world.fingerprint == "fp-b" and not _tried_twice(memory) else None,
        service=_service(world, luck),
        service_known=True,
        missing=frozenset(t.revision for t in cloud.traffic if t.revision not in cloud.revisions),
        backup=backup,
        migration=_job(cloud, job, luck),
        left_running=_left_running(cloud, job) if memory.phase is Phase.BACKING_UP else (),
        assets_complete=bool((about := release or memory.stable) and about.frontend in cloud.published),
        pointer=cloud.pointer,
        candidate_pointer=cloud.candidate_pointer,
        pointer_known=True,
        checks={"smoke": CheckResult("smoke", luck.checks)} if stage or _asks_target(memory) else {},
        analysis=finding if memory.phase in (Phase.PROGRESSING, Phase.PAUSED) else None,
        alerts=(),
        target=_target(world),
        has_edge=True,
    )
    if luck.down is None:
        revision = unknown_revision(memory, seen, NAMES)
        return replaced(seen, found=_record(world, revision)) if revision is not None else seen
    fault = LookFault(Reason.CLOUD_UNAVAILABLE, "answered 503")
    return replaced(seen, failed=dict.fromkeys(_LOOKS[luck.down], fault), **_NOTHING[luck.down])


def _asks_target(memory: Memory) -> bool:
    return memory.phase is Phase.UNDOING and bool(checks_of(memory))


def _target(world: World) -> TargetView | None:
    release, cloud = world.memory.undo_to, world.cloud
    if world.memory.phase is not Phase.UNDOING or release is None:
        return None
    return TargetView(release.id, NAMES.revision(release.id) in cloud.revisions, release.frontend in cloud.published)


@cache
def _template_of(release: str, image: str) -> str:
    return to_json(revision_of(release, image))


def _record(world: World, revision: str) -> Found:
    """The record that a revision keeps."""
    if revision not in world.cloud.revisions:
        return Found(None, revision)
    release = revision.removeprefix(f"{NAMES.service}-")
    known = FIRST if release.partition("-")[0] == FIRST.id else SECOND
    return Found(replaced(known, id=release, template=_template_of(release, known.image)), revision)


def _tried(cloud: Cloud) -> tuple[str, ...]:
    """Releases that have a revision or a migration job."""
    jobs = {job.removeprefix(NAMES.migration_job("")) for job in cloud.jobs}
    return tuple(sorted(jobs | {revision.removeprefix(f"{NAMES.service}-") for revision in cloud.revisions}))


def _tried_twice(memory: Memory) -> bool:
    return memory.attempts.get(SECOND.id, 0) >= 2


def prune(world: World) -> World:
    """Forgets what can't matter any more: backups, jobs and verdicts of releases that nothing refers to."""
    memory, cloud = world.memory, world.cloud
    live = {r.id for r in (memory.candidate, memory.stable, memory.undo_to) if r is not None}
    live |= {t.revision.removeprefix(f"{NAMES.service}-") for t in (*cloud.traffic, *cloud.serving)}
    live |= {p.release.id for p in memory.promoted}
    jobs = {NAMES.migration_job(r) for r in live}
    candidate = {memory.candidate.id} if memory.candidate else set()
    cloud = replaced(
        cloud,
        revisions=cloud.revisions & ({NAMES.revision(r) for r in live} | {cloud.template}),
        backed_up=cloud.backed_up & candidate,
        jobs=cloud.jobs & jobs,
        running=cloud.running & jobs | cloud.running - cloud.migrated,  # what was left running matters
        migrated=cloud.migrated & jobs,
    )
    return replaced(world, cloud=cloud, verified=world.verified & {NAMES.revision(r) for r in live})


def _service(world: World, luck: Luck) -> ServiceView | None:
    cloud = world.cloud
    if not cloud.traffic:
        return None
    lost = world.memory.phase is Phase.PROMOTING and luck.ready is False
    ready = (luck.ready or (cloud.template in world.verified and not lost)) and cloud.traffic == cloud.serving
    if not luck.routes:
        ready = False
    before = next((t.revision for t in cloud.traffic if t.revision != cloud.template), "")
    return ServiceView(
        name=NAMES.service,
        etag="e",
        owner=NAMES.owner,
        uri="http://x",
        traffic=cloud.traffic,
        serving=cloud.serving if luck.routes else (),
        tag_uris={t.tag: f"http://{t.tag}" for t in cloud.traffic if t.tag},
        template_revision=cloud.template,
        latest_created=cloud.template,
        latest_ready=cloud.template if ready else before,
        reconciling=luck.ready is None and not ready and cloud.traffic == cloud.serving and luck.routes,
        ready=ready if cloud.traffic == cloud.serving else False,
    )


def _job(cloud: Cloud, job: str, luck: Luck) -> JobView | None:
    if job not in cloud.jobs:
        return None
    execution = None
    if job in cloud.running or job in cloud.migrated:
        execution = ExecutionView("e", True if job in cloud.migrated else luck.migration)
    return JobView(job, "img", True, execution)


def _left_running(cloud: Cloud, own: str) -> tuple[JobView, ...]:
    """Migrations of other releases that have not ended; what failed counts as such, until somebody cancels it."""
    jobs = sorted(cloud.running - cloud.migrated - {own})
    return tuple(JobView(job, "img", True, ExecutionView("e", None)) for job in jobs)


def after(cloud: Cloud, action: Action) -> Cloud:
    """The world once the action had its effect. Doing it twice is doing it once."""
    match action:
        case BackupTaken():
            return replaced(cloud, backed_up=cloud.backed_up | {action.description.split()[-1]})
        case JobDefined():
            return replaced(cloud, jobs=cloud.jobs | {action.template.job})
        case ExecutionStarted():
            assert action.job in cloud.jobs, "an execution of a job that does not exist"
            assert action.job not in cloud.running, "the migration was started twice"
            assert not cloud.running - cloud.migrated, "two migrations run at the same time"
            return replaced(cloud, running=cloud.running | {action.job})
        case ExecutionCancelled():
            return replaced(cloud, running=cloud.running - {action.job})
        case AssetsPublished():
            return replaced(cloud, published=cloud.published | {action.frontend})
        case RevisionStaged():
            revisions = cloud.revisions | {action.template.revision}
            return _routed(replaced(cloud, revisions=revisions, template=action.template.revision), action.traffic)
        case TrafficSplit():
            return _routed(cloud, action.traffic)
        case PointerSet():
            return replaced(cloud, pointer=action.pointer, candidate_pointer=action.candidate)
        case _:
            raise AssertionError(f"the model has no {type(action).__name__}")


def api_of(action: Action) -> Api:
    """The API that an action changes."""
    match action:
        case BackupTaken():
            return Api.SQL
        case AssetsPublished():
            return Api.STORAGE
        case PointerSet():
            return Api.EDGE
        case AlertCreated() | AlertUpdated() | AlertDeleted():
            return Api.MONITORING
        case _:
            return Api.RUN


def _routed(cloud: Cloud, traffic: tuple[Target, ...]) -> Cloud:
    """Cloud Run keeps the old routes when a revision of the new ones does not exist."""
    works = all(target.revision in cloud.revisions for target in traffic)
    return replaced(cloud, traffic=traffic, serving=traffic if works else cloud.serving)


def settle(world: World, luck: Luck) -> World:
    """A migration that was seen to succeed has migrated; checks that were seen to pass verify the candidate."""
    cloud, memory, verified = world.cloud, world.memory, world.verified
    if memory.candidate is not None:
        job, revision = NAMES.migration_job(memory.candidate.id), NAMES.revision(memory.candidate.id)
        if luck.migration and job in cloud.running:
            cloud = replaced(cloud, migrated=cloud.migrated | {job})
        if memory.phase is Phase.SMOKING and luck.checks:
            verified = verified | {revision}
    had_stable = world.had_stable or memory.stable is not None
    if cloud is world.cloud and verified is world.verified and had_stable == world.had_stable:
        return world
    return replaced(world, cloud=cloud, verified=verified, had_stable=had_stable)


def normal(memory: Memory) -> Memory:
    """Times are all NOW, texts are cut, the history is short: so that equal situations are equal."""
    history = (HistoryEntry(FIRST, "Ended", "", NOW, 0),) if memory.history else ()  # no decision depends on an entry
    cause = memory.cause if memory.phase is Phase.ROLLING_BACK else None
    cause = Cause(Reason.SMOKE_FAILED, "", Phase.SMOKING, NOW, cause.rejects) if cause is not None else None
    rejected = replaced(memory.rejected, at=NOW, message="") if memory.rejected else None
    return replaced(
        memory,
        since=NOW,
        started=NOW,
        held_since=None,
        weight_since=NOW if memory.weight_since is not None else None,
        obeyed=(),
        history=history,
        promoted=tuple(replaced(p, at=NOW) for p in memory.promoted),
        cause=cause,
        rejected=rejected,
        acknowledged=None,
        analysis=None,
        verdicts=memory.verdicts if stage_of(memory.phase) or memory.phase is Phase.UNDOING else {},
        step=memory.step if memory.phase in (Phase.PROGRESSING, Phase.PAUSED) else 0,
    )


def step(world: World, luck: Luck) -> tuple[Decision, Snapshot]:
    seen = look(world, luck)
    plan = blueprint(world.memory, world.fingerprint)
    if plan is not None and plan.steps is not luck.steps:
        plan = replaced(plan, steps=luck.steps)
    return decide(Case(world.memory, seen, plan, NAMES, luck.now), 10), seen


def lucky(world: World) -> World:
    """One turn in which everything goes well, its actions done and its status written."""
    turn, _ = step(world, Luck())
    world = settle(world, Luck())
    cloud = world.cloud
    for action in turn.actions:
        cloud = after(cloud, action)
    return replaced(world, memory=normal(turn.memory), cloud=cloud)


def lucks(world: World) -> Iterator[Luck]:
    """Every answer that makes a difference in this phase."""
    yield Luck()
    yield Luck(now=LATE)
    yield Luck(blockers=(FREEZE,))
    yield Luck(blockers=(REVOKED,))
    yield Luck(blockers=(SUSPEND,))
    for kind in RequestKind:
        yield Luck(request=Request(kind))
    for api in Api:
        yield Luck(down=api)
    match world.memory.phase:
        case Phase.RESOLVING:
            yield Luck(resolves=False)
        case Phase.BACKING_UP:
            yield from (Luck(backup=b) for b in (False, None))
        case Phase.MIGRATING:
            yield from (Luck(migration=m) for m in (False, None))
        case Phase.STAGING | Phase.PROMOTING:
            yield from (Luck(ready=r) for r in (False, None))
        case Phase.SMOKING | Phase.BAKING | Phase.UNDOING:
            yield from (Luck(checks=c) for c in (False, None))
            yield Luck(checks=None, now=LATE)
        case Phase.PROGRESSING | Phase.PAUSED:
            yield from (Luck(analysis=a) for a in (Verdict.FAILED, Verdict.INCONCLUSIVE, None))
            yield Luck(analysis=Verdict.INCONCLUSIVE, now=LATE)
            yield Luck(steps=FEWER)
        case Phase.ROLLING_BACK:
            yield Luck(routes=False)
        case _:
            pass


def next_worlds(world: World) -> Iterator[tuple[World, Event | None]]:
    """Every world that may follow, with the event that led there."""
    for following, event in _next(world):
        yield prune(following), event


def _next(world: World) -> Iterator[tuple[World, Event | None]]:
    for fingerprint in ("fp-a", "fp-b", THIRD, None):
        if fingerprint != world.fingerprint:
            yield replaced(world, fingerprint=fingerprint), None
    for luck in lucks(world):
        turn, _ = step(world, luck)
        settled = settle(world, luck)
        memory = normal(turn.memory)
        yield replaced(settled, memory=memory), turn.event
        cloud = settled.cloud
        for action in turn.actions:
            if api_of(action) is luck.down:
                continue
            # the operator may die before, between and after actions, and before the status is written
            cloud = after(cloud, action)
            yield replaced(settled, cloud=cloud), None
            yield replaced(settled, cloud=cloud, memory=memory), turn.event


def start_first() -> World:
    """A fresh object: nothing exists."""
    return World(Memory(), Cloud())


def start_second() -> World:
    """FIRST is healthy, the spec asks for SECOND."""
    entry = HistoryEntry(FIRST, "Promoted", "Promoted", NOW, 0)
    memory = Memory(
        phase=Phase.HEALTHY,
        since=NOW,
        started=NOW,
        stable=FIRST,
        history=(entry,),
        promoted=(Promotion(FIRST, NOW, checks=recorded((CHECK,))),),
        attempts={FIRST.id: 1},
    )
    first = NAMES.revision("aaaa")
    cloud = Cloud(
        published=frozenset({"fa"}),
        revisions=frozenset({first}),
        template=first,
        traffic=(Target(first, 100, NAMES.tag("aaaa")),),
        serving=(Target(first, 100, NAMES.tag("aaaa")),),
        pointer=Pointer("fa", "aaaa"),
    )
    return World(memory, cloud, frozenset({first}), had_stable=True)


STAGES = (CANDIDATE, PROMOTED)
