"""What `agui-operator plan` needs of the cluster: the live objects, read with the current login."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import kopf

from agui_operator.core.actions import describe
from agui_operator.engine.cluster.kube import GROUP_VERSION, Kube
from agui_operator.engine.deployment.preview import preview, sort
from agui_operator.engine.settings import Settings
from agui_operator.gcp.transport.clients import CloudSettings, connect
from agui_operator.handlers.startup import connection_of, log_in

_PLURALS = ("aguienvironments", "aguipolicies")


async def plan(settings: Settings, documents: Sequence[Mapping[str, Any]], *, cluster: bool) -> list[str]:
    """One paragraph of lines per deployment among the documents."""
    given = list(documents)
    if cluster:
        given = [*await _from_cluster(given), *given]
    known = sort(given)
    cloud = await connect(CloudSettings(endpoint=settings.endpoint))
    lines: list[str] = []
    try:
        for document in sort(given).deployments:
            meta = document["metadata"]
            found = await preview(cloud, document, known)
            lines.append(f"{meta.get('namespace', 'default')}/{meta['name']}: {len(found.actions)} actions")
            lines += [f"  {n:3}. {f.phase:12} {describe(f.action)}" for n, f in enumerate(found.actions, 1)]
            lines.append(f"  ends in {found.ends_in}" + (f"; waits: {found.waits_for}" if found.waits_for else ""))
    finally:
        await cloud.close()
    return lines


async def _from_cluster(documents: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Environments and policies of the cluster; uid and status of the given deployments are put into the documents."""
    info = log_in(kopf.OperatorSettings())
    if info is None:
        raise kopf.PermanentError("no way to log in to Kubernetes: set KUBECONFIG, or use --offline")
    kube = Kube(connection_of(info))
    found: list[Mapping[str, Any]] = []
    try:
        for plural, kind in zip(_PLURALS, ("AgUiEnvironment", "AgUiPolicy"), strict=True):
            answer = await kube.request("GET", f"/apis/{GROUP_VERSION}/{plural}")
            found += [{**item, "kind": kind} for item in answer.get("items", [])]
        for number, document in enumerate(documents):
            if document.get("kind") == "AgUiDeployment":
                meta = document["metadata"]
                live = await kube.get_deployment(str(meta.get("namespace", "default")), str(meta["name"]))
                if live is not None:
                    uid = live["metadata"]["uid"]
                    documents[number] = {**document, "metadata": {**meta, "uid": uid}, "status": live.get("status")}
    finally:
        await kube.close()
    return found
