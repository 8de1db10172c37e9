"""Scope: one AgUiDeployment as understood at this moment. One function builds it; reconcile, deletion, garbage
collection and preview read it and nothing else of the object.

A field that can't be read is None and comes with the reason. It never becomes a default.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from agui_operator.api.deployment import AgUiDeploymentSpec, DeletionPolicy
from agui_operator.api.environment import AgUiEnvironmentSpec
from agui_operator.api.parse import SpecInvalid, parse_deletion_policy, parse_deployment
from agui_operator.api.policy import AgUiPolicySpec
from agui_operator.core.blockers import blockers, place_of
from agui_operator.core.blueprint import Blueprint, build_blueprint
from agui_operator.core.environment import Place
from agui_operator.core.kept import kept_annotations
from agui_operator.core.memory import Memory
from agui_operator.core.names import Names
from agui_operator.core.release import fingerprint_of
from agui_operator.core.requests import PREFIX
from agui_operator.core.rollout import IN_FLIGHT, Phase
from agui_operator.core.snapshot import Blocker

_PARSED_MAX = 512  # specs kept, which bounds memory; a larger fleet at rest is parsed once per resync


class Directory(Protocol):
    """Environments and policies of the cluster, as last seen by the watch."""

    def environment(self, namespace: str, name: str) -> tuple[AgUiEnvironmentSpec | None, str | None]:
        """The environment, or why it can't be used (None, None: it does not exist)."""
        ...

    def policies(self) -> Sequence[AgUiPolicySpec]: ...


@dataclass(frozen=True, slots=True)
class Parsed:
    """What the spec of one generation says. `deletion` and `environment_name` are read by themselves, so that they are
    known while another field is invalid."""

    spec: AgUiDeploymentSpec | None
    error: str | None
    fingerprint: str | None
    environment_name: str | None
    deletion: DeletionPolicy | None
    deletion_error: str | None

    @property
    def history_limit(self) -> int | None:
        """None: the spec can't be read, so the history is not shortened."""
        return self.spec.history_limit if self.spec is not None else None


@dataclass(frozen=True, slots=True)
class Location:
    """Names of the cloud objects and where they are."""

    names: Names
    place: Place


@dataclass(frozen=True, slots=True)
class Scope:
    """`environment` is the one that exists now; `location` is the last known one while it does not."""

    namespace: str
    name: str
    uid: str
    generation: int
    version: str  # resourceVersion of the object
    annotations: Mapping[str, str]
    kept: frozenset[str]  # those of our annotations that a manifest has, so that they come back when they are removed
    parsed: Parsed
    environment: AgUiEnvironmentSpec | None
    environment_error: str | None
    blockers: tuple[Blocker, ...]
    location: Location | None
    memory: Memory
    blueprint: Blueprint | None  # of the release that the phase is about; None: the spec is about another one

    @property
    def spec(self) -> AgUiDeploymentSpec | None:
        return self.parsed.spec

    @property
    def names(self) -> Names:
        """Raises LookupError while no environment has been seen."""
        return self._located().names

    @property
    def place(self) -> Place:
        """Raises LookupError while no environment has been seen."""
        return self._located().place

    def _located(self) -> Location:
        if self.location is None:
            raise LookupError(f"no environment of {self.namespace}/{self.name} has been seen")
        return self.location

    def remembering(self, memory: Memory) -> Scope:
        """The same object with another memory."""
        return replace(self, memory=memory, blueprint=_blueprint(memory, self.parsed, self.location))


