"""Names, faults, traffic, merge patches, verdicts: small pure functions, and the properties that they owe everybody."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agui_operator.api.conditions import Reason
from agui_operator.core.analysis import METRICS, Limit, Sample, Window, verdict
from agui_operator.core.errors import (
    CloudError,
    ClusterError,
    ClusterUnreachable,
    Fault,
    IllegalTransition,
    LeaseLost,
    NotOwned,
    UserError,
    Waiting,
    backoff,
    classify,
    reason_of,
)
from agui_operator.core.merge import merge_patch, replacing_patch
from agui_operator.core.names import Names, bounded
from agui_operator.core.rollout import Event, Phase, advance
from agui_operator.core.snapshot import Verdict
from agui_operator.core.traffic import Target, foreign_tags, same_split, share, split


@pytest.mark.parametrize(
    ("exc", "fault"),
    [
        pytest.param(UserError("x"), Fault.USER, id="a user error is the user's"),
        pytest.param(NotOwned("x"), Fault.USER, id="a foreign object is the user's to move"),
        pytest.param(Waiting("x"), Fault.TRANSIENT, id="waiting is no error"),
        pytest.param(LeaseLost("x"), Fault.TRANSIENT, id="a lost lease comes back"),
        pytest.param(TimeoutError(), Fault.TRANSIENT, id="a timeout is tried again"),
        pytest.param(ConnectionError(), Fault.TRANSIENT, id="so is a lost connection"),
        pytest.param(CloudError(403, "x"), Fault.USER, id="permissions are the user's"),
        pytest.param(CloudError(404, "x"), Fault.TRANSIENT, id="a neighbour may be made yet"),
        pytest.param(CloudError(429, "x"), Fault.TRANSIENT, id="quota is waited for"),
        pytest.param(CloudError(503, "x"), Fault.TRANSIENT, id="an outage passes"),
        pytest.param(CloudError(501, "x"), Fault.BUG, id="calling what does not exist is our bug"),
        pytest.param(CloudError(418, "x"), Fault.BUG, id="an unlisted code is our bug"),
        pytest.param(ClusterUnreachable("x"), Fault.TRANSIENT, id="an API server that is away comes back"),
        pytest.param(ClusterError(403, "x"), Fault.TRANSIENT, id="an API server that starts has no RBAC yet"),
        pytest.param(ClusterError(404, "x"), Fault.TRANSIENT, id="an object may be gone"),
        pytest.param(ClusterError(409, "x"), Fault.TRANSIENT, id="a conflict is solved by looking again"),
        pytest.param(ClusterError(410, "x"), Fault.TRANSIENT, id="an expired version is read again"),
        pytest.param(ClusterError(422, "x"), Fault.USER, id="the CRD does not accept it"),
        pytest.param(ClusterError(429, "x"), Fault.TRANSIENT, id="an API server that is busy is waited for"),
        pytest.param(ClusterError(500, "x"), Fault.TRANSIENT, id="etcd may be slow"),
        pytest.param(ClusterError(503, "x"), Fault.TRANSIENT, id="an API server that restarts"),
        pytest.param(ClusterError(400, "x"), Fault.BUG, id="a request that makes no sense is our bug"),
        pytest.param(KeyError("x"), Fault.BUG, id="whatever nobody thought of is ours"),
    ],
)
def test_faults_are_sorted(exc: Exception, fault: Fault) -> None:
    assert classify(exc) is fault


@pytest.mark.parametrize(
    ("exc", "reason"),
    [
        (ClusterError(403, "x"), Reason.CLUSTER_REFUSED),
        (ClusterError(422, "x"), Reason.CLUSTER_REFUSED),
        (ClusterError(409, "x"), Reason.CLUSTER_UNAVAILABLE),
        (ClusterError(503, "x"), Reason.CLUSTER_UNAVAILABLE),
        (ClusterError(400, "x"), Reason.INTERNAL_ERROR),
        (ClusterUnreachable("x"), Reason.CLUSTER_UNAVAILABLE),
        (LeaseLost("x"), Reason.CLUSTER_UNAVAILABLE),
        (CloudError(503, "x"), Reason.CLOUD_UNAVAILABLE),
        (CloudError(403, "x"), Reason.INVALID_CONFIGURATION),
        (NotOwned("x"), Reason.NOT_OWNED),
        (KeyError("x"), Reason.INTERNAL_ERROR),
    ],
)
def test_a_fault_has_a_reason(exc: Exception, reason: Reason) -> None:
    assert reason_of(exc) is reason


def test_a_cluster_error_says_what_was_answered_and_how_long_to_wait() -> None:
    error = ClusterError(429, "slow down", retry_after=7)
    assert str(error) == "Kubernetes API answered 429: slow down"
    assert (error.code, error.retry_after) == (429, 7)


def test_back_off_doubles_to_a_minute_and_asks_users_slowly() -> None:
    assert [backoff(n, Fault.TRANSIENT) for n in (0, 1, 2, 3, 99)] == [1, 1, 2, 4, 60]
    assert backoff(1, Fault.USER) == 60


def test_a_cloud_error_says_what_failed_where() -> None:
    text = str(CloudError(409, "busy", method="m", resource="r", status="ABORTED"))
    assert text == "m (r) answered 409 ABORTED: busy"


def test_an_unlisted_event_is_refused_in_one_place() -> None:
    assert advance(Phase.PENDING, Event.STARTED) is Phase.RESOLVING
    with pytest.raises(IllegalTransition, match="Healthy"):
        advance(Phase.HEALTHY, Event.STARTED)


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_object_gets_names_that_cloud_run_accepts(namespace: str, name: str) -> None:
    names = Names(namespace, name, "uid", "p", "r")
    release = "0123456789-12"
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", names.service), names.service
    assert len(names.revision(release)) <= 63
    assert len(names.tag(release)) + len(names.service) <= 46
    assert len(names.check_job(release, "x" * 60)) <= 63
    assert len(names.path_matcher) <= 63


@given(st.text("abc-", max_size=90), st.text("abc-", max_size=90))
def test_two_names_that_differ_stay_different(one: str, other: str) -> None:
    assert (bounded(one, 20) == bounded(other, 20)) == (one == other)


revisions = st.sampled_from(["a", "b", "c"])
targets = st.lists(st.builds(Target, revisions, st.just(0), st.sampled_from([None, "mine", "r-1"])), max_size=4)


@given(st.integers(0, 100), targets, st.booleans(), st.booleans())
def test_a_split_sums_to_100_and_keeps_people_s_tags(weight: int, have: list[Target], cand: bool, stab: bool) -> None:
    candidate = Target("new", 0, "r-new") if cand else None
    stable = Target("old", 0, "r-old") if stab else None
    if not (cand or stab):
        with pytest.raises(ValueError, match="needs a revision"):
            split(candidate, stable, weight, have)
        return
    want = split(candidate, stable, weight, have)
    assert sum(t.percent for t in want) == 100
    assert share(want, "new") == ((weight if stab else 100) if cand else 0)
    assert set(foreign_tags(have)) <= set(want)
    assert same_split(want, tuple(reversed(want)))


def test_a_weight_outside_0_to_100_is_refused_and_a_release_is_not_split_with_itself() -> None:
    with pytest.raises(ValueError, match="got 101"):
        split(Target("a"), Target("b"), 101)
    assert split(Target("a"), Target("a"), 10) == (Target("a", 100),)


values = st.recursive(st.none() | st.integers() | st.text(max_size=3), lambda c: st.lists(c, max_size=2), max_leaves=4)
documents = st.recursive(
    st.dictionaries(st.sampled_from("abc"), values, max_size=3),
    lambda c: st.dictionaries(st.sampled_from("abc"), values | c, max_size=3),
    max_leaves=6,
)


def merged(old: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: bare(v) for k, v in value.items() if v is not None}
    return [bare(v) for v in value] if isinstance(value, list) else value


@given(documents, documents)
def test_the_patch_turns_the_old_document_into_the_new(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert bare(merged(bare(old), merge_patch(bare(old), new))) == bare(new)
    assert merge_patch(bare(new), bare(new)) == {}


@given(documents, documents)
def test_a_replacing_patch_gives_the_new_document_also_where_the_old_one_was_wiped(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    patch = replacing_patch(bare(old), new)
    assert bare(merged(bare(old), patch)) == bare(new)
    assert bare(merged({}, patch)) == bare(new)


def window(requests: int, errors: int, stable: Sample | None = None, **limits: float) -> Window:
    sample = Sample(requests, errors, latency_p50_ms=10, latency_p95_ms=100, latency_p99_ms=200)
    return Window(sample, stable, 50, (Limit("error-rate", **limits),))


@pytest.mark.parametrize(
    ("window", "expected", "says"),
    [
        pytest.param(window(49, 49, max=0.1), Verdict.INCONCLUSIVE, "49 of at least 50", id="little data"),
        pytest.param(window(50, 10, max=0.1), Verdict.FAILED, "20.00%, limit 10.00%", id="over its own limit"),
        pytest.param(window(50, 5, max=0.1), Verdict.PASSED, "within all limits", id="at the limit is within it"),
        pytest.param(
            window(50, 5, Sample(), max_above_stable=0.1),
            Verdict.INCONCLUSIVE,
            "no error-rate data",
            id="stable has no data",
        ),
        pytest.param(
            window(50, 5, Sample(100, 0), max_above_stable=0.01),
            Verdict.FAILED,
            "stable's limit",
            id="worse",
        ),
        pytest.param(
            window(50, 5, Sample(100, 1), max_ratio_to_stable=2), Verdict.FAILED, "10.00 times", id="worse by too often"
        ),
        pytest.param(
            window(50, 5, Sample(100, 10), max_ratio_to_stable=2), Verdict.PASSED, "within", id="as good as stable"
        ),
        pytest.param(window(50, 0, Sample(9, 9), max=0.1), Verdict.PASSED, "within", id="nothing compares with stable"),
    ],
)
def test_verdicts(window: Window, expected: Verdict, says: str) -> None:
    found = verdict(window)
    assert found.verdict is expected
    assert says in found.message
    assert found.values["requests"] == window.candidate.requests


def test_latency_is_told_in_milliseconds_and_every_metric_can_be_read() -> None:
    sample = Sample(100, 1, 10, 900, 950, guardrail_failures=3, guardrail_checks=12)
    limits = tuple(Limit(name, max=0.5) for name in METRICS)
    found = verdict(Window(sample, None, 50, limits))
    assert found.verdict is Verdict.FAILED
    assert "latency-p50 is 10 ms" in found.message
    assert set(found.values) == {*METRICS, "requests"}
    assert (Sample().error_rate, Sample().guardrail_failure_rate) == (0.0, 0.0)
    assert found.values["guardrail-failure-rate"] == 0.25  # of the conversations that were checked, not of requests


def test_a_guardrail_that_nobody_measured_promotes_nothing() -> None:
    limits = (Limit("guardrail-failure-rate", max=0.01),)
    found = verdict(Window(Sample(100), None, 50, limits))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "workload.googleapis.com/agui.guardrail.checks if AGUI_TELEMETRY is gcp" in found.message


@given(st.integers(0, 200), st.integers(0, 200))
def test_nothing_passes_below_the_least_samples(requests: int, errors: int) -> None:
    found = verdict(window(requests, min(errors, requests), max=1.0))
    assert (found.verdict is Verdict.PASSED) == (requests >= 50)
