"""What a phase decides from: the remembered rollout, the snapshot, the blueprint and the time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from agui_operator.api.conditions import Reason
from agui_operator.api.strategy import CanaryStep
from agui_operator.core.actions import Action, RevisionStaged
from agui_operator.core.blueprint import CANDIDATE, PROMOTED, Blueprint
from agui_operator.core.memory import Cause, Memory
from agui_operator.core.names import Names
from agui_operator.core.release import Release
from agui_operator.core.rollout import CANARY, HELD_BEFORE_WRITES, IN_FLIGHT, Event, Look, Phase
from agui_operator.core.snapshot import AnalysisResult, Blocker, Snapshot, Verdict
from agui_operator.core.steps import begin, reached, source_of
from agui_operator.core.templates import from_json
from agui_operator.core.traffic import Target, same_split, share, split

_NO_PERMIT = frozenset({Reason.NOT_PERMITTED, Reason.ENVIRONMENT_NOT_READY})
Happened = tuple[Event, Cause | None]  # the event, and why, when it rolls the rollout back
Actions = tuple[Action, ...]
_ALERTS_SECONDS = 5.0  # for the alert policies to follow, counted from the begin of the phase


@dataclass(frozen=True, slots=True)
class Case:
    """One object at one moment. `blueprint` is None while the spec is not about the release of this phase."""

    memory: Memory
    seen: Snapshot
    blueprint: Blueprint | None
    names: Names
    now: datetime

    @property
    def plan(self) -> Blueprint:
        """The blueprint, for logic that declares `planned`."""
        assert self.blueprint is not None
        return self.blueprint

    @property
    def hold(self) -> Blocker | None:
        """What holds a running rollout: a freeze, the stop button, spec.suspend, or that nobody can say whether it is
        still permitted. A promotion is not held: between its two writes traffic and page would disagree."""
        return hold_among(self.seen.blockers)

    @property
    def writes_held(self) -> bool:
        """True while a hold keeps a phase before the canary from its next write. What was begun is still looked at."""
        return self.memory.phase in HELD_BEFORE_WRITES and self.hold is not None

    @property
    def is_spec_permitted(self) -> bool:
        """True if a policy permits now what the spec asks for."""
        return not any(b.reason is Reason.NOT_PERMITTED for b in self.seen.blockers)

    @property
    def is_permitted(self) -> bool:
        """True if a policy permits now what this phase works for: the candidate on its way, the target of an undo, else
        the stable release. A roll-back needs no permission: what it restores was permitted, and users are on less."""
        if self.memory.phase is Phase.ROLLING_BACK:
            return True
        if self.memory.phase is Phase.UNDOING:
            return self.memory.undo_to is None or self.memory.undo_to.id not in self.seen.forbidden
        if self.memory.phase in IN_FLIGHT:
            return self.is_spec_permitted
        return self.memory.stable is None or self.memory.stable.id not in self.seen.forbidden

    @property
    def suspended(self) -> bool:
        return any(b.reason is Reason.SUSPENDED for b in self.seen.blockers)

    @property
    def elapsed(self) -> float:
        """Seconds in this phase or step."""
        return (self.now - self.memory.since).total_seconds() if self.memory.since else 0.0

    @property
    def alerts_can_wait(self) -> bool:
        """True when nobody waits for the alert policies any more: Cloud Monitoring refuses or does not answer. They are
        corrected at rest. A roll-back or a promotion needs the APIs that it changes and no other."""
        return Look.ALERTS in self.seen.failed or self.elapsed >= _ALERTS_SECONDS

    @property
    def steps_left(self) -> bool:
        """True if a canary step is to be done."""
        return self.blueprint is not None and has_steps(self.memory, self.blueprint)

    @property
    def step(self) -> CanaryStep | None:
        """The canary step that is to be done."""
        return steps_of(self.memory, self.plan)[self.memory.step] if self.steps_left else None

    @property
    def step_waits(self) -> bool:
        """True if the current step waits for time, data or manual promotion, so that `promote` may skip it."""
        if self.memory.phase not in CANARY or self.step is None:
            return False
        return self.memory.phase is Phase.PAUSED or self.step.set_weight is None

    @property
    def steps_edited(self) -> bool:
        """True if the spec's list of steps is no longer the one that the canary walks."""
        walk = self.memory.walk
        return walk is not None and self.blueprint is not None and walk.source != source_of(self.blueprint.steps)

    @property
    def failing(self) -> AnalysisResult | None:
        """The verdict that takes a canary back, in whatever step or hold it is."""
        found = (self.seen.analysis, self.memory.analysis) if self.memory.phase in CANARY else ()
        return next((f for f in found if f is not None and f.verdict is Verdict.FAILED), None)

    def fail(self, reason: Reason, message: str) -> Happened:
        return Event.CHECK_FAILED, Cause(reason, message, self.memory.phase, self.now)

    def target(self, release: Release) -> Target:
        return Target(self.names.revision(release.id), 0, self.names.tag(release.id))

    def stable_target(self) -> Target | None:
        return self.target(self.memory.stable) if self.memory.stable else None

    def remade(self, release: Release, weight: int = 0) -> RevisionStaged | None:
        """Makes the service or the revision of a release again, with the traffic that `weight` percent on the candidate
        leave it; None: its record does not say how."""
        template = from_json(release.template)
        if template is None:
            return None
        have = self.seen.service.traffic if self.seen.service is not None else ()
        candidate = self.target(self.plan.release) if weight else None
        traffic = split(candidate, self.target(release), weight, have)
        return RevisionStaged(replace(template, record=release.record), traffic)

    @property
    def service_gone(self) -> bool:
        """True if somebody deleted the service."""
        return self.seen.service_known and self.seen.service is None

    def is_missing(self, release: Release) -> bool:
        """True if the revision of a release is known not to exist any more."""
        return self.service_gone or self.names.revision(release.id) in self.seen.missing

    def split_to(self, weight: int) -> tuple[Target, ...] | None:
        """The traffic with `weight` percent on the candidate; None if the service has it already."""
        service = self.seen.service
        assert service is not None
        stable = self.memory.stable
        beside = self.stable_target() if stable is None or not self.is_missing(stable) else None
        want = split(self.target(self.plan.release), beside, weight, service.traffic)
        return None if same_split(want, service.traffic) else want

    def serves(self, percent: int) -> bool:
        """True when the data plane sends this share to the candidate's revision."""
        service = self.seen.service
        return service is not None and share(service.serving, self.plan.revision.revision) == percent


