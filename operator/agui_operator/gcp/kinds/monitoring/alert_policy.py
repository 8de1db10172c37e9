"""The alerts of a release: one Cloud Monitoring policy per limit, found again by labels, changed only where it differs.

The smallest kind, and the one to read first: desired, observe, plan, apply.
Source: https://cloud.google.com/monitoring/api/ref_v3/rpc/google.monitoring.v3#alertpolicy
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from agui_operator.core.actions import Action, AlertCreated, AlertDeleted, AlertPolicy, AlertUpdated
from agui_operator.core.environment import Place
from agui_operator.core.errors import CloudError
from agui_operator.core.names import Names
from agui_operator.core.snapshot import AlertView
from agui_operator.gcp.kinds.monitoring import metric_types
from agui_operator.gcp.kinds.monitoring.alert_messages import FIELDS, KEY, OWNER, from_message, to_message
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.outcome import Outcome
from agui_operator.gcp.transport.paging import pages

_RELEASE = "agui_release"
# A burn rate of 14.4 uses 2 % of a 30 days' budget in one hour: https://sre.google/workbook/alerting-on-slos/
_BURN_RATE, _BURN_WINDOW = 14.4, 3600
_HIGHEST_RATE = 0.9
_COMPARED = tuple(f.name for f in fields(AlertPolicy) if f.name not in ("key", "labels"))


@dataclass(frozen=True, slots=True)
class _Series:
    """What a limit is measured on: the share of `bad` in `all`, or the 95th percentile of a distribution (no `all`)."""

    title: str
    bad: Callable[[Names], str]
    all: Callable[[Names], str] | None = None
    advice: str = ""


_SERIES: Mapping[str, _Series] = {
    "latency-p95": _Series(
        "latency p95", metric_types.latencies, advice="Compare the revisions' latencies; a slow model shows in all."
    ),
    "error-rate": _Series("error rate", metric_types.server_errors, metric_types.requests, "Read the revision's logs."),
    "guardrail-failure-rate": _Series(
        "guardrail failure rate",
        metric_types.guardrail_failures,
        metric_types.guardrail_checks,
        "The guardrail itself fails; conversations may pass unchecked.",
    ),
    "websocket-failure-rate": _Series(
        "WebSocket failure rate",
        metric_types.websocket_failures,
        metric_types.websocket_sessions,
        "Sessions break; look at instance restarts and at the load balancer's time-out.",
    ),
    "availability-burn": _Series(
        "error budget burns fast", metric_types.server_errors, metric_types.requests, "Roll back first, then look why."
    ),
}


def desired(names: Names, place: Place, alerts: Mapping[str, Any], release: str) -> tuple[AlertPolicy, ...]:
    """The policies of a release. `alerts` is `spec.alerts` by attribute name; what is absent is not watched. The
    release is written as a label and never compared: a release with the same limits changes no policy."""
    thresholds: dict[str, float | None] = {
        "latency-p95": alerts.get("latency_p95_ms"),
        "error-rate": alerts.get("error_rate"),
        "guardrail-failure-rate": alerts.get("guardrail_failure_rate"),
        "websocket-failure-rate": alerts.get("websocket_failure_rate"),
        "availability-burn": _burn(alerts.get("availability_objective")),
    }
    return tuple(
        _policy(key, float(threshold), names, place, release)
        for key, threshold in thresholds.items()
        if threshold is not None
    )


async def observe(cloud: Cloud, names: Names) -> tuple[AlertView, ...]:
    """One call: the policies that carry our owner's label."""
    from google.cloud import monitoring_v3

    project = f"projects/{names.project}"
    found: list[AlertView] = []
    request = monitoring_v3.ListAlertPoliciesRequest(name=project, filter=f'user_labels.{OWNER}="{names.uid}"')
    async for page in pages(cloud, "AlertPolicyService.ListAlertPolicies", request, project):
        # The label is compared again: deleting must not depend on how a filter is understood.
        found += [AlertView(p.name, from_message(p)) for p in page.alert_policies if _is_ours(p, names)]
    return tuple(found)


