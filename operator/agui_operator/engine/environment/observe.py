"""AgUiEnvironment in its Observed form: is what it names really there? Looked at when the object changes.

A missing part is said in the environment's own conditions; deployments are held back only by an environment that is
invalid or absent, because a part may be made in the meantime.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from agui_operator.api.environment import AgUiEnvironmentSpec
from agui_operator.core.errors import CloudError, Fault, classify
from agui_operator.core.merge import merge_patch
from agui_operator.engine.cluster.kube import GROUP_VERSION, Kube, KubeError
from agui_operator.engine.environment import presence
from agui_operator.gcp.transport.clients import Cloud

logger = logging.getLogger(__name__)


class Environments(Protocol):
    """Where the parsed environment is found."""

    def environment(self, namespace: str, name: str) -> tuple[AgUiEnvironmentSpec | None, str | None]: ...


class EnvironmentObserver:
    """Writes the status of environments; writes nothing when nothing changed."""

    def __init__(self, kube: Kube, cloud: Cloud, directory: Environments) -> None:
        self._kube, self._cloud, self._directory = kube, cloud, directory
        self._seen: dict[str, int] = {}

    async def survey(self, body: Mapping[str, Any]) -> None:
        """Looks once per generation; a failed look is tried again at the next event."""
        meta = body["metadata"]
        uid, generation = str(meta["uid"]), int(meta.get("generation", 0))
        if self._seen.get(uid) == generation:
            return
        self._seen[uid] = generation
        namespace, name = str(meta["namespace"]), str(meta["name"])
        spec, error = self._directory.environment(namespace, name)
        try:
            resources = await presence.observe(self._cloud, spec) if spec is not None else []
        except (CloudError, TimeoutError, ConnectionError) as exc:
            self._seen.pop(uid, None)
            resources, error = [], str(exc)
            if classify(exc) is not Fault.TRANSIENT:
                logger.warning("environment %s/%s could not be looked at: %s", namespace, name, exc)
        status = self._status(body, resources, error, generation)
        patch = merge_patch(body.get("status") or {}, status)
        if patch:
            path = f"/apis/{GROUP_VERSION}/namespaces/{namespace}/aguienvironments/{name}/status"
            try:
                await self._kube.request("PATCH", path, {"status": patch}, "application/merge-patch+json")
            except KubeError as exc:
                if exc.code != 404:
                    raise

    def _status(
        self, body: Mapping[str, Any], resources: list[dict[str, str]], error: str | None, generation: int
    ) -> dict[str, Any]:
        missing = [f"{r['kind']} {r['name']}" for r in resources if r["state"] != "Present"]
        if error is not None:
            ready, reason, message = "False", "NotObserved", error
        elif missing:
            ready, reason, message = "False", "Missing", f"not found: {', '.join(missing)}; make it or correct the name"
        else:
            ready, reason, message = "True", "Observed", f"{len(resources)} resources are there"
        old: Mapping[str, Any] = next(
            (c for c in (body.get("status") or {}).get("conditions") or [] if c.get("type") == "Ready"), {}
        )
        moved = old.get("status") != ready or not old.get("lastTransitionTime")
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        condition = {
            "type": "Ready",
            "status": ready,
            "reason": reason,
            "message": message[:1000],
            "observedGeneration": generation,
            "lastTransitionTime": now if moved else old["lastTransitionTime"],
        }
        return {"observedGeneration": generation, "conditions": [condition], "resources": resources}
