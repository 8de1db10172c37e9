"""How traffic moves to a release: canary steps and the analysis that judges them."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from itertools import pairwise
from typing import ClassVar, Literal

from pydantic import Field

from agui_operator.api.base import Duration, Model, Rule, keyed_list, one_of, unique_by


class Inconclusive(StrEnum):
    """What happens when the analysis has no verdict at its deadline."""

    HOLD = "Hold"
    ROLL_BACK = "RollBack"
    PROMOTE_AFTER = "PromoteAfter"


class Pause(Model):
    """A wait."""

    duration: Duration | None = Field(None, description="How long; absent: until manual promotion.")


class AnalysisStep(Model):
    """Waits for a verdict of the analysis. Has no settings of its own."""


class CanaryStep(Model):
    """One step: exactly one of the three."""

    set_weight: int | None = Field(None, ge=0, le=100, description="Percentage of the traffic for the candidate.")
    analysis: AnalysisStep | None = Field(None, description="Waits for a verdict of `canary.analysis`.")
    pause: Pause | None = Field(None, description="Waits for a time, or for manual promotion.")

    RULES: ClassVar[tuple[Rule, ...]] = (one_of("set_weight", "analysis", "pause", what="step"),)


class MetricLimit(Model):
    """A metric and how bad the candidate may be in it."""

    name: Literal[
        "error-rate", "client-error-rate", "latency-p50", "latency-p95", "latency-p99", "guardrail-failure-rate"
    ] = Field(
        description="Rates are 0 to 1, latencies are milliseconds. `error-rate` counts 5xx answers,"
        " `client-error-rate` 4xx answers."
    )
    max: float | None = Field(None, ge=0, le=3600000, description="Absolute limit.")
    max_above_stable: float | None = Field(
        None, ge=0, le=3600000, description="Limit of the difference to stable in the same window."
    )
    max_ratio_to_stable: float | None = Field(
        None, gt=0, le=1000, description="Limit of the ratio to stable in the same window."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.max) || has(self.maxAboveStable) || has(self.maxRatioToStable)",
            holds=lambda m: not (m.max is None and m.max_above_stable is None and m.max_ratio_to_stable is None),
            message="must have at least one of max, maxAboveStable or maxRatioToStable",
            fix="add a limit",
        ),
    )


class SyntheticConversations(Model):
    """Traffic for a quiet canary: the first messages of the agent checks, labelled synthetic."""

    per_minute: int = Field(30, ge=1, le=600, description="Conversations per minute, to candidate and stable alike.")


class Analysis(Model):
    """What makes a canary good enough for more traffic. Missing data never promotes. A limit relative to stable is not
    asked for while stable has no traffic (`setWeight: 100`)."""

    min_samples: int = Field(200, ge=1, le=1000000, description="Requests that the candidate must have answered.")
    interval: Duration = Field(timedelta(seconds=30), description="Time between two looks.")
    deadline: Duration = Field(timedelta(minutes=10), description="When a missing verdict becomes `inconclusive`.")
    metrics: tuple[MetricLimit, ...] = Field(
        min_length=1, max_length=10, description="Limits, all of which must hold.", json_schema_extra=keyed_list("name")
    )
    inconclusive: Inconclusive = Field(
        Inconclusive.HOLD,
        description="At the deadline without a verdict: wait for manual promotion, roll back, or promote anyway.",
    )
    synthetic_conversations: SyntheticConversations | None = Field(
        None, description="Fills a quiet canary with conversations."
    )
    background: bool = Field(
        True,
        description="Judge in every step from the first weight on, also while held: a failed verdict rolls back at"
        " once. False: in analysis steps only.",
    )
    default_limits: bool = Field(
        True,
        description="Judge `client-error-rate` with `maxAboveStable: 0.1` where `metrics` does not limit it. False:"
        " only `metrics`.",
    )

    RULES: ClassVar[tuple[Rule, ...]] = (unique_by("metrics", "name"),)


def _rises(canary: Canary) -> bool:
    weights = [step.set_weight for step in canary.steps if step.set_weight is not None]
    return all(low < high for low, high in pairwise(weights))


_WEIGHTS = "self.steps.filter(s, has(s.setWeight)).map(s, s.setWeight)"
_TWICE = "self.steps.filter(t, has(t.setWeight) && has(s.setWeight) && t.setWeight == s.setWeight).size() > 1"


class Canary(Model):
    """Steps from 0 % to 100 %; what follows the last step is promotion."""

    steps: tuple[CanaryStep, ...] = Field(
        (),
        max_length=20,
        description="Steps, in order. Edited in a canary: it keeps its weight and walks the new steps after that"
        " weight; an analysis that was still to come is never skipped.",
    )
    analysis: Analysis | None = Field(None, description="How the canary is judged; absent: not at all.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"{_WEIGHTS}.isSorted() && !self.steps.exists(s, {_TWICE})",
            holds=_rises,
            message="must have increasing setWeight values",
            fix="order the steps from the smallest to the largest weight",
            at="steps",
        ),
        Rule(
            cel="has(self.analysis) || !self.steps.exists(s, has(s.analysis))",
            holds=lambda c: c.analysis is not None or all(s.analysis is None for s in c.steps),
            message="must be set, because a step asks for an analysis",
            fix="add spec.strategy.canary.analysis.metrics or remove the step",
            at="analysis",
        ),
        Rule(
            cel="self.steps.size() == 0 || has(self.steps[0].setWeight)",
            holds=lambda c: not c.steps or c.steps[0].set_weight is not None,
            message="must begin with setWeight",
            fix="put a setWeight first: without one nothing is measured",
            at="steps",
        ),
    )


class Strategy(Model):
    """How a release reaches its users."""

    canary: Canary | None = Field(None, description="Steps of traffic; absent: everything at once, after the checks.")
    progress_deadline: Duration = Field(
        timedelta(minutes=30),
        description="Longest time of one phase, or of an analysis step without a request to the candidate, before the"
        " release is rolled back. Holds do not count.",
    )
