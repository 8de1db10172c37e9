"""Two deployments that want the same host or the same database. Pure: from what the operator knows of all deployments,
before anything is done for the second one.

The right is with the deployment that has a stable release there, then with one whose rollout has begun, then with the
older one, then with the first by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agui_operator.api.conditions import ConditionType, Reason
from agui_operator.api.environment import AgUiEnvironmentSpec
from agui_operator.core.blockers import place_of
from agui_operator.core.environment import Place
from agui_operator.core.place import from_status
from agui_operator.core.snapshot import Blocker

HOST, DATABASE = "host", "database"


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that only one deployment may have. `where`: the URL map, or the Cloud SQL instance."""

    kind: str
    project: str
    where: str
    name: str


@dataclass(frozen=True, slots=True)
class Tenant:
    """A deployment as the watch delivered it, as far as conflicts go. `place`: where its release lives; None: it has
    none. `values` are those of the backend's environment variables, if it has migrations."""

    namespace: str
    name: str
    uid: str
    environment: str
    created: str = ""
    serves: bool = False
    place: Place | None = None
    migrates: bool = False
    values: frozenset[str] = frozenset()

    @property
    def rank(self) -> tuple[bool, bool, str, str, str]:
        """The smaller one has the right."""
        return not self.serves, self.place is None, self.created or "9", self.namespace, self.name


def tenant_of(body: Mapping[str, Any]) -> Tenant:
    """Of a Kubernetes object, whatever is in it."""
    meta, spec, status = _map(body.get("metadata")), _map(body.get("spec")), _map(body.get("status"))
    record = from_status(status.get("place"))
    env = _map(spec.get("backend")).get("env")
    migrates = isinstance(spec.get("migrations"), Mapping)
    values = {_map(e).get("value") for e in env} if migrates and isinstance(env, list | tuple) else set()
    return Tenant(
        namespace=str(meta.get("namespace", "default")),
        name=str(meta.get("name", "")),
        uid=str(meta.get("uid", "")),
        environment=str(_map(spec.get("environmentRef")).get("name")),
        created=str(meta.get("creationTimestamp") or ""),
        serves=bool(status.get("stable")),
        place=record.place if record is not None else None,
        migrates=migrates,
        values=frozenset(value for value in values if isinstance(value, str)),
    )


def claims_of(tenant: Tenant, environment: AgUiEnvironmentSpec | None) -> tuple[Claim, ...]:
    """What the deployment has, or will have once it is released in this environment."""
    place = tenant.place or (place_of(environment) if environment is not None else None)
    if place is None:
        return ()
    found = []
    if place.edge is not None:
        found.append(Claim(HOST, place.project, place.edge.url_map, place.edge.host))
    database = _database_of(tenant, environment)
    if database is not None and place.sql_instance is not None:
        found.append(Claim(DATABASE, place.project, place.sql_instance, database))
    return tuple(found)


def conflicts(own: Tenant, others: Mapping[Claim, Iterable[Tenant]]) -> tuple[Blocker, ...]:
    """What refuses the deployment's releases: what another one has that goes before it."""
    found = []
    for claim, tenants in others.items():
        before = min((t for t in tenants if t.uid != own.uid and t.rank < own.rank), key=lambda t: t.rank, default=None)
        if before is not None:
            found.append(_blocker(claim, before))
    return tuple(found)


def among(tenants: Iterable[Tenant], claims: Mapping[str, tuple[Claim, ...]]) -> dict[str, tuple[Blocker, ...]]:
    """The conflicts of each deployment with the others, by uid. `claims` by uid."""
    known = {tenant.uid: tenant for tenant in tenants}
    claimants: dict[Claim, list[Tenant]] = {}
    for uid, tenant in known.items():
        for claim in claims[uid]:
            claimants.setdefault(claim, []).append(tenant)
    return {uid: conflicts(own, {claim: claimants[claim] for claim in claims[uid]}) for uid, own in known.items()}


def _blocker(claim: Claim, before: Tenant) -> Blocker:
    who = f"AgUiDeployment {before.namespace}/{before.name}"
    if claim.kind == HOST:
        text = f"host {claim.name} of URL map {claim.where} belongs to {who}"
        fix = "use an environment with another domain and backend service, or delete that deployment"
        return Blocker(ConditionType.ENVIRONMENT_READY, Reason.HOST_CONFLICT, text, fix)
    text = f"database {claim.name} of Cloud SQL instance {claim.where} is migrated by {who}"
    fix = "use another database, remove spec.migrations, or delete that deployment"
    return Blocker(ConditionType.ENVIRONMENT_READY, Reason.DATABASE_CONFLICT, text, fix)


def _database_of(tenant: Tenant, environment: AgUiEnvironmentSpec | None) -> str | None:
    """The database that the migrations work on: the one of the environment's that a variable of the backend names, or
    its only one. None: not known."""
    if not tenant.migrates or environment is None or environment.database is None:
        return None
    known = environment.database.databases
    named = [name for name in known if name in tenant.values]
    if len(named) == 1:
        return named[0]
    return known[0] if len(known) == 1 and not named else None


def _map(raw: Any) -> Mapping[str, Any]:
    return raw if isinstance(raw, Mapping) else {}
