"""4xx answers are judged against stable unless the spec says otherwise; stable is asked where it can answer."""

from __future__ import annotations

from typing import Any

import pytest

from agui_operator.api.deployment import AgUiDeploymentSpec
from agui_operator.api.parse import parse_deployment
from agui_operator.core.analysis import DEFAULT_LIMITS, Limit, Sample, Window, comparable, verdict
from agui_operator.core.blueprint import Analysis, build_blueprint
from agui_operator.core.environment import Place
from agui_operator.core.names import Names
from agui_operator.core.release import Resolved, make_release
from agui_operator.core.snapshot import Verdict
from agui_operator.gcp.kinds.monitoring.distributions import Bucket, Histogram
from agui_operator.gcp.kinds.monitoring.timeseries import Measured, sample_of

ERRORS = Limit("error-rate", max=0.05)
GOOD = Sample(requests=300)


def judge(candidate: Sample, stable: Sample | None, *limits: Limit) -> Verdict:
    return verdict(Window(candidate, stable, 200, limits)).verdict


def denying(requests: int, refused: int) -> Sample:
    return Sample(requests=requests, client_errors=refused)


@pytest.mark.parametrize(
    ("candidate", "stable", "expected"),
    [
        pytest.param(denying(300, 300), GOOD, Verdict.FAILED, id="401 to everybody"),
        pytest.param(denying(300, 25), GOOD, Verdict.PASSED, id="a few more than stable"),
        pytest.param(denying(300, 150), denying(300, 130), Verdict.PASSED, id="clients that ask for what is not there"),
        pytest.param(denying(300, 300), None, Verdict.PASSED, id="nothing to compare with"),
        pytest.param(denying(300, 300), Sample(), Verdict.PASSED, id="a quiet stable is not asked for"),
        pytest.param(denying(100, 100), GOOD, Verdict.INCONCLUSIVE, id="too few requests say nothing"),
    ],
)
def test_client_errors_are_judged_by_default(candidate: Sample, stable: Sample | None, expected: Verdict) -> None:
    assert judge(candidate, stable, ERRORS, *DEFAULT_LIMITS) is expected


def test_a_limit_of_the_spec_is_asked_for() -> None:
    mine = Limit("client-error-rate", max=0.2)
    assert judge(denying(300, 300), None, mine) is Verdict.FAILED
    above = Limit("client-error-rate", max_above_stable=0.1)
    assert judge(denying(300, 0), Sample(), above) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("stable", "weight", "kept"),
    [(None, 50, False), (Sample(requests=3), 50, True), (Sample(requests=3), 100, False), (GOOD, 100, True)],
)
def test_at_the_full_weight_stable_counts_only_with_enough_requests(
    stable: Sample | None, weight: int, kept: bool
) -> None:
    assert comparable(stable, weight, 200) is (stable if kept else None)


def test_a_4xx_answer_is_a_client_error() -> None:
    ten = Histogram((Bucket(0, 10, 10),))
    sample = sample_of(Measured("r", kind, ten) for kind in ("2xx", "4xx", "5xx", "4xx"))
    assert (sample.requests, sample.client_errors, sample.errors) == (40, 20, 10)
    assert sample.client_error_rate == 0.5
    assert Sample().client_error_rate == 0.0


def analysis_of(**analysis: Any) -> Analysis:
    raw: dict[str, Any] = {
        "environmentRef": {"name": "e"},
        "backend": {"image": "us-docker.pkg.dev/a/b/c:v1", "serviceAccount": "runtime"},
        "strategy": {"canary": {"steps": [{"setWeight": 5}], "analysis": analysis}},
    }
    spec: AgUiDeploymentSpec = parse_deployment(raw)
    release = make_release(spec, Resolved("i@sha256:1", None, {}, None), "owner")
    place = Place("p", "r", "", "", None, None)
    blueprint = build_blueprint(spec, Names("n", "a", "u", "p", "r"), place, release)
    assert blueprint.analysis is not None
    return blueprint.analysis


def limits_of(**analysis: Any) -> list[Limit]:
    return list(analysis_of(**analysis).limits)


def test_the_default_limit_is_replaced_or_left_out_as_the_spec_says() -> None:
    metric = {"name": "error-rate", "max": 0.05}
    assert limits_of(metrics=[metric]) == [ERRORS, *DEFAULT_LIMITS]
    assert limits_of(metrics=[metric], defaultLimits=False) == [ERRORS]
    own = {"name": "client-error-rate", "max": 0.5}
    assert limits_of(metrics=[metric, own]) == [ERRORS, Limit("client-error-rate", max=0.5)]


@pytest.mark.parametrize(("deadline", "window"), [("10m", 3600.0), ("3h", 10800.0)])
def test_a_canary_that_is_held_for_days_is_judged_by_the_last_hour(deadline: str, window: float) -> None:
    analysis = analysis_of(metrics=[{"name": "error-rate", "max": 0.05}], deadline=deadline)
    assert (analysis.window, analysis.background) == (window, True)
