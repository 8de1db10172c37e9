"""`agui-operator plan`: looks at the cloud, then asks the core what a rollout would do. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml

from agui_operator.api.environment import AgUiEnvironmentSpec
from agui_operator.api.parse import parse_deployment, parse_environment, parse_policy
from agui_operator.api.policy import AgUiPolicySpec
from agui_operator.core import memory as memories
from agui_operator.core.conflicts import Claim, Tenant, among, claims_of, tenant_of
from agui_operator.core.errors import UserError
from agui_operator.core.forecast import Forecast, forecast
from agui_operator.core.release import make_release
from agui_operator.core.snapshot import Blocker, Snapshot
from agui_operator.engine.deployment.scope import Scope, Scopes
from agui_operator.gcp.kinds.edge import url_map
from agui_operator.gcp.kinds.run import service as run_service
from agui_operator.gcp.kinds.storage import release_assets
from agui_operator.gcp.pinning import resolve
from agui_operator.gcp.transport.clients import Cloud


@dataclass(frozen=True, slots=True)
class Documents:
    """Manifests by kind; the directory of what they define. `environments` by (namespace, name)."""

    deployments: tuple[Mapping[str, Any], ...]
    environments: Mapping[tuple[str, str], AgUiEnvironmentSpec]
    allowed: tuple[AgUiPolicySpec, ...]

    def environment(self, namespace: str, name: str) -> tuple[AgUiEnvironmentSpec | None, str | None]:
        return self.environments.get((namespace, name)), None

    def policies(self) -> Sequence[AgUiPolicySpec]:
        return self.allowed

    def conflicts(self, uid: str) -> Sequence[Blocker]:
        """Among the documents; `uid` is what `sort` gave them."""
        tenants = [tenant_of(document) for document in self.deployments]
        return among(tenants, {tenant.uid: self._claims(tenant) for tenant in tenants}).get(uid, ())

    def _claims(self, tenant: Tenant) -> tuple[Claim, ...]:
        return claims_of(tenant, self.environments.get((tenant.namespace, tenant.environment)))

    def holder(self, owner: str) -> str | None:
        return None


def sort(documents: Sequence[Mapping[str, Any]]) -> Documents:
    """Parses what is ours among the documents; the rest is left out. Raises SpecInvalid."""
    environments: dict[tuple[str, str], AgUiEnvironmentSpec] = {}
    policies: list[AgUiPolicySpec] = []
    deployments: list[Mapping[str, Any]] = []
    for document in documents:
        meta = document.get("metadata") or {}
        match document.get("kind"):
            case "AgUiEnvironment":
                key = (str(meta.get("namespace", "default")), str(meta.get("name")))
                environments[key] = parse_environment(document.get("spec") or {})
            case "AgUiPolicy":
                policies.append(parse_policy(document.get("spec") or {}))
            case "AgUiDeployment":
                deployments.append(_identified(document))
            case _:
                pass
    return Documents(tuple(deployments), environments, tuple(policies))


def _identified(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """A manifest that is in no cluster yet gets a uid, so that it can be told from others."""
    meta = document.get("metadata") or {}
    uid = meta.get("uid") or f"{meta.get('namespace', 'default')}/{meta.get('name')}"
    return {**document, "metadata": {**meta, "uid": uid}}


def conflicts_of(texts: Iterable[str]) -> list[str]:
    """Manifests that want the same host or database, as one sentence each. Raises SpecInvalid."""
    documents = [d for text in texts for d in yaml.safe_load_all(text) if isinstance(d, Mapping)]
    known = sort(documents)
    found = []
    for document in known.deployments:
        meta = document["metadata"]
        who = f"{meta.get('namespace', 'default')}/{meta['name']}"
        found += [f"{who}: {b.message}; {b.unblock_with}" for b in known.conflicts(meta["uid"])]
    return found


async def preview(cloud: Cloud, document: Mapping[str, Any], known: Documents) -> Forecast:
    """The forecast of one deployment. Raises SpecInvalid, UserError and CloudError with what to change."""
    now = datetime.now(UTC)
    scope = Scopes(known, lambda: now).build(document, memories.from_status(document.get("status")))
    spec = scope.spec
    if spec is None:
        spec = parse_deployment(document.get("spec") or {})  # raises what is wrong, field by field
    if scope.location is None:
        name = f"{scope.namespace}/{spec.environment_ref.name}"
        raise UserError(f"AgUiEnvironment {name} not found, neither in these files nor in the cluster")
    release = make_release(spec, await resolve.resolve(cloud, scope.names, spec, scope.place))
    routing = await _routing(cloud, scope)
    seen = Snapshot(
        fingerprint=scope.parsed.fingerprint,
        blockers=scope.blockers,
        resolved=release,
        service=await run_service.observe(cloud, scope.names),
        service_known=True,
        has_edge=scope.place.edge is not None,
        pointer=routing.pointer,
        candidate_pointer=routing.candidate,
        pointer_known=True,
        assets_complete=await _complete(cloud, scope.place.assets_bucket, release.frontend),
    )
    return forecast(scope.memory, seen, lambda memory: scope.remembering(memory).blueprint, scope.names, now)


async def _routing(cloud: Cloud, scope: Scope) -> url_map.Routing:
    if scope.place.edge is None:
        return url_map.Routing(None)
    return (await url_map.observe(cloud, scope.names, scope.place))[0]


async def _complete(cloud: Cloud, bucket: str, frontend: str | None) -> bool:
    return await release_assets.observe(cloud, bucket, frontend) if frontend else True
