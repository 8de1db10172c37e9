"""`agui-operator plan`: looks at the cloud, then asks the core what a rollout would do. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import yaml

from agui_operator.api.conditions import Reason
from agui_operator.api.deployment import AgUiDeploymentSpec
from agui_operator.api.environment import AgUiEnvironmentSpec
from agui_operator.api.parse import parse_stored
from agui_operator.api.policy import AgUiPolicySpec
from agui_operator.core import memory as memories
from agui_operator.core.conflicts import Claim, Tenant, among, claims_of, tenant_of
from agui_operator.core.errors import UserError
from agui_operator.core.forecast import Forecast, forecast
from agui_operator.core.permitted import Unreadable
from agui_operator.core.release import Resolved, make_release
from agui_operator.core.snapshot import Blocker, Snapshot
from agui_operator.engine.deployment.resolution import resolution
from agui_operator.engine.deployment.scope import Scope, Scopes
from agui_operator.gcp.kinds.edge import url_map
from agui_operator.gcp.kinds.run import service as run_service
from agui_operator.gcp.kinds.storage import release_assets
from agui_operator.gcp.transport.clients import Cloud


@dataclass(frozen=True, slots=True)
class Documents:
    """Manifests by kind; the directory of what they define. `environments` by (namespace, name).
    `policies_known` False: they could not be read, and nothing is held against them."""

    deployments: tuple[Mapping[str, Any], ...]
    environments: Mapping[tuple[str, str], AgUiEnvironmentSpec]
    allowed: tuple[AgUiPolicySpec, ...]
    policies_known: bool = True

    def environment(self, namespace: str, name: str) -> tuple[AgUiEnvironmentSpec | None, str | None]:
        return self.environments.get((namespace, name)), None

    def policies(self) -> Sequence[AgUiPolicySpec]:
        return self.allowed

    def unreadable(self) -> Sequence[Unreadable]:
        return ()

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
                environments[key], _ = parse_stored(AgUiEnvironmentSpec, document.get("spec") or {})
            case "AgUiPolicy":
                policies.append(parse_stored(AgUiPolicySpec, document.get("spec") or {})[0])
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
    """The forecast of one deployment. Raises UserError and CloudError with what to change."""
    scope = _scope(document, known)
    if any(not b.holds_running for b in scope.blockers):
        return _forecast(scope, _known(scope))  # nothing is looked up for what can't go
    resolved = await resolution(cloud, scope.names, _spec(scope), scope.place)
    release = make_release(_spec(scope), resolved, scope.names.uid)
    routing = await _routing(cloud, scope)
    seen = replace(
        _known(scope),
        resolved=release,
        service=await run_service.observe(cloud, scope.names),
        pointer=routing.pointer,
        candidate_pointer=routing.candidate,
        assets_complete=await _complete(cloud, scope, release.frontend),
    )
    return _forecast(scope, seen)


def foresee(document: Mapping[str, Any], known: Documents) -> Forecast:
    """The forecast of a first release from the files alone. Raises UserError."""
    scope = _scope({**document, "status": None}, replace(known, policies_known=bool(known.allowed)))
    spec = _spec(scope)
    release = make_release(
        spec,
        Resolved(
            image=spec.backend.image,
            migration_image=(spec.migrations.image or spec.backend.image) if spec.migrations else None,
            secrets={secret.env: str(secret.version) for secret in spec.backend.secrets},
            bundle_sha256=spec.frontend.bundle.sha256 if spec.frontend else None,
        ),
        scope.names.owner,
    )
    return _forecast(scope, replace(_known(scope), resolved=release))


def _scope(document: Mapping[str, Any], known: Documents) -> Scope:
    now = datetime.now(UTC)
    scope = Scopes(known, lambda: now).build(document, memories.from_status(document.get("status")))
    if scope.spec is None:
        raise UserError(str(scope.parsed.error), reason=Reason.INVALID_SPEC)
    if scope.location is None:
        name = f"{scope.namespace}/{scope.spec.environment_ref.name}"
        raise UserError(f"AgUiEnvironment {name} not found, neither in these files nor in the cluster")
    record = scope.memory.place
    owner = record.owner if record is not None and record.owner else scope.names.owner
    # A login may not know the cluster's identity, from which the owner is computed; the object's own status records it.
    scope = replace(scope, location=replace(scope.location, names=replace(scope.names, uid=owner)))
    if known.policies_known:
        return scope
    blocked = tuple(b for b in scope.blockers if b.reason is not Reason.NOT_PERMITTED)
    return replace(scope, blockers=blocked, forbidden={})


def _spec(scope: Scope) -> AgUiDeploymentSpec:
    assert scope.spec is not None
    return scope.spec


def _known(scope: Scope) -> Snapshot:
    """What is known without a look."""
    return Snapshot(
        fingerprint=scope.parsed.fingerprint,
        procedure=scope.parsed.procedure,
        blockers=scope.blockers,
        service_known=True,
        has_edge=scope.place.edge is not None,
        pointer_known=True,
        assets_complete=False,
    )


def _forecast(scope: Scope, seen: Snapshot) -> Forecast:
    return forecast(
        scope.memory, seen, lambda memory: scope.remembering(memory).blueprint, scope.names, datetime.now(UTC)
    )


async def _routing(cloud: Cloud, scope: Scope) -> url_map.Routing:
    if scope.place.edge is None:
        return url_map.Routing(None)
    return (await url_map.observe(cloud, scope.names, scope.place))[0]


async def _complete(cloud: Cloud, scope: Scope, frontend: str | None) -> bool:
    bucket, owners = scope.place.assets_bucket, scope.names.owners
    return await release_assets.observe(cloud, bucket, frontend, owners) if frontend else True
