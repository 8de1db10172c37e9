"""Environments and policies as the watch delivers them, and which deployments depend on them."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from agui_operator.api.environment import AgUiEnvironmentSpec
from agui_operator.api.parse import SpecInvalid, parse_stored
from agui_operator.api.policy import AgUiPolicySpec
from agui_operator.core.permitted import matches

logger = logging.getLogger(__name__)


class WatchedDirectory:
    """Implements engine.reconcile.Directory. An invalid policy permits nothing; it never widens what is allowed."""

    def __init__(self) -> None:
        self._environments: dict[tuple[str, str], AgUiEnvironmentSpec | str] = {}
        self._policies: dict[str, AgUiPolicySpec] = {}

    def environment(self, namespace: str, name: str) -> tuple[AgUiEnvironmentSpec | None, str | None]:
        found = self._environments.get((namespace, name))
        if isinstance(found, str):
            return None, f"AgUiEnvironment {namespace}/{name} is invalid: {found}"
        return found, None

    def policies(self) -> Sequence[AgUiPolicySpec]:
        return tuple(self._policies[name] for name in sorted(self._policies))

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
            after: AgUiPolicySpec | None = parse_stored(AgUiPolicySpec, spec)[0]
        except SpecInvalid as exc:
            logger.warning("AgUiPolicy %s is invalid and permits nothing: %s", name, exc)
            after = None
        if after is not None:
            self._policies[name] = after
        else:
            self._policies.pop(name, None)
        return _patterns(before, after) if after != before else ()

    def drop_policy(self, name: str) -> tuple[str, ...]:
        return _patterns(self._policies.pop(name, None))


class References:
    """Which deployments name an environment, and which live in a namespace."""

    def __init__(self) -> None:
        self._environment_of: dict[str, tuple[str, str]] = {}  # by uid: namespace and name of the environment
        self._uids: defaultdict[str, set[str]] = defaultdict(set)  # by namespace

    def put(self, uid: str, namespace: str, spec: Mapping[str, Any]) -> bool:
        """`spec` as the watch delivered it: an invalid one still names its environment. True if it is the first in its
        namespace."""
        first = namespace not in self._uids
        reference = spec.get("environmentRef")
        name = reference.get("name") if isinstance(reference, Mapping) else None
        self._environment_of[uid] = namespace, str(name)
        self._uids[namespace].add(uid)
        return first

    def drop(self, uid: str) -> bool:
        """True if it was the last in its namespace."""
        namespace, _ = self._environment_of.pop(uid, ("", ""))
        uids = self._uids.get(namespace, set())
        uids.discard(uid)
        return not uids and self._uids.pop(namespace, None) is not None

    def namespaces(self) -> list[str]:
        """Those that have deployments."""
        return list(self._uids)

    def of_environment(self, namespace: str, name: str) -> list[str]:
        return [uid for uid in self._uids.get(namespace, ()) if self._environment_of[uid][1] == name]

    def in_namespaces(self, patterns: Sequence[str]) -> list[str]:
        return [uid for namespace, uids in self._uids.items() if matches(namespace, patterns) for uid in uids]


def _patterns(*policies: AgUiPolicySpec | None) -> tuple[str, ...]:
    return tuple(pattern for policy in policies if policy is not None for pattern in policy.namespaces)