def plan(want: Sequence[AlertPolicy], have: Sequence[AlertView]) -> tuple[Action, ...]:
    """What makes `have` into `want`; () when they agree. Only what we set is compared."""
    by_key = {view.policy.key: view for view in sorted(have, key=lambda v: v.name, reverse=True)}
    surplus = [v.name for v in have if by_key[v.policy.key] is not v]  # made twice, when a reply was lost
    actions: list[Action] = []
    for policy in want:
        old = by_key.pop(policy.key, None)
        if old is None:
            actions.append(AlertCreated(policy))
        elif changed := _changed(policy, old.policy):
            actions.append(AlertUpdated(policy, old.name, changed))
    surplus += [view.name for view in by_key.values()]
    return (*actions, *(AlertDeleted(name) for name in sorted(surplus)))


async def apply(cloud: Cloud, names: Names, action: AlertCreated | AlertUpdated | AlertDeleted) -> Outcome:
    """Creates, patches or deletes one policy. Raises CloudError."""
    if isinstance(action, AlertDeleted):
        return await _delete(cloud, action.name)
    try:
        return await _write(cloud, names, action)
    except CloudError as error:
        # A policy can't name an application's metric before its first point was written; a descriptor is enough.
        missing = metric_types.described_by_us(action.policy)
        if error.code not in (400, 404) or "metric" not in str(error).lower() or not missing:
            raise
        await metric_types.describe(cloud, names, missing)
    return await _write(cloud, names, action)


async def _write(cloud: Cloud, names: Names, action: AlertCreated | AlertUpdated) -> Outcome:
    from google.cloud import monitoring_v3

    policy = action.policy
    if isinstance(action, AlertCreated):
        project = f"projects/{names.project}"
        create = monitoring_v3.CreateAlertPolicyRequest(name=project, alert_policy=to_message(policy, names))
        made = await cloud.rpc("AlertPolicyService.CreateAlertPolicy", create, project, write=True)
        return Outcome(None, AlertView(made.name, policy))
    message = to_message(policy, names)
    message.name = action.name
    update = monitoring_v3.UpdateAlertPolicyRequest(alert_policy=message, update_mask={"paths": list(FIELDS)})
    await cloud.rpc("AlertPolicyService.UpdateAlertPolicy", update, action.name, write=True)
    return Outcome(None, AlertView(action.name, policy))


async def _delete(cloud: Cloud, name: str) -> Outcome:
    from google.cloud import monitoring_v3

    try:
        request = monitoring_v3.DeleteAlertPolicyRequest(name=name)
        await cloud.rpc("AlertPolicyService.DeleteAlertPolicy", request, name, write=True)
    except CloudError as error:
        if error.code != 404:
            raise
    return Outcome()


def _policy(key: str, threshold: float, names: Names, place: Place, release: str) -> AlertPolicy:
    series = _SERIES[key]
    is_burn = key == "availability-burn"
    return AlertPolicy(
        key=key,
        display_name=f"{names.namespace}/{names.name}: {series.title}",
        filter=series.bad(names),
        threshold=threshold,
        aligner="ALIGN_DELTA",
        reducer="REDUCE_PERCENTILE_95" if series.all is None else "REDUCE_SUM",
        denominator_filter=series.all(names) if series.all is not None else "",
        duration=0 if is_burn else 300,
        alignment=_BURN_WINDOW if is_burn else 60,
        channels=place.channels,
        documentation=f"Deployment {names.namespace}/{names.name}, Cloud Run service {names.service}. {series.advice}",
        labels={_RELEASE: release},
    )


def _burn(objective: float | None) -> float | None:
    return None if objective is None else round(min(_HIGHEST_RATE, _BURN_RATE * (1 - objective)), 6)


def _changed(want: AlertPolicy, have: AlertPolicy) -> tuple[str, ...]:
    return tuple(name for name in _COMPARED if getattr(want, name) != getattr(have, name))


def _is_ours(policy: Any, names: Names) -> bool:
    labels: Mapping[str, str] = policy.user_labels
    return labels.get(OWNER) == names.uid and bool(labels.get(KEY))
