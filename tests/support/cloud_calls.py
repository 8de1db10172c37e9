"""What contract tests of the operator do with a local cloud: create things beside it, wait for an effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agui_dev.testbed.local_cloud import LocalCloud
from agui_operator.gcp.transport import operations
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.outcome import Outcome

COMPUTE = "/compute/v1/projects/demo/global"


def make(fresh: LocalCloud, path: str, body: Mapping[str, Any]) -> None:
    """Creates something in project demo with plain HTTP and waits for a compute or sql operation."""
    answer = fresh.call(path, "POST", body)
    kind = str(answer.get("kind", ""))
    while kind.endswith("#operation") and answer["status"] != "DONE":
        if kind.startswith("sql"):
            answer = fresh.call(f"/v1/projects/demo/operations/{answer['name']}")
        else:
            answer = fresh.call(f"{path.rpartition('/')[0]}/operations/{answer['name']}")
    assert "error" not in answer, answer


def make_balancer(fresh: LocalCloud) -> None:
    """What the rules of a deployment in a URL map need: bucket, backend bucket, backend service, and the map `site`."""
    link = f"https://www.googleapis.com{COMPUTE}/backendBuckets/site-assets"
    fresh.call("/storage/v1/b?project=demo", "POST", {"name": "assets"})
    make(fresh, f"{COMPUTE}/backendBuckets", {"name": "site-assets", "bucketName": "assets"})
    make(fresh, f"{COMPUTE}/backendServices", {"name": "site-api", "loadBalancingScheme": "EXTERNAL_MANAGED"})
    make(fresh, f"{COMPUTE}/urlMaps", {"name": "site", "defaultService": link})


async def finished(cloud: Cloud, outcome: Outcome) -> None:
    """Returns when the effect is there. Raises the error of its operation, TimeoutError."""
    if outcome.operation is not None:
        await operations.finish(cloud, outcome.operation)
