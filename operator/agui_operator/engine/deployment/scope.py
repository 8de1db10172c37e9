"""Scope: one AgUiDeployment as understood at this moment. One function builds it; reconcile, deletion, garbage
collection and preview read it and nothing else of the object.

A field that can't be read is None and comes with the reason. It never becomes a default.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from agui_operator.api.deployment import AgUiDeploymentSpec, DeletionPolicy
from agui_operator.api.environment import AgUiEnvironmentSpec
from agui_operator.api.parse import SpecInvalid, parse_deletion_policy, parse_stored
from agui_operator.api.policy import AgUiPolicySpec
from agui_operator.core.blockers import blockers, breakglass, forbidden, place_of, with_grace
from agui_operator.core.blueprint import Blueprint, build_blueprint
from agui_operator.core.disclosure import disclosure_of
from agui_operator.core.environment import Place
from agui_operator.core.fingerprint import fingerprint_of, legacy_fingerprint_of, procedure_of
from agui_operator.core.kept import kept_annotations
from agui_operator.core.memory import Memory
from agui_operator.core.names import Names
from agui_operator.core.permitted import Unreadable, attested_by
from agui_operator.core.place import PlaceRecord, moved, renewed
from agui_operator.core.recognise import recognised
from agui_operator.core.requests import PREFIX
from agui_operator.core.rollout import IN_FLIGHT, RESTING, Phase
from agui_operator.core.snapshot import Blocker, ServiceView
from agui_operator.core.status_inputs import Asked, asked_of
from agui_operator.core.words import Disclosure

_PARSED_MAX = 512  # specs kept, which bounds memory; a larger fleet at rest is parsed once per resync


class Directory(Protocol):
    """Environments and policies of the cluster, as last seen by the watch."""

    def environment(self, namespace: str, name: str) -> tuple[AgUiEnvironmentSpec | None, str | None]:
        """The environment, or why it can't be used (None, None: it does not exist)."""
        ...

    def policies(self) -> Sequence[AgUiPolicySpec]: ...

    def unreadable(self) -> Sequence[Unreadable]:
        """Policies that can't be read; they permit nothing and hold what they speak of."""
        ...

    def conflicts(self, uid: str) -> Sequence[Blocker]:
        """What other deployments have that this one wants."""
        ...

    def holder(self, owner: str) -> str | None:
        """The living deployment that an owner label means, as namespace/name."""
        ...


@dataclass(frozen=True, slots=True)
class Parsed:
    """What the spec of one generation says. `version`, `deletion` and `environment_name` are read by themselves, so
    that they are known while another field is invalid."""

    spec: AgUiDeploymentSpec | None
    error: str | None
    ignored: tuple[str, ...]  # fields of a newer CRD
    fingerprint: str | None
    legacy: str | None  # fingerprint that an earlier version gave the same spec
    procedure: str
    asked: Asked | None
    version: str | None
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
    """`environment` is the one that exists now; `location` is where the release lives, which is remembered, or what
    the environment says before there is one."""

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
    disclosure: Disclosure  # what may be shown of others' words
    forbidden: Mapping[str, str]  # releases that no policy permits now: why, by id
    location: Location | None
    memory: Memory
    blueprint: Blueprint | None  # of the release that the phase is about; None: the spec is about another one
    attested_by: str = ""  # Binary Authorization that a policy demands
    glass: Blocker | None = None  # it was switched off for the service, as last looked at

    @property
    def spec(self) -> AgUiDeploymentSpec | None:
        return self.parsed.spec

    @property
    def names(self) -> Names:
        """Raises LookupError while there is neither a release nor an environment."""
        return self._located().names

    @property
    def place(self) -> Place:
        """Raises LookupError while there is neither a release nor an environment."""
        return self._located().place

    def _located(self) -> Location:
        if self.location is None:
            raise LookupError(f"no environment of {self.namespace}/{self.name} has been seen")
        return self.location

    def having(self, service: ServiceView | None) -> Scope:
        """The same object with what the last look at its service says about permission."""
        return replace(self, glass=breakglass(self.attested_by, service))

    @property
    def every_blocker(self) -> tuple[Blocker, ...]:
        """Those that are known without a look, and the one that a look told of."""
        return self.blockers if self.glass is None else (*self.blockers, self.glass)

    def remembering(self, memory: Memory) -> Scope:
        """The same object with another memory."""
        return replace(self, memory=memory, blueprint=_blueprint(memory, self.parsed, self.location))


