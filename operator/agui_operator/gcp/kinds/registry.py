"""Every kind of resource that an environment can stand on, by the name that nodes call it.

A new kind is a module and a line here; nothing else in the operator knows the kinds one by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agui_operator.gcp.kinds.contract import Kind
from agui_operator.gcp.kinds.edge import (
    backend_bucket,
    backend_service,
    base_url_map,
    forwarding_rule,
    serverless_neg,
    target_proxy,
)
from agui_operator.gcp.kinds.monitoring import notification_channel
from agui_operator.gcp.kinds.secrets import secret
from agui_operator.gcp.kinds.sql import database, instance, user
from agui_operator.gcp.kinds.storage import bucket

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
KINDS: Mapping[str, Kind[Any]] = {kind.name: kind for kind in _KINDS}
