"""The last lines that an execution of a job logged, in Cloud Logging.

One call, and a second one where the first found nothing: what a container wrote last takes a moment to arrive.
Source: https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from agui_operator.core.errors import CloudError
from agui_operator.core.names import Names
from agui_operator.core.words import LINES, NO_LINES, LogLines
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.rest import RestRequest

SECONDS = 4.0  # at most, in all
_ARRIVES_IN = 1.5  # seconds
_REACH = timedelta(days=1)  # without a bound the whole retention is searched


async def last_lines(cloud: Cloud, names: Names, job: str, execution: str, now: datetime | None = None) -> LogLines:
    """Oldest first; none where they can't be read: nothing depends on them."""
    request = _request(names, job, execution, (now or datetime.now(UTC)) - _REACH)
    try:
        async with asyncio.timeout(SECONDS):
            entries = (await cloud.rest(request)).get("entries")
            if not entries:
                await asyncio.sleep(_ARRIVES_IN)
                entries = (await cloud.rest(request)).get("entries")
    except (CloudError, TimeoutError):
        return NO_LINES
    found = [_text(entry) for entry in entries or () if isinstance(entry, Mapping)]
    return LogLines.of_workload([text for text in reversed(found) if text])


def _request(names: Names, job: str, execution: str, since: datetime) -> RestRequest:
    wanted = (
        'resource.type="cloud_run_job"',
        f'resource.labels.job_name="{job}"',
        f'resource.labels.location="{names.region}"',
        f'labels."run.googleapis.com/execution_name"="{execution}"',
        f'logName:"projects/{names.project}/logs/run.googleapis.com%2Fstd"',  # stdout and stderr
        f'timestamp>="{since.strftime("%Y-%m-%dT%H:%M:%SZ")}"',
    )
    body = {
        "resourceNames": [f"projects/{names.project}"],
        "filter": " AND ".join(wanted),
        "orderBy": "timestamp desc",
        "pageSize": LINES,
    }
    resource = f"{names.job_path(job)}/executions/{execution}"
    return RestRequest(
        "logging.entries.list", "/v2/entries:list", names.project, "POST", body, resource=resource, timeout=SECONDS
    )


def _text(entry: Mapping[str, Any]) -> str:
    payload = entry.get("jsonPayload")
    if isinstance(payload, Mapping):
        message = payload.get("message")
        return message if isinstance(message, str) else json.dumps(payload, sort_keys=True)
    return str(entry.get("textPayload", ""))
