"""Environments and policies as the watch delivers them, parsed once per change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agui_operator.api.environment import AgUiEnvironmentSpec
from agui_operator.api.parse import SpecInvalid, parse_environment, parse_policy
from agui_operator.api.policy import AgUiPolicySpec


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

    def put_environment(self, namespace: str, name: str, spec: Mapping[str, Any]) -> str | None:
        """Returns what is wrong with it, if anything."""
        try:
            self._environments[namespace, name] = parse_environment(spec)
        except SpecInvalid as exc:
            self._environments[namespace, name] = str(exc)
            return str(exc)
        return None

    def drop_environment(self, namespace: str, name: str) -> None:
        self._environments.pop((namespace, name), None)

    def put_policy(self, name: str, spec: Mapping[str, Any]) -> str | None:
        try:
            self._policies[name] = parse_policy(spec)
        except SpecInvalid as exc:
            self._policies.pop(name, None)
            return str(exc)
        return None

    def drop_policy(self, name: str) -> None:
        self._policies.pop(name, None)
