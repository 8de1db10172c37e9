"""What `agui-operator plan` needs of the cluster: the live objects, read with the current login.

The rights of a namespace suffice: environments are read by name. Policies are read where that is permitted; where it is
not, the lines say that nothing was held against them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agui_operator.api.lint import documents_of
from agui_operator.core.actions import describe
from agui_operator.core.errors import CloudError, UserError
from agui_operator.core.forecast import Forecast
from agui_operator.engine.cluster.kube import GROUP_VERSION, Kube, KubeError
from agui_operator.engine.deployment.preview import Documents, foresee, preview, sort
from agui_operator.engine.settings import Settings
from agui_operator.engine.sources import Source
from agui_operator.gcp.transport.clients import Cloud, CloudSettings, connect
from agui_operator.handlers.startup import connection_of, user_login

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Planned:
    """What is printed, and whether every release can go."""

    lines: tuple[str, ...]
    possible: bool


async def plan(settings: Settings, sources: Sequence[Source], *, offline: bool) -> Planned:
    """One paragraph of lines per deployment among the documents. Raises ConnectionError without a login, ClusterError
    and UserError."""
    given = [d for source in sources for d in documents_of(source.text) if isinstance(d, Mapping)]
    if not sort(given).deployments:
        return Planned(("no AgUiDeployment in these files; nothing to plan",), False)
    if offline:
        head = "offline: planned as a first release; images, secrets and bundles are not looked up"
        return _joined((head,), [_foreseen(d, sort(given)) for d in sort(given).deployments])
    notes, documents, known = await _from_cluster(given)
    cloud = await connect(CloudSettings(endpoint=settings.endpoint))
    try:
        return _joined(notes, [await _planned(cloud, document, known) for document in documents])
    finally:
        await cloud.close()


def _foreseen(document: Document, known: Documents) -> Planned:
    try:
        return _told(document, foresee(document, known))
    except UserError as exc:
        return Planned((f"{_name(document)}: Blocked: {exc}",), False)


async def _planned(cloud: Cloud, document: Document, known: Documents) -> Planned:
    try:
        return _told(document, await preview(cloud, document, known))
    except (UserError, CloudError) as exc:
        return Planned((f"{_name(document)}: Blocked: {exc}",), False)


def _told(document: Document, found: Forecast) -> Planned:
    name = _name(document)
    if found.blocked is not None:
        return Planned((f"{name}: Blocked: {found.blocked}",), False)
    count = len(found.actions)
    lines = [f"{name}: {count} action{'s' if count != 1 else ''}"]
    lines += [f"  {n:3}. {f.phase:12} {describe(f.action)}" for n, f in enumerate(found.actions, 1)]
    lines.append(f"  ends in {found.ends_in}" + (f"; waits: {found.waits_for}" if found.waits_for else ""))
    return Planned(tuple(lines), True)


def _joined(notes: Sequence[str], parts: Sequence[Planned]) -> Planned:
    lines = (*notes, *(line for part in parts for line in part.lines))
    return Planned(lines, all(part.possible for part in parts))


def _name(document: Document) -> str:
    meta = document["metadata"]
    return f"{meta.get('namespace', 'default')}/{meta['name']}"


async def _from_cluster(given: Sequence[Document]) -> tuple[list[str], list[Document], Documents]:
    """Notes; the deployments with the uid and status of the live ones; and what they refer to."""
    kube = Kube(connection_of(user_login()))
    known = sort(given)
    try:
        documents = [await _with_status(kube, document) for document in known.deployments]
        environments = [e for d in documents if (e := await _environment(kube, d, known)) is not None]
        notes, policies = await _policies(kube)
    finally:
        await kube.close()
    found = sort([*environments, *policies, *given])
    return notes, documents, replace(found, policies_known=found.policies_known and not notes)


async def _with_status(kube: Kube, document: Document) -> Document:
    meta = document["metadata"]
    live = await kube.get_deployment(str(meta.get("namespace", "default")), str(meta["name"]))
    if live is None:
        return document
    return {**document, "metadata": {**meta, "uid": live["metadata"]["uid"]}, "status": live.get("status")}


async def _environment(kube: Kube, document: Document, known: Documents) -> Document | None:
    """The environment that a deployment names, unless the files have it."""
    namespace = str(document["metadata"].get("namespace", "default"))
    name = str(document["spec"]["environmentRef"]["name"])
    if (namespace, name) in known.environments:
        return None
    try:
        found = await kube.request("GET", f"/apis/{GROUP_VERSION}/namespaces/{namespace}/aguienvironments/{name}")
    except KubeError as exc:
        if exc.code == 404:
            return None
        raise
    return {**found, "kind": "AgUiEnvironment"}


async def _policies(kube: Kube) -> tuple[list[str], list[Document]]:
    try:
        answer = await kube.request("GET", f"/apis/{GROUP_VERSION}/aguipolicies")
    except KubeError as exc:
        if exc.code != 403:
            raise
        return ["note: this login may not read AgUiPolicies; the plan was not held against them"], []
    return [], [{**item, "kind": "AgUiPolicy"} for item in answer.get("items", [])]
