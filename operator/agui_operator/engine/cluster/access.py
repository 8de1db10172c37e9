"""Whether the operator can list the objects that it watches: asked before it takes the lease, and again for /readyz.

A watch that is refused, or whose CRD is not installed, only leaves a line in the log of the watching framework.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from agui_operator.engine.cluster.kube import GROUP_VERSION, PLURAL, Kube, KubeError

logger = logging.getLogger(__name__)
_PAUSE = 2.0
_SAID_AGAIN = 60.0  # seconds between two equal warnings
_NAMESPACED = (PLURAL, "aguienvironments")
_CLUSTER_WIDE = "aguipolicies"


async def cluster_id(kube: Kube, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> str:
    """The uid of the namespace kube-system, which is as old as the cluster. Returns when it could be read."""
    said = ""
    while True:
        try:
            return str((await kube.request("GET", "/api/v1/namespaces/kube-system", tries=1))["metadata"]["uid"])
        except (KubeError, ConnectionError) as exc:
            why = f"{exc}; let the operator read the namespace kube-system (ClusterRole), or set AGUI_CLUSTER_ID"
        if why != said:
            logger.warning("the identity of the cluster can't be read yet, retried automatically: %s", why)
            said = why
        await sleep(_PAUSE)


async def missing_access(kube: Kube, namespaces: Sequence[str]) -> str | None:
    """Why a kind can't be listed and how to solve it, or None. Raises ConnectionError, and KubeError for what passes by
    itself."""
    base = f"/apis/{GROUP_VERSION}"
    scopes = [f"{base}/namespaces/{name}" for name in namespaces] or [base]
    paths = [f"{scope}/{plural}" for scope in scopes for plural in _NAMESPACED]
    for path in (*paths, f"{base}/{_CLUSTER_WIDE}"):
        try:
            await kube.request("GET", f"{path}?limit=1", tries=1)
        except KubeError as exc:
            if exc.code == 403:
                return f"{exc}; bind the ClusterRole agui-operator to the ServiceAccount of the operator"
            if exc.code == 404:
                return f"{path} is not served; install the CRDs of this release"
            raise
    return None


async def wait_for_access(
    kube: Kube, namespaces: Sequence[str], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """Returns when everything that is watched can be listed."""
    said, waited = "", 0.0
    while True:
        try:
            why = await missing_access(kube, namespaces)
        except (KubeError, ConnectionError) as exc:
            why = str(exc)
        if why is None:
            return
        if why != said or waited >= _SAID_AGAIN:
            logger.warning("objects can't be watched yet, retried automatically: %s", why)
            said, waited = why, 0.0
        waited += _PAUSE
        await sleep(_PAUSE)
