"""Whether the operator may list what it watches, and what /readyz says of it."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agui_operator.engine.cluster.access import missing_access, wait_for_access
from agui_operator.engine.cluster.kube import Kube, KubeError
from agui_operator.handlers.health import Health

BASE = "/apis/agui.dev/v1alpha1"


class Cluster:
    """Answers lists; `faults` by path."""

    def __init__(self) -> None:
        self.faults: dict[str, Exception] = {}
        self.asked: list[str] = []

    async def request(self, method: str, path: str, tries: int = 3) -> dict[str, Any]:
        path = path.partition("?")[0]
        self.asked.append(path)
        if path in self.faults:
            raise self.faults[path]
        return {}

    async def reachable(self) -> bool:
        return True

    def as_kube(self) -> Kube:
        return cast(Kube, self)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


async def test_all_three_kinds_are_asked_for_in_the_whole_cluster_or_in_the_namespaces(cluster: Cluster) -> None:
    assert await missing_access(cluster.as_kube(), ()) is None
    assert cluster.asked == [f"{BASE}/aguideployments", f"{BASE}/aguienvironments", f"{BASE}/aguipolicies"]
    cluster.asked.clear()
    assert await missing_access(cluster.as_kube(), ("a", "b")) is None
    assert cluster.asked == [
        f"{BASE}/namespaces/a/aguideployments",
        f"{BASE}/namespaces/a/aguienvironments",
        f"{BASE}/namespaces/b/aguideployments",
        f"{BASE}/namespaces/b/aguienvironments",
        f"{BASE}/aguipolicies",
    ]


@pytest.mark.parametrize(("code", "fix"), [(403, "bind the ClusterRole agui-operator"), (404, "install the CRDs")])
async def test_what_is_missing_is_named_with_its_fix(cluster: Cluster, code: int, fix: str) -> None:
    cluster.faults[f"{BASE}/aguipolicies"] = KubeError(code, "aguipolicies no")
    assert fix in str(await missing_access(cluster.as_kube(), ()))


async def test_the_start_waits_until_everything_can_be_listed(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    path, pauses = f"{BASE}/aguideployments", [0]

    async def sleep(_: float) -> None:
        pauses[0] += 1
        if pauses[0] == 10:
            cluster.faults[path] = ConnectionError("down")
        if pauses[0] == 20:
            cluster.faults.clear()

    cluster.faults[path] = KubeError(403, "forbidden")
    await wait_for_access(cluster.as_kube(), (), sleep)
    assert pauses == [20]
    assert [r.getMessage().partition(": ")[2][:25] for r in caplog.records] == ["Kubernetes API answered 4", "down"]


async def readyz(health: Health) -> tuple[int, dict[str, Any]]:
    answer = await health._readyz(cast(Any, None))
    assert isinstance(answer.body, bytes)
    return answer.status, json.loads(answer.body)


async def test_a_standby_does_not_say_that_it_holds_the_lease() -> None:
    health = Health("127.0.0.1", 0)
    assert await readyz(health) == (503, {"started": False, "leaseHeld": False, "watching": False})


async def test_an_operator_that_may_not_list_is_not_ready_and_says_why(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    health = Health("127.0.0.1", 0)
    health.kube, health.lease, health.ready = cluster.as_kube(), cast(Any, SimpleNamespace(held=True)), True
    assert (await readyz(health))[0] == 200
    cluster.faults[f"{BASE}/aguideployments"] = KubeError(403, "forbidden")
    assert (await readyz(health))[0] == 200, "the answer is kept for a while"
    health._access_asked = float("-inf")
    status, body = await readyz(health)
    assert (status, body["watching"]) == (503, False)
    assert "bind the ClusterRole" in body["message"]
    cluster.faults[f"{BASE}/aguideployments"] = ConnectionError("down")
    health._access_asked = float("-inf")
    assert (await readyz(health))[0] == 503, "what is not known stays as it was"
    await asyncio.sleep(0)


async def test_without_a_required_lease_none_has_to_be_held(cluster: Cluster) -> None:
    health = Health("127.0.0.1", 0, require_lease=False)
    health.kube, health.ready = cluster.as_kube(), True
    assert (await readyz(health))[0] == 200
