"""`agui-operator plan`: looks at the cloud, then asks the core what a rollout would do. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from agui_operator.api.environment import AgUiEnvironmentSpec
from agui_operator.api.parse import parse_deployment, parse_environment, parse_policy
from agui_operator.api.policy import AgUiPolicySpec
from agui_operator.core import memory as memories
from agui_operator.core.blockers import blockers, place_of
from agui_operator.core.environment import Place
from agui_operator.core.errors import UserError
from agui_operator.core.forecast import Forecast, forecast
from agui_operator.core.names import Names
from agui_operator.core.release import fingerprint_of, make_release
from agui_operator.core.snapshot import Snapshot
from agui_operator.engine.deployment.reconcile import plan_of
from agui_operator.gcp.kinds.edge import url_map
from agui_operator.gcp.kinds.run import service as run_service
from agui_operator.gcp.kinds.storage import release_assets
from agui_operator.gcp.pinning import resolve
from agui_operator.gcp.transport.clients import Cloud


@dataclass(frozen=True, slots=True)
class Documents:
    """Manifests by kind. `environments` by (namespace, name)."""

    deployments: tuple[Mapping[str, Any], ...]
    environments: Mapping[tuple[str, str], AgUiEnvironmentSpec]
    policies: tuple[AgUiPolicySpec, ...]


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
                deployments.append(document)
            case _:
                pass
    return Documents(tuple(deployments), environments, tuple(policies))


async def preview(cloud: Cloud, document: Mapping[str, Any], known: Documents) -> Forecast:
    """The forecast of one deployment. Raises SpecInvalid, UserError and CloudError with what to change."""
    meta = document["metadata"]
    namespace, name = str(meta.get("namespace", "default")), str(meta["name"])
    spec = parse_deployment(document.get("spec") or {})
    environment = known.environments.get((namespace, spec.environment_ref.name))
    if environment is None:
        raise UserError(f"AgUiEnvironment {namespace}/{spec.environment_ref.name} is neither given nor in the cluster")
    place = place_of(environment, spec)
    names = Names(namespace, name, str(meta.get("uid", "")), environment.project_id, environment.region)
    memory = memories.from_status(document.get("status"))
    now = datetime.now(UTC)
    release = make_release(spec, await resolve.resolve(cloud, names, spec, place))
    routing = (await url_map.observe(cloud, names, place))[0] if place.edge is not None else url_map.Routing(None)
    seen = Snapshot(
        fingerprint=fingerprint_of(spec),
        blockers=blockers(spec, environment, None, namespace, known.policies, now),
        resolved=release,
        service=await run_service.observe(cloud, names),
        service_known=True,
        has_edge=place.edge is not None,
        pointer=routing.pointer,
        candidate_pointer=routing.candidate,
        pointer_known=True,
        assets_complete=await _complete(cloud, place, release.frontend),
    )
    return forecast(memory, seen, lambda m: plan_of(m, spec, names, place), names, now)


async def _complete(cloud: Cloud, place: Place, frontend: str | None) -> bool:
    return await release_assets.observe(cloud, place.assets_bucket, frontend) if frontend else True
