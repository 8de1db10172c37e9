"""The alert policies of a release: one Cloud Monitoring policy per limit of `spec.alerts`.

To add an alert: a limit in `api/deployment.py` and a row in `_SERIES` and `_threshold` here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from agui_operator.core import metric_filters
from agui_operator.core.actions import Action, AlertCreated, AlertDeleted, AlertPolicy, AlertUpdated
from agui_operator.core.names import Names
from agui_operator.core.release import Release
from agui_operator.core.snapshot import AlertView, Snapshot

_RELEASE = "agui_release"
# A burn rate of 14.4 uses 2 % of a 30 days' budget in one hour: https://sre.google/workbook/alerting-on-slos/
_BURN_RATE, _BURN_WINDOW = 14.4, 3600
_HIGHEST_RATE = 0.9
_COMPARED = tuple(f.name for f in fields(AlertPolicy) if f.name not in ("key", "labels"))


@dataclass(frozen=True, slots=True)
class _Series:
    """What a limit is measured on: the share of `bad` in `all`, or the 95th percentile of a distribution (no `all`).
    `limit` is the attribute of `spec.alerts`."""

    title: str
    limit: str
    bad: Callable[[Names], str]
    all: Callable[[Names], str] | None = None
    advice: str = ""


_SERIES: Mapping[str, _Series] = {
    "latency-p95": _Series(
        "latency p95",
        "latency_p95_ms",
        metric_filters.latencies,
        advice="Compare the latencies of the revisions; a slow model shows in all of them.",
    ),
    "error-rate": _Series(
        "error rate",
        "error_rate",
        metric_filters.server_errors,
        metric_filters.requests,
        "Read the revision's logs.",
    ),
    "guardrail-failure-rate": _Series(
        "guardrail failure rate",
        "guardrail_failure_rate",
        metric_filters.guardrail_failures,
        metric_filters.guardrail_checks,
        "The guardrail itself fails; conversations may pass unchecked.",
    ),
    "websocket-failure-rate": _Series(
        "WebSocket failure rate",
        "websocket_failure_rate",
        metric_filters.websocket_failures,
        metric_filters.websocket_sessions,
        "Sessions break; look at instance restarts and at the load balancer's timeout.",
    ),
    "availability-burn": _Series(
        "error budget burns fast",
        "availability_objective",
        metric_filters.server_errors,
        metric_filters.requests,
        "Roll back first, then find the cause.",
    ),
}


def actions(seen: Snapshot, names: Names, release: Release | None) -> tuple[Action, ...] | None:
    """What makes the policies that were seen those of `release`; None where they were not looked at."""
    if seen.alerts is None:
        return None
    limits = release.alerts if release is not None else {}
    return plan(desired(names, seen.channels, limits, release.id if release else ""), seen.alerts)


def desired(
    names: Names, channels: Mapping[str, str], alerts: Mapping[str, Any], release: str
) -> tuple[AlertPolicy, ...]:
    """The policies of a release. `alerts` is the release's own `spec.alerts` by attribute name; what is absent is not
    watched. `channels` are those of the environment, resource by name. The release is written as a label and never
    compared: a release with the same limits changes no policy."""
    named = tuple(channels[name] for name in alerts.get("channels", ()) if name in channels)
    return tuple(
        _policy(key, threshold, names, named, release)
        for key in _SERIES
        if (threshold := _threshold(key, alerts)) is not None
    )


def plan(want: Sequence[AlertPolicy], have: Sequence[AlertView]) -> tuple[Action, ...]:
    """What makes `have` into `want`; () when they agree. Only the fields that we set are compared."""
    by_key = {view.policy.key: view for view in sorted(have, key=lambda v: v.name, reverse=True)}
    surplus = [v.name for v in have if by_key[v.policy.key] is not v]  # created twice, when a reply was lost
    found: list[Action] = []
    for policy in want:
        old = by_key.pop(policy.key, None)
        if old is None:
            found.append(AlertCreated(policy))
        elif changed := _changed(policy, old.policy):
            found.append(AlertUpdated(policy, old.name, changed))
    surplus += [view.name for view in by_key.values()]
    return (*found, *(AlertDeleted(name) for name in sorted(surplus)))


def _threshold(key: str, limits: Mapping[str, Any]) -> float | None:
    limit = limits.get(_SERIES[key].limit)
    if limit is None:
        return None
    if key == "availability-burn":
        return round(min(_HIGHEST_RATE, _BURN_RATE * (1 - float(limit))), 6)
    return float(limit)


def _policy(key: str, threshold: float, names: Names, channels: tuple[str, ...], release: str) -> AlertPolicy:
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
        channels=channels,
        documentation=f"Deployment {names.namespace}/{names.name}, Cloud Run service {names.service}. {series.advice}",
        labels={_RELEASE: release},
    )


def _changed(want: AlertPolicy, have: AlertPolicy) -> tuple[str, ...]:
    return tuple(name for name in _COMPARED if getattr(want, name) != getattr(have, name))
