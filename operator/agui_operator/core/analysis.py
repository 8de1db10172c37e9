"""Is the candidate good enough to get more traffic? A list of checks that reads as the answer.

Failed beats inconclusive: a bad sign in little data still needs `minSamples` before it counts, so that one error in a
quiet minute aborts nothing; missing data never promotes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agui_operator.core.metric_filters import GUARDRAIL_CHECKS
from agui_operator.core.snapshot import AnalysisResult, Verdict


@dataclass(frozen=True, slots=True)
class Sample:
    """Requests that one revision answered in the window. `errors` are 5xx answers, `client_errors` 4xx answers;
    latency in milliseconds, None if nothing was measured; `guardrail_checks` are conversations that a guardrail looked
    at, `guardrail_failures` those of them in which it failed itself."""

    requests: int = 0
    errors: int = 0
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_p99_ms: float | None = None
    guardrail_failures: int = 0
    client_errors: int = 0
    guardrail_checks: int = 0

    @property
    def error_rate(self) -> float:
        return self.errors / self.requests if self.requests else 0.0

    @property
    def client_error_rate(self) -> float:
        return self.client_errors / self.requests if self.requests else 0.0

    @property
    def guardrail_failure_rate(self) -> float:
        return self.guardrail_failures / self.guardrail_checks if self.guardrail_checks else 0.0


@dataclass(frozen=True, slots=True)
class Limit:
    """One metric's limits, as in `spec.strategy.canary.analysis.metrics`. `optional`: where nothing was measured it is
    not asked for."""

    name: str
    max: float | None = None
    max_above_stable: float | None = None
    max_ratio_to_stable: float | None = None
    optional: bool = False


# Judged without being listed. A release that refuses everybody (401) answers without one 5xx; clients that ask for what
# is not there do so from stable as well.
DEFAULT_LIMITS = (Limit("client-error-rate", max_above_stable=0.1, optional=True),)


@dataclass(frozen=True, slots=True)
class Window:
    """What was measured since the present weight began to serve, for the candidate and, in the same window, for stable.
    `stable` None: there is nothing to compare with."""

    candidate: Sample
    stable: Sample | None
    min_samples: int
    limits: tuple[Limit, ...]


_READERS: Mapping[str, Callable[[Sample], float | None]] = {
    "error-rate": lambda s: s.error_rate if s.requests else None,
    "client-error-rate": lambda s: s.client_error_rate if s.requests else None,
    "latency-p50": lambda s: s.latency_p50_ms,
    "latency-p95": lambda s: s.latency_p95_ms,
    "latency-p99": lambda s: s.latency_p99_ms,
    "guardrail-failure-rate": lambda s: s.guardrail_failure_rate if s.guardrail_checks else None,
}
METRICS = tuple(_READERS)
_WRITTEN_BY: Mapping[str, str] = {
    "guardrail-failure-rate": f"; the application writes {GUARDRAIL_CHECKS} if AGUI_TELEMETRY is gcp"
}


def comparable(stable: Sample | None, weight: int, min_samples: int) -> Sample | None:
    """Stable's sample, where it says anything: at 100 % for the candidate the few requests that stable still answers
    do not, but enough synthetic conversations do."""
    if stable is None or (weight >= 100 and stable.requests < min_samples):
        return None
    return stable


def value_of(metric: str, sample: Sample) -> float | None:
    """What a sample says of a metric of METRICS; None: nothing was measured."""
    return _READERS[metric](sample)


Check = Callable[[Window], AnalysisResult | None]


def too_few_samples(window: Window) -> AnalysisResult | None:
    """Quiet traffic proves nothing."""
    got = window.candidate.requests
    if got >= window.min_samples:
        return None
    return AnalysisResult(
        Verdict.INCONCLUSIVE, f"{got} of at least {window.min_samples} requests seen by the candidate"
    )


def above_limit(window: Window) -> AnalysisResult | None:
    """A metric is over its own limit."""
    if window.candidate.requests < window.min_samples:
        return None
    for limit in window.limits:
        value = _READERS[limit.name](window.candidate)
        if value is not None and limit.max is not None and value > limit.max:
            return AnalysisResult(
                Verdict.FAILED, f"{limit.name} is {_text(limit, value)}, limit {_text(limit, limit.max)}"
            )
    return None


def nothing_measured(window: Window) -> AnalysisResult | None:
    """A metric that has a limit was not measured: missing data never promotes."""
    for limit in window.limits:
        if limit.optional:
            continue
        mine = _READERS[limit.name](window.candidate)
        if mine is None:
            hint = _WRITTEN_BY.get(limit.name, "")
            return AnalysisResult(Verdict.INCONCLUSIVE, f"no {limit.name} data for the candidate{hint}")
        if window.stable is None or (limit.max_above_stable is None and limit.max_ratio_to_stable is None):
            continue
        theirs = _READERS[limit.name](window.stable)
        if theirs is None:
            return AnalysisResult(Verdict.INCONCLUSIVE, f"no {limit.name} data for the stable release to compare with")
        if limit.max_ratio_to_stable is not None and theirs == 0 and mine > 0:
            message = f"{limit.name} is {_text(limit, mine)} and stable's is 0, so no ratio can be computed"
            return AnalysisResult(Verdict.INCONCLUSIVE, message)
    return None


def worse_than_stable(window: Window) -> AnalysisResult | None:
    """A metric is worse than stable's in the same window by more than is allowed."""
    stable = window.stable
    if stable is None or window.candidate.requests < window.min_samples:
        return None
    for limit in window.limits:
        mine, theirs = _READERS[limit.name](window.candidate), _READERS[limit.name](stable)
        if mine is None or theirs is None:
            continue
        if limit.max_above_stable is not None and mine > theirs + limit.max_above_stable:
            most = _text(limit, theirs + limit.max_above_stable)
            return AnalysisResult(Verdict.FAILED, f"{limit.name} is {_text(limit, mine)}, stable's limit is {most}")
        if limit.max_ratio_to_stable is not None and theirs > 0 and mine > theirs * limit.max_ratio_to_stable:
            ratio = f"{mine / theirs:.2f} times stable's, limit {limit.max_ratio_to_stable:g}"
            return AnalysisResult(Verdict.FAILED, f"{limit.name} is {_text(limit, mine)}, {ratio}")
    return None


PROMOTION_BLOCKERS: tuple[Check, ...] = (
    too_few_samples,  # inconclusive: quiet traffic proves nothing
    nothing_measured,  # inconclusive: a limit without data, on either side
    above_limit,  # failed: over its own limit
    worse_than_stable,  # failed: worse than stable in the same window
)
_SEVERITY = {Verdict.PASSED: 0, Verdict.INCONCLUSIVE: 1, Verdict.FAILED: 2}


def verdict(window: Window, checks: Sequence[Check] = PROMOTION_BLOCKERS) -> AnalysisResult:
    """The worst finding; Passed with the measured values if no check objects."""
    findings = [found for check in checks if (found := check(window)) is not None]
    values = {limit.name: v for limit in window.limits if (v := _READERS[limit.name](window.candidate)) is not None}
    values["requests"] = float(window.candidate.requests)
    passed = AnalysisResult(Verdict.PASSED, f"{window.candidate.requests} requests within all limits", values)
    worst = max(findings, key=lambda found: _SEVERITY[found.verdict], default=passed)
    return AnalysisResult(worst.verdict, worst.message, values)


def _text(limit: Limit, value: float) -> str:
    return f"{value:.0f} ms" if limit.name.startswith("latency") else f"{value:.2%}"
