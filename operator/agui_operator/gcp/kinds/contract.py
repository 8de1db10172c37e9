"""What a kind of cloud resource is: how it is found, compared, created, updated, deleted and listed by its owner.

A kind's desired state is a frozen dataclass. Its fields without a default identify the resource; a field that is None
is neither written nor compared. Kinds know Google's APIs; what is done when is decided in core/provisioning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Protocol, TypeVar, cast

from agui_operator.core.errors import CloudError, NotOwned
from agui_operator.core.names import OWNER_LABEL
from agui_operator.core.provisioning.graph import GraphInvalid, Site
from agui_operator.core.provisioning.plan import Diff, State
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.outcome import Outcome

D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class View:
    """A resource as its API describes it. `fields` by the names of the desired state; `outputs` are what other
    resources may refer to, never a secret. `owner`: see core/provisioning/plan.py. `version` guards a write where the
    API has an etag, a fingerprint or the like; `name` is what the API calls the resource."""

    fields: Mapping[str, Any]
    outputs: Mapping[str, str] = field(default_factory=dict)
    owner: str | None = None
    state: State = State.READY
    detail: str = ""
    version: str = ""
    name: str = ""


class Kind(Protocol[D]):
    """One kind of resource. `name` is what nodes call it; `immutable` are the fields that can't be changed in place."""

    name: str
    desired: type[D]
    immutable: frozenset[str] = frozenset()

    def full_name(self, site: Site, want: D) -> str:
        """Full name of the resource as its API writes it, for messages and status."""

    def lane(self, site: Site, want: D) -> str:
        """Writes in one lane are made one after another: some APIs refuse a second operation on the same parent."""
        return self.full_name(site, want)

    def diff(self, want: D, have: View) -> Diff:
        """Pure: the fields in which the resource differs from what is desired."""
        wanted = {f.name: getattr(want, f.name) for f in fields(cast(Any, want))}
        compared = {name: value for name, value in wanted.items() if value is not None and name in have.fields}
        found = [name for name, value in compared.items() if value != have.fields[name]]
        return Diff(
            changed=tuple(name for name in found if name not in self.immutable),
            immutable=tuple(name for name in found if name in self.immutable),
        )

    async def observe(self, cloud: Cloud, site: Site, want: D) -> View | None:
        """The resource; None if it does not exist. Changes nothing. Raises CloudError."""

    async def create(self, cloud: Cloud, site: Site, want: D) -> Outcome:
        """Creates it with the site's owner. Returns at once, perhaps with an operation. Raises CloudError."""

    async def update(self, cloud: Cloud, site: Site, want: D, have: View) -> Outcome:
        """Writes every mutable field that is not None; everything else stays. Raises CloudError."""

    async def delete(self, cloud: Cloud, site: Site, want: D) -> Outcome:
        """Deletes it; what does not exist is deleted. Raises CloudError."""

    async def owned(self, cloud: Cloud, site: Site) -> Sequence[D]:
        """Every resource of this kind that carries the site's owner, with the fields that identify it. Raises
        CloudError."""


def desired_of(kind: Kind[D], node: str, values: Mapping[str, Any]) -> D:
    """A node's desired fields as the kind's dataclass. Raises GraphInvalid for unknown and missing fields."""
    known = fields(cast(Any, kind.desired))
    unknown = sorted(set(values) - {f.name for f in known})
    if unknown:
        raise GraphInvalid(f"node {node}: kind {kind.name} has no field {', '.join(unknown)}")
    missing = [f.name for f in known if f.default is MISSING and values.get(f.name) is None]
    if missing:
        why = "they identify the resource, so they are given, and not by a reference"
        raise GraphInvalid(f"node {node}: kind {kind.name} needs {', '.join(missing)}: {why}")
    return kind.desired(**values)


async def create_once(kind: Kind[D], cloud: Cloud, site: Site, want: D) -> Outcome:
    """Creates the resource, or finds that an earlier attempt did. Raises NotOwned if it has another owner,
    CloudError."""
    try:
        return await kind.create(cloud, site, want)
    except CloudError as error:
        have = await kind.observe(cloud, site, want) if error.code in (400, 409) else None
        if have is None:
            raise
        check_owner(kind, site, want, have)
        return Outcome(None, have)


def check_owner(kind: Kind[D], site: Site, want: D, have: View) -> None:
    """Raises NotOwned unless the resource carries the site's owner, or its kind can't carry one."""
    if have.owner not in (None, site.owner):
        owner = f"belongs to {have.owner}" if have.owner else f"has no label {OWNER_LABEL}"
        raise NotOwned(f"{kind.name} {kind.full_name(site, want)} {owner}; delete it, or choose another name")


def labels(site: Site) -> dict[str, str]:
    """The labels that every resource carries which can have any."""
    return {OWNER_LABEL: site.owner}


def only_known(**values: Any) -> dict[str, Any]:
    """The values that are not None."""
    return {name: value for name, value in values.items() if value is not None}