class Scopes:
    """Builds scopes. Specs are parsed once per object and generation."""

    def __init__(
        self, directory: Directory, clock: Callable[[], datetime], cluster: str = "", grace: float = 0.0
    ) -> None:
        self._directory, self._clock, self._cluster = directory, clock, cluster
        self._grace = timedelta(seconds=grace)
        self._withdrawn: dict[str, datetime] = {}  # by uid: since when a running rollout is not permitted any more
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
        memory = recognised(memory, parsed.legacy, parsed.fingerprint)
        environment, why = self._environment(namespace, parsed)
        now = place_of(environment) if environment is not None else None
        if memory.place is not None and now is not None:
            at_rest = memory.phase in RESTING or memory.phase in (Phase.PENDING, Phase.RESOLVING)
            place = renewed(memory.place, str(parsed.environment_name), now, at_rest=at_rest)
            memory = replace(memory, place=place)
        base = Names(namespace, name, uid, "", "", self._cluster)
        location = _location(base, memory.place, now) or last
        blocked = self._blockers(namespace, uid, parsed, memory.place, environment, why)
        blocked = self._graced(uid, memory, parsed, blocked)
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
            blockers=blocked,
            disclosure=self._disclosure(namespace, parsed, memory, location),
            forbidden=self._forbidden(namespace, memory, location),
            location=location,
            memory=memory,
            blueprint=None if deleting else _blueprint(memory, parsed, location),
            attested_by=attested_by(self._directory.policies(), namespace),
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
        self,
        namespace: str,
        uid: str,
        parsed: Parsed,
        record: PlaceRecord | None,
        environment: AgUiEnvironmentSpec | None,
        why: str | None,
    ) -> tuple[Blocker, ...]:
        if parsed.spec is None:
            return ()
        now = place_of(environment) if environment is not None else None
        move = moved(record, parsed.environment_name, now)
        policies, at, place = self._directory.policies(), self._clock(), record.place if record is not None else None
        unreadable = self._directory.unreadable()
        found = blockers(parsed.spec, environment, why, namespace, policies, at, place, unreadable)
        return (*((move,) if move is not None else ()), *self._directory.conflicts(uid), *found)

    def _disclosure(self, namespace: str, parsed: Parsed, memory: Memory, location: Location | None) -> Disclosure:
        place, policies = location.place if location is not None else None, self._directory.policies()
        releases = (memory.candidate, memory.stable, memory.undo_to)
        return disclosure_of(parsed.spec, place, namespace, policies, self._directory.unreadable(), releases)

    def _forbidden(self, namespace: str, memory: Memory, location: Location | None) -> dict[str, str]:
        kept = (memory.stable, memory.undo_to, *(promotion.release for promotion in memory.promoted))
        releases = {release.id: release for release in kept if release is not None}
        place = location.place if location is not None else None
        return forbidden(releases.values(), place, namespace, self._directory.policies())

    def forget(self, uid: str) -> None:
        self._withdrawn.pop(uid, None)

    def _graced(self, uid: str, memory: Memory, parsed: Parsed, blocked: tuple[Blocker, ...]) -> tuple[Blocker, ...]:
        """A rollout past its start was permitted once."""
        candidate = memory.candidate if memory.phase in IN_FLIGHT else None
        if candidate is None or candidate.fingerprint != parsed.fingerprint or not any(b.revokes for b in blocked):
            self._withdrawn.pop(uid, None)
            return blocked
        now = self._clock()
        return with_grace(blocked, self._withdrawn.setdefault(uid, now), now, self._grace)


def _location(base: Names, record: PlaceRecord | None, now: Place | None) -> Location | None:
    """Where the release lives; before there is one, where the environment says."""
    if record is not None:
        return Location(record.names(base), record.place)
    return Location(replace(base, project=now.project, region=now.region), now) if now is not None else None


def parse(raw: Any) -> Parsed:
    """Reads a spec, and by themselves the fields that must be known while another one is invalid."""
    spec: AgUiDeploymentSpec | None = None
    deletion: DeletionPolicy | None = None
    error = deletion_error = None
    ignored: tuple[str, ...] = ()
    try:
        spec, ignored = parse_stored(AgUiDeploymentSpec, raw or {})
    except SpecInvalid as exc:
        error = str(exc)
    try:
        # what is unknown below deletionPolicy may retain something
        unclear = any(path.startswith("spec.deletionPolicy") for path in ignored)
        deletion = spec.deletion_policy if spec is not None and not unclear else parse_deletion_policy(raw)
    except SpecInvalid as exc:
        deletion_error = str(exc)
    fingerprint = fingerprint_of(spec) if spec is not None else None
    version = raw.get("version") if isinstance(raw, Mapping) else None
    return Parsed(
        spec=spec,
        error=error,
        ignored=ignored,
        fingerprint=fingerprint,
        legacy=legacy_fingerprint_of(spec) if spec is not None else None,
        procedure=procedure_of(spec) if spec is not None else "",
        asked=asked_of(spec, fingerprint) if spec is not None and fingerprint is not None else None,
        version=version[:64] if isinstance(version, str) and version else None,
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
        release = replace(release, alerts=alerts, version=spec.version or release.version)
    return build_blueprint(spec, location.names, location.place, release)
