"""Alert policies: what is desired, what differs, and that applying the plan leaves nothing to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agui_operator.core import alerts
from agui_operator.core.actions import Action, AlertCreated, AlertDeleted, AlertPolicy, AlertUpdated
from agui_operator.core.alerts import desired, plan
from agui_operator.core.names import Names
from agui_operator.core.release import Release
from agui_operator.core.snapshot import AlertView, Snapshot
from agui_operator.gcp.kinds.monitoring.alert_messages import from_message, to_message
from agui_operator.gcp.kinds.monitoring.metric_types import described_by_us

NAMES = Names("shop", "concierge", "uid-1", "demo", "us-central1")
CHANNELS = {"oncall": "projects/demo/notificationChannels/1", "pager": "projects/demo/notificationChannels/2"}
ALL: dict[str, Any] = {
    "latency_p95_ms": 2000,
    "error_rate": 0.01,
    "guardrail_failure_rate": 0.02,
    "websocket_failure_rate": 0.03,
    "availability_objective": 0.999,
    "channels": ["oncall"],
}


def policy(key: str = "error-rate", **fields: Any) -> AlertPolicy:
    base = AlertPolicy(key, f"shop/concierge: {key}", "f", 1.0, "ALIGN_DELTA", "REDUCE_SUM", denominator_filter="g")
    return replace(base, **fields)


def view(of: AlertPolicy, name: str = "p/1") -> AlertView:
    return AlertView(name, of)


@pytest.mark.parametrize(
    ("want", "have", "actions"),
    [
        pytest.param([], [], (), id="nothing"),
        pytest.param([policy()], [], (AlertCreated(policy()),), id="absent-is-created"),
        pytest.param([policy()], [view(policy())], (), id="equal-is-left"),
        pytest.param(
            [policy(threshold=2.0)],
            [view(policy())],
            (AlertUpdated(policy(threshold=2.0), "p/1", ("threshold",)),),
            id="drift-is-corrected",
        ),
        pytest.param(
            [policy(channels=("c",), filter="h")],
            [view(policy())],
            (AlertUpdated(policy(channels=("c",), filter="h"), "p/1", ("filter", "channels")),),
            id="every-changed-field-is-named",
        ),
        pytest.param([policy(labels={"agui_release": "r2"})], [view(policy())], (), id="a-new-release-changes-nothing"),
        pytest.param([], [view(policy())], (AlertDeleted("p/1"),), id="orphan-is-deleted"),
        pytest.param(
            [policy()], [view(policy(), "p/2"), view(policy(), "p/1")], (AlertDeleted("p/2"),), id="twin-is-deleted"
        ),
        pytest.param(
            [policy("a")], [view(policy("b"))], (AlertCreated(policy("a")), AlertDeleted("p/1")), id="other-key"
        ),
    ],
)
def test_plan(want: list[AlertPolicy], have: list[AlertView], actions: tuple[Action, ...]) -> None:
    assert plan(want, have) == actions


names = st.sampled_from(["latency-p95", "error-rate", "availability-burn"])
policies = st.builds(policy, names, threshold=st.sampled_from([1.0, 2.0]), channels=st.sampled_from([(), ("c",)]))
wanted = st.lists(policies, max_size=3, unique_by=lambda p: p.key)
existing = st.lists(policies, max_size=5).map(lambda ps: [view(p, f"p/{n}") for n, p in enumerate(ps)])


def applied(actions: Sequence[Action], have: Sequence[AlertView]) -> list[AlertView]:
    """What Cloud Monitoring has afterwards."""
    world = {v.name: v for v in have}
    fresh = (f"p/new-{n}" for n in count())
    for action in actions:
        match action:
            case AlertCreated():
                made = view(action.policy, next(fresh))
                world[made.name] = made
            case AlertUpdated():
                world[action.name] = view(action.policy, action.name)
            case AlertDeleted():
                del world[action.name]
    return list(world.values())


@given(wanted, existing)
def test_applying_the_plan_leaves_nothing_to_do(want: list[AlertPolicy], have: list[AlertView]) -> None:
    after = applied(plan(want, have), have)
    assert plan(want, after) == ()
    assert sorted(v.policy.key for v in after) == sorted(p.key for p in want)


@given(wanted, existing, st.data())
def test_dying_after_any_action_leaves_the_rest(
    want: list[AlertPolicy], have: list[AlertView], data: st.DataObject
) -> None:
    actions = plan(want, have)
    done = data.draw(st.integers(0, len(actions)))
    after = applied(actions[:done], have)
    assert len(plan(want, after)) == len(actions) - done


def test_the_alert_policies_of_a_release_notify_the_channels_of_that_release() -> None:
    """Not those of the current spec, which may be invalid, or of a release that was rolled back."""
    stable = Release("r-1", "a", "fp", "1", "img@sha256:1", alerts={"error_rate": 0.05, "channels": ["pager", "gone"]})
    seen = Snapshot(alerts=(), channels=CHANNELS)
    (created,) = alerts.actions(seen, NAMES, stable) or ()
    assert isinstance(created, AlertCreated)
    assert created.policy.channels == (CHANNELS["pager"],)
    assert alerts.actions(replace(seen, alerts=(view(created.policy),)), NAMES, stable) == ()
    (update,) = alerts.actions(Snapshot(alerts=(view(created.policy),)), NAMES, stable) or ()
    assert isinstance(update, AlertUpdated)
    assert update.changed == ("channels",), "an environment that has the channel no more"


def test_nothing_is_watched_without_limits() -> None:
    assert desired(NAMES, CHANNELS, {}, "r1") == ()
    assert desired(NAMES, CHANNELS, {"channels": ["oncall"], "error_rate": None}, "r1") == ()


def test_every_limit_has_a_policy_on_a_documented_series() -> None:
    made = {p.key: p for p in desired(NAMES, CHANNELS, ALL, "r1")}
    assert list(made) == [
        "latency-p95",
        "error-rate",
        "guardrail-failure-rate",
        "websocket-failure-rate",
        "availability-burn",
    ]
    latency, errors, burn = made["latency-p95"], made["error-rate"], made["availability-burn"]
    assert (latency.threshold, latency.reducer, latency.denominator_filter) == (2000, "REDUCE_PERCENTILE_95", "")
    assert "run.googleapis.com/request_latencies" in latency.filter
    assert (errors.threshold, errors.reducer) == (0.01, "REDUCE_SUM")
    assert errors.filter == f'{errors.denominator_filter} AND metric.labels.response_code_class="5xx"'
    assert burn.threshold == pytest.approx(0.0144)
    assert (burn.alignment, burn.duration) == (3600, 0)
    for each in made.values():
        assert 'metric.type="' in each.filter
        assert 'resource.type="' in each.filter
        assert NAMES.service in each.filter
        assert each.channels == (CHANNELS["oncall"],)
        assert each.duration % 60 == each.alignment % 60 == 0
    assert described_by_us(errors) == ()
    assert len(described_by_us(made["guardrail-failure-rate"])) == 2


@pytest.mark.parametrize(("objective", "threshold"), [(0.999, 0.0144), (0.99, 0.144), (0.5, 0.9)])
def test_a_burn_threshold_can_be_reached(objective: float, threshold: float) -> None:
    (only,) = desired(NAMES, CHANNELS, {"availability_objective": objective}, "r1")
    assert only.threshold == pytest.approx(threshold)


def test_messages_say_what_policies_say() -> None:
    for each in desired(NAMES, CHANNELS, ALL, "r1"):
        message = to_message(each, NAMES)
        assert dict(message.user_labels) == {"agui_owner": NAMES.owner, "agui_key": each.key, "agui_release": "r1"}
        assert from_message(message) == each


def test_a_policy_of_another_shape_differs_from_all_of_ours() -> None:
    want = desired(NAMES, CHANNELS, {"error_rate": 0.01}, "r1")
    message = to_message(want[0], NAMES)
    message.conditions.append(message.conditions[0])
    (action,) = plan(want, [view(from_message(message))])
    assert isinstance(action, AlertUpdated)
