"""Alert policies of a deployment, found by their owner label. What a release wants is decided in `core/alerts.py`.

Source: https://cloud.google.com/monitoring/api/ref_v3/rpc/google.monitoring.v3#alertpolicy
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agui_operator.core.actions import AlertCreated, AlertDeleted, AlertUpdated
from agui_operator.core.errors import CloudError
from agui_operator.core.names import Names
from agui_operator.core.snapshot import AlertView
from agui_operator.gcp.kinds.monitoring import metric_types
from agui_operator.gcp.kinds.monitoring.alert_messages import FIELDS, KEY, OWNER, from_message, to_message
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.outcome import Outcome
from agui_operator.gcp.transport.paging import pages


async def observe(cloud: Cloud, names: Names) -> tuple[AlertView, ...]:
    """One call: the policies that carry our owner's label."""
    from google.cloud import monitoring_v3

    project = f"projects/{names.project}"
    found: list[AlertView] = []
    either = " OR ".join(f'user_labels.{OWNER}="{owner}"' for owner in names.owners if owner)
    request = monitoring_v3.ListAlertPoliciesRequest(name=project, filter=either)
    async for page in pages(cloud, "AlertPolicyService.ListAlertPolicies", request, project):
        # The label is compared again: deleting must not depend on how a filter is understood.
        found += [AlertView(p.name, from_message(p)) for p in page.alert_policies if _is_ours(p, names)]
    return tuple(found)


async def owned(cloud: Cloud, names: Names) -> list[str]:
    """Names of all policies that carry the deployment's owner, whatever limits it has now. Raises CloudError."""
    return [view.name for view in await observe(cloud, names)]


async def take_over(cloud: Cloud, names: Names, label: str) -> None:
    """Gives every policy that carries this owner label the deployment's own. Raises CloudError."""
    from google.cloud import monitoring_v3

    project = f"projects/{names.project}"
    request = monitoring_v3.ListAlertPoliciesRequest(name=project, filter=f'user_labels.{OWNER}="{label}"')
    found: list[Any] = []
    async for page in pages(cloud, "AlertPolicyService.ListAlertPolicies", request, project):
        found += [policy for policy in page.alert_policies if policy.user_labels.get(OWNER) == label]
    for policy in found:
        message = monitoring_v3.AlertPolicy(name=policy.name, user_labels={**policy.user_labels, OWNER: names.owner})
        update = monitoring_v3.UpdateAlertPolicyRequest(alert_policy=message, update_mask={"paths": ["user_labels"]})
        await cloud.rpc("AlertPolicyService.UpdateAlertPolicy", update, policy.name, write=True)


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


def _is_ours(policy: Any, names: Names) -> bool:
    labels: Mapping[str, str] = policy.user_labels
    return names.owns(labels.get(OWNER, "")) and bool(labels.get(KEY))
