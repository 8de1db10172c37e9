"""The canary: traffic in steps, analysis between them, and the pauses."""

from __future__ import annotations

from agui_operator.api.conditions import Reason
from agui_operator.api.strategy import Inconclusive
from agui_operator.core.actions import TrafficSplit
from agui_operator.core.memory import HeldBy
from agui_operator.core.phases.case import Actions, Case, Happened, Logic
from agui_operator.core.phases.weights import kept_weight
from agui_operator.core.rollout import Event
from agui_operator.core.snapshot import AnalysisResult, Verdict

_PASSED: Happened = (Event.STEP_PASSED, None)
_HELD: Happened = (Event.HELD, None)


def _progressed(case: Case) -> Happened | None:
    if case.hold is not None:
        return _HELD
    if not case.steps_left:
        return Event.ALL_STEPS_PASSED, None
    step = case.plan.steps[case.memory.step]
    if step.set_weight is not None:
        return _PASSED if case.serves(step.set_weight) else None
    if step.pause is None:
        return _analysed(case)
    if step.pause.duration is None:
        return _HELD
    return _PASSED if case.elapsed >= step.pause.duration.total_seconds() else None


def _progress(case: Case) -> Actions:
    if case.seen.service is None or not case.steps_left:
        return ()
    weight = case.plan.steps[case.memory.step].set_weight
    if weight is None:
        return kept_weight(case)
    stable = case.memory.stable
    if stable is not None and case.is_missing(stable) and (remade := case.remade(stable, weight)) is not None:
        return (remade,)
    traffic = case.split_to(weight)
    return (TrafficSplit(traffic),) if traffic is not None else ()


def _analysed(case: Case) -> Happened | None:
    analysis, finding = case.plan.analysis, case.seen.analysis
    if analysis is None:
        return _PASSED
    if finding is None:
        return None
    if finding.verdict is Verdict.PASSED:
        return _PASSED
    if finding.verdict is Verdict.FAILED:
        return _failed(case, finding)
    if case.elapsed < analysis.deadline:
        return None
    if analysis.inconclusive is Inconclusive.ROLL_BACK:
        return case.fail(Reason.ANALYSIS_INCONCLUSIVE, f"Canary analysis had no verdict: {finding.message}")
    return _PASSED if analysis.inconclusive is Inconclusive.PROMOTE_AFTER else _HELD


def _failed(case: Case, finding: AnalysisResult) -> Happened:
    return case.fail(Reason.ANALYSIS_FAILED, f"Canary analysis failed: {finding.message}")


def _resumed(case: Case) -> Happened | None:
    """A hold by policy or suspend ends automatically; an inconclusive analysis is looked at again; the other pauses end
    by request."""
    held_by, finding = case.memory.held_by, case.seen.analysis
    if held_by is HeldBy.POLICY and case.hold is None:
        return Event.RESUMED, None
    if held_by is HeldBy.ANALYSIS and finding is not None:
        if finding.verdict is Verdict.PASSED and case.hold is None:
            return _PASSED
        if finding.verdict is Verdict.FAILED:
            return _failed(case, finding)
    return None


PROGRESSING = Logic(_progressed, _progress)
PAUSED = Logic(_resumed, kept_weight, planned=False)
