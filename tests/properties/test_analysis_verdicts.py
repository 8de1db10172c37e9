"""What the canary's verdict owes everybody, for any numbers: few data and missing data never promote, and a bad sign
among good ones is not overlooked."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agui_operator.core.analysis import METRICS, PROMOTION_BLOCKERS, Limit, Sample, Window, verdict
from agui_operator.core.snapshot import AnalysisResult, Verdict

LATENCY = st.none() | st.floats(0, 1e5)
counts = st.integers(0, 500)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    requests = draw(counts)
    part = st.integers(0, requests)
    return Sample(requests, draw(part), draw(LATENCY), draw(LATENCY), draw(LATENCY), draw(part))


bounds = st.none() | st.floats(0, 2)
limits = st.builds(Limit, st.sampled_from(METRICS), bounds, bounds, st.none() | st.floats(0.1, 5)).filter(
    lambda limit: {limit.max, limit.max_above_stable, limit.max_ratio_to_stable} != {None}
)
windows = st.builds(
    Window,
    samples(),
    st.none() | samples(),
    st.integers(1, 300),
    st.lists(limits, min_size=1, max_size=4, unique_by=lambda limit: limit.name).map(tuple),
)


@given(windows)
def test_passed_means_enough_data_and_a_value_for_every_limit(window: Window) -> None:
    found = verdict(window)
    if found.verdict is not Verdict.PASSED:
        return
    assert window.candidate.requests >= window.min_samples
    for limit in window.limits:
        assert limit.name in found.values, f"{limit.name} was not measured and passed"
        assert limit.max is None or found.values[limit.name] <= limit.max


@given(windows)
def test_failed_needs_enough_data(window: Window) -> None:
    assert verdict(window).verdict is not Verdict.FAILED or window.candidate.requests >= window.min_samples


@given(windows, st.sampled_from(METRICS))
def test_one_limit_more_never_makes_a_verdict_better(window: Window, name: str) -> None:
    order = [Verdict.PASSED, Verdict.INCONCLUSIVE, Verdict.FAILED]
    fewer = replace(window, limits=tuple(limit for limit in window.limits if limit.name != name))
    assert order.index(verdict(fewer).verdict) <= order.index(verdict(window).verdict)


@given(windows, st.permutations(range(4)))
def test_the_order_of_the_limits_does_not_matter(window: Window, order: list[int]) -> None:
    mixed = tuple(window.limits[n] for n in order if n < len(window.limits))
    assert verdict(replace(window, limits=mixed)).verdict is verdict(window).verdict


@given(st.lists(st.sampled_from(Verdict), max_size=5))
def test_failed_beats_inconclusive_beats_passed(found: list[Verdict]) -> None:
    window = Window(Sample(10), None, 1, ())
    checks = [lambda _, v=v: AnalysisResult(v, v) for v in found]
    expected = next((v for v in (Verdict.FAILED, Verdict.INCONCLUSIVE) if v in found), Verdict.PASSED)
    assert verdict(window, checks).verdict is expected


GOOD = Sample(100, 1, 10, 20, 30)


@pytest.mark.parametrize(
    ("candidate", "stable", "limits", "expected", "says"),
    [
        pytest.param(
            replace(GOOD, errors=50),
            Sample(100, 1),
            (Limit("latency-p95", max_above_stable=10), Limit("error-rate", max_above_stable=0.02)),
            Verdict.FAILED,
            "error-rate",
            id="stable lacks a latency, and the candidate's errors count all the same",
        ),
        pytest.param(
            Sample(100, 1),
            GOOD,
            (Limit("latency-p95", max=100),),
            Verdict.INCONCLUSIVE,
            "no latency-p95 data for the candidate",
            id="a latency that was not measured is no good latency",
        ),
        pytest.param(
            Sample(100, 1),
            GOOD,
            (Limit("latency-p95", max_ratio_to_stable=2),),
            Verdict.INCONCLUSIVE,
            "for the candidate",
            id="the side that lacks data is named",
        ),
        pytest.param(
            Sample(100, 100),
            Sample(100, 0),
            (Limit("error-rate", max_ratio_to_stable=2),),
            Verdict.INCONCLUSIVE,
            "stable's is 0",
            id="a ratio to nothing says nothing",
        ),
        pytest.param(
            Sample(100, 100),
            Sample(100, 0),
            (Limit("error-rate", max_ratio_to_stable=2, max_above_stable=0.01),),
            Verdict.FAILED,
            "stable's limit",
            id="and hides no other limit",
        ),
        pytest.param(
            Sample(100, 0),
            Sample(100, 0),
            (Limit("error-rate", max_ratio_to_stable=2),),
            Verdict.PASSED,
            "within",
            id="no errors on either side is fine",
        ),
    ],
)
def test_missing_data(
    candidate: Sample, stable: Sample, limits: tuple[Limit, ...], expected: Verdict, says: str
) -> None:
    found = verdict(Window(candidate, stable, 50, limits))
    assert found.verdict is expected
    assert says in found.message


def test_the_list_of_checks_reads_as_the_answer() -> None:
    assert [check.__doc__ is not None for check in PROMOTION_BLOCKERS] == [True] * len(PROMOTION_BLOCKERS)
