"""Whom a Cloud Run service belongs to, and under which name a deployment finds or makes its own.

The owner is namespace/name in a cluster. A deployment that is made again in the same cluster finds what it owns. In
another cluster it finds what belongs to somebody else: taking that over has to be asked for by annotation, and a policy
has to allow it. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from agui_operator.api.policy import AgUiPolicySpec
from agui_operator.core.errors import NotOwned
from agui_operator.core.memory import Memory
from agui_operator.core.names import OWNER_LABEL, Names, old_service_name, service_name
from agui_operator.core.permitted import matches
from agui_operator.core.rollout import Phase

ADOPT = "agui.dev/adopt"


class Labelled(Protocol):
    """What was seen of a resource that has an owner label; "" if it has none."""

    @property
    def name(self) -> str: ...

    @property
    def owner(self) -> str: ...


V = TypeVar("V", bound=Labelled)
HOW = f"annotate this deployment with {ADOPT}=true, which spec.adopt of an AgUiPolicy has to allow"


@dataclass(frozen=True, slots=True)
class Settled:
    """The service of the deployment. `take_over`: the value of the owner label that everything carries until now and
    that is to be replaced; None: everything is as it should be. `owner`: the value that it has then."""

    service: str
    owner: str
    take_over: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The name is taken, and may not be taken over."""

    message: str


@dataclass(frozen=True, slots=True)
class Claims:
    """What the deployment may take over. `adopt`: it is asked for by annotation; `holder`: the living deployment of
    this cluster that an owner label means, as namespace/name."""

    adopt: bool
    policies: Sequence[AgUiPolicySpec]
    holder: Callable[[str], str | None]

    def allowed(self, namespace: str, service: str) -> bool:
        return any(matches(namespace, p.namespaces) and matches(service, p.adopt) for p in self.policies)


def owned(names: Names, what: str, view: V) -> V:
    """The view, which is the deployment's. Every look at a resource by its name returns through here, so that nothing
    is decided, called or told about somebody else's. Raises NotOwned."""
    if names.owns(view.owner):
        return view
    owner = f"belongs to {view.owner}" if view.owner else f"has no label {OWNER_LABEL}"
    raise NotOwned(f"{what} {view.name} {owner}; to take it over, {HOW}; or delete it, or rename this deployment")


def needs_settling(memory: Memory, names: Names) -> bool:
    """True if it is not known which service is the deployment's, or if that has another owner's label."""
    place = memory.place
    if place is None:
        return memory.phase not in (Phase.PENDING, Phase.SUSPENDED)  # where nothing is looked at and nothing done
    if not names.owns(place.owner):
        return True
    return place.owner != names.owner and memory.phase is Phase.RESOLVING


def candidates(memory: Memory, names: Names, released: bool) -> tuple[str, ...]:
    """Names under which the service may exist, the likeliest first. `released`: the status names a release, so that
    without a record of its place an earlier version wrote it."""
    if memory.place is not None:
        return (memory.place.service,)
    new, old = service_name(names.namespace, names.name), old_service_name(names.namespace, names.name)
    return (old, new) if released else (new, old)


def settle(names: Names, wanted: Sequence[str], found: Mapping[str, str], claims: Claims) -> Settled | Refused:
    """Which service is the deployment's. `wanted`: see `candidates`; `found` has the owner label of those that
    exist."""
    for service in wanted:
        if names.owns(found.get(service, "")):
            label = found[service]
            return Settled(service, names.owner, label if label != names.owner else None)
    for service in wanted:
        if service not in found or _is_anothers(names, wanted, service, found[service], claims):
            continue
        return _foreign(names, service, found[service], claims)
    return Settled(wanted[0], names.owner)


def _is_anothers(names: Names, wanted: Sequence[str], service: str, label: str, claims: Claims) -> bool:
    """True for a service that only has the name which an earlier version would have given to this deployment's: there
    two deployments could have the same."""
    if len(wanted) == 1 or service == service_name(names.namespace, names.name):
        return False
    return not label or claims.holder(label) is not None


def _foreign(names: Names, service: str, label: str, claims: Claims) -> Settled | Refused:
    holder = claims.holder(label)
    if holder is not None:
        return Refused(f"Cloud Run service {service} belongs to AgUiDeployment {holder}; rename this deployment")
    if claims.adopt and claims.allowed(names.namespace, service):
        return Settled(service, names.owner, label)
    what = f"belongs to {label}, which is no deployment of this cluster" if label else f"has no label {OWNER_LABEL}"
    if claims.adopt:
        fix = f"no AgUiPolicy of namespace {names.namespace} allows to take it over: add {service} to its spec.adopt"
    else:
        fix = f"to take it over, {HOW}; or delete it, or rename this deployment"
    return Refused(f"Cloud Run service {service} {what}; {fix}")
