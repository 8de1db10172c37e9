"""What a rollout would do, told before it is done: the same turns and the same actions, against a world in which
everything goes well.

Dry run is not a mode: `decide` does not know that nobody carries its actions out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from agui_operator.core.actions import (
    Action,
    AssetsPublished,
    BackupTaken,
    ExecutionStarted,
    JobDefined,
    PointerSet,
    RevisionStaged,
    TrafficSplit,
)
from agui_operator.core.alerts import desired as desired_alerts
from agui_operator.core.blueprint import Blueprint
from agui_operator.core.decide import decide
from agui_operator.core.memory import Memory
from agui_operator.core.names import Names
from agui_operator.core.phases.case import Case, stage_of
from agui_operator.core.rollout import RESTING, Phase
from agui_operator.core.snapshot import (
    AlertView,
    AnalysisResult,
    BackupView,
    CheckResult,
    ExecutionView,
    JobView,
    ServiceView,
    Snapshot,
    Verdict,
)
from agui_operator.core.traffic import Target
from agui_operator.core.waiting import way_out

_TURNS = 300  # more than any spec within its bounds needs


@dataclass(frozen=True, slots=True)
class Foreseen:
    """One action, and the phase in which it is due."""

    phase: Phase
    action: Action


@dataclass(frozen=True, slots=True)
class Forecast:
    """All actions in order, where the rollout comes to rest, what it waits for there, and why it can't go at all
    without a user (`blocked`)."""

    actions: tuple[Foreseen, ...]
    ends_in: Phase
    waits_for: str | None = None
    blocked: str | None = None


def forecast(
    memory: Memory, seen: Snapshot, blueprint_of: Callable[[Memory], Blueprint | None], names: Names, now: datetime
) -> Forecast:
    """Plays the rollout from what was seen; each check passes and each manual promotion is given. `blueprint_of` gives
    the blueprint of the release that a memory is about."""
    actions: list[Foreseen] = []
    for _ in range(_TURNS):
        plan = blueprint_of(memory)
        decision = decide(Case(memory, _favourable(memory, seen, plan, names), plan, names, now), None)
        memory = decision.memory
        if decision.event is not None:
            if memory.phase is Phase.PAUSED:
                memory = replace(memory, phase=Phase.PROGRESSING, step=memory.step + 1, since=now)
            continue
        actions += [Foreseen(memory.phase, action) for action in decision.actions]
        for action in decision.actions:
            seen = assume(seen, action, names)
        if decision.actions:
            continue
        if memory.phase in RESTING or (memory.phase is Phase.PENDING and seen.blockers):
            return _at_rest(tuple(actions), memory, seen)
        now += decision.requeue_after or timedelta(seconds=1)
    return Forecast(tuple(actions), memory.phase, "the forecast did not come to an end")


def _at_rest(actions: tuple[Foreseen, ...], memory: Memory, seen: Snapshot) -> Forecast:
    """What holds is waited for; what is missing, forbidden or was rejected before needs a user."""
    rejected = memory.rejected
    if rejected is not None and memory.phase in (Phase.ROLLED_BACK, Phase.FAILED):
        return Forecast(actions, memory.phase, None, f"rejected before: {rejected.message}; {way_out(rejected)}")
    first = seen.blockers[0] if seen.blockers and memory.phase in (Phase.PENDING, Phase.SUSPENDED) else None
    if first is None:
        return Forecast(actions, memory.phase)
    if first.holds_running:
        return Forecast(actions, memory.phase, first.message)
    return Forecast(actions, memory.phase, None, f"{first.message}; {first.unblock_with}")


def assume(seen: Snapshot, action: Action, names: Names) -> Snapshot:
    """The snapshot after an action that went well."""
    match action:
        case BackupTaken():
            return replace(seen, backup=BackupView(action.description, True))
        case JobDefined():
            return _with_job(seen, action.template.job, JobView(action.template.job, "", True))
        case ExecutionStarted():
            return _with_job(seen, action.job, JobView(action.job, "", True, ExecutionView("", True)))
        case AssetsPublished():
            return replace(seen, assets_complete=True)
        case RevisionStaged():
            return replace(seen, service=_service(action.template.revision, action.traffic, names))
        case TrafficSplit():
            before = seen.service.template_revision if seen.service else ""
            return replace(seen, service=_service(before, action.traffic, names))
        case PointerSet():
            return replace(seen, pointer=action.pointer, candidate_pointer=action.candidate, pointer_known=True)
        case _:
            return seen


def _with_job(seen: Snapshot, job: str, view: JobView) -> Snapshot:
    return replace(seen, migration=view, check_jobs={**seen.check_jobs, job: view})


def _favourable(memory: Memory, seen: Snapshot, plan: Blueprint | None, names: Names) -> Snapshot:
    """Every check passes and every analysis is content. Jobs of checks are left to their actions."""
    stage = stage_of(memory.phase)
    if plan is None:
        return seen
    wanted = desired_alerts(names, seen.channels, plan.release.alerts, plan.release.id)
    policies = tuple(AlertView(policy.key, policy) for policy in wanted)
    seen = replace(seen, analysis=AnalysisResult(Verdict.PASSED, "assumed"), alerts=policies)
    if stage is None:
        return seen
    jobs = {name: template.job for (at, name), template in plan.check_jobs.items() if at == stage}
    ended = {name for name, job in jobs.items() if (view := seen.check_jobs.get(job)) is not None and view.execution}
    checks = {c.name: CheckResult(c.name, True) for c in plan.checks(stage) if c.name not in jobs or c.name in ended}
    return replace(seen, checks=checks, check_jobs={name: seen.check_jobs.get(job) for name, job in jobs.items()})


def _service(template: str, traffic: tuple[Target, ...], names: Names) -> ServiceView:
    return ServiceView(
        name=names.service,
        etag="",
        owner=names.owner,
        uri="",
        traffic=traffic,
        serving=traffic,
        tag_uris={t.tag: "" for t in traffic if t.tag},
        template_revision=template,
        latest_created=template,
        latest_ready=template,
        reconciling=False,
        ready=True,
    )
