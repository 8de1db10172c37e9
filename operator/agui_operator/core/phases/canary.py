"""The canary: traffic in steps, analysis of all of them, and the pauses."""

from __future__ import annotations

from agui_operator.api.conditions import Reason
from agui_operator.api.strategy import Inconclusive
from agui_operator.core.memory import HeldBy
from agui_operator.core.phases.case import Actions, Case, Happened, Logic
from agui_operator.core.phases.weights import kept_weight, weight_set
from agui_operator.core.rollout import Event
from agui_operator.core.snapshot import AnalysisResult, Verdict

_PASSED: Happened = (Event.STEP_PASSED, None)
_HELD: Happened = (Event.HELD, None)
_EDITED: Happened = (Event.STEPS_EDITED, None)


def _progressed(case: Case) -> Happened | None:
    if case.failing is not None:
        return _failed(case, case.failing)
    if case.hold is not None:
        return _HELD
    if case.steps_edited:
        return _EDITED
    step = case.step
    if step is None:
        return Event.ALL_STEPS_PASSED, None
    if step.set_weight is not None:
        return _PASSED if case.serves(step.set_weight) else None
    if step.pause is None:
        return _analysed(case)
    if step.pause.duration is None:
        return _HELD
    return _PASSED if case.elapsed >= step.pause.duration.total_seconds() else None


def _progress(case: Case) -> Actions:
    if case.seen.service is None or case.step is None:
        return ()
    weight = case.step.set_weight
    if weight is None:
        return kept_weight(case)
    return weight_set(case, weight)


def _analysed(case: Case) -> Happened | None:
    """The deadline counts from the step's start, also while nothing is measured or Cloud Monitoring does not answer."""
    analysis, finding = case.plan.analysis, case.seen.analysis
    if analysis is None:
        return _HELD  # it was taken out of the spec in flight: a person decides
    if finding is not None and finding.verdict is Verdict.PASSED:
        return _PASSED
    last_look = analysis.interval if finding is None else 0.0
    if case.elapsed < analysis.deadline + last_look:
        return None
    if analysis.inconclusive is Inconclusive.ROLL_BACK:
        found = case.memory.analysis.message if case.memory.analysis is not None else "nothing was measured"
        return case.fail(Reason.ANALYSIS_INCONCLUSIVE, f"Canary analysis had no verdict: {found}")
    return _PASSED if analysis.inconclusive is Inconclusive.PROMOTE_AFTER else _HELD


def _failed(case: Case, finding: AnalysisResult) -> Happened:
    return case.fail(Reason.ANALYSIS_FAILED, f"Canary analysis failed: {finding.message}")


def _resumed(case: Case) -> Happened | None:
    """A failed analysis ends every pause. A hold by policy or suspend ends automatically; an inconclusive analysis is
    looked at again; the other pauses end by request, or by an edit of the steps."""
    held_by, finding = case.memory.held_by, case.seen.analysis
    if case.failing is not None:
        return _failed(case, case.failing)
    if case.hold is not None:
        return None
    if held_by is HeldBy.POLICY:
        return Event.RESUMED, None
    if held_by in (HeldBy.STEP, HeldBy.ANALYSIS) and case.steps_edited:
        return _EDITED
    if held_by is HeldBy.ANALYSIS and finding is not None and finding.verdict is Verdict.PASSED:
        return _PASSED
    return None


PROGRESSING = Logic(_progressed, _progress)
PAUSED = Logic(_resumed, kept_weight, planned=False)