@dataclass(frozen=True, slots=True)
class Logic:
    """One phase: what has happened (its own end), and what is to be done while it has not. `actions` is empty when the
    resources already match what the phase requires, so that it is safe to repeat after a crash. `planned`: without a
    blueprint there is nothing to decide and nothing to do."""

    event: Callable[[Case], Happened | None]
    actions: Callable[[Case], Actions]
    planned: bool = True


def hold_among(blockers: Iterable[Blocker]) -> Blocker | None:
    """The first blocker that holds a running rollout."""
    return next((b for b in blockers if b.holds_running or b.reason in _NO_PERMIT), None)


def steps_of(memory: Memory, plan: Blueprint) -> tuple[CanaryStep, ...]:
    """The steps of this canary: those that it started with, as far as no edit in flight changed them."""
    return memory.walk.steps if memory.walk is not None else plan.steps


def has_steps(memory: Memory, plan: Blueprint) -> bool:
    """False when the canary is over, and on a first release, which has no stable to compare with."""
    return memory.stable is not None and memory.step < len(steps_of(memory, plan))


def weight_of(memory: Memory, plan: Blueprint) -> int:
    """The share of the traffic that the canary has reached."""
    return reached(memory.walk or begin(plan.steps), memory.step)


def judged_since(memory: Memory, plan: Blueprint) -> datetime | None:
    """From when on the candidate's traffic is judged: since it has its present share, whatever step or hold came after.
    None: it is not judged now."""
    if plan.analysis is None or memory.stable is None or memory.phase not in CANARY or weight_of(memory, plan) == 0:
        return None
    if not plan.analysis.background:
        steps = steps_of(memory, plan)[memory.step : memory.step + 1]
        if all(step.analysis is None for step in steps):
            return None
    return memory.weight_since or memory.since


def stage_of(phase: Phase) -> str | None:
    """Which stage's checks run in this phase."""
    return {Phase.SMOKING: CANDIDATE, Phase.BAKING: PROMOTED}.get(phase)


def no_actions(_: Case) -> Actions:
    return ()