class Scopes:
    """Builds scopes. Specs are parsed once per object and generation."""

    def __init__(self, directory: Directory, clock: Callable[[], datetime]) -> None:
        self._directory, self._clock = directory, clock
        self._parsed: OrderedDict[tuple[str, int], Parsed] = OrderedDict()

    def build(
        self, body: Mapping[str, Any], memory: Memory, last: Location | None = None, *, deleting: bool = False
    ) -> Scope:
        """The scope of a Kubernetes object. `last`: the location that was known before. `deleting`: no blueprint is
        needed, so that a status that was damaged by hand does not stop a deletion. Never raises for what a user wrote
        in the spec."""
        meta = body["metadata"]
        namespace, name, uid = str(meta.get("namespace", "default")), str(meta["name"]), str(meta.get("uid", ""))
        generation = int(meta.get("generation", 0))
        parsed = self._parse(uid, generation, body.get("spec"))
        environment, why = self._environment(namespace, parsed)
        location = last
        if environment is not None:
            names = Names(namespace, name, uid, environment.project_id, environment.region)
            location = Location(names, place_of(environment))
        return Scope(
            namespace=namespace,
            name=name,
            uid=uid,
            generation=generation,
            version=str(meta.get("resourceVersion", "")),
            annotations=dict(meta.get("annotations") or {}),
            kept=kept_annotations(meta, PREFIX),
            parsed=parsed,
            environment=environment,
            environment_error=why,
            blockers=self._blockers(namespace, parsed, environment, why),
            location=location,
            memory=memory,
            blueprint=None if deleting else _blueprint(memory, parsed, location),
        )

    def _parse(self, uid: str, generation: int, spec: Any) -> Parsed:
        if not uid or not generation:
            return parse(spec)  # a manifest that is in no cluster yet
        key = (uid, generation)
        known = self._parsed[key] = self._parsed.get(key) or parse(spec)
        self._parsed.move_to_end(key)
        while len(self._parsed) > _PARSED_MAX:
            self._parsed.popitem(last=False)
        return known

    def _environment(self, namespace: str, parsed: Parsed) -> tuple[AgUiEnvironmentSpec | None, str | None]:
        if parsed.environment_name is None:
            return None, "spec.environmentRef.name can't be read"
        environment, why = self._directory.environment(namespace, parsed.environment_name)
        if environment is None and why is None:
            why = f"AgUiEnvironment {namespace}/{parsed.environment_name} does not exist"
        return environment, why

    def _blockers(
        self, namespace: str, parsed: Parsed, environment: AgUiEnvironmentSpec | None, why: str | None
    ) -> tuple[Blocker, ...]:
        if parsed.spec is None:
            return ()
        return blockers(parsed.spec, environment, why, namespace, self._directory.policies(), self._clock())


def parse(raw: Any) -> Parsed:
    """Reads a spec, and by themselves the fields that must be known while another one is invalid."""
    spec: AgUiDeploymentSpec | None = None
    deletion: DeletionPolicy | None = None
    error = deletion_error = None
    try:
        spec = parse_deployment(raw or {})
    except SpecInvalid as exc:
        error = str(exc)
    try:
        deletion = spec.deletion_policy if spec is not None else parse_deletion_policy(raw)
    except SpecInvalid as exc:
        deletion_error = str(exc)
    return Parsed(
        spec=spec,
        error=error,
        fingerprint=fingerprint_of(spec) if spec is not None else None,
        environment_name=_environment_name(raw),
        deletion=deletion,
        deletion_error=deletion_error,
    )


def _environment_name(raw: Any) -> str | None:
    reference = raw.get("environmentRef") if isinstance(raw, Mapping) else None
    name = reference.get("name") if isinstance(reference, Mapping) else None
    return name if isinstance(name, str) and name else None


def _blueprint(memory: Memory, parsed: Parsed, location: Location | None) -> Blueprint | None:
    spec = parsed.spec
    release = memory.candidate if memory.phase in IN_FLIGHT else memory.stable
    if spec is None or location is None or release is None or release.fingerprint != parsed.fingerprint:
        return None
    if memory.phase is Phase.HEALTHY:
        alerts = spec.alerts.model_dump(mode="json", exclude_none=True) if spec.alerts else {}
        release = replace(release, alerts=alerts)
    return build_blueprint(spec, location.names, location.place, release)
