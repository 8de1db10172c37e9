"""Every kind of cloud resource, by name: those that an environment stands on, and the parts of a release.

A new kind of an environment is a module and its entry here; nothing else in the operator knows the kinds one by one.
The parts of a release are not described by fields but moved by actions (core/actions.py). Each is a module with three
async functions: `observe` looks, `apply` does what an action says and may be repeated, `owned` lists what carries the
deployment's owner.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import Any

from agui_operator.gcp.kinds.contract import Kind
from agui_operator.gcp.kinds.edge import (
    backend_bucket,
    backend_service,
    base_url_map,
    forwarding_rule,
    serverless_neg,
    target_proxy,
    url_map,
)
from agui_operator.gcp.kinds.monitoring import alert_policy, notification_channel
from agui_operator.gcp.kinds.run import job, service
from agui_operator.gcp.kinds.secrets import secret
from agui_operator.gcp.kinds.sql import backup, database, instance, user
from agui_operator.gcp.kinds.storage import bucket, release_assets

_KINDS: tuple[Kind[Any], ...] = (
    instance.KIND,
    database.KIND,
    user.KIND,
    secret.KIND,
    bucket.KIND,
    backend_bucket.KIND,
    serverless_neg.KIND,
    backend_service.KIND,
    base_url_map.KIND,
    target_proxy.KIND,
    forwarding_rule.KIND,
    notification_channel.KIND,
)
KINDS: Mapping[str, Kind[Any]] = MappingProxyType({kind.name: kind for kind in _KINDS})
RELEASE_PARTS: Mapping[str, ModuleType] = MappingProxyType(
    {
        "Service": service,
        "Job": job,
        "Backup": backup,
        "Assets": release_assets,
        "Routing": url_map,
        "AlertPolicy": alert_policy,
    }
)
