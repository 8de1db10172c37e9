"""Environments, policies and deployments as the watch delivers them, and which deployments depend on what."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from agui_operator.api.environment import AgUiEnvironmentSpec
from agui_operator.api.parse import SpecInvalid, parse_stored
from agui_operator.api.policy import AgUiPolicySpec
from agui_operator.core.conflicts import Claim, Tenant, claims_of, conflicts, tenant_of
from agui_operator.core.names import owner_of
from agui_operator.core.permitted import Unreadable, matches, namespaces_of
from agui_operator.core.snapshot import Blocker

logger = logging.getLogger(__name__)


class WatchedDirectory:
    """Implements engine.reconcile.Directory. An invalid policy permits nothing and holds the namespaces that it
    names; it never widens what is allowed."""

    def __init__(self, cluster: str = "") -> None:
        self._environments: dict[tuple[str, str], AgUiEnvironmentSpec | str] = {}
        self._policies: dict[str, AgUiPolicySpec | Unreadable] = {}
        self._readable: tuple[AgUiPolicySpec, ...] = ()  # both by name
        self._unreadable: tuple[Unreadable, ...] = ()
        self.references = References(self, cluster)

    def environment(self, namespace: str, name: str) -> tuple[AgUiEnvironmentSpec | None, str | None]:
        found = self._environments.get((namespace, name))
        if isinstance(found, str):
            return None, f"AgUiEnvironment {namespace}/{name} is invalid: {found}"
        return found, None

    def policies(self) -> Sequence[AgUiPolicySpec]:
        return self._readable

    def unreadable(self) -> Sequence[Unreadable]:
        return self._unreadable

    def _sort_policies(self) -> None:
        """Once per change: every turn of every object asks for them."""
        found = [self._policies[name] for name in sorted(self._policies)]
        self._readable = tuple(policy for policy in found if isinstance(policy, AgUiPolicySpec))
        self._unreadable = tuple(policy for policy in found if isinstance(policy, Unreadable))

    def conflicts(self, uid: str) -> Sequence[Blocker]:
        return self.references.conflicts(uid)

    def holder(self, owner: str) -> str | None:
        return self.references.holder(owner)

    def users_of(self, namespace: str, name: str) -> Sequence[str]:
        return self.references.users_of(namespace, name)

    def put_environment(self, namespace: str, name: str, spec: Mapping[str, Any]) -> bool:
        """True if what it says has changed: an event may as well be about an annotation, or about its status."""
        key = namespace, name
        before = self._environments.get(key)
        try:
            self._environments[key], _ = parse_stored(AgUiEnvironmentSpec, spec)
        except SpecInvalid as exc:
            self._environments[key] = str(exc)
        return self._environments[key] != before

    def drop_environment(self, namespace: str, name: str) -> bool:
        return self._environments.pop((namespace, name), None) is not None

    def put_policy(self, name: str, spec: Mapping[str, Any]) -> tuple[str, ...]:
        """The namespace patterns that it has or had, if what it says has changed; none otherwise."""
        before = self._policies.get(name)
        try:
            after: AgUiPolicySpec | Unreadable = parse_stored(AgUiPolicySpec, spec)[0]
        except SpecInvalid as exc:
            logger.warning("AgUiPolicy %s is invalid: it permits nothing, and holds its namespaces: %s", name, exc)
            after = Unreadable(name, namespaces_of(spec), str(exc))
        self._policies[name] = after
        self._sort_policies()
        return _patterns(before, after) if after != before else ()

    def drop_policy(self, name: str) -> tuple[str, ...]:
        dropped = self._policies.pop(name, None)
        self._sort_policies()
        return _patterns(dropped)


class References:
    """Which deployments name an environment, which live in a namespace, and who has which host and database."""

    def __init__(self, directory: WatchedDirectory, cluster: str = "") -> None:
        self._directory, self._cluster = directory, cluster
        self._tenants: dict[str, Tenant] = {}  # by uid
        self._uids: defaultdict[str, set[str]] = defaultdict(set)  # by namespace
        self._claims: dict[str, tuple[Claim, ...]] = {}  # by uid
        self._claimants: defaultdict[Claim, set[str]] = defaultdict(set)
        self._owners: dict[str, str] = {}  # namespace/name by owner label, the uid included
        self._leaving: set[str] = set()  # uids of those that are being deleted

    def namespaces(self) -> set[str]:
        """Those that have deployments."""
        return set(self._uids)

    def put(self, body: Mapping[str, Any]) -> list[str]:
        """A deployment as the watch delivered it: an invalid one still names its environment. Returns the uids of
        those that had to wait for something which it has no more."""
        tenant = tenant_of(body)
        uid = tenant.uid
        if body["metadata"].get("deletionTimestamp"):
            self._leaving.add(uid)
        if self._tenants.get(uid) == tenant:
            return []
        self._tenants[uid] = tenant
        self._uids[tenant.namespace].add(uid)
        path = f"{tenant.namespace}/{tenant.name}"
        self._owners[uid] = self._owners[owner_of(self._cluster, tenant.namespace, tenant.name)] = path
        return self._claim(uid)

    def drop(self, uid: str) -> list[str]:
        """A deployment is gone. Returns as `put`."""
        tenant = self._tenants.pop(uid, None)
        if tenant is None:
            return []
        uids = self._uids[tenant.namespace]
        uids.discard(uid)
        if not uids:
            self._uids.pop(tenant.namespace)
        self._leaving.discard(uid)
        self._owners.pop(uid, None)
        self._owners.pop(owner_of(self._cluster, tenant.namespace, tenant.name), None)
        return self._claim(uid)

    def environment_changed(self, namespace: str, name: str) -> list[str]:
        """Returns the uids of those that name it, and as `put`."""
        named = self.of_environment(namespace, name)
        return [*named, *(other for uid in named for other in self._claim(uid))]

    def of_environment(self, namespace: str, name: str) -> list[str]:
        return [uid for uid in self._uids.get(namespace, ()) if self._tenants[uid].environment == name]

    def users_of(self, namespace: str, name: str) -> list[str]:
        """Names of the deployments that need an environment: they name it, and are not being deleted."""
        uids = set(self.of_environment(namespace, name)) - self._leaving
        return sorted(self._tenants[uid].name for uid in uids)

    def in_namespaces(self, patterns: Sequence[str]) -> list[str]:
        return [uid for namespace, uids in self._uids.items() if matches(namespace, patterns) for uid in uids]

    def conflicts(self, uid: str) -> tuple[Blocker, ...]:
        """What other deployments have that this one wants."""
        own = self._tenants.get(uid)
        if own is None:
            return ()
        others = {c: [self._tenants[u] for u in self._claimants[c]] for c in self._claims.get(uid, ())}
        return conflicts(own, others)

    def holder(self, owner: str) -> str | None:
        """The living deployment that an owner label means, as namespace/name."""
        return self._owners.get(owner)

    def _claim(self, uid: str) -> list[str]:
        """Indexes what the deployment has by now."""
        tenant, before = self._tenants.get(uid), self._claims.pop(uid, ())
        after: tuple[Claim, ...] = ()
        if tenant is not None:
            after = claims_of(tenant, self._directory.environment(tenant.namespace, tenant.environment)[0])
            self._claims[uid] = after
        waiting: set[str] = set()
        for claim in before:
            self._claimants[claim].discard(uid)
            if claim not in after:
                waiting |= self._claimants[claim]
            if not self._claimants[claim]:
                self._claimants.pop(claim)
        for claim in after:
            self._claimants[claim].add(uid)
        return sorted(waiting)


def _patterns(*policies: AgUiPolicySpec | Unreadable | None) -> tuple[str, ...]:
    return tuple(pattern for policy in policies if policy is not None for pattern in policy.namespaces)
